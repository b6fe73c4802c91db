//! `cargo xtask attack-matrix`: plays the probe in every backend of this machine and writes
//! `docs/attack-matrix.md` from what came of it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::{
    demo::PACKAGES,
    image,
    machine::{self, Purpose},
    suite::STATIC_PACKAGES,
};

/// The columns.
const BACKENDS: [&str; 3] = ["process", "vm", "tdx"];

const HEAD: &str = "\
# Attack matrix

What `escape-probe` tries in a room and what came of it, by backend. Made by `cargo xtask
attack-matrix`; the test `the_committed_table_names_what_is_tried` fails when an attempt is missing or
a row is stale. Ids are those of the attack list by which the tests in `crates/e2e/tests/attacks.rs` are
named; `own` is an attempt of the probe's own.

`stopped`: it came to nothing, and every event that it must leave was in a bundle that the verifier
accepted. `no target`: the room has nothing to try it on, for the reason that is given. `not run`: the
machine that made this table does not have the backend. An attempt without an event names the reason,
which `crates/e2e/tests/escape.rs` explains.

The `vm` column is of machines on an emulated processor. Every group of the probe is played in both
backends by the tests, with `cargo xtask test` as with `cargo xtask attack-matrix`, in two machines.
`tdx` needs hardware: the room inside is that of `vm`, and what surrounds it was not tried.

| Id | Attempt | process | vm | tdx | Stopped by | Event |
|---|---|---|---|---|---|---|
";

/// Results by backend and attempt.
type Results = BTreeMap<(String, String), String>;

/// Options of the table.
#[derive(Args)]
pub(crate) struct Options {
    /// Write the table from what an earlier run of the test kept there (`PROOFROOM_ATTACK_RESULTS`).
    #[arg(long, value_name = "DIRECTORY")]
    from: Option<PathBuf>,
}

/// Makes the table.
pub(crate) fn make(options: &Options) -> Result<()> {
    let dir = match &options.from {
        Some(dir) => dir.clone(),
        None => play()?,
    };
    write(&dir)
}

/// Plays the probe everywhere; returns where the results are.
fn play() -> Result<PathBuf> {
    machine::prepare(Purpose::Tests)?;
    image::ensure_built()?;
    machine::build(PACKAGES)?;
    machine::build_static(STATIC_PACKAGES)?;
    let dir = machine::target().join("attack-results");
    if dir.exists() {
        fs::remove_dir_all(&dir).context("cannot clear the last results")?;
    }
    let mut play = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    play.current_dir(machine::root())
        .args(["test", "--locked", "--package", "proofroom-e2e"])
        .args(["--test", "escape", "--"])
        .args(["--skip", "the_committed_table_names_what_is_tried"])
        .env("PROOFROOM_PROGRAMS", machine::target().join("debug"))
        .env("PROOFROOM_ATTACK_RESULTS", &dir);
    machine::run(&mut play)?;
    Ok(dir)
}

fn write(dir: &Path) -> Result<()> {
    let mut text = HEAD.to_owned();
    let results = results(dir)?;
    for attempt in attempts()? {
        text.push_str(&row(&attempt, &results)?);
    }
    let file = machine::root().join("docs/attack-matrix.md");
    fs::write(&file, text).context("cannot write `docs/attack-matrix.md`")?;
    println!("{}", file.display());
    Ok(())
}

fn attempts() -> Result<Vec<Value>> {
    let listed = Command::new(machine::static_program("escape-probe"))
        .arg("list")
        .output()
        .context("cannot start the probe")?;
    ensure!(listed.status.success(), "the probe does not list");
    lines(&String::from_utf8_lossy(&listed.stdout))
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines()
        .map(|line| serde_json::from_str(line).context("a line is not JSON"))
        .collect()
}

/// What the test kept: one file for each backend and group.
fn results(dir: &Path) -> Result<Results> {
    let mut found = Results::new();
    for entry in fs::read_dir(dir).context("the test kept no results")? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((backend, _)) = name.split_once('-') else {
            continue;
        };
        for line in lines(&fs::read_to_string(&path)?)? {
            let key = (backend.to_owned(), text(&line, "attempt")?.to_owned());
            found.insert(key, cell(&line)?);
        }
    }
    Ok(found)
}

/// What came of an attempt, in the table's words.
fn cell(result: &Value) -> Result<String> {
    Ok(match text(result, "outcome")? {
        "blocked" => "stopped".to_owned(),
        "not-applicable" => format!("no target: {}", text(result, "detail")?.replace('|', "/")),
        _ => "ESCAPED".to_owned(),
    })
}

fn row(attempt: &Value, results: &Results) -> Result<String> {
    let name = text(attempt, "attempt")?;
    let cells = BACKENDS.map(|backend| {
        let key = (backend.to_owned(), name.to_owned());
        match results.get(&key) {
            Some(cell) => cell.clone(),
            None if backend == "tdx" => "not run: no hardware".to_owned(),
            None => "not run".to_owned(),
        }
    });
    Ok(format!(
        "| {} | {name} | {} | {} | {} |\n",
        text(attempt, "id")?,
        cells.join(" | "),
        text(attempt, "by")?,
        events(attempt),
    ))
}

/// The events that are due, in a few words.
fn events(attempt: &Value) -> String {
    if let Some(reason) = attempt.get("untold").and_then(Value::as_str) {
        return format!("none: {reason}");
    }
    let due = attempt.get("expect_events").and_then(Value::as_array);
    let words: Vec<String> = due.into_iter().flatten().map(event).collect();
    match words.as_slice() {
        [first, _, rest @ ..] => format!("{first}, and {} more", rest.len().saturating_add(1)),
        [only] => only.clone(),
        [] => String::new(),
    }
}

fn event(due: &Value) -> String {
    let of = |value: &Value, name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let attempt = due.get("attempt").unwrap_or(&Value::Null);
    let what = ["path", "target", "name", "resource", "code", "run_status"]
        .iter()
        .flat_map(|name| [of(attempt, name), of(due, name)])
        .find(|word| !word.is_empty())
        .unwrap_or_default();
    let words = [
        of(due, "kind"),
        of(due, "status"),
        of(attempt, "on"),
        of(attempt, "access"),
    ];
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.is_empty())
        .collect();
    format!("{} `{what}`", words.join(" "))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value
        .get(name)
        .and_then(Value::as_str)
        .with_context(|| format!("a line has no `{name}`"))
}
