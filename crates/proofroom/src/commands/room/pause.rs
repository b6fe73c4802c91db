//! `proofroom room pause` and `resume`: a room stopped in memory and let go on.

use std::process::ExitCode;

use clap::Args;
use proofroom::control::{Answer, Ask, Conversation};

use super::{Session, failed, print};
use crate::commands::Failure;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    session: Session,
}

pub(super) fn run(options: &Options, ask: &Ask) -> Result<ExitCode, Failure> {
    let (session, dir) = options.session.find()?;
    let mut talk = Conversation::begin(session, &dir, ask).map_err(failed)?;
    if let Some(Answer::Done { message }) = talk.answer().map_err(failed)? {
        print(&format!("{message}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
