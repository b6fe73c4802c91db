//! Traces as OTLP/HTTP has them in JSON (OTLP 1.x, "JSON Protobuf Encoding": ids in hexadecimal, 64-bit numbers as
//! text, enumerations as numbers), with the names of OpenTelemetry's semantic conventions for generative AI, 1.37.

use std::collections::BTreeMap;

use proofroom_gateway::trace::{Parent, Place, RunTrace, Sending, Span, Verification};
use proofroom_llm::Api;
use proofroom_record::statement::{AnsweredBy, LogMode};
use serde::Serialize;

/// The conventions that names are of.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";
/// `SpanKind` of the protocol.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// `StatusCode` of the protocol.
const ERROR: u8 = 2;
/// The trace is sampled (W3C), and whether the parent is of another process is known, and is so (`SpanFlags`).
const SAMPLED: u32 = 0x1;
const KNOWN_LOCAL: u32 = 0x100;
const KNOWN_REMOTE: u32 = 0x300;

/// The body of a request with these traces.
///
/// # Errors
/// Never in practice: every value is text or a number.
pub(super) fn request(
    resource: &BTreeMap<String, String>,
    traces: &[Box<RunTrace>],
) -> serde_json::Result<Vec<u8>> {
    let spans = traces.iter().flat_map(|trace| spans_of(trace)).collect();
    serde_json::to_vec(&Request {
        resource_spans: [ResourceSpans {
            resource: Resource {
                attributes: resource
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str()))
                    .chain([
                        ("service.version", env!("CARGO_PKG_VERSION")),
                        ("telemetry.sdk.name", "proofroom"),
                        ("telemetry.sdk.language", "rust"),
                        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
                    ])
                    .map(|(key, value)| KeyValue::text(key, value))
                    .collect(),
            },
            scope_spans: [ScopeSpans {
                scope: Scope {
                    name: "proofroom-gateway",
                    version: env!("CARGO_PKG_VERSION"),
                },
                spans,
                schema_url: SCHEMA,
            }],
        }],
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<KeyValue<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<SpanOf<'a>>,
    schema_url: &'static str,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanOf<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: Value<'a>,
}

#[derive(Serialize)]
enum Value<'a> {
    #[serde(rename = "stringValue")]
    Text(&'a str),
    /// Digests and ids.
    #[serde(rename = "stringValue")]
    Owned(String),
    /// As text: JSON's numbers do not hold 64 bits.
    #[serde(rename = "intValue")]
    Digits(String),
    #[serde(rename = "arrayValue")]
    Words { values: [Word<'a>; 1] },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Word<'a> {
    string_value: &'a str,
}

impl<'a> KeyValue<'a> {
    const fn text(key: &'a str, value: &'a str) -> Self {
        let value = Value::Text(value);
        Self { key, value }
    }

    fn shown(key: &'a str, value: impl std::fmt::Display) -> Self {
        let value = Value::Owned(value.to_string());
        Self { key, value }
    }

    fn number(key: &'a str, value: impl Into<u64>) -> Self {
        let value = Value::Digits(value.into().to_string());
        Self { key, value }
    }
}

fn spans_of(trace: &RunTrace) -> Vec<SpanOf<'_>> {
    let verifications = trace.verifications.iter().map(verification);
    let sendings = trace.sendings.iter().map(sending);
    std::iter::once(run(trace))
        .chain(verifications)
        .chain(sendings)
        .collect()
}

fn span<'a>(place: &Place, times: Span, name: String, kind: u8) -> SpanOf<'a> {
    let (parent, remote) = match place.parent {
        Parent::None => (None, KNOWN_LOCAL),
        Parent::Remote(parent) => (Some(parent), KNOWN_REMOTE),
        Parent::Own(parent) => (Some(parent), KNOWN_LOCAL),
    };
    SpanOf {
        trace_id: hex::encode(place.trace),
        span_id: hex::encode(place.span),
        parent_span_id: parent.map(hex::encode),
        flags: SAMPLED | remote,
        name,
        kind,
        start_time_unix_nano: times.began.to_string(),
        end_time_unix_nano: times.ended.to_string(),
        attributes: Vec::new(),
        status: None,
    }
}

fn run(trace: &RunTrace) -> SpanOf<'_> {
    let operation = operation(trace.api);
    let name = match trace.model.is_known() {
        true => format!("{operation} {}", trace.model.as_str()),
        false => operation.to_owned(),
    };
    let mut span = span(&trace.place, trace.span, name, SERVER);
    let all = &mut span.attributes;
    all.extend([
        KeyValue::text("gen_ai.operation.name", operation),
        KeyValue::text("gen_ai.provider.name", provider(trace.api)),
        KeyValue::text("gen_ai.request.model", trace.model.as_str()),
        KeyValue::shown("proofroom.run.id", trace.run),
        KeyValue::shown("proofroom.session.id", trace.session),
        KeyValue::text("proofroom.label", trace.label.as_str()),
        KeyValue::text("proofroom.rule", trace.rule.as_str()),
        KeyValue::text("proofroom.status", trace.outcome.status.as_str()),
        KeyValue::text("proofroom.log_mode", log_mode(trace.outcome.log)),
    ]);
    let named = [
        ("proofroom.tier", &trace.tier),
        ("proofroom.upstream", &trace.upstream),
    ];
    let named = named
        .into_iter()
        .filter_map(|(key, name)| Some(KeyValue::text(key, name.as_ref()?.as_str())));
    all.extend(named);
    let digests = [
        ("proofroom.record.digest", trace.record),
        ("proofroom.evidence.digest", trace.outcome.evidence),
    ];
    all.extend(
        digests
            .into_iter()
            .filter_map(|(key, digest)| Some(KeyValue::shown(key, digest?))),
    );
    all.extend(answer(trace));
    all.extend(
        trace
            .outcome
            .code
            .map(|code| KeyValue::text("error.type", code)),
    );
    let at_fault = trace.outcome.http_status.is_none_or(|status| status >= 500);
    let lost = trace.record.is_none();
    let failed = lost || (trace.outcome.code.is_some() && at_fault);
    span.status = failed.then_some(Status { code: ERROR });
    span
}

/// What of the answer may be said.
fn answer(trace: &RunTrace) -> Vec<KeyValue<'_>> {
    let mut all = Vec::new();
    if let Some(answered_by) = trace.outcome.answered_by {
        // the upstream's own word for its model is its text
        all.push(KeyValue::text("gen_ai.response.model", who(answered_by)));
    }
    if let Some(finish) = trace.outcome.finish {
        let values = [Word {
            string_value: finish.as_str(),
        }];
        all.push(KeyValue {
            key: "gen_ai.response.finish_reasons",
            value: Value::Words { values },
        });
    }
    if let Some(tokens) = trace.outcome.tokens {
        all.push(KeyValue::number("gen_ai.usage.input_tokens", tokens.input));
        all.push(KeyValue::number(
            "gen_ai.usage.output_tokens",
            tokens.output,
        ));
    }
    if let Some(status) = trace.outcome.http_status {
        all.push(KeyValue::number("http.response.status_code", status));
    }
    if trace.outcome.redacted > 0 {
        all.push(KeyValue::number(
            "proofroom.redacted_values",
            trace.outcome.redacted,
        ));
        let restored = trace.outcome.restored;
        all.push(KeyValue::number(
            "proofroom.restored_placeholders",
            restored,
        ));
    }
    all
}

fn verification(one: &Verification) -> SpanOf<'_> {
    let name = "proofroom.verify".to_owned();
    let mut span = span(&one.place, one.span, name, INTERNAL);
    let upstream = one.upstream.name.as_str();
    let all = &mut span.attributes;
    all.push(KeyValue::text("proofroom.upstream", upstream));
    let digest = one.evidence;
    all.extend(digest.map(|digest| KeyValue::shown("proofroom.evidence.digest", digest)));
    all.extend(one.code.map(|code| KeyValue::text("error.type", code)));
    span.status = one.code.map(|_| Status { code: ERROR });
    span
}

fn sending(one: &Sending) -> SpanOf<'_> {
    let name = "proofroom.send".to_owned();
    let mut span = span(&one.place, one.span, name, CLIENT);
    let all = &mut span.attributes;
    all.extend([
        KeyValue::text("gen_ai.operation.name", operation(one.api)),
        KeyValue::text("gen_ai.provider.name", provider(one.api)),
        KeyValue::text("proofroom.upstream", one.upstream.name.as_str()),
        KeyValue::text("server.address", one.upstream.host.as_str()),
        KeyValue::number("server.port", one.upstream.port),
    ]);
    let status = one.http_status;
    all.extend(status.map(|status| KeyValue::number("http.response.status_code", status)));
    let head = one.head_after;
    all.extend(head.map(|after| KeyValue::number("proofroom.head_after_ns", after)));
    all.extend(one.code.map(|code| KeyValue::text("error.type", code)));
    span.status = one.code.map(|_| Status { code: ERROR });
    span
}

/// `gen_ai.operation.name`; the last two are ours.
const fn operation(api: Api) -> &'static str {
    match api {
        Api::ChatCompletions | Api::Responses | Api::Messages => "chat",
        Api::Embeddings => "embeddings",
        Api::Rerank => "rerank",
        Api::CountTokens => "count_tokens",
    }
}

/// `gen_ai.provider.name`: whose format it is, not who answers.
const fn provider(api: Api) -> &'static str {
    match api {
        Api::ChatCompletions | Api::Responses | Api::Embeddings => "openai",
        Api::Messages | Api::CountTokens => "anthropic",
        Api::Rerank => "cohere",
    }
}

const fn who(answered_by: AnsweredBy) -> &'static str {
    match answered_by {
        AnsweredBy::Asked => "asked",
        AnsweredBy::Variant => "variant",
        AnsweredBy::Other => "other",
    }
}

const fn log_mode(mode: LogMode) -> &'static str {
    match mode {
        LogMode::Strict => "strict",
        LogMode::Prompt => "prompt",
    }
}
