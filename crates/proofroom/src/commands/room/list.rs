//! `proofroom room list`: living sessions as their host processes describe them, and sessions that a
//! crash left open as their folders do.

use std::{path::Path, process::ExitCode};

use clap::Args;
use proofroom::{
    control::{self, LivingState},
    session::{self, Ownership, RoomNote},
    state::StateDir,
};
use proofroom_canonical::{SessionId, Timestamp};
use proofroom_clock::wall;
use serde_json::{Value, json};

use super::{Of, is_done, print};
use crate::commands::{Failure, UNAVAILABLE};

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    of: Of,
    /// One JSON object per line on standard output.
    #[arg(long)]
    json: bool,
}

/// A session that is not over.
struct Row {
    session: SessionId,
    found: Found,
}

enum Found {
    /// Its host process answered.
    Living(Box<LivingState>),
    /// Somebody owns it, and its room is not there yet or not any more.
    Between,
    /// Nobody owns it and its record is open.
    Unclosed(Option<Box<RoomNote>>),
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let state = options.of.open()?;
    let rows = rows(&state).map_err(|error| Failure::new(UNAVAILABLE, "list", error))?;
    let now = wall();
    if options.json {
        for row in &rows {
            print(&format!("{}\n", machine(row)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        print("no session is open\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = [
        "SESSION", "STATE", "LEVEL", "AGE", "AGENT", "PID", "PROCS", "MEMORY", "CPU",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| human(row, now)));
    print(&table(&lines))?;
    Ok(ExitCode::SUCCESS)
}

fn rows(state: &StateDir) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (session, dir) in state.sessions()? {
        if is_done(&dir) {
            continue;
        }
        let found = match control::state(session, &dir) {
            Ok(living) => Found::Living(Box::new(living)),
            Err(_) => match of_folder(state, &dir)? {
                Some(found) => found,
                None => continue,
            },
        };
        rows.push(Row { session, found });
    }
    Ok(rows)
}

fn of_folder(state: &StateDir, dir: &Path) -> anyhow::Result<Option<Found>> {
    let found = match session::ownership(state, dir)? {
        Ownership::Owned => Found::Between,
        // It was closed between two looks.
        Ownership::Free if is_done(dir) || !dir.is_dir() => return Ok(None),
        Ownership::Free => Found::Unclosed(session::saved_room(dir)?.map(Box::new)),
    };
    Ok(Some(found))
}

fn machine(row: &Row) -> Value {
    let session = row.session;
    match &row.found {
        Found::Living(state) => {
            let mut value = serde_json::to_value(state).unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.insert("type".to_owned(), json!("room"));
            }
            value
        }
        Found::Between => json!({"type": "room", "session": session, "state": "between"}),
        Found::Unclosed(note) => json!({
            "type": "room",
            "session": session,
            "state": "unclosed",
            "agent": note.as_ref().map(|note| &note.agent),
            "isolation": note.as_ref().map(|note| note.trace.isolation),
            "started": note.as_ref().map(|note| note.started),
        }),
    }
}

fn human(row: &Row, now: Timestamp) -> [String; 9] {
    let session = row.session.to_string();
    let none = || "-".to_owned();
    match &row.found {
        Found::Living(state) => [
            session,
            state.state.as_str().to_owned(),
            state.isolation.to_string(),
            age(state.started, now),
            state.agent.clone(),
            state.pid.to_string(),
            state.usage.processes.to_string(),
            format!("{} MiB", state.usage.memory_bytes >> 20),
            format!("{:.1} s", seconds(state.usage.cpu_millis)),
        ],
        Found::Between => [
            session,
            "starting or closing".to_owned(),
            none(),
            none(),
            none(),
            none(),
            none(),
            none(),
            none(),
        ],
        Found::Unclosed(note) => {
            let of = |take: &dyn Fn(&RoomNote) -> String| note.as_deref().map_or_else(none, take);
            [
                session,
                "unclosed".to_owned(),
                of(&|note| note.trace.isolation.to_string()),
                of(&|note| age(note.started, now)),
                of(&|note| note.agent.clone()),
                none(),
                none(),
                none(),
                none(),
            ]
        }
    }
}

fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis).as_secs_f64()
}

fn age(started: Timestamp, now: Timestamp) -> String {
    let seconds = now.unix_seconds().saturating_sub(started.unix_seconds());
    match seconds {
        ..60 => format!("{} s", seconds.max(0)),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Columns as wide as their widest cell.
fn table(lines: &[[String; 9]]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..9).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> = line
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}
