//! `proofroom room logs`: the event journal of a session, living or over, line by line.

use std::{path::Path, process::ExitCode, time::Duration};

use clap::Args;
use proofroom::{journal, journal_text};
use proofroom_record::{
    chain::parse_event,
    event::{Event, EventBody},
    room_api::SignedEvent,
};

use super::{Session, print};
use crate::commands::{Failure, UNAVAILABLE};

/// How often a growing journal is looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    session: Session,
    /// Go on until the session is over.
    #[arg(long)]
    follow: bool,
    /// The events themselves, one JSON object per line, exactly as they are chained.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let (_, dir) = options.session.find()?;
    let path = dir.join("journal.jsonl");
    let mut shown = 0;
    loop {
        // Looked at first: what is written before a session is over is read below.
        let over = super::is_done(&dir) || !dir.is_dir();
        let events = read(&path)?;
        for signed in events.iter().skip(shown) {
            let event = parse_event(0, signed.event.as_bytes())
                .map_err(|error| Failure::new(UNAVAILABLE, error.code(), error))?;
            print(&text(options, signed, &event))?;
            if matches!(event.body, EventBody::SessionClosed { .. }) {
                return Ok(ExitCode::SUCCESS);
            }
        }
        shown = events.len();
        if over || !options.follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(LOOK);
    }
}

fn text(options: &Options, signed: &SignedEvent, event: &Event) -> String {
    if options.json {
        format!("{}\n", signed.event)
    } else {
        format!("{}\n", journal_text::line(event))
    }
}

/// The journal; empty before its first event.
fn read(path: &Path) -> Result<Vec<SignedEvent>, Failure> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    journal::read(path).map_err(|error| Failure::new(UNAVAILABLE, error.code(), error))
}
