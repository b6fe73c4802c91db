//! A double of an OpenTelemetry collector: takes OTLP/HTTP in JSON, keeps every byte, and reads what it got by the
//! messages of `opentelemetry/proto/trace/v1/trace.proto`, in which no other member may stand.

use std::sync::Arc;

use rustls::ServerConfig;
use serde::Deserialize;

use crate::server::{Received, Reply, Server};

/// A collector that listens on loopback until its process ends.
#[derive(Debug)]
pub struct Collector {
    /// Host and port.
    pub address: String,
    server: Server,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    attributes: Vec<KeyValue>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ScopeSpans {
    #[serde(rename = "scope")]
    _scope: Scope,
    spans: Vec<Span>,
    #[serde(rename = "schemaUrl")]
    _schema_url: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "version")]
    _version: String,
}

/// A span as it arrived.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Span {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits.
    pub parent_span_id: Option<String>,
    /// `SpanFlags`.
    pub flags: u32,
    /// Its name.
    pub name: String,
    /// `SpanKind`.
    pub kind: u8,
    /// Nanoseconds, in digits.
    pub start_time_unix_nano: String,
    /// Nanoseconds, in digits.
    pub end_time_unix_nano: String,
    attributes: Vec<KeyValue>,
    /// Present where it failed.
    pub status: Option<Status>,
}

/// How a span ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// `StatusCode`.
    pub code: u8,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyValue {
    key: String,
    value: AnyValue,
}

#[derive(Clone, Debug, Deserialize)]
enum AnyValue {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "intValue")]
    Digits(String),
    #[serde(rename = "arrayValue")]
    Array(ArrayValue),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrayValue {
    values: Vec<AnyValue>,
}

impl Span {
    /// The attribute of this name as text; empty where there is none.
    ///
    /// # Panics
    /// When it is there twice.
    #[must_use]
    pub fn attribute(&self, key: &str) -> String {
        let mut found = self.attributes.iter().filter(|one| one.key == key);
        let value = found.next().map(|one| one.value.text()).unwrap_or_default();
        assert!(found.next().is_none(), "`{key}` twice: {self:?}");
        value
    }

    fn check(&self) {
        for (digits, length) in [(&self.trace_id, 32), (&self.span_id, 16)] {
            let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            assert!(hex && digits.len() == length, "{self:?}");
        }
        let nanos = |text: &str| text.parse::<u64>().expect("nanoseconds");
        let (began, ended) = (&self.start_time_unix_nano, &self.end_time_unix_nano);
        assert!(0 < nanos(began) && nanos(began) <= nanos(ended), "{self:?}");
    }
}

impl AnyValue {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Digits(digits) => {
                assert!(digits.parse::<u64>().is_ok(), "{digits}");
                digits.clone()
            }
            Self::Array(array) => {
                let values: Vec<String> = array.values.iter().map(Self::text).collect();
                values.join(",")
            }
        }
    }
}

impl Collector {
    /// Listens, and takes whatever comes.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start() -> Self {
        Self::reached(None)
    }

    /// The same over TLS.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn over_tls(identity: Arc<ServerConfig>) -> Self {
        Self::reached(Some(identity))
    }

    fn reached(tls: Option<Arc<ServerConfig>>) -> Self {
        let server = Server::start(tls, |_| Reply::json(200, "{}"));
        let address = server.address.clone();
        Self { address, server }
    }

    /// Every byte of every request.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let received = self.server.received();
        let bytes = |request: Received| [request.head, request.body].concat();
        received.into_iter().flat_map(bytes).collect()
    }

    /// Every span, in the order of their arrival.
    ///
    /// # Panics
    /// When a request is not of its format.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut received = self.server.asked("/v1/traces");
        received.retain(|request| request.method == "POST");
        let mut spans = Vec::new();
        for Received { body, .. } in received {
            let text = String::from_utf8_lossy(&body).into_owned();
            let request: Request =
                serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {text}"));
            for resource in request.resource_spans {
                let named = |one: &KeyValue| one.key == "service.name";
                assert!(resource.resource.attributes.iter().any(named), "{text}");
                spans.extend(
                    resource
                        .scope_spans
                        .into_iter()
                        .flat_map(|scope| scope.spans),
                );
            }
        }
        spans.iter().for_each(Span::check);
        spans
    }
}
