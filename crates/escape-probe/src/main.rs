//! `escape-probe`: runs as the command of a room, in the agent's place, and tries to get out of it.
//! Linked statically and alone in its process, so that it needs nothing of the room.
//!
//! An attempt that succeeded would do no damage: whatever would change the machine is asked for with
//! arguments that the kernel refuses after it has checked the right to ask, or is opened and never
//! written. So an attempt also counts as an escape when it came as far as that second refusal.

mod attempt;
mod attempts;
mod http;
mod json;
mod run;
mod sys;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use attempts::GROUPS;

const USAGE: &str = "\
escape-probe list                 every attempt, as JSON lines; nothing is tried
escape-probe run GROUP [GROUP..]  tries the attempts of these groups, one JSON line each
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("list") => list(),
        Some("run") => run::groups(&arguments.collect::<Vec<_>>()),
        Some("act") => Ok(attempts::act(&arguments.collect::<Vec<_>>())),
        _ => io::stderr().write_all(USAGE.as_bytes()).map(|()| 64),
    };
    done.map_or(ExitCode::from(74), ExitCode::from)
}

fn list() -> io::Result<u8> {
    let mut out = io::stdout().lock();
    for group in GROUPS {
        for attempt in group.attempts {
            writeln!(out, "{}", attempt.describe(group.name))?;
        }
    }
    Ok(0)
}
