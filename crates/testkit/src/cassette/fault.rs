//! Answers that no model should give, chosen by model name, to test what stands in front of one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Response, StatusCode, header};
use serde_json::json;

use super::player::{Body, framed, whole};

/// Bytes of the tool arguments in [`Fault::BigArguments`].
const BIG_ARGUMENT_BYTES: usize = 10 * 1024 * 1024;

/// A way to answer wrongly. The model name is `cassette-fault-` and [`Fault::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 200 and JSON that breaks off.
    GarbageJson,
    /// 200 and bytes that are not UTF-8.
    InvalidUtf8,
    /// A stream of events that never ends.
    EndlessStream,
    /// No answer at all: the connection stays open.
    Hang,
    /// A stream that breaks off with the connection.
    DieMidStream,
    /// A tool call with arguments of 10 MiB.
    BigArguments,
    /// 429.
    TooManyRequests,
    /// 500.
    ServerError,
    /// 200 and well-formed JSON of another API.
    WrongShape,
    /// A call of a tool that nobody offered.
    UnknownTool,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::GarbageJson,
        Self::InvalidUtf8,
        Self::EndlessStream,
        Self::Hang,
        Self::DieMidStream,
        Self::BigArguments,
        Self::TooManyRequests,
        Self::ServerError,
        Self::WrongShape,
        Self::UnknownTool,
    ];

    /// The fault's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GarbageJson => "garbage-json",
            Self::InvalidUtf8 => "invalid-utf8",
            Self::EndlessStream => "endless-stream",
            Self::Hang => "hang",
            Self::DieMidStream => "die-mid-stream",
            Self::BigArguments => "big-arguments",
            Self::TooManyRequests => "status-429",
            Self::ServerError => "status-500",
            Self::WrongShape => "wrong-shape",
            Self::UnknownTool => "unknown-tool",
        }
    }

    /// The model that answers with this fault.
    #[must_use]
    pub fn model(self) -> String {
        format!("cassette-fault-{}", self.name())
    }

    /// The fault that `model` names, if it names one.
    #[must_use]
    pub fn of_model(model: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.model() == model)
    }

    pub(super) async fn response(self, model: &str) -> Response<Body> {
        match self {
            Self::GarbageJson => text(br#"{"id":"chatcmpl-cassette","choices":[{"message":{"con"#),
            Self::InvalidUtf8 => {
                text(b"{\"choices\":[{\"message\":{\"content\":\"\xff\xfe\xc3\"}}]}")
            }
            Self::EndlessStream => framed(endless(model)),
            Self::Hang => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                text(b"")
            }
            Self::DieMidStream => framed(dying(model)),
            Self::BigArguments => call(model, "write_file", &"x".repeat(BIG_ARGUMENT_BYTES)),
            Self::TooManyRequests => status(StatusCode::TOO_MANY_REQUESTS),
            Self::ServerError => status(StatusCode::INTERNAL_SERVER_ERROR),
            Self::WrongShape => text(br#"{"object":"list","data":[{"embedding":[1,2,3]}]}"#),
            Self::UnknownTool => call(model, "format_disk", "everything"),
        }
    }
}

fn text(bytes: &'static [u8]) -> Response<Body> {
    whole(StatusCode::OK, Bytes::from_static(bytes))
}

fn status(status: StatusCode) -> Response<Body> {
    let error = json!({"error": {"message": "recorded failure", "type": "server_error",
        "param": null, "code": format!("cassette-{}", status.as_u16())}});
    let mut response = whole(status, error.to_string().into());
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    response
}

fn call(model: &str, tool: &str, content: &str) -> Response<Body> {
    let arguments = json!({"path": "big.txt", "content": content}).to_string();
    let answer = json!({"id": "chatcmpl-cassette", "object": "chat.completion", "created": 0,
        "model": model, "choices": [{"index": 0, "finish_reason": "tool_calls", "message":
            {"role": "assistant", "content": null, "tool_calls": [{"id": "call_cassette_fault",
                "type": "function", "function": {"name": tool, "arguments": arguments}}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    whole(StatusCode::OK, answer.to_string().into())
}

fn chunk(model: &str) -> Bytes {
    let chunk = json!({"id": "chatcmpl-cassette", "object": "chat.completion.chunk", "created": 0,
        "model": model, "choices": [{"index": 0, "delta": {"content": "more "}, "finish_reason": null}]});
    Bytes::from(format!("data: {chunk}\n\n"))
}

type Chunk = Result<Bytes, std::io::Error>;

fn endless(model: &str) -> impl stream::Stream<Item = Chunk> + Send + Sync + use<> {
    let many = Bytes::from(chunk(model).repeat(64));
    stream::repeat_with(move || Ok(many.clone()))
}

fn dying(model: &str) -> impl stream::Stream<Item = Chunk> + Send + Sync + use<> {
    let parts = [Ok(chunk(model)), Ok(chunk(model))];
    stream::iter(parts)
        .chain(stream::once(async {
            // Lets the parts before reach the client.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(std::io::Error::other("recorded death"))
        }))
        .map(|part: Chunk| part)
}
