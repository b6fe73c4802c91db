//! Which clients there are, how each is started, and how it shows that it did its task.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::served::MODEL;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";

/// How a client shows that it did its task.
pub enum Proof {
    /// Its output has these words, which it says after its own checks.
    Says(&'static str),
    /// It made the file that the recording told it to make, and says these words of the last answer.
    Makes(&'static str),
}

/// Where a client comes from, which is where its version is locked.
pub enum Source {
    Npm(&'static str),
    Python(&'static str),
    Aider,
}

pub struct Client {
    pub name: &'static str,
    pub source: Source,
    /// The API, for the table.
    pub speaks: &'static str,
    /// Everything that it may ask for.
    pub endpoints: &'static [&'static str],
    /// The fewest complete runs of its task.
    pub runs: usize,
    pub proof: Proof,
    /// What is run, within the directory of clients or of the repository's `tests/clients`.
    pub start: &'static [&'static str],
}

const WEATHER: Proof = Proof::Says("the weather is known");

const fn sdk(
    name: &'static str,
    source: Source,
    speaks: &'static str,
    endpoints: &'static [&'static str],
    start: &'static [&'static str],
) -> Client {
    Client {
        name,
        source,
        speaks,
        endpoints,
        runs: 2,
        proof: WEATHER,
        start,
    }
}

pub const CLIENTS: [Client; 17] = [
    sdk(
        "openai (Python), Chat",
        Source::Python("openai"),
        "Chat",
        &[CHAT],
        &["python", "openai_client.py", "chat"],
    ),
    sdk(
        "openai (Python), Responses",
        Source::Python("openai"),
        "Responses",
        &[RESPONSES],
        &["python", "openai_client.py", "responses"],
    ),
    sdk(
        "anthropic (Python)",
        Source::Python("anthropic"),
        "Messages",
        &[MESSAGES],
        &["python", "anthropic_client.py"],
    ),
    sdk(
        "LangChain, ChatOpenAI",
        Source::Python("langchain-openai"),
        "Chat",
        &[CHAT],
        &["python", "langchain_client.py", "openai"],
    ),
    sdk(
        "LangChain, ChatAnthropic",
        Source::Python("langchain-anthropic"),
        "Messages",
        &[MESSAGES],
        &["python", "langchain_client.py", "anthropic"],
    ),
    sdk(
        "openai (Node), Chat",
        Source::Npm("openai"),
        "Chat",
        &[CHAT],
        &["node", "openai.mjs", "chat"],
    ),
    sdk(
        "openai (Node), Responses",
        Source::Npm("openai"),
        "Responses",
        &[RESPONSES, CHAT],
        &["node", "openai.mjs", "responses"],
    ),
    sdk(
        "@anthropic-ai/sdk (Node)",
        Source::Npm("@anthropic-ai/sdk"),
        "Messages",
        &[MESSAGES],
        &["node", "anthropic.mjs"],
    ),
    sdk(
        "Vercel AI SDK, openai",
        Source::Npm("ai"),
        "Responses",
        &[RESPONSES],
        &["node", "ai-sdk.mjs", "openai"],
    ),
    sdk(
        "Vercel AI SDK, openai-compatible",
        Source::Npm("ai"),
        "Chat",
        &[CHAT],
        &["node", "ai-sdk.mjs", "compatible"],
    ),
    sdk(
        "Vercel AI SDK, anthropic",
        Source::Npm("ai"),
        "Messages",
        &[MESSAGES],
        &["node", "ai-sdk.mjs", "anthropic"],
    ),
    agent(
        "Claude Code",
        Source::Npm("@anthropic-ai/claude-code"),
        "Messages",
        MESSAGES,
        "Done: claude made it.",
        &[
            "bin",
            "claude",
            "-p",
            "claude-task: make the file.",
            "--output-format",
            "json",
            "--allowedTools",
            "Bash",
        ],
    ),
    agent(
        "Codex CLI",
        Source::Npm("@openai/codex"),
        "Responses",
        RESPONSES,
        "Done: codex made it.",
        &[
            "bin",
            "codex",
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "codex-task: make the file.",
        ],
    ),
    agent(
        "Codex CLI, web search and sub-agents off",
        Source::Npm("@openai/codex"),
        "Responses",
        RESPONSES,
        "Done: codex made it.",
        &[
            "bin",
            "codex",
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "codex-task: make the file.",
        ],
    ),
    agent(
        "opencode, openai-compatible",
        Source::Npm("opencode-ai"),
        "Chat",
        CHAT,
        "Done: opencode made it.",
        &[
            "bin",
            "opencode",
            "run",
            "-m",
            "chat/cassette-standard",
            "opencode-task: make the file.",
        ],
    ),
    agent(
        "opencode, anthropic",
        Source::Npm("opencode-ai"),
        "Messages",
        MESSAGES,
        "Done: opencode made it.",
        &[
            "bin",
            "opencode",
            "run",
            "-m",
            "messages/cassette-standard",
            "opencode-task: make the file.",
        ],
    ),
    Client {
        name: "aider",
        source: Source::Aider,
        speaks: "Chat",
        endpoints: &[CHAT],
        runs: 1,
        proof: Proof::Makes("Done: aider made it."),
        start: &[
            "aider",
            "--model",
            "openai/cassette-standard",
            "--no-git",
            "--analytics-disable",
            "--no-check-update",
            "--no-show-model-warnings",
            "--no-show-release-notes",
            "--no-pretty",
            "--yes-always",
            "--edit-format",
            "whole",
            "--message",
            "aider-task: make made.txt",
        ],
    },
];

const fn agent(
    name: &'static str,
    source: Source,
    speaks: &'static str,
    endpoint: &'static str,
    says: &'static str,
    start: &'static [&'static str],
) -> Client {
    let endpoints: &'static [&'static str] = match endpoint.as_bytes() {
        b"/v1/messages" => &[MESSAGES, "/v1/messages/count_tokens"],
        b"/v1/responses" => &[RESPONSES],
        _ => &[CHAT],
    };
    Client {
        name,
        source,
        speaks,
        endpoints,
        runs: 2,
        proof: Proof::Makes(says),
        start,
    }
}

/// `tests/clients` of the repository.
fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients")
}

impl Client {
    /// The version in the lock of the client's package manager.
    pub fn version(&self) -> String {
        match self.source {
            Source::Npm(package) => {
                let lock = fs::read_to_string(scripts().join("node/package-lock.json")).unwrap();
                let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
                let package = &lock["packages"][format!("node_modules/{package}")];
                package["version"].as_str().unwrap().to_owned()
            }
            Source::Python(package) => pinned("python", package),
            Source::Aider => pinned("aider", "aider-chat"),
        }
    }

    pub fn program(&self, directory: &Path) -> PathBuf {
        match self.start {
            ["node", ..] => PathBuf::from("node"),
            ["python", ..] => directory.join("python/bin/python"),
            ["aider", ..] => directory.join("aider/bin/aider"),
            ["bin", program, ..] => directory.join("node/node_modules/.bin").join(program),
            other => panic!("{other:?}"),
        }
    }

    /// Scripts stand beside the packages that they import.
    pub fn arguments(&self, directory: &Path) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        match self.start {
            [kind @ ("node" | "python"), script, more @ ..] => {
                let script = if *kind == "node" {
                    directory.join("node").join(script)
                } else {
                    scripts().join("python").join(script)
                };
                let more = more.iter().map(|&one| one.to_owned());
                std::iter::once(text(script)).chain(more).collect()
            }
            ["bin", _, more @ ..] | ["aider", more @ ..] => {
                more.iter().map(|&one| one.to_owned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn environment(&self, home: &Path, address: &str) -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap();
        let v1 = format!("{address}/v1");
        let pairs = [
            ("PATH", path.as_str()),
            ("HOME", home.to_str().unwrap()),
            ("MODEL", MODEL),
            ("OPENAI_BASE_URL", &v1),
            ("OPENAI_API_BASE", &v1),
            ("OPENAI_API_KEY", "k"),
            ("ANTHROPIC_BASE_URL", address),
            ("ANTHROPIC_API_URL", address),
            ("ANTHROPIC_AUTH_TOKEN", "k"),
            (
                "ANTHROPIC_API_KEY",
                if self.name.starts_with("Claude") {
                    ""
                } else {
                    "k"
                },
            ),
            ("ANTHROPIC_MODEL", MODEL),
            ("ANTHROPIC_SMALL_FAST_MODEL", MODEL),
            ("ANTHROPIC_DEFAULT_HAIKU_MODEL", MODEL),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("CODEX_KEY", "k"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
            ("LANGCHAIN_TRACING_V2", "false"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
            ("CI", "1"),
        ];
        let filled = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        filled
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The configuration files that say where the gateway is.
    pub fn prepare(&self, home: &Path, address: &str) {
        let off = if self.name.ends_with(" off") {
            "web_search = \"disabled\"\n[features]\nmulti_agent = false\n"
        } else {
            ""
        };
        let codex = format!(
            "model = \"{MODEL}\"\nmodel_provider = \"gateway\"\n{off}[model_providers.gateway]\nname = \"gateway\"\nbase_url = \"{address}/v1\"\nenv_key = \"CODEX_KEY\"\nwire_api = \"responses\"\n"
        );
        fs::create_dir(home.join(".codex")).unwrap();
        fs::write(home.join(".codex/config.toml"), codex).unwrap();
        let models = serde_json::json!({MODEL: {"name": MODEL}});
        let provider = |npm: &str| {
            serde_json::json!({"npm": npm, "name": npm, "models": models,
                "options": {"baseURL": format!("{address}/v1"), "apiKey": "k"}})
        };
        let mut opencode = serde_json::json!({"$schema": "https://opencode.ai/config.json",
            "permission": {"*": "allow"}, "small_model": format!("chat/{MODEL}"),
            "provider": {"chat": provider("@ai-sdk/openai-compatible"),
                "messages": provider("@ai-sdk/anthropic")}});
        if self.speaks == "Messages" {
            opencode["small_model"] = format!("messages/{MODEL}").into();
        }
        fs::write(home.join("workspace/opencode.json"), opencode.to_string()).unwrap();
    }
}

fn pinned(lock: &str, package: &str) -> String {
    let lock = fs::read_to_string(scripts().join(lock).join("requirements.txt")).unwrap();
    let name = format!("{package}==");
    let line = lock.lines().find_map(|line| line.strip_prefix(&name));
    let version = line.and_then(|line| line.split(' ').next());
    version.expect("a pinned version").to_owned()
}
