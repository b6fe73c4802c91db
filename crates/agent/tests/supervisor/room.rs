//! A stand-in for a room's tools over a plain directory. It refuses what the demonstration's session
//! expects to be refused; it confines nothing and is no model of how the supervisor does it.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

/// Answers `POST /tool/v1/<name>` in `root`: a status and a body.
pub(crate) fn call(root: &Path, name: &str, input: &Value) -> (u16, Value) {
    if input["pattern"] == "end the session" {
        return (503, refuse("session-ended"));
    }
    let done = match name {
        "read_file" => read_file(root, input),
        "list" => list(root, input),
        "search" => Ok(json!({"matches": [], "truncated": false})),
        "edit" => edit(root, input),
        "run" => run(root, input),
        "git_commit" => Ok(json!({"commit": "0123456789012345678901234567890123456789"})),
        "finish" => Ok(json!({})),
        _ => Err(refuse("unknown-tool")),
    };
    match done {
        Ok(body) => (200, body),
        Err(body) => (403, body),
    }
}

fn refuse(code: &str) -> Value {
    json!({"error": {"code": code, "message": "refused"}})
}

fn inside(root: &Path, input: &Value) -> Result<PathBuf, Value> {
    let path = Path::new(input["path"].as_str().unwrap_or("/"));
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if plain {
        Ok(root.join(path))
    } else {
        Err(refuse("outside-workspace"))
    }
}

fn read_file(root: &Path, input: &Value) -> Result<Value, Value> {
    let content = fs::read_to_string(inside(root, input)?).map_err(|_| refuse("not-found"))?;
    let lines = content.lines().count();
    Ok(json!({"content": content, "first_line": 1, "last_line": lines, "total_lines": lines}))
}

fn list(root: &Path, input: &Value) -> Result<Value, Value> {
    let entries = fs::read_dir(inside(root, input)?).map_err(|_| refuse("not-found"))?;
    let entries: Vec<Value> = entries
        .map(|entry| json!({"name": entry.unwrap().file_name().to_string_lossy()}))
        .collect();
    Ok(json!({"entries": entries}))
}

fn edit(root: &Path, input: &Value) -> Result<Value, Value> {
    let path = inside(root, input)?;
    let text = fs::read_to_string(&path).map_err(|_| refuse("not-found"))?;
    let old = input["old"].as_str().unwrap_or_default();
    if text.matches(old).count() != 1 {
        return Err(refuse("no-unique-match"));
    }
    let new = input["new"].as_str().unwrap_or_default();
    fs::write(&path, text.replace(old, new)).unwrap();
    Ok(json!({"first_line": 1, "last_line": 1}))
}

fn run(root: &Path, input: &Value) -> Result<Value, Value> {
    let argv: Vec<String> = match input["command"].as_str() {
        Some(command) => ["/bin/sh", "-c", command].map(str::to_owned).into(),
        None => serde_json::from_value(input["argv"].clone()).map_err(|_| refuse("no-argv"))?,
    };
    let text = argv.join(" ");
    for (part, canned) in [
        ("shadow", "cat: /etc/shadow: Permission denied"),
        ("1.1.1.1", "tcp blocked: [Errno 101] Network is unreachable"),
        ("8.8.8.8", "udp blocked: [Errno 101] Network is unreachable"),
        ("chat/completions", "refused with 403"),
        ("environ", ""),
    ] {
        if text.contains(part) {
            return Ok(json!({"exit": 1, "stdout": canned, "stderr": "", "truncated": false}));
        }
    }
    let done = Command::new(&argv[0])
        .args(&argv[1..])
        .current_dir(root)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("OPENAI_API_KEY", "room")
        .output()
        .map_err(|_| refuse("cannot-run"))?;
    Ok(json!({
        "exit": done.status.code(),
        "stdout": String::from_utf8_lossy(&done.stdout),
        "stderr": String::from_utf8_lossy(&done.stderr),
        "truncated": false,
    }))
}
