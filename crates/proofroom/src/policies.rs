//! The policy files of a deployment: where each is, what it says, and its digest. All of them are
//! read before anything starts, and every problem of every file is reported at once.

mod providers;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_authz::AccessPolicy;
use proofroom_canonical::Digest;
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_egress::{DEFAULT_EGRESS, EgressPolicy};
use proofroom_gateway::{
    ShadowRules,
    config::{DEFAULT_UPSTREAMS, SystemSecrets, UpstreamsConfig},
    contradictions,
};
use proofroom_record::{bundle::PolicyFiles, statement::PolicyDigests};
use proofroom_room::RoomConfig;
use proofroom_tlog::LeafIndex;
use proofroom_verifier::{AppraisalPolicy, RoomAppraisalPolicy};

pub use self::providers::ProviderPolicies;
use crate::{
    causes,
    log::LogAccess,
    policy_history::{InForce, PolicyHistoryError, PolicyStore},
};

/// The most bytes that a policy file may have.
const MAX_POLICY_BYTES: u64 = 1024 * 1024;

const ACCESS: &str = "access.cedar";
const CLASSIFICATION: &str = "classification.toml";
const ROUTING: &str = "routing.toml";
const ROOM: &str = "room.toml";
/// File name under which upstreams refer to the appraisal policy.
pub const APPRAISAL: &str = "appraisal.toml";
const EGRESS: &str = "egress.toml";
const ROOM_APPRAISAL: &str = "room-appraisal.toml";
/// File name under which a session's folder keeps the reference values of its room.
pub const ROOM_REFERENCE: &str = "room-reference.json";
const UPSTREAMS: &str = "upstreams.toml";
/// Directory of a session's folder with the policies for providers.
const PROVIDERS: &str = "providers";
/// File names under which a session's folder keeps the version that was in force.
const VERSION_ENTRY: &str = "policy-version.dsse.json";
const VERSION_LEAF: &str = "policy-version.leaf";

/// The files that a new deployment starts from.
const DEFAULTS: [(&str, &str); 8] = [
    (ACCESS, proofroom_authz::DEFAULT_POLICY),
    (CLASSIFICATION, proofroom_classify::DEFAULT_CLASSIFICATION),
    (ROUTING, proofroom_classify::DEFAULT_ROUTING),
    (ROOM, proofroom_room::DEFAULT_ROOM),
    (APPRAISAL, proofroom_verifier::PRODUCTION_UPSTREAM),
    (EGRESS, DEFAULT_EGRESS),
    (ROOM_APPRAISAL, proofroom_verifier::NO_ROOM_EVIDENCE),
    (UPSTREAMS, DEFAULT_UPSTREAMS),
];

/// Every problem found, one a line, each with its file.
#[derive(Debug)]
pub struct PolicyProblems(Vec<String>);

impl fmt::Display for PolicyProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policies cannot be used")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyProblems {}

/// Where the upstreams come from.
#[derive(Clone, Debug)]
pub enum UpstreamSource {
    /// `upstreams.toml` of the policy directory.
    PolicyDirectory,
    /// This file.
    File(PathBuf),
    /// This text, made from options and the environment; the name says from what.
    Made {
        /// What it was made from.
        from: String,
        /// The text.
        text: String,
    },
}

/// The files that a version of the policy history consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionTexts {
    /// `access.cedar`.
    pub access: String,
    /// `classification.toml`.
    pub classification: String,
    /// `routing.toml`.
    pub routing: String,
    /// `egress.toml`.
    pub egress: String,
}

impl VersionTexts {
    /// Reads the files of `dir`, loads each and runs its examples.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load(dir: &Path) -> Result<Self, PolicyProblems> {
        let mut unread = Vec::new();
        let mut text = |name: &str| read(&dir.join(name), &mut unread);
        let texts = Self {
            access: text(ACCESS),
            classification: text(CLASSIFICATION),
            routing: text(ROUTING),
            egress: text(EGRESS),
        };
        if !unread.is_empty() {
            return Err(PolicyProblems(unread));
        }
        let mut problems = Problems(Vec::new());
        let access = AccessPolicy::parse(&texts.access, ACCESS);
        problems.of(ACCESS, access);
        let parsed = ClassificationPolicy::parse(&texts.classification, CLASSIFICATION);
        if let Some(parsed) = problems.of(CLASSIFICATION, parsed) {
            let routing = RoutingPolicy::parse(&texts.routing, ROUTING, &parsed);
            problems.of(ROUTING, routing);
        }
        problems.of(EGRESS, EgressPolicy::parse(&texts.egress));
        if problems.0.is_empty() {
            Ok(texts)
        } else {
            Err(PolicyProblems(problems.0))
        }
    }

    /// The texts by file name.
    #[must_use]
    pub fn by_file(&self) -> [(&'static str, &str); 4] {
        [
            (ACCESS, &self.access),
            (CLASSIFICATION, &self.classification),
            (ROUTING, &self.routing),
            (EGRESS, &self.egress),
        ]
    }

    fn of(&self, name: &str) -> Option<&str> {
        let mut files = self.by_file().into_iter();
        files.find(|(file, _)| *file == name).map(|(_, text)| text)
    }
}

/// Every policy of a deployment, parsed.
#[derive(Debug)]
pub struct PolicySet {
    texts: Vec<(&'static str, String)>,
    version: Option<InForce>,
    /// Rules to try beside those in force.
    pub shadow: Option<ShadowRules>,
    /// `access.cedar`.
    pub access: AccessPolicy,
    /// `classification.toml`.
    pub classification: ClassificationPolicy,
    /// `routing.toml`.
    pub routing: RoutingPolicy,
    /// `room.toml`.
    pub room: RoomConfig,
    /// `appraisal.toml`.
    pub appraisal: AppraisalPolicy,
    /// `egress.toml`.
    pub egress: EgressPolicy,
    /// `room-appraisal.toml`.
    pub room_appraisal: RoomAppraisalPolicy,
    /// `upstreams.toml`.
    pub upstreams: UpstreamsConfig,
    /// What `upstreams.toml` names for providers in their own formats.
    pub providers: ProviderPolicies,
}

impl PolicySet {
    /// Reads the policies of `dir`, or the built-in ones, which are those of `policy init`. `state`
    /// is the state directory, which no room may see.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load(
        dir: Option<&Path>,
        upstreams: &UpstreamSource,
        state: &Path,
    ) -> Result<Self, PolicyProblems> {
        Self::load_in_force(dir, upstreams, state, None)
    }

    /// Reads the policies as [`Self::load`] does, except for the files of the version that is in
    /// force: those are the version's. A file of `dir` that differs from it is refused.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load_in_force(
        dir: Option<&Path>,
        upstreams: &UpstreamSource,
        state: &Path,
        version: Option<InForce>,
    ) -> Result<Self, PolicyProblems> {
        let mut problems = Vec::new();
        let mut texts = Vec::new();
        for (name, builtin) in DEFAULTS {
            let in_force = version.as_ref().and_then(|version| version.texts.of(name));
            if let Some(text) = in_force {
                refuse_other(dir, name, text, &mut problems);
                texts.push((name, text.to_owned()));
                continue;
            }
            let text = match (name, upstreams, dir) {
                (UPSTREAMS, UpstreamSource::File(path), _) => read(path, &mut problems),
                (UPSTREAMS, UpstreamSource::Made { text, .. }, _) => text.clone(),
                (_, _, Some(dir)) => read(&dir.join(name), &mut problems),
                (_, _, None) => builtin.to_owned(),
            };
            texts.push((name, text));
        }
        if !problems.is_empty() {
            return Err(PolicyProblems(problems));
        }
        let mut set = Self::parse(texts, state, beside(dir, upstreams))?;
        set.version = version;
        Ok(set)
    }

    /// The version of the deployment's policy that is in force, if it keeps a history.
    #[must_use]
    pub const fn version(&self) -> Option<&InForce> {
        self.version.as_ref()
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one line for each policy, broken by the formatter"
    )]
    fn parse(
        texts: Vec<(&'static str, String)>,
        state: &Path,
        beside: &Path,
    ) -> Result<Self, PolicyProblems> {
        let text = |wanted: &str| {
            texts
                .iter()
                .find(|(name, _)| *name == wanted)
                .map_or("", |(_, text)| text.as_str())
        };
        let mut problems = Problems(Vec::new());
        let access = problems.of(ACCESS, AccessPolicy::parse(text(ACCESS), ACCESS));
        let classification = problems.of(
            CLASSIFICATION,
            ClassificationPolicy::parse(text(CLASSIFICATION), CLASSIFICATION),
        );
        let routing = classification.as_ref().and_then(|classification| {
            let parsed = RoutingPolicy::parse(text(ROUTING), ROUTING, classification);
            problems.of(ROUTING, parsed)
        });
        let room = problems.of(ROOM, RoomConfig::parse(text(ROOM), state));
        let appraisal = problems.of(
            APPRAISAL,
            AppraisalPolicy::parse(text(APPRAISAL), APPRAISAL),
        );
        let egress = problems.of(EGRESS, EgressPolicy::parse(text(EGRESS)));
        let room_appraisal = problems.of(
            ROOM_APPRAISAL,
            RoomAppraisalPolicy::parse(text(ROOM_APPRAISAL), ROOM_APPRAISAL),
        );
        let upstreams = problems.of(
            UPSTREAMS,
            UpstreamsConfig::parse(text(UPSTREAMS), Arc::new(SystemSecrets)),
        );
        let providers = upstreams.as_ref().and_then(|upstreams| {
            let loaded = ProviderPolicies::load(upstreams, beside);
            loaded.map_err(|found| problems.0.extend(found)).ok()
        });
        if let (Some(routing), Some(upstreams), Some(providers)) =
            (&routing, &upstreams, &providers)
        {
            let appraisal = [Path::new(APPRAISAL)];
            let found = contradictions(routing, upstreams, &appraisal, providers.by_name());
            for problem in found {
                problems
                    .0
                    .push(format!("{ROUTING} and {UPSTREAMS}: {problem}"));
            }
        }
        if !problems.0.is_empty() {
            return Err(PolicyProblems(problems.0));
        }
        match (
            access,
            classification,
            routing,
            room,
            appraisal,
            egress,
            room_appraisal,
            upstreams,
            providers,
        ) {
            (
                Some(access),
                Some(classification),
                Some(routing),
                Some(room),
                Some(appraisal),
                Some(egress),
                Some(room_appraisal),
                Some(upstreams),
                Some(providers),
            ) => Ok(Self {
                texts,
                version: None,
                shadow: None,
                access,
                classification,
                routing,
                room,
                appraisal,
                egress,
                room_appraisal,
                upstreams,
                providers,
            }),
            _ => Err(PolicyProblems(problems.0)),
        }
    }

    /// Makes sure that the version in force has its leaf in the log.
    ///
    /// # Errors
    /// What the history or the log says.
    pub fn log_version(
        &mut self,
        store: &PolicyStore,
        log: &LogAccess,
    ) -> Result<(), PolicyHistoryError> {
        if let Some(found) = &mut self.version {
            found.leaf = Some(store.ensure_logged(&found.version, log)?);
        }
        Ok(())
    }

    /// The text of `access.cedar`.
    #[must_use]
    pub fn access_text(&self) -> &str {
        self.text(ACCESS)
    }

    /// The text of `egress.toml`.
    #[must_use]
    pub fn egress_text(&self) -> &str {
        self.text(EGRESS)
    }

    /// The digests that a session is bound to.
    #[must_use]
    pub fn digests(&self) -> PolicyDigests {
        let digest = |name| Digest::of(self.text(name));
        PolicyDigests {
            access: digest(ACCESS),
            classification: digest(CLASSIFICATION),
            routing: digest(ROUTING),
            room: digest(ROOM),
            appraisal: digest(APPRAISAL),
            egress: digest(EGRESS),
            room_appraisal: digest(ROOM_APPRAISAL),
            version: self.version.as_ref().map(|found| found.version.digest()),
            providers: self.providers.digests(),
        }
    }

    /// The files as a bundle holds them.
    #[must_use]
    pub fn files(&self) -> PolicyFiles {
        let bytes = |name| self.text(name).as_bytes().to_vec();
        PolicyFiles {
            access: bytes(ACCESS),
            classification: bytes(CLASSIFICATION),
            routing: bytes(ROUTING),
            room: bytes(ROOM),
            appraisal: bytes(APPRAISAL),
            egress: bytes(EGRESS),
            room_appraisal: bytes(ROOM_APPRAISAL),
            providers: self.providers.files(),
        }
    }

    /// Makes the room appraisal policy one of the shipped ones, pinned to `manifest`.
    /// For deployments whose policy accepts no evidence yet, and which start such a room all the
    /// same: without this, no evidence of it would be accepted.
    ///
    /// # Errors
    /// Every problem of the policy that comes out.
    pub fn pin_room(&mut self, shipped: &str, manifest: Digest) -> Result<(), PolicyProblems> {
        let made = RoomAppraisalPolicy::pinning(shipped, manifest);
        let mut problems = Problems(Vec::new());
        let parsed = RoomAppraisalPolicy::parse(&made, ROOM_APPRAISAL);
        let Some(policy) = problems.of(ROOM_APPRAISAL, parsed) else {
            return Err(PolicyProblems(problems.0));
        };
        self.room_appraisal = policy;
        for (name, text) in &mut self.texts {
            if *name == ROOM_APPRAISAL {
                text.clone_from(&made);
            }
        }
        Ok(())
    }

    /// Keeps the files beside a session, so that it can be closed later even if they change, and its
    /// decisions tried again: where requests could have gone is in `upstreams.toml`, which names
    /// credentials and holds none.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        for (name, text) in &self.texts {
            crate::files::replace(&dir.join(name), text.as_bytes())?;
        }
        self.providers.save(&dir.join(PROVIDERS))?;
        if let Some(version) = &self.version {
            crate::files::replace(&dir.join(VERSION_ENTRY), &version.envelope)?;
            let leaf = version.leaf.map(|leaf| leaf.get().to_string());
            crate::files::replace(&dir.join(VERSION_LEAF), leaf.unwrap_or_default().as_bytes())?;
        }
        Ok(())
    }

    fn text(&self, wanted: &str) -> &str {
        self.texts
            .iter()
            .find(|(name, _)| *name == wanted)
            .map_or("", |(_, text)| text.as_str())
    }
}

/// The entry of the policy history that [`PolicySet::save`] kept, and where its leaf is in the log;
/// nothing for a session of a deployment without a history.
///
/// # Errors
/// What the system says, or that the place is not a number.
pub fn read_saved_version(dir: &Path) -> io::Result<Option<(Vec<u8>, LeafIndex)>> {
    let entry = match fs::read(dir.join(VERSION_ENTRY)) {
        Ok(entry) => entry,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let leaf = fs::read_to_string(dir.join(VERSION_LEAF))?;
    let index = leaf.parse().map_err(io::Error::other)?;
    Ok(Some((entry, LeafIndex::new(index))))
}

/// Reads the files that [`PolicySet::save`] kept.
///
/// # Errors
/// What the system says.
pub fn read_saved(dir: &Path) -> io::Result<PolicyFiles> {
    let bytes = |name: &str| fs::read(dir.join(name));
    Ok(PolicyFiles {
        access: bytes(ACCESS)?,
        classification: bytes(CLASSIFICATION)?,
        routing: bytes(ROUTING)?,
        room: bytes(ROOM)?,
        appraisal: bytes(APPRAISAL)?,
        egress: bytes(EGRESS)?,
        room_appraisal: bytes(ROOM_APPRAISAL)?,
        providers: providers::read_saved(&dir.join(PROVIDERS))?,
    })
}

/// Writes the default files to `dir`, which must not exist or be empty.
///
/// # Errors
/// What the system says; a file that exists is never overwritten.
pub fn init(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    let mut made = Vec::new();
    for (name, text) in DEFAULTS {
        let path = dir.join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        made.push(path);
    }
    Ok(made)
}

/// Where the policies for providers are: beside the other policies, or else beside the upstreams file.
fn beside<'a>(dir: Option<&'a Path>, upstreams: &'a UpstreamSource) -> &'a Path {
    let file = match upstreams {
        UpstreamSource::File(file) => file.parent(),
        UpstreamSource::PolicyDirectory | UpstreamSource::Made { .. } => None,
    };
    dir.or(file).unwrap_or(Path::new("."))
}

/// What a session is started with must not differ from what is in force.
fn refuse_other(dir: Option<&Path>, name: &str, in_force: &str, problems: &mut Vec<String>) {
    let Some(path) = dir.map(|dir| dir.join(name)) else {
        return;
    };
    match fs::read(&path) {
        Ok(bytes) if bytes == in_force.as_bytes() => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => problems.push(format!(
            "{}: differs from the version that is in force; `proofroom policy activate` puts it in force, and without the file the version's own is used",
            path.display()
        )),
    }
}

fn read(path: &Path, problems: &mut Vec<String>) -> String {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.len() > MAX_POLICY_BYTES => {
            problems.push(format!(
                "{shown}: {} bytes are more than the 1 MiB allowed",
                found.len()
            ));
            String::new()
        }
        Ok(_) => fs::read_to_string(path).unwrap_or_else(|error| {
            problems.push(format!("{shown}: {error}"));
            String::new()
        }),
        Err(error) => {
            problems.push(format!(
                "{shown}: {error}; `proofroom policy init` writes every file that is needed"
            ));
            String::new()
        }
    }
}

struct Problems(Vec<String>);

impl Problems {
    fn of<T, P: std::error::Error>(&mut self, file: &str, parsed: Result<T, Vec<P>>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(found) => {
                for problem in found {
                    let mut words = causes::chain(&problem);
                    if !words.contains(file) {
                        words = format!("{file}: {words}");
                    }
                    self.0.push(words);
                }
                None
            }
        }
    }
}
