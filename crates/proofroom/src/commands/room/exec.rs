//! `proofroom room exec`: a person's command in a living room. Its output comes back as it is to a file
//! or a pipe; a terminal gets it with everything escaped that could steer it.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use proofroom::{
    control::{Answer, Ask, Conversation},
    progress::printable,
};
use proofroom_record::{event::Exit, room_api::StandardStream};

use super::{Session, failed};
use crate::commands::{Failure, INTERNAL, UNAVAILABLE};

/// What shells add to a signal's number.
const SIGNALLED: i32 = 128;
/// What `timeout` returns.
const TIMED_OUT: u8 = 124;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    session: Session,
    /// Program and arguments.
    #[arg(last = true, required = true, value_name = "ARGV")]
    command: Vec<String>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let (session, dir) = options.session.find()?;
    let ask = Ask::Execute {
        argv: options.command.clone(),
    };
    let mut talk = Conversation::begin(session, &dir, &ask).map_err(failed)?;
    while let Some(answer) = talk.answer().map_err(failed)? {
        match answer {
            Answer::Output { stream, data } => {
                let bytes = STANDARD
                    .decode(data)
                    .map_err(|error| Failure::new(UNAVAILABLE, "control-answer", error))?;
                show(stream, &bytes)?;
            }
            Answer::Exited { exit } => return Ok(code(exit)),
            _ => {}
        }
    }
    let error = anyhow::anyhow!("the session ended before the command did");
    Err(Failure::new(UNAVAILABLE, "session-ended", error))
}

fn show(stream: StandardStream, bytes: &[u8]) -> Result<(), Failure> {
    let written = match stream {
        StandardStream::Stdout => write(io::stdout().lock(), io::stdout().is_terminal(), bytes),
        StandardStream::Stderr => write(io::stderr().lock(), io::stderr().is_terminal(), bytes),
    };
    match written {
        // Nobody reads any more; the command goes on, and its end is waited for.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(INTERNAL, "output", error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(mut to: impl io::Write, terminal: bool, bytes: &[u8]) -> io::Result<()> {
    if terminal {
        to.write_all(harmless(bytes).as_bytes())?;
    } else {
        to.write_all(bytes)?;
    }
    to.flush()
}

/// Lines stay lines; everything else that steers a terminal is escaped.
fn harmless(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(match exit {
        Exit::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
        Exit::Signal(signal) => u8::try_from(SIGNALLED.saturating_add(signal)).unwrap_or(u8::MAX),
        Exit::TimedOut => TIMED_OUT,
    })
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn lines_stay_and_escapes_do_not_reach_a_terminal() {
        assert_eq!(harmless(b"a\nb\x1b[2J\n"), "a\nb\\u{1b}[2J\n");
    }
}
