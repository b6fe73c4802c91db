//! `[telemetry]` of `gateway.toml`: where spans go. Absent, there are none.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use proofroom_canonical::Sensitive;
use proofroom_gateway::{
    authorities_in,
    config::{BaseUrl, SecretSource, SystemSecrets},
    trace::{IncomingTrace, Ratio},
};
use rustls::RootCertStore;
use serde::Deserialize;

/// The most resource attributes, and the most bytes of each one's name and value.
const MAX_ATTRIBUTES: usize = 32;
const MAX_ATTRIBUTE_BYTES: usize = 256;
/// Headers that the exporter writes itself.
const OWN: [HeaderName; 5] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TRANSFER_ENCODING,
];

/// Where spans go, how many, and what they say of the gateway.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The collector; spans are posted below it to `/v1/traces`.
    pub endpoint: BaseUrl,
    /// PEM file of the authorities that may certify it; the public ones where none is named.
    pub authorities: Option<PathBuf>,
    /// File of headers for it, `name: value` by line.
    pub headers: Option<PathBuf>,
    /// What is true of the gateway, `service.name` among it.
    pub resource: BTreeMap<String, String>,
    /// Which share of runs is traced.
    pub ratio: Ratio,
    /// What a client's `traceparent` is worth.
    pub incoming: IncomingTrace,
    /// The most runs whose spans wait.
    pub queue: usize,
    /// How long a stop may take to deliver what waits.
    pub stop_within: Duration,
}

/// What keeps spans from being delivered at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryProblem {
    /// The endpoint is no address that spans may go to.
    #[error(
        "`telemetry.endpoint` must be `https://host[:port][/prefix]`, or `http://` to loopback, not `{0}`"
    )]
    Endpoint(String),
    /// More than every run.
    #[error("`telemetry.sampled_per_million` must be at most 1000000, not {0}")]
    Ratio(u32),
    /// A bound of zero, or too high a one.
    #[error("`telemetry.queue` must be 1 to 65536, not {0}")]
    Queue(usize),
    /// Resource attributes that are too many or too long.
    #[error(
        "`telemetry.resource` must be at most {MAX_ATTRIBUTES} names and values of 1 to {MAX_ATTRIBUTE_BYTES} bytes"
    )]
    Resource,
    /// The file of headers cannot be read.
    #[error("cannot read the file of headers `{path}`")]
    HeadersUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file of headers is not of its form. What it holds is not shown.
    #[error(
        "line {line} of the file of headers must be `name: value`, once for each name, and none that HTTP itself needs"
    )]
    Headers {
        /// From 1.
        line: usize,
    },
    /// The authorities cannot be used.
    #[error("`{path}` must be certificates in PEM, each an X.509 certificate")]
    Authorities {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("tls to the collector cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl TelemetryProblem {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => "telemetry-endpoint",
            Self::Ratio(_) => "telemetry-ratio",
            Self::Queue(_) => "telemetry-queue",
            Self::Resource => "telemetry-resource",
            Self::HeadersUnreadable { .. } | Self::Headers { .. } => "telemetry-headers",
            Self::Authorities { .. } => "telemetry-authorities",
            Self::Tls(_) => "telemetry-tls",
        }
    }
}

/// The table as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    endpoint: String,
    authorities: Option<PathBuf>,
    headers: Option<PathBuf>,
    #[serde(default = "service_name")]
    service_name: String,
    #[serde(default)]
    resource: BTreeMap<String, String>,
    #[serde(default = "every_run")]
    sampled_per_million: u32,
    #[serde(default)]
    traceparent: RawIncoming,
    #[serde(default = "queue")]
    queue: usize,
    #[serde(default = "stop_seconds")]
    stop_seconds: u64,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawIncoming {
    #[default]
    Ignored,
    Continued,
}

fn service_name() -> String {
    "proofroom-gateway".to_owned()
}

const fn every_run() -> u32 {
    1_000_000
}

const fn queue() -> usize {
    2048
}

const fn stop_seconds() -> u64 {
    5
}

impl Raw {
    /// Paths are relative to `base`.
    pub(crate) fn read(self, base: &Path) -> Result<TelemetryConfig, TelemetryProblem> {
        let endpoint = BaseUrl::parse(&self.endpoint);
        let endpoint = endpoint.ok_or(TelemetryProblem::Endpoint(self.endpoint))?;
        let ratio = Ratio::of_millionths(self.sampled_per_million);
        let ratio = ratio.ok_or(TelemetryProblem::Ratio(self.sampled_per_million))?;
        if !(1..=65_536).contains(&self.queue) {
            return Err(TelemetryProblem::Queue(self.queue));
        }
        let mut resource = self.resource;
        resource.insert("service.name".to_owned(), self.service_name);
        let fits = |text: &String| (1..=MAX_ATTRIBUTE_BYTES).contains(&text.len());
        let fit = resource
            .iter()
            .all(|(name, value)| fits(name) && fits(value));
        if resource.len() > MAX_ATTRIBUTES || !fit {
            return Err(TelemetryProblem::Resource);
        }
        Ok(TelemetryConfig {
            endpoint,
            authorities: self.authorities.map(|path| base.join(path)),
            headers: self.headers.map(|path| base.join(path)),
            resource,
            ratio,
            incoming: match self.traceparent {
                RawIncoming::Ignored => IncomingTrace::Ignored,
                RawIncoming::Continued => IncomingTrace::Continued,
            },
            queue: self.queue,
            stop_within: Duration::from_secs(self.stop_seconds),
        })
    }
}

impl TelemetryConfig {
    /// The headers for the collector.
    pub(super) fn read_headers(&self) -> Result<HeaderMap, TelemetryProblem> {
        let Some(path) = &self.headers else {
            return Ok(HeaderMap::new());
        };
        let text = SystemSecrets.file(path).map_err(|source| {
            let path = path.clone();
            TelemetryProblem::HeadersUnreadable { path, source }
        })?;
        parse_headers(&text)
    }

    /// The authorities that may certify the collector.
    pub(super) fn read_authorities(&self) -> Result<Option<RootCertStore>, TelemetryProblem> {
        let Some(path) = &self.authorities else {
            return Ok(None);
        };
        let store = authorities_in(path);
        let store = store.ok_or_else(|| TelemetryProblem::Authorities { path: path.clone() })?;
        Ok(Some(store))
    }
}

/// Headers by line; empty lines and such that begin with `#` are none.
fn parse_headers(text: &Sensitive<String>) -> Result<HeaderMap, TelemetryProblem> {
    let mut headers = HeaderMap::new();
    let lines = (1..).zip(text.expose().lines());
    for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
        let (name, value) = header_of(text).ok_or(TelemetryProblem::Headers { line })?;
        if OWN.contains(&name) || headers.insert(name, value).is_some() {
            return Err(TelemetryProblem::Headers { line });
        }
    }
    Ok(headers)
}

fn header_of(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim().parse().ok()?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use proofroom_canonical::Sensitive;

    use super::parse_headers;

    #[test]
    fn headers_are_lines_and_what_is_not_one_is_named_by_its_place_alone() {
        let read = |text: &str| parse_headers(&Sensitive::new(text.to_owned()));
        let headers =
            read("# for the collector\n\nAuthorization: Bearer abc\nx-tenant:one\n").unwrap();
        assert_eq!(headers["authorization"], "Bearer abc");
        assert_eq!(headers["x-tenant"], "one");
        assert!(!format!("{headers:?}").contains("abc"));
        for (bad, line) in [
            ("no colon but a secret", 1),
            ("a: b\nA: c", 2),
            ("content-type: text/plain", 1),
            ("host: elsewhere", 1),
            ("a b: c", 1),
            ("a: b\n\nc: \u{1}", 3),
        ] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.code(), "telemetry-headers");
            let shown = error.to_string();
            assert!(shown.contains(&format!("line {line} ")), "{bad}: {shown}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
