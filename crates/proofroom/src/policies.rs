//! The policy files of a deployment: where each is, what it says, and its digest. All of them are
//! read before anything starts, and every problem of every file is reported at once.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use proofroom_authz::AccessPolicy;
use proofroom_canonical::Digest;
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_egress::{DEFAULT_EGRESS, EgressPolicy};
use proofroom_gateway::{
    config::{DEFAULT_UPSTREAMS, SystemSecrets, UpstreamsConfig},
    contradictions,
};
use proofroom_record::{bundle::PolicyFiles, statement::PolicyDigests};
use proofroom_room::RoomConfig;
use proofroom_verifier::{AppraisalPolicy, RoomAppraisalPolicy};

use crate::causes;

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

/// Every policy of a deployment, parsed.
#[derive(Debug)]
pub struct PolicySet {
    texts: Vec<(&'static str, String)>,
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
        let mut problems = Vec::new();
        let mut texts = Vec::new();
        for (name, builtin) in DEFAULTS {
            let text = match (name, upstreams, dir) {
                (UPSTREAMS, UpstreamSource::File(path), _) => read(path, &mut problems),
                (UPSTREAMS, UpstreamSource::Made { text, .. }, _) => text.clone(),
                (_, _, Some(dir)) => read(&dir.join(name), &mut problems),
                (_, _, None) => builtin.to_owned(),
            };
            texts.push((name, text));
        }
        if problems.is_empty() {
            Self::parse(texts, state)
        } else {
            Err(PolicyProblems(problems))
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one line for each policy, broken by the formatter"
    )]
    fn parse(texts: Vec<(&'static str, String)>, state: &Path) -> Result<Self, PolicyProblems> {
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
            UpstreamsConfig::parse(text(UPSTREAMS), &SystemSecrets),
        );
        if let (Some(routing), Some(upstreams)) = (&routing, &upstreams) {
            let appraisal = [Path::new(APPRAISAL)];
            for problem in contradictions(routing, upstreams, &appraisal) {
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
            ) => Ok(Self {
                texts,
                access,
                classification,
                routing,
                room,
                appraisal,
                egress,
                room_appraisal,
                upstreams,
            }),
            _ => Err(PolicyProblems(problems.0)),
        }
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

    /// Keeps the files beside a session, so that it can be closed later even if they change.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        for (name, text) in &self.texts {
            if *name != UPSTREAMS {
                crate::files::replace(&dir.join(name), text.as_bytes())?;
            }
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
