//! Rules that a deployment tries beside those in force: two files in its state directory, and what
//! the records of its sessions say of them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use p256::ecdsa::VerifyingKey;
use proofroom_canonical::{Digest, Timestamp};
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::ShadowRules;

use crate::{
    causes, files,
    replay::{ReplayError, runs},
    state::StateDir,
};

const FILES: [&str; 2] = ["classification.toml", "routing.toml"];

/// Why rules cannot be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShadowError {
    /// A file cannot be read or written.
    #[error("cannot use `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The rules are refused; every problem, one a line.
    #[error("the rules to try cannot be used\n  {0}")]
    Refused(String),
}

impl ShadowError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "shadow-file",
            Self::Refused(_) => "policy-refused",
        }
    }
}

/// The rules that sessions of this deployment try, if there are any.
///
/// # Errors
/// See [`ShadowError`].
pub fn load(state: &StateDir) -> Result<Option<ShadowRules>, ShadowError> {
    let dir = dir(state);
    if dir.is_dir() {
        read(&dir).map(Some)
    } else {
        Ok(None)
    }
}

/// Begins to try the rules of `from`, instead of others that were tried before.
///
/// # Errors
/// See [`ShadowError`].
pub fn begin(state: &StateDir, from: &Path) -> Result<[(&'static str, Digest); 2], ShadowError> {
    let rules = read(from)?;
    let dir = dir(state);
    fs::create_dir_all(&dir).map_err(|source| failed(&dir, source))?;
    for name in FILES {
        let path = from.join(name);
        let text = fs::read(&path).map_err(|source| failed(&path, source))?;
        let path = dir.join(name);
        files::replace(&path, &text).map_err(|source| failed(&path, source))?;
    }
    let [classification, routing] = FILES;
    Ok([
        (classification, rules.classification.digest()),
        (routing, rules.routing.digest()),
    ])
}

/// Tries none any more.
///
/// # Errors
/// [`ShadowError::File`].
pub fn stop(state: &StateDir) -> Result<(), ShadowError> {
    let dir = dir(state);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&dir, error)),
        _ => Ok(()),
    }
}

/// How often what differed, of the requests that one pair of files was tried on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Requests on which the rules were tried.
    pub tried: u64,
    /// By rule: label under the rules in force and under the others, where one found something.
    pub rules: BTreeMap<(String, Option<String>, Option<String>), u64>,
    /// Tier under the rules in force and under the others; nothing where one sends nowhere.
    pub tiers: BTreeMap<(Option<String>, Option<String>), u64>,
}

/// What the records of the session in `dir` say, by digests of the classification and routing files
/// that were tried. `key` is the gateway's, which signed the records.
///
/// # Errors
/// See [`ReplayError`].
pub fn count(
    dir: &Path,
    key: &VerifyingKey,
    within: impl Fn(Timestamp) -> bool,
    counts: &mut BTreeMap<(Digest, Digest), Differences>,
) -> Result<(), ReplayError> {
    let tried = runs(&dir.join("records"), key)?;
    for run in tried.iter().filter(|run| within(run.started)) {
        let Some(shadow) = &run.shadow else { continue };
        let pair = (shadow.classification, shadow.routing);
        let found = counts.entry(pair).or_default();
        found.tried = found.tried.saturating_add(1);
        for difference in &shadow.differences {
            let (rule, from, to) = (&difference.rule, &difference.from, &difference.to);
            let count = found.rules.entry((rule.clone(), from.clone(), to.clone()));
            let count = count.or_default();
            *count = count.saturating_add(1);
        }
        if run.routing.tier != shadow.tier {
            let tiers = (run.routing.tier.clone(), shadow.tier.clone());
            let count = found.tiers.entry(tiers).or_default();
            *count = count.saturating_add(1);
        }
    }
    Ok(())
}

fn dir(state: &StateDir) -> PathBuf {
    state.path().join("policy-shadow")
}

fn read(dir: &Path) -> Result<ShadowRules, ShadowError> {
    let text = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).map_err(|source| failed(&path, source))
    };
    let [classification, routing] = FILES;
    let parsed = ClassificationPolicy::parse(&text(classification)?, classification)
        .map_err(|problems| refused(&problems))?;
    let routing = RoutingPolicy::parse(&text(routing)?, routing, &parsed)
        .map_err(|problems| refused(&problems))?;
    Ok(ShadowRules {
        classification: parsed,
        routing,
    })
}

fn refused<P: std::error::Error>(problems: &[P]) -> ShadowError {
    let lines: Vec<String> = problems.iter().map(|p| causes::chain(p)).collect();
    ShadowError::Refused(lines.join("\n  "))
}

fn failed(path: &Path, source: io::Error) -> ShadowError {
    ShadowError::File {
        path: path.to_owned(),
        source,
    }
}
