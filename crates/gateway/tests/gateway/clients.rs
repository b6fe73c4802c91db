//! Real clients, unmodified, each with a task of tool calls and streams: against an upstream that
//! speaks the client's API, and against upstreams that speak the others. `docs/compatibility.md` is
//! made from these runs and compared with them.
//!
//! `PROOFROOM_CLIENTS` names the directory into which `cargo xtask clients` installs them; without it
//! the test says aloud that it was skipped. `PROOFROOM_CLIENTS_WRITE=1` writes the table anew.

mod list;
mod served;

use std::{fs, path::PathBuf, process::Output, time::Duration};

use proofroom_record::{event::RunStatus, statement::ModelRun};
use tokio::process::Command;

use list::{CLIENTS, Client, Proof};
use served::Served;

/// The wire formats of upstreams, as they are configured.
const UPSTREAMS: [&str; 3] = ["chat", "responses", "messages"];
/// The longest that one client may take.
const PATIENCE: Duration = Duration::from_secs(180);

fn installed() -> Option<PathBuf> {
    let directory = std::env::var_os("PROOFROOM_CLIENTS").map(PathBuf::from);
    if directory.is_none() {
        eprintln!(
            "SKIPPED real_clients_do_their_tasks: PROOFROOM_CLIENTS names no directory of clients"
        );
    }
    directory
}

fn documentation() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md")
}

/// What became of one client with one upstream, in the words of the table.
async fn attempt(client: &Client, upstream: &str, directory: &std::path::Path) -> String {
    let mut served = Served::start(upstream).await;
    let home = tempfile::tempdir().unwrap();
    let workspace = home.path().join("workspace");
    fs::create_dir(&workspace).unwrap();
    client.prepare(home.path(), &served.address);
    let mut command = Command::new(client.program(directory));
    command
        .args(client.arguments(directory))
        .current_dir(&workspace)
        .env_clear()
        .envs(client.environment(home.path(), &served.address))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let records = served.world.records();
    let Ok(output) = output else {
        return format!("hangs ({} runs)", records.len());
    };
    let output = output.expect("the client starts");
    judge(client, &output, &workspace, &records)
}

fn judge(
    client: &Client,
    output: &Output,
    workspace: &std::path::Path,
    records: &[ModelRun],
) -> String {
    let refused = records
        .iter()
        .find(|run| run.status != RunStatus::Complete && !expected(run));
    if let Some(run) = refused {
        let failure = run.failure.as_ref();
        let code = failure.map_or("no failure", |failure| failure.code.as_str());
        let reason = failure.map_or("", |failure| failure.reason.as_str());
        let findings = &run.classification.findings;
        eprintln!("{}: {code}: {reason} {findings:?}", client.name);
        let member = reason.split('`').nth(1).unwrap_or_default();
        return format!("refused: `{code}` `{member}`");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let done = match client.proof {
        Proof::Says(word) => text.contains(word),
        Proof::Makes(word) => {
            let made = fs::read_to_string(workspace.join("made.txt")).unwrap_or_default();
            made.trim() == "made-by-hand" && text.contains(word)
        }
    };
    if !done || !output.status.success() {
        eprintln!("{} failed: {output:?}", client.name);
        return "fails".to_owned();
    }
    let complete = records
        .iter()
        .filter(|run| run.status == RunStatus::Complete);
    let translated = records.iter().any(|run| run.translated.is_some());
    let streamed = records.iter().any(|run| run.request.stream);
    assert!(
        streamed && complete.count() >= client.runs,
        "{}: {records:#?}",
        client.name
    );
    for run in records {
        let known = client.endpoints.contains(&run.request.endpoint.as_str());
        assert!(known, "{}: {}", client.name, run.request.endpoint);
    }
    if translated {
        "works, translated"
    } else {
        "works"
    }
    .to_owned()
}

/// What a client asks so as to see the refusal.
fn expected(run: &ModelRun) -> bool {
    let codes = ["model-not-served"];
    let failure = run.failure.as_ref();
    failure.is_some_and(|failure| codes.contains(&failure.code.as_str()))
}

const HEAD: &str = "| client | version | speaks | upstream of Chat | upstream of Responses | upstream of Messages |\n|---|---|---|---|---|---|\n";

fn row(client: &Client, cells: &[String]) -> String {
    let (name, version, speaks) = (client.name, client.version(), client.speaks);
    format!(
        "| {name} | {version} | {speaks} | {} |\n",
        cells.join(" | ")
    )
}

/// The table between its marks in the documentation.
fn documented() -> String {
    let text = fs::read_to_string(documentation()).expect("docs/compatibility.md");
    let (_, rest) = text.split_once("<!-- table -->\n").expect("its beginning");
    let (table, _) = rest.split_once("<!-- /table -->").expect("its end");
    table.to_owned()
}

fn write(table: &str) {
    let text = fs::read_to_string(documentation()).expect("docs/compatibility.md");
    let (before, rest) = text.split_once("<!-- table -->\n").expect("its beginning");
    let (_, after) = rest.split_once("<!-- /table -->").expect("its end");
    let text = format!("{before}<!-- table -->\n{table}<!-- /table -->{after}");
    fs::write(documentation(), text).expect("docs/compatibility.md");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clients_do_their_tasks() {
    let Some(directory) = installed() else {
        return;
    };
    let only = std::env::var("PROOFROOM_CLIENTS_ONLY").unwrap_or_default();
    let mut rows = Vec::new();
    for client in CLIENTS.iter().filter(|client| client.name.contains(&only)) {
        let program = client.program(&directory);
        if program.is_absolute() && !program.exists() {
            eprintln!("SKIPPED {}: it is not installed", client.name);
            continue;
        }
        let mut cells = Vec::new();
        for upstream in UPSTREAMS {
            let cell = attempt(client, upstream, &directory).await;
            eprintln!("{} with {upstream}: {cell}", client.name);
            cells.push(cell);
        }
        let own = cells.iter().any(|cell| cell == "works");
        assert!(own, "{} does not work with its own API", client.name);
        rows.push(row(client, &cells));
    }
    if std::env::var_os("PROOFROOM_CLIENTS_WRITE").is_some() {
        assert_eq!(
            rows.len(),
            CLIENTS.len(),
            "only a run of all clients is written"
        );
        write(&format!("{HEAD}{}", rows.concat()));
    }
    let documented = documented();
    for row in rows {
        assert!(
            documented.contains(&row),
            "docs/compatibility.md does not say: {row}"
        );
    }
}

#[test]
fn every_client_of_the_list_is_in_the_documentation_at_its_locked_version() {
    let table = documented();
    for client in &CLIENTS {
        let row = format!("| {} | {} |", client.name, client.version());
        assert!(table.contains(&row), "no row `{row}`");
    }
}
