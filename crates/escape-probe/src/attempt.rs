//! One attempt: what it is, what stops it, what the record must hold of it, and how it is made.

use std::time::Duration;

use crate::json::{self, Object};

/// An attempt to get out of the room.
pub(crate) struct Attempt {
    /// Row of the attack list that it belongs to; `own` where it has none.
    pub(crate) id: &'static str,
    /// Its name, unique.
    pub(crate) name: &'static str,
    /// What stops it, for the table.
    pub(crate) by: &'static str,
    /// What the record must hold of it, when it is stopped.
    pub(crate) traces: &'static [Trace],
    /// Makes it.
    pub(crate) make: fn() -> Tried,
}

/// What came of an attempt.
pub(crate) enum Tried {
    /// It was stopped, with this error number where there was one.
    Blocked(Option<i32>, String),
    /// It was not.
    Escaped(String),
    /// There is nothing in this room that it could be made on.
    NotApplicable(String),
}

/// What the session's record must hold.
#[derive(Clone, Copy)]
pub(crate) enum Trace {
    /// A file or a mount was refused: path and access.
    File(&'static str, &'static str),
    /// A network target was refused.
    Network(&'static str),
    /// A system call was refused.
    Syscall(&'static str),
    /// Another process was refused.
    Process(&'static str),
    /// A secret was refused.
    Secret(&'static str),
    /// A limit was reached.
    Limit(&'static str),
    /// A program was started, by this path.
    Started(&'static str),
    /// An action had this outcome: status and code.
    Outcome(&'static str, &'static str),
    /// A model run had this end.
    Run(&'static str),
    /// Nothing, for the one reason of this name; the reasons are listed where the record is checked.
    Untold(&'static str),
}

impl Attempt {
    /// The attempt as JSON, without a result.
    pub(crate) fn describe(&self, group: &str) -> String {
        self.head(group).done()
    }

    /// The attempt as JSON, with its result.
    pub(crate) fn report(&self, group: &str, tried: &Tried, took: Duration) -> String {
        let (outcome, errno, detail) = match tried {
            Tried::Blocked(errno, detail) => ("blocked", *errno, detail),
            Tried::Escaped(detail) => ("escaped", None, detail),
            Tried::NotApplicable(detail) => ("not-applicable", None, detail),
        };
        let errno = errno.map_or_else(|| "null".to_owned(), |number| number.to_string());
        self.head(group)
            .text("outcome", outcome)
            .raw("errno", &errno)
            .raw("ms", &took.as_millis().to_string())
            .text("detail", &detail.chars().take(500).collect::<String>())
            .done()
    }

    fn head(&self, group: &str) -> Object {
        let events = self.traces.iter().filter_map(|trace| trace.event());
        let untold = self.traces.iter().find_map(|trace| match trace {
            Trace::Untold(reason) => Some(json::quoted(reason)),
            _ => None,
        });
        Object::new()
            .text("id", self.id)
            .text("attempt", self.name)
            .text("group", group)
            .text("by", self.by)
            .raw("expect_events", &json::list(events))
            .raw("untold", untold.as_deref().unwrap_or("null"))
    }
}

impl Trace {
    fn event(self) -> Option<String> {
        let blocked = |on: &str, members: &[(&str, &str)]| {
            let mut attempt = Object::new().text("on", on);
            for (name, value) in members {
                attempt = attempt.text(name, value);
            }
            let kind = Object::new().text("kind", "blocked");
            kind.raw("attempt", &attempt.done()).done()
        };
        Some(match self {
            Self::File(path, access) => blocked("file", &[("path", path), ("access", access)]),
            Self::Network(target) => blocked("network", &[("target", target)]),
            Self::Syscall(name) => blocked("syscall", &[("name", name)]),
            Self::Process(target) => blocked("process", &[("target", target)]),
            Self::Secret(target) => blocked("secret", &[("target", target)]),
            Self::Limit(resource) => Object::new()
                .text("kind", "limit-reached")
                .text("resource", resource)
                .done(),
            Self::Started(path) => Object::new()
                .text("kind", "process-started")
                .text("path", path)
                .done(),
            Self::Outcome(status, code) => Object::new()
                .text("kind", "outcome")
                .text("status", status)
                .text("code", code)
                .done(),
            Self::Run(status) => Object::new()
                .text("kind", "outcome")
                .text("status", "model-run")
                .text("run_status", status)
                .done(),
            Self::Untold(_) => return None,
        })
    }
}
