//! What is wrong with a policy file. A file with any problem is not loaded.

/// One thing wrong with a policy file: where, what, and what to do about it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}: {location}: {message}")]
pub struct PolicyProblem {
    file: String,
    location: String,
    code: &'static str,
    message: String,
}

impl PolicyProblem {
    /// Stable kebab-case name of the kind of problem, such as `unknown-key`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// Where in the file, such as `terms[2]`.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The file as the caller named it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// How one example of a policy file came out. The example's text is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleOutcome {
    /// Where in the file, such as `terms[1] (`names`).match[2]`.
    pub location: String,
    /// The rule it is for.
    pub rule: String,
    /// Whether the rule must match it, or decide it; false where it must not.
    pub wanted: bool,
    /// Whether it came out as written.
    pub holds: bool,
}

/// All problems of one file, gathered while it is read.
#[derive(Debug)]
pub(crate) struct Problems {
    file: String,
    list: Vec<PolicyProblem>,
}

impl Problems {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, location: &str, code: &'static str, message: impl Into<String>) {
        self.list.push(PolicyProblem {
            file: self.file.clone(),
            location: location.to_owned(),
            code,
            message: message.into(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn into_list(self) -> Vec<PolicyProblem> {
        self.list
    }
}
