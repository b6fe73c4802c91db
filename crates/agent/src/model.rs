//! Asks the model for its next answer: bounded tries, and a clear reason when there is none.

use std::time::Duration;

use http::StatusCode;
use proofroom_llm::client::{
    Answer, MAX_ANSWER_BYTES, Message, ToolSpec, read_answer, request_body,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    outcome::{Ended, Stop},
    socket::{Allowance, Reply, Socket, SocketError},
};

const PATH: &str = "/v1/chat/completions";
/// Tries for one answer, the first included.
const MAX_TRIES: u32 = 4;
/// The longest message of a refusal that is passed on to a person.
const MAX_MESSAGE_CHARS: usize = 300;

/// The model, and how patiently it is asked.
pub(crate) struct Model<'a> {
    pub(crate) name: &'a str,
    pub(crate) tools: &'a [ToolSpec],
    pub(crate) patience: Duration,
    pub(crate) pause: Duration,
}

/// Why a try had no usable answer.
enum Failed {
    /// Another try may help.
    Again(Stop),
    /// It will not.
    Final(Stop),
}

impl Model<'_> {
    /// The next answer to `messages`, before `deadline`.
    pub(crate) async fn answer(
        &self,
        socket: &mut Socket,
        messages: &[Message],
        deadline: Instant,
    ) -> Result<Answer, Stop> {
        let mut pause = self.pause;
        let mut tries = 1;
        loop {
            let failed = match self.attempt(socket, messages, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Final(stop)) => return Err(stop),
                Err(Failed::Again(stop)) => stop,
            };
            if tries >= MAX_TRIES {
                let message = format!("{} ({tries} tries)", failed.message);
                return Err(Stop { message, ..failed });
            }
            if Instant::now() + pause >= deadline {
                return Err(out_of_time());
            }
            sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }

    async fn attempt(
        &self,
        socket: &mut Socket,
        messages: &[Message],
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failed::Final(out_of_time()));
        }
        let cost = Allowance {
            time: left.min(self.patience),
            bytes: MAX_ANSWER_BYTES,
        };
        let body = request_body(self.name, messages, self.tools);
        match socket.post(PATH, body, cost).await {
            Ok(reply) => read_reply(&reply),
            Err(SocketError::Timeout { .. }) if left <= self.patience => {
                Err(Failed::Final(out_of_time()))
            }
            Err(error @ SocketError::Connect { .. }) => {
                Err(Failed::Final(unusable(error.code(), &error.to_string())))
            }
            Err(error) => Err(Failed::Again(unusable(error.code(), &error.to_string()))),
        }
    }
}

fn read_reply(reply: &Reply) -> Result<Answer, Failed> {
    match reply.status {
        StatusCode::OK => read_answer(&reply.body)
            .map_err(|error| Failed::Again(unusable(error.code(), &error.to_string()))),
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            let (code, message) = refusal(reply);
            Err(Failed::Again(Stop::new(
                Ended::GaveUp,
                &code,
                format!("the model answered {}: {message}", status.as_u16()),
            )))
        }
        status => {
            let (code, message) = refusal(reply);
            Err(Failed::Final(Stop::new(
                Ended::GaveUp,
                &code,
                format!(
                    "the model call was refused ({}): {message}",
                    status.as_u16()
                ),
            )))
        }
    }
}

/// Code and message of `{"error": {...}}`, stripped of what could trick a terminal.
fn refusal(reply: &Reply) -> (String, String) {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let member = |name: &str| {
        body.get("error")
            .and_then(|error| error.get(name))
            .and_then(Value::as_str)
            .map(plain)
            .filter(|text| !text.is_empty())
    };
    (
        member("code").unwrap_or_else(|| "model-error".to_owned()),
        member("message").unwrap_or_else(|| "no reason given".to_owned()),
    )
}

fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE_CHARS)
        .collect()
}

fn unusable(code: &str, why: &str) -> Stop {
    Stop::new(
        Ended::Protocol,
        code,
        format!("no usable answer from the model: {why}"),
    )
}

pub(crate) fn out_of_time() -> Stop {
    Stop::new(Ended::Limit, "time-limit", "the session's time is used up")
}
