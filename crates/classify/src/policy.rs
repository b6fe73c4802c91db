//! What carries which label, as the customer's `classification.toml` says. Read once, never changed.

mod load;
mod redaction;
mod relabel;
#[cfg(test)]
mod tests;

use proofroom_canonical::{Digest, Timestamp};

pub use relabel::{KeptFinding, Relabelled};

use crate::{
    Classifier, ExampleOutcome, Label, Levels, PolicyProblem, detect::Least, problem::Problems,
    table::Globs,
};

/// A classification policy that was loaded without problems and whose examples came out as
/// written.
#[derive(Clone, Debug)]
pub struct ClassificationPolicy {
    pub(crate) levels: Levels,
    pub(crate) default: Label,
    pub(crate) unreadable: Label,
    /// Per built-in detector, in the catalogue's order: its label, or nothing where it is off.
    pub(crate) detectors: Vec<Option<Label>>,
    /// How sure the scorer of values must be; without it, it is off.
    pub(crate) least: Option<Least>,
    pub(crate) terms: Vec<TermRule>,
    pub(crate) markings: Vec<MarkingRule>,
    pub(crate) paths: Vec<PathRule>,
    pub(crate) repositories: Vec<RepositoryRule>,
    pub(crate) exceptions: Vec<Exception>,
    /// Rules whose findings are replaced before a request leaves for a tier that proves nothing.
    pub(crate) redacted: Vec<String>,
    pub(crate) digest: Digest,
}

impl ClassificationPolicy {
    /// Reads a classification policy and runs its examples. `file` is the name that problems
    /// carry.
    ///
    /// # Errors
    /// Every problem found, at least one.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = Problems::new(file);
        let Some((policy, examples)) = load::load(text, &mut problems) else {
            return Err(problems.into_list());
        };
        if !problems.is_empty() {
            return Err(problems.into_list());
        }
        let classifier = Classifier::new(&policy);
        load::run_examples(&classifier, &policy, &examples, &mut problems);
        if problems.is_empty() {
            Ok(policy)
        } else {
            Err(problems.into_list())
        }
    }

    /// Reads a classification policy as [`Self::parse`] does, and says how each of its examples
    /// comes out, also where one does not come out as written.
    ///
    /// # Errors
    /// Every problem found besides examples, at least one.
    pub fn try_examples(text: &str, file: &str) -> Result<Vec<ExampleOutcome>, Vec<PolicyProblem>> {
        let mut problems = Problems::new(file);
        match load::load(text, &mut problems) {
            Some((policy, examples)) if problems.is_empty() => {
                let classifier = Classifier::new(&policy);
                Ok(load::outcomes(&classifier, &policy, &examples))
            }
            _ => Err(problems.into_list()),
        }
    }

    /// The levels, lowest first.
    #[must_use]
    pub const fn levels(&self) -> &Levels {
        &self.levels
    }

    /// The label of a request in which nothing is found.
    #[must_use]
    pub const fn default_label(&self) -> Label {
        self.default
    }

    /// The label of content that could not be read.
    #[must_use]
    pub const fn unreadable_label(&self) -> Label {
        self.unreadable
    }

    /// Whether findings of `rule` are replaced by placeholders before a request leaves for a tier that
    /// proves nothing about itself.
    #[must_use]
    pub fn redacts(&self, rule: &str) -> bool {
        self.redacted.iter().any(|redacted| redacted == rule)
    }

    /// Digest of the file's bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Ids of the exceptions that have run out at `now`, for a warning to their owners.
    pub fn expired_exceptions(&self, now: Timestamp) -> impl Iterator<Item = (&str, &str)> {
        self.exceptions
            .iter()
            .filter(move |exception| exception.expires <= now)
            .map(|exception| (exception.id.as_str(), exception.owner.as_str()))
    }
}

/// Words of the customer that raise the label.
#[derive(Clone, Debug)]
pub(crate) struct TermRule {
    pub(crate) id: String,
    pub(crate) terms: Vec<String>,
    pub(crate) label: Label,
}

/// Lines that stand alone and mark a document.
#[derive(Clone, Debug)]
pub(crate) struct MarkingRule {
    pub(crate) id: String,
    pub(crate) lines: Vec<String>,
    pub(crate) label: Label,
}

/// Files whose content carries a label whatever it says.
#[derive(Clone, Debug)]
pub(crate) struct PathRule {
    pub(crate) id: String,
    pub(crate) repositories: Globs,
    pub(crate) paths: Globs,
    pub(crate) label: Label,
}

/// Repositories in which nothing is below a label.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryRule {
    pub(crate) id: String,
    pub(crate) repositories: Globs,
    pub(crate) label: Label,
}

/// Findings of one rule in some files that do not count until a date.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    pub(crate) id: String,
    pub(crate) rule: String,
    pub(crate) repositories: Globs,
    pub(crate) paths: Globs,
    pub(crate) owner: String,
    pub(crate) expires: Timestamp,
}
