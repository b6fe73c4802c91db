//! `proofroom room end`: a living session is asked to close, or its room is killed.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use clap::Args;
use proofroom::control::{Answer, Ask, Conversation, EndHow};

use super::{Session, failed, is_done, print};
use crate::commands::{Failure, INCOMPLETE};

/// The longest that a session takes to close after it was asked: its own time for a delivery, what the
/// host gives it, and the writing of the bundle.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    session: Session,
    /// Kill the room at once; the record is closed from what was durable.
    #[arg(long)]
    now: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let (session, dir) = options.session.find()?;
    let how = if options.now {
        EndHow::AtOnce
    } else {
        EndHow::Asked
    };
    let mut talk = Conversation::begin(session, &dir, &Ask::End { how }).map_err(failed)?;
    if let Some(Answer::Done { message }) = talk.answer().map_err(failed)? {
        print(&format!("{message}\n"))?;
    }
    let deadline = Instant::now() + PATIENCE;
    while !is_done(&dir) {
        if Instant::now() > deadline {
            let error = anyhow!(
                "session {session} has not closed within {} s; `--now` kills its room",
                PATIENCE.as_secs()
            );
            return Err(Failure::new(INCOMPLETE, "session-not-closed", error));
        }
        // A session in which nothing had happened leaves no folder.
        if !dir.is_dir() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    print(&format!("session {session} is over\n"))?;
    Ok(ExitCode::SUCCESS)
}
