//! `run`: a command, confined, with its output by digest and its system calls as events.

use std::{path::Path, sync::Arc, time::Duration};

use proofroom_authz::Operation;
use proofroom_canonical::Digest;
use proofroom_confine::Expendable;
use proofroom_record::event::{Action, Exit, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, ToolError, arguments, perform};
use crate::{
    observe::Files,
    process::{self, Audience, Job},
    redact,
    session::Session,
};

/// The most bytes that a command's arguments may have together.
const MAX_ARGV_BYTES: usize = 32 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    argv: Option<Vec<String>>,
    command: Option<String>,
    timeout_s: Option<u64>,
}

pub(super) async fn call(session: &Session, bytes: &[u8]) -> Result<Value, ToolError> {
    let asked: Arguments = arguments(session, "run", bytes).await?;
    let argv = match (asked.argv, asked.command) {
        (Some(argv), None) => argv,
        (None, Some(command)) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command],
        _ => vec![],
    };
    let size: usize = argv.iter().map(String::len).sum();
    if argv.is_empty() || size > MAX_ARGV_BYTES || argv.iter().any(|one| one.contains('\0')) {
        let reason = "`run` takes `argv` or `command`, of at most 32 KiB and without NUL";
        let refused = ToolError::Arguments(reason.to_owned());
        let action = Action::Run { argv: vec![] };
        return perform(session, action, None, async { Err(refused) }).await;
    }
    let action = Action::Run {
        argv: redact::arguments(&argv),
    };
    let operation = Operation::Run { argv: argv.clone() };
    let most = session.assignment.limits.command_seconds;
    let seconds = asked.timeout_s.unwrap_or(most).min(most).max(1);
    let act = execute(session, argv, Duration::from_secs(seconds));
    perform(session, action, Some(operation), act).await
}

async fn execute(session: &Session, argv: Vec<String>, time: Duration) -> Result<Done, ToolError> {
    let program = argv.first().cloned().unwrap_or_default();
    let keep = usize::try_from(session.assignment.limits.output_bytes).unwrap_or(usize::MAX);
    let argv = argv.into_iter().map(Into::into).collect();
    let job = Job {
        command: process::in_workspace(session, argv, Expendable::First),
        input: vec![],
        time,
        keep,
        output: Arc::clone(&session.output),
    };
    let observer = session.observer(Files::Recorded);
    let stop = async {
        session.until_ended().await;
    };
    let spawner = Arc::clone(&session.spawner);
    let finished = process::run(
        spawner,
        job,
        Arc::clone(&observer) as _,
        Audience::Nobody,
        stop,
    )
    .await;
    let first = observer.first_program();
    observer.finish();
    let finished = finished?;
    let executable = super::executable(&session.root, first, Path::new(&program));
    let exit = match finished.exit {
        Exit::Code(code) => json!({ "code": code }),
        Exit::Signal(signal) => json!({ "signal": signal }),
        Exit::TimedOut => json!("timed-out"),
    };
    let truncated = finished.stdout.is_cut() || finished.stderr.is_cut();
    Ok(Done {
        outcome: Outcome::Ran {
            executable,
            exit: finished.exit,
            stdout: finished.stdout.digest,
            stderr: finished.stderr.digest,
            wall_ms: finished.wall_ms,
        },
        answer: json!({
            "exit": exit,
            "stdout": String::from_utf8_lossy(&finished.stdout.kept),
            "stderr": String::from_utf8_lossy(&finished.stderr.kept),
            "truncated": truncated,
        }),
    })
}

/// Digest of the program that a name stands for, where no system call showed it.
pub(super) fn find(root: &Path, program: &Path) -> Option<Digest> {
    let candidates = if program.components().count() > 1 || program.is_absolute() {
        vec![root.join(program)]
    } else {
        ["/usr/local/bin", "/usr/bin", "/bin"]
            .map(|directory| Path::new(directory).join(program))
            .to_vec()
    };
    candidates
        .into_iter()
        .find_map(|path| std::fs::read(path).ok())
        .map(Digest::of)
}
