//! Named checks, their three outcomes, and the fold from checks to a verdict. A check that was not
//! made is never shown as passed, and nothing proved is not success.

use std::error::Error;

use proofroom_verifier::{RoomAppraisal, with_causes};
use serde::Serialize;

use super::evidence::UpstreamEvidence;

/// One named check of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name.
    pub name: &'static str,
    /// Whether the verdict depends on it.
    pub requirement: Requirement,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Whether a verdict depends on a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// Must pass for acceptance.
    Required,
    /// Shown, and named under "not proven" where it did not pass.
    Advisory,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was made and holds.
    Pass {
        /// What was found, for a person.
        found: String,
    },
    /// It was made and does not hold.
    Fail(Failure),
    /// It was not made.
    NotEvaluated {
        /// Why not, for a person.
        reason: String,
    },
}

/// Why a check does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Stable kebab-case code.
    pub code: &'static str,
    /// For a person.
    pub cause: String,
    /// What the failure says about the bundle.
    pub blame: Blame,
}

/// What a failure says about the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// It claims something that does not hold.
    Refused,
    /// It may hold, but this verifier cannot read that version.
    Unsupported,
    /// It is not a bundle.
    Malformed,
}

impl Failure {
    /// A failure that refutes the bundle.
    pub fn refused(code: &'static str, cause: impl Into<String>) -> Self {
        Self {
            code,
            cause: cause.into(),
            blame: Blame::Refused,
        }
    }

    /// A failure from an error and everything that caused it; `place` says where.
    pub fn at(place: &str, code: &'static str, error: &(dyn Error + 'static)) -> Self {
        let words = with_causes(error);
        let cause = match place {
            "" => words,
            _ => format!("{place}: {words}"),
        };
        Self::refused(code, cause)
    }

    /// The same failure with another blame.
    #[must_use]
    pub fn blamed(self, blame: Blame) -> Self {
        Self { blame, ..self }
    }
}

/// The verdict on a bundle, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every required check passed.
    Accepted,
    /// Nothing is refuted, but a required check could not be made.
    Incomplete,
    /// Written in a version that this verifier cannot read.
    Unsupported,
    /// A required check failed.
    Rejected,
    /// Not a bundle.
    Malformed,
}

impl Verdict {
    /// Folds checks into a verdict: the worst that a required check says; none at all is
    /// incomplete.
    #[must_use]
    pub fn of(checks: &[Check]) -> Self {
        let required = checks
            .iter()
            .filter(|check| check.requirement == Requirement::Required);
        required
            .map(|check| Self::of_outcome(&check.outcome))
            .max()
            .unwrap_or(Self::Incomplete)
    }

    const fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Pass { .. } => Self::Accepted,
            Outcome::NotEvaluated { .. } => Self::Incomplete,
            Outcome::Fail(failure) => match failure.blame {
                Blame::Refused => Self::Rejected,
                Blame::Unsupported => Self::Unsupported,
                Blame::Malformed => Self::Malformed,
            },
        }
    }

    /// The process exit code that says the same.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Rejected => 10,
            Self::Incomplete => 11,
            Self::Unsupported => 20,
            Self::Malformed => 30,
        }
    }

    /// The verdict's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Incomplete => "incomplete",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
        }
    }
}

/// What a check that was made comes to: what was found, in words, and what it proves.
pub(super) type Made<T> = Result<(String, T), Failure>;

/// What a check proved, for the checks that rest on it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proved<T> {
    /// It did.
    Yes(T),
    /// Nothing, because the check of this name did not pass.
    Not(&'static str),
}

impl<T> Proved<T> {
    pub(super) const fn as_ref(&self) -> Proved<&T> {
        match self {
            Self::Yes(proved) => Proved::Yes(proved),
            Self::Not(by) => Proved::Not(by),
        }
    }

    /// Both; where both are missing, what this one names.
    pub(super) fn and<U>(self, other: Proved<U>) -> Proved<(T, U)> {
        match (self, other) {
            (Self::Yes(one), Proved::Yes(other)) => Proved::Yes((one, other)),
            (Self::Not(by), _) | (_, Proved::Not(by)) => Proved::Not(by),
        }
    }
}

/// A ladder being climbed.
#[derive(Debug, Default)]
pub(super) struct Rungs {
    pub(super) checks: Vec<Check>,
    pub(super) room: Vec<RoomAppraisal>,
    pub(super) upstreams: Vec<UpstreamEvidence>,
}

impl Rungs {
    /// Makes a required check; what it proves goes on to the next.
    pub(super) fn require<T>(
        &mut self,
        name: &'static str,
        made: impl FnOnce() -> Made<T>,
    ) -> Proved<T> {
        self.made(name, Requirement::Required, made())
    }

    /// Makes a required check that rests on `needed`.
    pub(super) fn after<N, T>(
        &mut self,
        name: &'static str,
        needed: Proved<N>,
        made: impl FnOnce(N) -> Made<T>,
    ) -> Proved<T> {
        match needed {
            Proved::Yes(needed) => self.require(name, || made(needed)),
            Proved::Not(by) => {
                self.blocked(name, by);
                Proved::Not(by)
            }
        }
    }

    /// Writes down a check that was made.
    pub(super) fn made<T>(
        &mut self,
        name: &'static str,
        requirement: Requirement,
        made: Made<T>,
    ) -> Proved<T> {
        let (outcome, proved) = match made {
            Ok((found, proved)) => (Outcome::Pass { found }, Proved::Yes(proved)),
            Err(failure) => (Outcome::Fail(failure), Proved::Not(name)),
        };
        self.put(name, requirement, outcome);
        proved
    }

    fn put(&mut self, name: &'static str, requirement: Requirement, outcome: Outcome) {
        self.checks.push(Check {
            name,
            requirement,
            outcome,
        });
    }

    /// A required check that holds, with what was found.
    pub(super) fn pass(&mut self, name: &'static str, found: impl Into<String>) {
        let found = found.into();
        self.put(name, Requirement::Required, Outcome::Pass { found });
    }

    /// A required check that does not hold.
    pub(super) fn refuse(&mut self, name: &'static str, failure: Failure) {
        self.put(name, Requirement::Required, Outcome::Fail(failure));
    }

    pub(super) fn not_evaluated(
        &mut self,
        name: &'static str,
        requirement: Requirement,
        reason: impl Into<String>,
    ) {
        let reason = reason.into();
        self.put(name, requirement, Outcome::NotEvaluated { reason });
    }

    /// A required check that could not be made because an earlier one did not pass.
    pub(super) fn blocked(&mut self, name: &'static str, by: &str) {
        self.not_evaluated(name, Requirement::Required, format!("`{by}` did not pass"));
    }
}

#[cfg(test)]
mod tests {
    use super::{Blame, Check, Failure, Outcome, Requirement, Verdict};

    fn check(requirement: Requirement, outcome: Outcome) -> Check {
        Check {
            name: "x",
            requirement,
            outcome,
        }
    }

    fn fail(blame: Blame) -> Outcome {
        Outcome::Fail(Failure::refused("x", "x").blamed(blame))
    }

    #[test]
    fn nothing_proved_is_not_success() {
        let pass = || Outcome::Pass {
            found: String::new(),
        };
        let skipped = || Outcome::NotEvaluated {
            reason: String::new(),
        };
        let required = |outcome| check(Requirement::Required, outcome);
        let advisory = |outcome| check(Requirement::Advisory, outcome);
        for (checks, verdict, code) in [
            (vec![], Verdict::Incomplete, 11),
            (vec![advisory(pass())], Verdict::Incomplete, 11),
            (vec![required(pass())], Verdict::Accepted, 0),
            (
                vec![required(pass()), advisory(fail(Blame::Refused))],
                Verdict::Accepted,
                0,
            ),
            (
                vec![required(pass()), required(skipped())],
                Verdict::Incomplete,
                11,
            ),
            (
                vec![required(skipped()), required(fail(Blame::Unsupported))],
                Verdict::Unsupported,
                20,
            ),
            (
                vec![
                    required(fail(Blame::Refused)),
                    required(fail(Blame::Unsupported)),
                ],
                Verdict::Rejected,
                10,
            ),
            (
                vec![required(fail(Blame::Malformed)), required(skipped())],
                Verdict::Malformed,
                30,
            ),
        ] {
            assert_eq!(Verdict::of(&checks), verdict, "{checks:?}");
            assert_eq!(verdict.exit_code(), code);
        }
    }
}
