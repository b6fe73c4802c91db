//! Runs commands that the test asks for over the channel, one JSON line each way.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use proofroom_confine::{
    AgentCommand, ConfinedCommand, Expendable, FileAudit, Loopback, StageProgram, Stdio,
    Suggestion, stages,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Notifications that one answer repeats.
const MAX_NOTIFICATIONS: usize = 20_000;

#[derive(Deserialize, Serialize)]
struct Request {
    id: u64,
    argv: Vec<String>,
    answer: Answer,
    loopback: Loopback,
    file_audit: FileAudit,
    processes: u64,
    open_files: u64,
    expendable: Expendable,
}

#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// What the mechanism suggests.
    Suggested,
    /// Allow whatever can be allowed, so that the mechanism below is what stops it.
    AllowAll,
}

pub(crate) fn run() -> io::Result<()> {
    let channel = stages::take_channel()?;
    let writer = Arc::new(Mutex::new(channel.try_clone()?));
    say(&writer, &json!({ "ready": true }))?;
    for line in BufReader::new(channel).lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let writer = Arc::clone(&writer);
        thread::spawn(move || {
            let id = request.id;
            let mut answer = command(&request).unwrap_or_else(|e| json!({ "error": e }));
            if let Some(object) = answer.as_object_mut() {
                object.insert("id".to_owned(), json!(id));
            }
            drop(say(&writer, &answer));
        });
    }
    Ok(())
}

fn say(writer: &Mutex<UnixStream>, value: &Value) -> io::Result<()> {
    let mut writer = writer.lock().map_err(|e| io::Error::other(e.to_string()))?;
    writeln!(writer, "{value}")
}

fn command(request: &Request) -> Result<Value, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let path = ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into());
    let argv = request.argv.iter().map(Into::into).collect();
    let mut command = AgentCommand::new(argv, vec![path], PathBuf::from("/workspace"));
    command.loopback = request.loopback;
    command.file_audit = request.file_audit;
    command.expendable = request.expendable;
    command.limits.processes = request.processes;
    command.limits.open_files = request.open_files;
    let (output, stdout) = io::pipe().map_err(|e| text(&e))?;
    let stderr = OwnedFd::from(stdout.try_clone().map_err(|e| text(&e))?);
    let stdin = File::open("/dev/null").map_err(|e| text(&e))?.into();
    let stdio = Stdio {
        stdin,
        stdout: stdout.into(),
        stderr,
    };
    let stage = StageProgram::itself().map_err(|e| text(&e))?;
    let confined = ConfinedCommand::spawn(&command, &stdio, &stage).map_err(|e| {
        format!(
            "{}: {e}: {}",
            e.code(),
            std::error::Error::source(&e).map_or_else(String::new, ToString::to_string)
        )
    })?;
    drop(stdio);
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        output.take(1 << 20).read_to_end(&mut said).map(|_| said)
    });
    let seen = answer(&confined, request.answer).map_err(|e| text(&e))?;
    let ended = confined.wait().map_err(|e| text(&e))?;
    let said = reader
        .join()
        .map_err(|_| "reader".to_owned())?
        .map_err(|e| text(&e))?;
    Ok(json!({
        "ended": format!("{ended:?}"),
        "output": String::from_utf8_lossy(&said),
        "notifications": seen,
        "mechanisms": confined.mechanisms(),
    }))
}

fn answer(
    confined: &ConfinedCommand,
    answer: Answer,
) -> Result<Vec<Value>, proofroom_confine::ConfineError> {
    let notifications = confined.notifications();
    let mut seen = Vec::new();
    while let Some(n) = notifications.next()? {
        let suggestion = n.suggestion();
        if seen.len() < MAX_NOTIFICATIONS {
            seen.push(json!({
                "syscall": n.syscall,
                "call": format!("{:?}", n.call),
                "answer": format!("{suggestion:?}"),
            }));
        }
        match suggestion {
            Suggestion::Deny(errno) if answer == Answer::Suggested || !n.call.is_allowable() => {
                notifications.deny(&n, errno)?;
            }
            _ => notifications.allow(&n)?,
        }
    }
    Ok(seen)
}
