//! The loop: task, answer, tool calls, results, until something ends it.

use std::{path::PathBuf, time::Duration};

use http::StatusCode;
use proofroom_llm::client::{ToolCall, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    conversation::{Conversation, tool_error},
    model::{Model, out_of_time},
    outcome::{Ended, Outcome, Stop},
    socket::{Allowance, Reply, Socket},
    tools::{FINISH, tool_specs},
};

/// The largest task.
const MAX_TASK_BYTES: usize = 4 * 1024 * 1024;
/// The largest tool result.
const MAX_TOOL_BYTES: usize = 16 * 1024 * 1024;
/// Refused or failed tool calls in a row after which the model is taken to be lost.
const MAX_FAILURES_IN_A_ROW: u32 = 16;

/// How the agent runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The supervisor's socket.
    pub socket: PathBuf,
    /// How long one model answer may take.
    pub patience: Duration,
    /// The pause before the second try for an answer; it doubles with each further one.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/proofroom/agent.sock"),
            patience: Duration::from_secs(600),
            pause: Duration::from_secs(1),
        }
    }
}

/// The answer of `GET /tool/v1/task`. Members it does not know are the supervisor's business.
#[derive(Deserialize)]
struct Task {
    task: String,
    model: String,
    limits: Limits,
}

#[derive(Deserialize)]
struct Limits {
    steps: u64,
    seconds: u64,
    tokens: u64,
}

/// Runs the task that the supervisor hands out, to its end; `progress` gets one short line per
/// step, without text of the conversation.
pub async fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Outcome {
    let mut steps = 0;
    let Err(stop) = work(options, &mut steps, progress).await;
    Outcome {
        ended: stop.ended,
        code: stop.code,
        message: stop.message,
        steps,
    }
}

async fn work(
    options: &Options,
    steps: &mut u64,
    progress: &mut dyn FnMut(&str),
) -> Result<std::convert::Infallible, Stop> {
    let mut socket = Socket::new(options.socket.clone());
    let task = fetch_task(&mut socket).await?;
    let specs = tool_specs();
    let model = Model {
        name: &task.model,
        tools: &specs,
        patience: options.patience,
        pause: options.pause,
    };
    let mut room = Room {
        socket,
        specs: &specs,
        deadline: Instant::now() + Duration::from_secs(task.limits.seconds),
        steps,
        max_steps: task.limits.steps,
        failures: 0,
        progress,
    };
    let mut said = Conversation::about(task.task);
    let mut tokens = 0_u64;
    loop {
        let answer = model
            .answer(&mut room.socket, said.messages(), room.deadline)
            .await?;
        tokens = tokens.saturating_add(answer.total_tokens.unwrap_or(0));
        let text = answer.text.clone();
        let calls = said.add_answer(answer);
        if calls.is_empty() {
            return Err(room.finish_unasked(text).await?);
        }
        for call in &calls {
            let result = room.call(call).await?;
            said.add_result(call, &result)?;
        }
        if tokens > task.limits.tokens {
            let message = format!("more than {} tokens are used", task.limits.tokens);
            return Err(Stop::new(Ended::Limit, "token-limit", message));
        }
    }
}

async fn fetch_task(socket: &mut Socket) -> Result<Task, Stop> {
    let cost = Allowance {
        time: Duration::from_secs(30),
        bytes: MAX_TASK_BYTES,
    };
    let protocol = |code: &str, why: String| Stop::new(Ended::Protocol, code, why);
    let reply = socket
        .get("/tool/v1/task", cost)
        .await
        .map_err(|error| protocol(error.code(), format!("no task: {error}")))?;
    if reply.status != StatusCode::OK {
        let why = format!("no task: the supervisor answered {}", reply.status.as_u16());
        return Err(protocol("no-task", why));
    }
    serde_json::from_slice(&reply.body)
        .map_err(|_| protocol("task-shape", "the task is not the expected json".to_owned()))
}

/// The room's tools, and how much of them is left.
struct Room<'a> {
    socket: Socket,
    specs: &'a [ToolSpec],
    deadline: Instant,
    steps: &'a mut u64,
    max_steps: u64,
    failures: u32,
    progress: &'a mut dyn FnMut(&str),
}

impl Room<'_> {
    /// The result of one tool call for the model; an `Err` ends the run.
    async fn call(&mut self, call: &ToolCall) -> Result<Vec<u8>, Stop> {
        if *self.steps >= self.max_steps {
            let message = format!("{} steps are used up", self.max_steps);
            return Err(Stop::new(Ended::Limit, "step-limit", message));
        }
        *self.steps += 1;
        let Some(name) = self.known(&call.function.name) else {
            (self.progress)("unknown tool");
            return self.failed(tool_error("unknown-tool", "there is no such tool"));
        };
        (self.progress)(name);
        let Ok(arguments @ Value::Object(_)) = serde_json::from_str(&call.function.arguments)
        else {
            let error = tool_error("arguments-not-json", "the arguments are not a json object");
            return self.failed(error);
        };
        let reply = self.post(name, &arguments).await?;
        if name == FINISH && reply.status.is_success() {
            return Err(finished(&arguments));
        }
        if reply.status.is_success() {
            self.failures = 0;
            return Ok(reply.body.to_vec());
        }
        if reply.status == StatusCode::SERVICE_UNAVAILABLE {
            let message = "the supervisor has ended the session";
            return Err(Stop::new(Ended::Limit, "session-ended", message));
        }
        self.failed(error_of(&reply))
    }

    fn known(&self, name: &str) -> Option<&'static str> {
        self.specs
            .iter()
            .map(ToolSpec::name)
            .find(|known| *known == name)
    }

    async fn post(&mut self, name: &str, arguments: &Value) -> Result<Reply, Stop> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(out_of_time());
        }
        let cost = Allowance {
            time: left,
            bytes: MAX_TOOL_BYTES,
        };
        let body = arguments.to_string().into_bytes();
        let path = format!("/tool/v1/{name}");
        self.socket
            .post(&path, body, cost)
            .await
            .map_err(|error| match error.code() {
                "answer-timeout" => out_of_time(),
                code => Stop::new(
                    Ended::Protocol,
                    code,
                    format!("tool `{name}` has no answer: {error}"),
                ),
            })
    }

    fn failed(&mut self, error: Vec<u8>) -> Result<Vec<u8>, Stop> {
        self.failures += 1;
        if self.failures >= MAX_FAILURES_IN_A_ROW {
            let message = format!("{MAX_FAILURES_IN_A_ROW} tool calls in a row failed");
            return Err(Stop::new(Ended::GaveUp, "too-many-failures", message));
        }
        Ok(error)
    }

    /// The model answered without calling a tool: that is its summary.
    async fn finish_unasked(&mut self, text: Option<String>) -> Result<Stop, Stop> {
        let arguments = json!({"summary": text.unwrap_or_default(), "success": true});
        let reply = self.post(FINISH, &arguments).await?;
        if reply.status.is_success() {
            return Ok(finished(&arguments));
        }
        let message = format!("`finish` was answered {}", reply.status.as_u16());
        Err(Stop::new(Ended::Protocol, "finish-refused", message))
    }
}

fn finished(arguments: &Value) -> Stop {
    if arguments.get("success").and_then(Value::as_bool) == Some(true) {
        Stop::new(Ended::Completed, "completed", "the task is finished")
    } else {
        Stop::new(Ended::GaveUp, "gave-up", "the model gave the task up")
    }
}

/// The supervisor's error object, or one made of its status when the body is none.
fn error_of(reply: &Reply) -> Vec<u8> {
    let is_error =
        serde_json::from_slice::<Value>(&reply.body).is_ok_and(|body| body.get("error").is_some());
    if is_error {
        return reply.body.to_vec();
    }
    let message = format!("the tool failed with status {}", reply.status.as_u16());
    tool_error("tool-failed", &message)
}
