//! Past decisions under other rules, from what a state directory keeps of its sessions: rule ids,
//! counts, labels and what routing looked at. What would take a text that was never kept is said.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use p256::ecdsa::VerifyingKey;
use proofroom_canonical::{Digest, SessionId, Timestamp};
use proofroom_classify::{
    ClassificationPolicy, KeptFinding, Label, RouteDecision, RouteRequest, RoutingPolicy,
    UpstreamOffer,
};
use proofroom_gateway::{NOT_ROUTED, UNCLASSIFIED, config::UpstreamsConfig};
use proofroom_record::{
    predicate::{RecordError, open},
    statement::ModelRun,
};

use crate::{causes, judge::offers_of};

/// The most bytes of a record or a policy file.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A kept record is not what the deployment's gateway signed.
    #[error("the record `{path}` does not hold")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// The new rules are refused; every problem, one a line.
    #[error("the new rules cannot be used\n  {0}")]
    Refused(String),
}

impl ReplayError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "file-unreadable",
            Self::Record { source, .. } => source.code(),
            Self::Refused(_) => "policy-refused",
        }
    }
}

/// The rules to replay with. A file that is not given is each session's own.
#[derive(Clone, Debug, Default)]
pub struct NewRules {
    /// Text of a `classification.toml`.
    pub classification: Option<String>,
    /// Text of a `routing.toml`.
    pub routing: Option<String>,
}

/// What became of a request, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Id of the rule that decided.
    pub rule: String,
    /// Tier and upstreams; absent where the rules refuse.
    pub sent: Option<(String, Vec<String>)>,
}

/// What can be said of one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would be the same.
    Same,
    /// It would be this one.
    Changes(Destination),
    /// What was kept does not tell: why not.
    CannotTell(Vec<String>),
    /// No rule was asked: the request could not be read.
    NotRouted,
}

/// One decision of the past.
#[derive(Clone, Debug)]
pub struct Past {
    /// The session.
    pub session: SessionId,
    /// The run's place in it.
    pub sequence: u64,
    /// When the request arrived.
    pub started: Timestamp,
    /// Model asked for.
    pub model: String,
    /// The session's label by which it was routed.
    pub label: String,
    /// Lowest and highest label that it could have now, by name.
    pub labels_now: Option<(String, String)>,
    /// What was decided.
    pub then: Destination,
    /// What would be.
    pub verdict: Verdict,
}

/// A session's rules, then and now.
struct Rules {
    old: (ClassificationPolicy, RoutingPolicy),
    new: (ClassificationPolicy, RoutingPolicy),
    upstreams: UpstreamsConfig,
}

/// Every decision of the session kept in `dir`, oldest first, under `rules`. `key` is the
/// deployment's gateway key, which signed the records.
///
/// # Errors
/// See [`ReplayError`]. A session whose own rules cannot be read is no error: its decisions cannot be
/// told.
pub fn replay(dir: &Path, key: &VerifyingKey, rules: &NewRules) -> Result<Vec<Past>, ReplayError> {
    let runs = runs(&dir.join("records"), key)?;
    let loaded = Rules::load(&dir.join("policies"), rules);
    let mut marks = None;
    let replayed = runs.iter().map(|run| {
        let (labels_now, verdict) = match &loaded {
            Err(why) => (None, Verdict::CannotTell(vec![why.clone()])),
            Ok(rules) => rules.judge(run, &mut marks),
        };
        Past {
            session: run.session,
            sequence: run.sequence,
            started: run.started,
            model: run.request.model.clone(),
            label: run.classification.high_water_after.clone(),
            labels_now,
            then: recorded(run),
            verdict,
        }
    });
    Ok(replayed.collect())
}

/// Loads new rules once alone, so that a mistake in them is told and not taken for a session's.
///
/// # Errors
/// [`ReplayError::Refused`].
pub fn check(rules: &NewRules) -> Result<(), ReplayError> {
    let refused = |words: String| ReplayError::Refused(words);
    if let Some(text) = &rules.classification {
        let parsed = ClassificationPolicy::parse(text, "classification.toml");
        let parsed = parsed.map_err(|problems| refused(all(&problems)))?;
        if let Some(text) = &rules.routing {
            RoutingPolicy::parse(text, "routing.toml", &parsed)
                .map_err(|problems| refused(all(&problems)))?;
        }
    }
    Ok(())
}

impl Rules {
    fn load(dir: &Path, rules: &NewRules) -> Result<Self, String> {
        let kept = |name: &str| -> Result<String, String> {
            let unkept = |error| format!("`{name}` of the session cannot be read: {error}");
            fs::read_to_string(dir.join(name)).map_err(unkept)
        };
        let (classification, routing) = (kept("classification.toml")?, kept("routing.toml")?);
        let old = parse(&classification, &routing, "the session's rules")?;
        let new = parse(
            rules.classification.as_deref().unwrap_or(&classification),
            rules.routing.as_deref().unwrap_or(&routing),
            "the new rules, with what they leave as it was",
        )?;
        let upstreams = UpstreamsConfig::parse_without_keys(&kept("upstreams.toml")?);
        let upstreams = upstreams.map_err(|problems| all(&problems))?;
        Ok(Self {
            old,
            new,
            upstreams,
        })
    }

    /// `marks`: the lowest and the highest mark that the session could have before this run.
    fn judge(
        &self,
        run: &ModelRun,
        marks: &mut Option<(Label, Label)>,
    ) -> (Option<(String, String)>, Verdict) {
        if run.classification.label == UNCLASSIFIED || run.routing.rule == NOT_ROUTED {
            return (None, Verdict::NotRouted);
        }
        let (old, new) = (&self.old.0, &self.new.0);
        let inputs = run.routing.inputs.as_ref();
        let repository = inputs.map(|inputs| inputs.repository.as_str());
        let found = new.relabel(old, &kept(run), repository);
        let lowest = new.levels().lowest();
        let (low, high) = marks.unwrap_or((lowest, lowest));
        let (low, high) = (low.max(found.least), high.max(found.most));
        *marks = Some((low, high));
        let name = |label| new.levels().name(label).to_owned();
        let labels = Some((name(low), name(high)));
        let verdict = self.verdict(run, (low, high), found.unknown);
        (labels, verdict)
    }

    fn verdict(
        &self,
        run: &ModelRun,
        (low, high): (Label, Label),
        unknown: Vec<String>,
    ) -> Verdict {
        let cannot = |why: &str| Verdict::CannotTell(vec![why.to_owned()]);
        let (classification, routing) = &self.old;
        let policies = (run.classification.policy, run.routing.policy);
        if policies != (classification.digest(), routing.digest()) {
            return cannot("the record was made under other rules than the session's files");
        }
        if run.classification.redaction.is_some() {
            return cannot("what was forwarded was redacted, and no text was kept");
        }
        let Some(inputs) = &run.routing.inputs else {
            return cannot("the record names neither repository nor person");
        };
        let Some(label) = classification
            .levels()
            .label(&run.classification.high_water_after)
        else {
            return cannot("the record's label is no level of its rules");
        };
        let offers = self.offers(run);
        let request = RouteRequest {
            label,
            model: &run.request.model,
            repository: &inputs.repository,
            person: &inputs.person,
            purpose: &inputs.purpose,
        };
        let then = destination(routing.route(&request, &offers));
        if !agrees(&then, run) {
            return cannot("the session's own rules and upstreams decide otherwise now");
        }
        let levels = self.new.0.levels().labels();
        let possible = levels.filter(|label| (low..=high).contains(label));
        let mut now = possible.map(|label| {
            let request = RouteRequest { label, ..request };
            destination(self.new.1.route(&request, &offers))
        });
        let Some(first) = now.next() else {
            return cannot("the new rules have no such level");
        };
        if now.any(|other| other.sent != first.sent) {
            let carried = "an earlier request of the session could have had a higher label";
            return Verdict::CannotTell(if unknown.is_empty() {
                vec![carried.to_owned()]
            } else {
                unknown
            });
        }
        if first.sent == then.sent {
            Verdict::Same
        } else {
            Verdict::Changes(first)
        }
    }

    fn offers(&self, run: &ModelRun) -> Vec<UpstreamOffer> {
        let (model, path) = (&run.request.model, &run.request.endpoint);
        offers_of(&self.upstreams, model, Some(path))
    }
}

fn parse(
    classification: &str,
    routing: &str,
    whose: &str,
) -> Result<(ClassificationPolicy, RoutingPolicy), String> {
    let refused = |words: String| format!("{whose} do not load: {words}");
    let parsed = ClassificationPolicy::parse(classification, "classification.toml")
        .map_err(|problems| refused(all(&problems)))?;
    let routing = RoutingPolicy::parse(routing, "routing.toml", &parsed)
        .map_err(|problems| refused(all(&problems)))?;
    Ok((parsed, routing))
}

fn all<P: std::error::Error>(problems: &[P]) -> String {
    let lines: Vec<String> = problems.iter().map(|p| causes::chain(p)).collect();
    lines.join("; ")
}

fn kept(run: &ModelRun) -> Vec<KeptFinding<'_>> {
    let findings = run.classification.findings.iter();
    let kept = findings.map(|finding| KeptFinding {
        rule: &finding.rule,
        label: &finding.label,
        count: finding.count,
    });
    kept.collect()
}

/// What the record says became of the request.
fn recorded(run: &ModelRun) -> Destination {
    let routing = &run.routing;
    let sent = (routing.tier.clone()).zip(routing.upstream.clone().map(|name| vec![name]));
    Destination {
        rule: routing.rule.clone(),
        sent,
    }
}

fn destination(decision: RouteDecision) -> Destination {
    match decision {
        RouteDecision::Refuse { rule, .. } => Destination { rule, sent: None },
        RouteDecision::Send {
            rule,
            tier,
            candidates,
            ..
        } => {
            let names = candidates.into_iter().map(|candidate| candidate.upstream);
            Destination {
                rule,
                sent: Some((tier, names.collect())),
            }
        }
    }
}

/// Whether the decision is the one in the record: the same rule, and the upstream among those
/// allowed. That none of these could be used is no contradiction.
fn agrees(then: &Destination, run: &ModelRun) -> bool {
    let routing = &run.routing;
    let upstream = match (&then.sent, &routing.tier, &routing.upstream) {
        (Some((tier, names)), Some(found), Some(name)) => tier == found && names.contains(name),
        (_, None, _) => true,
        _ => false,
    };
    then.rule == routing.rule && upstream
}

/// The model-run records of a session, in order, each signed by the gateway.
pub(crate) fn runs(dir: &Path, key: &VerifyingKey) -> Result<Vec<ModelRun>, ReplayError> {
    let failed = |source| ReplayError::Read {
        path: dir.to_owned(),
        source,
    };
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut runs = Vec::new();
    for entry in listed {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with("-model-run.dsse.json") {
            let bytes = read(&path)?;
            let record = open::<ModelRun>(&bytes, key);
            let record = record.map_err(|source| ReplayError::Record { path, source })?;
            runs.push(record.predicate().clone());
        }
    }
    runs.sort_by_key(|run| run.sequence);
    Ok(runs)
}

fn read(path: &Path) -> Result<Vec<u8>, ReplayError> {
    let failed = |source| ReplayError::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(io::Error::other("larger than any such file")));
    }
    fs::read(path).map_err(failed)
}

impl NewRules {
    /// Takes up a rule file: which it is, its keys say.
    ///
    /// # Errors
    /// [`ReplayError::Refused`] for a file that is neither, or a second one of its kind.
    pub fn add(&mut self, path: &Path) -> Result<(), ReplayError> {
        let text = String::from_utf8(read(path)?).unwrap_or_default();
        let has = |key: &str| {
            let mut lines = text.lines().map(str::trim_start);
            lines.any(|line| line.starts_with(key))
        };
        let shown = path.display();
        let slot = match (has("levels"), has("[tiers]")) {
            (true, false) => &mut self.classification,
            (false, true) => &mut self.routing,
            _ => {
                let words = format!("{shown}: neither a classification nor a routing file");
                return Err(ReplayError::Refused(words));
            }
        };
        if slot.replace(text).is_some() {
            let words = format!("{shown}: a second file of its kind");
            return Err(ReplayError::Refused(words));
        }
        Ok(())
    }

    /// Digests of the files given, by kind.
    #[must_use]
    pub fn digests(&self) -> [(&'static str, Option<Digest>); 2] {
        let digest = |text: &Option<String>| text.as_ref().map(Digest::of);
        [
            ("classification", digest(&self.classification)),
            ("routing", digest(&self.routing)),
        ]
    }
}
