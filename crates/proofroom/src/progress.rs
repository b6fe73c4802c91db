//! What a person at the terminal sees while a session runs, and what a machine reads with `--json`.
//! Everything shown comes from durable events or from the host itself; agent output is escaped.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
};

use anstyle::{AnsiColor, Style};
use proofroom_record::{
    event::{
        Action, Attempt, EgressEnd, Event, EventBody, Exit, LineRange, Observation, Outcome,
        RunStatus,
    },
    room_api::ProgressKind,
};
use serde_json::json;

/// How progress is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for a person.
    Human,
    /// One JSON object per line.
    Json,
}

/// Writes progress. Shared by every task of a session.
pub struct Progress {
    format: Format,
    out: Mutex<Box<dyn Write + Send>>,
    pending: Mutex<std::collections::BTreeMap<u64, Action>>,
    limit: Mutex<Option<ReachedLimit>>,
}

/// A limit that was reached.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReachedLimit {
    /// As in the event.
    pub resource: String,
    /// For a person.
    pub detail: String,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

impl Progress {
    /// Writes to `out`.
    #[must_use]
    pub fn new(format: Format, out: Box<dyn Write + Send>) -> Self {
        Self {
            format,
            out: Mutex::new(out),
            pending: Mutex::default(),
            limit: Mutex::default(),
        }
    }

    /// The last limit that an event said was reached.
    #[must_use]
    pub fn last_limit(&self) -> Option<ReachedLimit> {
        let limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        limit.clone()
    }

    /// Text for the closing block, harmless for a terminal.
    #[must_use]
    pub fn harmless(text: &str) -> String {
        printable(&shortened(text))
    }

    /// How it writes.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// A fact about the session, such as its isolation.
    pub fn fact(&self, name: &str, value: &str) {
        match self.format {
            Format::Human => self.write(&format!("{DIM}{name:>10}{DIM:#}  {}\n", printable(value))),
            Format::Json => self.write_json(&json!({"type": "fact", "name": name, "value": value})),
        }
    }

    /// A line of the host's own, such as what it is waiting for.
    pub fn note(&self, text: &str) {
        match self.format {
            Format::Human => self.write(&format!("{DIM}         ·  {}{DIM:#}\n", printable(text))),
            Format::Json => self.write_json(&json!({"type": "note", "text": text})),
        }
    }

    /// Something that a person must look at.
    pub fn warning(&self, text: &str) {
        match self.format {
            Format::Human => self.write(&format!(
                "{RED}{BOLD}   warning{BOLD:#}{RED:#}  {}\n",
                printable(text)
            )),
            Format::Json => self.write_json(&json!({"type": "warning", "text": text})),
        }
    }

    /// The closing block: one JSON value for machines, prepared lines for a person.
    pub fn closing(&self, human: &str, machine: &serde_json::Value) {
        match self.format {
            Format::Human => self.write(human),
            Format::Json => self.write_json(machine),
        }
    }

    /// Text that the room sent for the terminal.
    pub fn from_room(&self, kind: ProgressKind, text: &str) {
        if self.format == Format::Json {
            return self.write_json(&json!({"type": "room", "kind": kind, "text": text}));
        }
        let (mark, style) = match kind {
            // What was stopped is an event, and shown as one.
            ProgressKind::Blocked => return,
            ProgressKind::Step => ("·", DIM),
            ProgressKind::Stdout => ("│", Style::new()),
            ProgressKind::Stderr => ("│", DIM),
            ProgressKind::Summary => ("agent", BOLD),
        };
        for line in text.lines() {
            self.write(&format!(
                "{style}{mark:>10}{style:#}  {}\n",
                printable(line)
            ));
        }
    }

    /// An event that is now durable.
    pub fn event(&self, event: &Event) {
        if let EventBody::Observed {
            observation: Observation::LimitReached { resource, detail },
        } = &event.body
        {
            *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(ReachedLimit {
                resource: resource.clone(),
                detail: detail.clone(),
            });
        }
        if self.format == Format::Json {
            return self.write_json(&json!({"type": "event", "event": event}));
        }
        match &event.body {
            EventBody::SessionOpened { .. } | EventBody::SessionClosed { .. } => {}
            EventBody::Intent { action } => {
                self.pending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(event.seq, action.clone());
            }
            EventBody::Outcome { of, result } => {
                let action = self
                    .pending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(of);
                if let Some(action) = action {
                    self.outcome(&action, result);
                }
            }
            EventBody::Observed { observation } => self.observed(observation),
        }
    }

    fn outcome(&self, action: &Action, result: &Outcome) {
        let (verb, object) = describe(action);
        let (style, tail) = match result {
            Outcome::Denied { code, reason } => (RED, format!("stopped: {reason} ({code})")),
            Outcome::Failed { code, reason } => (YELLOW, format!("failed: {reason} ({code})")),
            other => (succeeded(other), came_of(other)),
        };
        let verb = if matches!(result, Outcome::Denied { .. }) {
            "stopped"
        } else {
            verb
        };
        self.write(&format!(
            "{style}{verb:>10}{style:#}  {}{}{DIM}{}{DIM:#}\n",
            printable(&shortened(&object)),
            if tail.is_empty() { "" } else { "  " },
            printable(&tail)
        ));
    }

    fn observed(&self, observation: &Observation) {
        let line = match observation {
            Observation::Blocked { attempt, times } => {
                let often = if *times > 1 {
                    format!(" ({times} times)")
                } else {
                    String::new()
                };
                format!(
                    "{RED}   stopped{RED:#}  {}{DIM}{often}{DIM:#}\n",
                    printable(&shortened(&attempted(attempt)))
                )
            }
            Observation::LimitReached { resource, detail } => format!(
                "{YELLOW}     limit{YELLOW:#}  {}: {}\n",
                printable(resource),
                printable(detail)
            ),
            Observation::InertConfiguration { path } => format!(
                "{DIM}     inert{DIM:#}  {}{DIM}  configuration of the repository, not used{DIM:#}\n",
                printable(path)
            ),
            Observation::HiddenText { path, characters } => format!(
                "{YELLOW}    hidden{YELLOW:#}  {}  {characters} characters that a reader does not see\n",
                printable(path)
            ),
            Observation::Disagreement { detail } => {
                format!("{RED}  disagree{RED:#}  {}\n", printable(detail))
            }
            Observation::FileChanged { path, after, .. } => format!(
                "{DIM}   changed{DIM:#}  {}{DIM}  {}{DIM:#}\n",
                printable(path),
                if after.is_some() {
                    "by a command"
                } else {
                    "removed by a command"
                }
            ),
            Observation::Paused { from, to } => {
                format!("{DIM}    paused{DIM:#}  from {from} to {to}\n")
            }
            Observation::ProcessStarted { .. } | Observation::AgentOutput { .. } => return,
        };
        self.write(&line);
    }

    fn write_json(&self, value: &serde_json::Value) {
        self.write(&format!("{value}\n"));
    }

    /// A terminal that went away must not end the session.
    fn write(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        drop(out.write_all(text.as_bytes()));
        drop(out.flush());
    }
}

pub(crate) fn describe(action: &Action) -> (&'static str, String) {
    match action {
        Action::ReadFile { path, .. } => ("read", path.clone()),
        Action::List { path } => ("list", path.clone()),
        Action::Search { path, .. } => ("search", path.clone()),
        Action::Edit { path } => ("edit", path.clone()),
        Action::WriteFile { path, .. } => ("write", path.clone()),
        Action::Run { argv } => ("run", argv.join(" ")),
        Action::GitCommit { .. } => ("commit", String::new()),
        Action::ModelRun { endpoint, .. } => ("model", endpoint.clone()),
        Action::Egress {
            host,
            port,
            method,
            path,
            ..
        } => {
            let path = path.as_deref().unwrap_or_default();
            ("egress", format!("{method} {host}:{port}{path}"))
        }
        Action::Deliver { commit } => ("deliver", commit.chars().take(12).collect()),
        Action::RunByPerson { argv, user, .. } => {
            ("person", format!("{user} ran {}", argv.join(" ")))
        }
        Action::Unknown { tool } => ("unknown", tool.clone()),
    }
}

fn succeeded(result: &Outcome) -> Style {
    match result {
        Outcome::Ran {
            exit: Exit::Code(0),
            ..
        } => GREEN,
        Outcome::Ran { .. } => YELLOW,
        Outcome::ModelRun { run_status, .. } if *run_status == RunStatus::Refused => RED,
        Outcome::ModelRun { run_status, .. } if *run_status != RunStatus::Complete => YELLOW,
        Outcome::Egress { end, .. } if *end != EgressEnd::Complete => YELLOW,
        _ => GREEN,
    }
}

pub(crate) fn came_of(result: &Outcome) -> String {
    match result {
        Outcome::Denied { .. } | Outcome::Failed { .. } => String::new(),
        Outcome::Read { lines, bytes, .. } => format!("{}, {bytes} bytes", range(lines)),
        Outcome::Listed { entries } => format!("{entries} entries"),
        Outcome::Changed { lines, .. } => range(lines),
        Outcome::Ran { exit, wall_ms, .. } => format!("{}, {wall_ms} ms", ended(exit)),
        Outcome::Committed { commit, .. } => commit.chars().take(12).collect(),
        Outcome::ModelRun {
            tier,
            label,
            run_status,
            ..
        } => match (tier, run_status) {
            (_, RunStatus::Refused) => format!("refused by the gateway, label {label}"),
            (Some(tier), RunStatus::Complete) => format!("tier {tier}, label {label}"),
            (tier, _) => format!(
                "did not complete, tier {}, label {label}",
                tier.as_deref().unwrap_or("none")
            ),
        },
        Outcome::Egress {
            connected,
            sent,
            received,
            http_status,
            end,
            ..
        } => {
            let status =
                http_status.map_or_else(String::new, |status| format!("status {status}, "));
            let end = match end {
                EgressEnd::Complete => "",
                EgressEnd::CutAtCap => ", cut at a cap",
                EgressEnd::BrokeOff => ", broke off",
            };
            format!("{status}{sent} bytes out, {received} in, at {connected}{end}")
        }
        Outcome::Delivered { reference, .. } => format!("as {reference}"),
    }
}

fn range(lines: &LineRange) -> String {
    match (lines.first, lines.last) {
        (0, 0) => "no lines".to_owned(),
        (first, last) if first == last => format!("line {first}"),
        (first, last) => format!("lines {first}-{last}"),
    }
}

pub(crate) fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
        Exit::TimedOut => "stopped at its time limit".to_owned(),
    }
}

pub(crate) fn attempted(attempt: &Attempt) -> String {
    match attempt {
        Attempt::File { path, access } => format!("{access} {path}"),
        Attempt::Network { target } => format!("network: {target}"),
        Attempt::Syscall { name } => format!("system call {name}"),
        Attempt::Process { target } => format!("process: {target}"),
        Attempt::Secret { target } => format!("secret: {target}"),
    }
}

const MAX_SHOWN: usize = 110;

fn shortened(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|c| if c == '\n' { ' ' } else { c })
        .collect();
    if flat.chars().count() <= MAX_SHOWN {
        return flat;
    }
    let mut cut: String = flat.chars().take(MAX_SHOWN - 1).collect();
    cut.push('…');
    cut
}

/// Nothing that a room sends may steer the terminal: control and bidirectional characters are
/// shown as escapes.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let steers = (c.is_control() && c != '\t')
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if steers {
                c.escape_unicode().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_room_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("ümlaut\tok"), "ümlaut\tok");
    }
}
