//! The tools the model is offered, as schemas, and the instructions it starts with.

use proofroom_llm::client::ToolSpec;
use serde_json::{Value, json};

/// What the model is told before the task.
pub const SYSTEM_PROMPT: &str = "\
You are a coding agent in a sealed room. The repository is in /workspace, which is your working \
directory; paths are relative to it. Use the tools to read, search, edit and run. The room has no \
network and refuses what its policy does not grant: a refusal is final, so do not try to get around \
it, go on without. Make the smallest change that does the task, run the tests, commit with a message \
that says why, and call `finish` with a short summary. If the task cannot be done, call `finish` \
with success=false and say why.";

/// The tool that ends the run.
pub(crate) const FINISH: &str = "finish";

/// Every tool, in the order in which the model sees them.
#[must_use]
pub fn tool_specs() -> Vec<ToolSpec> {
    [reading_tools(), changing_tools()].concat()
}

fn reading_tools() -> Vec<ToolSpec> {
    vec![
        ToolSpec::new(
            "read_file",
            "Read a text file, or some of its lines (counted from 1, last_line included).",
            object(
                &["path"],
                &json!({"path": text(), "first_line": count(), "last_line": count()}),
            ),
        ),
        ToolSpec::new(
            "list",
            "List a directory.",
            object(&["path"], &json!({"path": text()})),
        ),
        ToolSpec::new(
            "search",
            "Search files for a regular expression, below a path if one is given.",
            object(&["pattern"], &json!({"pattern": text(), "path": text()})),
        ),
    ]
}

fn changing_tools() -> Vec<ToolSpec> {
    vec![
        ToolSpec::new(
            "edit",
            "Replace `old`, which must occur exactly once in the file, by `new`; or apply a unified diff.",
            object(
                &["path"],
                &json!({"path": text(), "old": text(), "new": text(), "patch": text()}),
            ),
        ),
        ToolSpec::new(
            "write_file",
            "Create a file or replace its whole content.",
            object(
                &["path", "content"],
                &json!({"path": text(), "content": text()}),
            ),
        ),
        ToolSpec::new(
            "run",
            "Run a program (argv) or a shell command in the workspace.",
            object(
                &[],
                &json!({
                    "argv": {"type": "array", "items": {"type": "string"}},
                    "command": text(),
                    "timeout_s": count(),
                }),
            ),
        ),
        ToolSpec::new(
            "git_commit",
            "Commit every change in the workspace.",
            object(&["message"], &json!({"message": text()})),
        ),
        ToolSpec::new(
            FINISH,
            "End the task.",
            object(
                &["summary", "success"],
                &json!({"summary": text(), "success": {"type": "boolean"}}),
            ),
        ),
    ]
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn text() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 1})
}
