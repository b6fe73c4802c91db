//! One line of a report: a named check and what it answered, whatever kind of evidence it is about.

use std::fmt::Display;

use proofroom_verifier::{CheckOutcome, NotMade};
use serde::Serialize;

/// What a check answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Answer {
    /// What the check is about holds.
    Pass,
    /// It does not hold.
    Fail {
        /// Why, for programs.
        code: String,
        /// Why, for a person.
        words: String,
    },
    /// Nobody looked, or what was seen is unproved. Never a pass.
    NotEvaluated {
        /// Why, for programs.
        code: String,
        /// Why, for a person.
        words: String,
    },
}

impl Answer {
    pub(crate) fn not_evaluated(code: &str, words: impl Into<String>) -> Self {
        Self::NotEvaluated {
            code: code.to_owned(),
            words: words.into(),
        }
    }

    pub(crate) fn not_supplied(what: &str) -> Self {
        Self::not_evaluated("not-supplied", format!("{what} was not supplied"))
    }

    pub(crate) fn needs_policy() -> Self {
        Self::not_evaluated("needs-policy", "only a policy can say what is acceptable")
    }

    fn of<C: Display, R: NotMade>(outcome: &CheckOutcome<C, R>) -> Self {
        let Some((code, words)) = outcome.code_and_words() else {
            return Self::Pass;
        };
        match outcome {
            CheckOutcome::Fail { .. } => Self::Fail { code, words },
            CheckOutcome::Pass | CheckOutcome::NotEvaluated(_) => {
                Self::NotEvaluated { code, words }
            }
        }
    }
}

/// A named check and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What of the evidence it is about, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The check.
    pub check: &'static str,
    /// What it answered.
    #[serde(flatten)]
    pub answer: Answer,
}

impl Row {
    pub(crate) const fn new(check: &'static str, answer: Answer) -> Self {
        Self {
            subject: None,
            check,
            answer,
        }
    }

    pub(crate) fn of<C: Display, R: NotMade>(
        check: &'static str,
        outcome: &CheckOutcome<C, R>,
    ) -> Self {
        Self::new(check, Answer::of(outcome))
    }

    pub(crate) fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

/// Which answers of an appraisal are its policy's own word, and mean nothing without it.
pub(crate) struct PolicyWords {
    /// A pass of these checks says that something is acceptable.
    pub(crate) checks: &'static [&'static str],
    /// A failure with these codes says that something is not.
    pub(crate) codes: &'static [&'static str],
}

impl PolicyWords {
    /// Takes back what only a policy can say.
    pub(crate) fn withdraw(&self, mut rows: Vec<Row>) -> Vec<Row> {
        for row in &mut rows {
            let withdrawn = match &row.answer {
                Answer::Pass => self.checks.contains(&row.check),
                Answer::Fail { code, .. } => self.codes.contains(&code.as_str()),
                Answer::NotEvaluated { .. } => false,
            };
            if withdrawn {
                row.answer = Answer::needs_policy();
            }
        }
        rows
    }
}
