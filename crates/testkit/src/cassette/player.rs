//! Answers HTTP requests from cassettes. Not a server: it is called with each request.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use proofroom_clock::wall;
use serde_json::{Map, Value, json};

use super::{
    Attested, Cassette, Fault, HEADER, MODEL_WORD, MODELS, Turn, anthropic, choose, lists, openai,
    responses,
};

/// The largest request that is read.
pub const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of text in one event of a stream.
const PIECE_CHARS: usize = 24;

/// The body of a response.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// Plays cassettes.
#[derive(Clone, Debug)]
pub struct Player {
    cassettes: Arc<[Cassette]>,
    attested: Option<Arc<Attested>>,
}

/// What a request asks for, as far as a cassette cares.
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) messages: Vec<Value>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) tokens: u64,
}

#[derive(Clone, Copy)]
enum Dialect {
    OpenAi,
    Responses,
    Anthropic,
}

impl Player {
    /// A player of `cassettes`; the first that fits a conversation plays it. With `attested` it also
    /// serves attestation evidence.
    #[must_use]
    pub fn new(cassettes: Vec<Cassette>, attested: Option<Attested>) -> Self {
        Self {
            cassettes: cassettes.into(),
            attested: attested.map(Arc::new),
        }
    }

    /// The response to one request. Never an `Err`: everything is answered.
    ///
    /// # Errors
    /// None.
    pub async fn respond<B>(&self, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut response = self.route(request).await;
        response
            .headers_mut()
            .insert(HEADER, HeaderValue::from_static("1"));
        Ok(response)
    }

    async fn route<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_REQUEST_BYTES).collect().await else {
            return error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request-too-large",
                "request too large",
            );
        };
        let body = body.to_bytes();
        match (&parts.method, parts.uri.path()) {
            (&Method::HEAD | &Method::GET, "/") => json_response(&json!({"cassette": true})),
            (&Method::GET, "/v1/models") => json_response(&model_list()),
            (&Method::GET, "/.well-known/proofroom-attestation") => {
                self.evidence(parts.uri.query().unwrap_or_default())
            }
            (&Method::POST, "/v1/messages/count_tokens") => {
                json_response(&json!({"input_tokens": estimate(body.len())}))
            }
            (&Method::POST, "/v1/embeddings") => answered(lists::embeddings(&body)),
            (&Method::POST, "/v1/rerank") => answered(lists::ranks(&body)),
            (&Method::POST, "/v1/responses") => self.play(Dialect::Responses, &body).await,
            (&Method::POST, "/v1/chat/completions") => self.play(Dialect::OpenAi, &body).await,
            (&Method::POST, "/v1/messages") => self.play(Dialect::Anthropic, &body).await,
            _ => error(StatusCode::NOT_FOUND, "not-found", "no such path"),
        }
    }

    async fn play(&self, dialect: Dialect, body: &[u8]) -> Response<Body> {
        let asked = match Asked::read(body) {
            Ok(asked) => asked,
            Err(why) => return error(StatusCode::BAD_REQUEST, "request-invalid", why),
        };
        if !asked.model.contains(MODEL_WORD) {
            let message = "this upstream plays recordings only; its models are named cassette-...";
            return error(StatusCode::NOT_FOUND, "model-not-found", message);
        }
        if let Some(fault) = Fault::of_model(&asked.model) {
            return fault.response(&asked.model).await;
        }
        let chosen = choose(&self.cassettes, &asked.messages)
            .and_then(|cassette| cassette.turn(&asked.messages));
        let (number, turn) = match chosen {
            Ok(chosen) => chosen,
            Err(why) => {
                let message = why.to_string();
                return error(StatusCode::UNPROCESSABLE_ENTITY, why.code(), &message);
            }
        };
        match (dialect, asked.stream) {
            (Dialect::OpenAi, false) => json_response(&openai::answer(&asked, number, turn)),
            (Dialect::Responses, false) => json_response(&responses::answer(&asked, number, turn)),
            (Dialect::Responses, true) => streamed(responses::events(&asked, number, turn)),
            (Dialect::Anthropic, false) => json_response(&anthropic::answer(&asked, number, turn)),
            (Dialect::OpenAi, true) => streamed(openai::events(&asked, number, turn)),
            (Dialect::Anthropic, true) => streamed(anthropic::events(&asked, number, turn)),
        }
    }

    fn evidence(&self, query: &str) -> Response<Body> {
        let Some(attested) = &self.attested else {
            return error(
                StatusCode::NOT_FOUND,
                "not-attested",
                "started without --tls-attested",
            );
        };
        let nonce = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("nonce="))
            .unwrap_or_default();
        match attested.evidence(nonce, wall()) {
            Ok(document) => whole(StatusCode::OK, document.into()),
            Err(why) => error(StatusCode::BAD_REQUEST, why.code(), &why.to_string()),
        }
    }
}

impl Asked {
    fn read(body: &[u8]) -> Result<Self, &'static str> {
        let request: Value = serde_json::from_slice(body).map_err(|_| "the request is not json")?;
        let model = request.get("model").and_then(Value::as_str);
        let messages = match request.get("input") {
            Some(input) => Some(responses::messages(input)),
            None => request.get("messages").and_then(Value::as_array).cloned(),
        };
        let usage = request.pointer("/stream_options/include_usage");
        Ok(Self {
            model: model.ok_or("`model` is missing")?.to_owned(),
            messages: messages.ok_or("`messages` is missing")?,
            stream: request.get("stream").and_then(Value::as_bool) == Some(true),
            include_usage: usage.and_then(Value::as_bool) == Some(true),
            tokens: estimate(body.len()),
        })
    }
}

/// Tokens of a recorded answer: an estimate, four bytes each.
pub(super) fn tokens_of(turn: &Turn) -> u64 {
    let calls = turn.tool_calls.iter();
    let called: usize = calls
        .map(|call| call.name.len() + call.arguments.to_string().len())
        .sum();
    estimate(turn.text.len() + called)
}

pub(super) fn estimate(bytes: usize) -> u64 {
    u64::try_from(bytes / 4 + 1).unwrap_or(u64::MAX)
}

/// The members of an object.
pub(super) fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// `text` in pieces as a model would stream them.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = String> + use<> {
    let chars: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = chars
        .chunks(PIECE_CHARS)
        .map(|piece| piece.iter().collect())
        .collect();
    pieces.into_iter()
}

fn model_list() -> Value {
    let faults = Fault::ALL.map(Fault::model);
    let names = MODELS.into_iter().chain(faults.iter().map(String::as_str));
    let data: Vec<Value> = names
        .map(|id| json!({"id": id, "object": "model", "created": 0, "owned_by": "cassette"}))
        .collect();
    json!({"object": "list", "data": data})
}

fn answered(answer: Result<Value, &'static str>) -> Response<Body> {
    match answer {
        Ok(answer) => json_response(&answer),
        Err(why) => error(StatusCode::BAD_REQUEST, "request-invalid", why),
    }
}

fn json_response(body: &Value) -> Response<Body> {
    whole(StatusCode::OK, body.to_string().into())
}

/// An error in a shape that both dialects' clients read.
fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let error = json!({"type": code, "code": code, "message": message, "param": null});
    let body = json!({"type": "error", "error": error});
    whole(status, body.to_string().into())
}

pub(super) fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    respond_with(status, "application/json", body)
}

fn streamed(events: Vec<String>) -> Response<Body> {
    framed(stream::iter(events).map(|event| Ok(Bytes::from(event))))
}

pub(super) fn framed(
    events: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static,
) -> Response<Body> {
    let body = StreamBody::new(events.map(|event| event.map(Frame::data)));
    respond_with(
        StatusCode::OK,
        "text/event-stream; charset=utf-8",
        BodyExt::boxed(body),
    )
}

fn respond_with(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
