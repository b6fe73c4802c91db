//! Which headers cross the gateway. Both directions are allow-lists: what is not named here, such as
//! a client's credentials or an upstream's cookies, does not cross.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::credential::Access;

/// The longest header value that is forwarded; a longer one is left out.
pub const MAX_FORWARDED_VALUE_BYTES: usize = 1024;

/// The run's id; on every answer to a model request.
pub static RUN: HeaderName = HeaderName::from_static("x-proofroom-run");
/// On an answer the session's label; on a request the label that its sender asks for at least.
pub static LABEL: HeaderName = HeaderName::from_static("x-proofroom-label");
/// The run's place in its session, from 0.
pub static SEQUENCE: HeaderName = HeaderName::from_static("x-proofroom-sequence");
/// The tier chosen; absent when nothing was sent.
pub static TIER: HeaderName = HeaderName::from_static("x-proofroom-tier");
/// Trailer: digest of the run's record.
pub static RECORD: HeaderName = HeaderName::from_static("x-proofroom-record");
/// Trailer: how the run ended.
pub static STATUS: HeaderName = HeaderName::from_static("x-proofroom-status");

static FORWARDED_REQUEST: [HeaderName; 7] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::USER_AGENT,
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("anthropic-dangerous-direct-browser-access"),
    HeaderName::from_static("openai-beta"),
];

/// Headers that speak of a client's API and mean nothing in another.
const OF_AN_API: [&str; 4] = [
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "openai-beta",
];

static FORWARDED_ANSWER: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-should-retry"),
];

const FORWARDED_ANSWER_PREFIXES: [&str; 3] =
    ["anthropic-ratelimit-", "x-ratelimit-", "openai-processing-"];

/// The client's headers that are forwarded. Their values are classified with the body.
fn forwarded(client: &HeaderMap) -> impl Iterator<Item = (&'static HeaderName, &HeaderValue)> {
    FORWARDED_REQUEST.iter().flat_map(move |name| {
        let values = client.get_all(name).into_iter();
        values
            .filter(|value| value.len() <= MAX_FORWARDED_VALUE_BYTES && value.to_str().is_ok())
            .map(move |value| (name, value))
    })
}

/// The labels that a request asks for at least, as written.
pub(crate) fn asked_labels(client: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = client.get_all(&LABEL).into_iter();
    values.flat_map(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
    })
}

/// The values of the headers that are forwarded, for classification.
pub(crate) fn forwarded_texts(client: &HeaderMap) -> Vec<String> {
    forwarded(client)
        .filter_map(|(_, value)| value.to_str().ok())
        .map(str::to_owned)
        .collect()
}

/// The headers of the forwarded request, with the gateway's own key. A signature comes later, over the whole request.
pub(crate) fn to_upstream(client: &HeaderMap, access: &Access) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in forwarded(client) {
        headers.append(name, value.clone());
    }
    if let Access::Header(name, value) = access {
        headers.insert(name, value.clone());
    }
    headers
}

/// Takes out what speaks of a client's API.
pub(crate) fn without_apis(headers: &mut HeaderMap) {
    for name in OF_AN_API {
        headers.remove(name);
    }
}

/// The headers of an upstream's answer that the client gets.
pub(crate) fn to_client(upstream: &HeaderMap) -> HeaderMap {
    // those of a run come to them
    let mut headers = HeaderMap::with_capacity(12);
    for (name, value) in upstream {
        let named = FORWARDED_ANSWER.contains(name)
            || FORWARDED_ANSWER_PREFIXES
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix));
        if named {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// The query that is forwarded: `beta=true`, which one client's SDK adds and which selects a schema.
/// Any other query would be content that nobody classified.
pub(crate) fn forwarded_query(query: Option<&str>) -> &'static str {
    match query {
        Some("beta=true") => "?beta=true",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::{forwarded_query, to_client, to_upstream};
    use crate::credential::Access;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_clients_credentials_never_cross() {
        let long = "x".repeat(2000);
        let client = map(&[
            ("authorization", "Bearer room"),
            ("x-api-key", "room"),
            ("cookie", "a=b"),
            ("proxy-authorization", "x"),
            ("connection", "x-secret"),
            ("x-forwarded-for", "1.2.3.4"),
            ("content-type", "application/json"),
            ("anthropic-beta", "a,b"),
            ("user-agent", &long),
        ]);
        let bare = to_upstream(&client, &Access::None);
        assert_eq!(names(&bare), ["anthropic-beta", "content-type"]);
        let own = HeaderValue::from_static("Bearer sk-own");
        let keyed = to_upstream(&client, &Access::Header(header::AUTHORIZATION, own));
        assert_eq!(keyed["authorization"], "Bearer sk-own");
    }

    #[test]
    fn an_upstreams_cookies_never_cross() {
        let upstream = map(&[
            ("set-cookie", "a=b"),
            ("content-type", "text/event-stream"),
            ("x-ratelimit-remaining-tokens", "5"),
            ("x-proofroom-tier", "tee"),
            ("transfer-encoding", "chunked"),
        ]);
        assert_eq!(
            names(&to_client(&upstream)),
            ["content-type", "x-ratelimit-remaining-tokens"]
        );
    }

    #[test]
    fn a_query_that_could_carry_content_is_dropped() {
        assert_eq!(forwarded_query(Some("beta=true")), "?beta=true");
        assert_eq!(forwarded_query(Some("beta=true&x=secret")), "");
        assert_eq!(forwarded_query(None), "");
    }
}
