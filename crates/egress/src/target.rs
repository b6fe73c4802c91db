//! Where a request wants to go, as clients say it to a proxy: the authority of a `CONNECT`, or a URL.

use std::fmt;

use crate::{
    decide::Denial,
    host::{HostName, shown},
    path::{self, RequestPath},
};

/// The most bytes that a URL may have.
const MAX_URL: usize = 8192;

/// A name and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The name.
    pub host: HostName,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Endpoint {
    /// Reads the authority of a `CONNECT` request: a name and a port, both of them.
    ///
    /// # Errors
    /// A [`Denial`] that says what is wrong.
    pub fn of_connect(text: &str) -> Result<Self, Denial> {
        let (host, port) = split(text)?;
        let port = port.ok_or_else(|| Denial::PortMalformed(shown(text)))?;
        Ok(Self { host, port })
    }

    /// Whether a `Host` header names this endpoint; without a port it means `default`.
    #[must_use]
    pub fn is_named_by(&self, header: &str, default: u16) -> bool {
        split(header)
            .is_ok_and(|(host, port)| host == self.host && port.unwrap_or(default) == self.port)
    }
}

/// Name and, where there is one, port. Anything before an `@` is refused.
fn split(text: &str) -> Result<(HostName, Option<u16>), Denial> {
    if text.contains('@') {
        return Err(Denial::UserInfo);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') && !text.contains(']') => (text, None),
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let host = HostName::parse(host)?;
    let port = port
        .map(|port| read_port(port).ok_or_else(|| Denial::PortMalformed(shown(text))))
        .transpose()?;
    Ok((host, port))
}

fn read_port(text: &str) -> Option<u16> {
    let plain = (1..=5).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

/// What one request is for: an endpoint, a path and perhaps a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The path.
    pub path: RequestPath,
    /// The query, without its question mark; never looked into.
    pub query: Option<String>,
}

impl Target {
    /// Reads an absolute `http:` or `https:` URL.
    ///
    /// # Errors
    /// A [`Denial`] that says what is wrong.
    pub fn of_url(text: &str) -> Result<Self, Denial> {
        if text.len() > MAX_URL {
            return Err(Denial::UrlMalformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(Denial::UrlMalformed)?;
        let default = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(Denial::UrlMalformed),
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or(Denial::UrlMalformed)?;
        let (host, port) = split(authority)?;
        let endpoint = Endpoint {
            host,
            port: port.unwrap_or(default),
        };
        Self::on(endpoint, if path.is_empty() { "/" } else { path })
    }

    /// Reads a path with its query, said to `endpoint`.
    ///
    /// # Errors
    /// A [`Denial`] that says what is wrong.
    pub fn on(endpoint: Endpoint, path_and_query: &str) -> Result<Self, Denial> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(path::query(query)?)),
            None => (path_and_query, None),
        };
        Ok(Self {
            endpoint,
            path: RequestPath::parse(path)?,
            query,
        })
    }

    /// Path and query as a request line has them.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        match &self.query {
            None => self.path.as_str().to_owned(),
            Some(query) => format!("{}?{query}", self.path.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Target};

    fn refused(text: &str) -> &'static str {
        Endpoint::of_connect(text).unwrap_err().code()
    }

    #[test]
    fn a_connect_names_a_host_and_a_port() {
        let found = Endpoint::of_connect("Good.com:443").unwrap();
        assert_eq!(found.to_string(), "good.com:443");
        for text in [
            "good.com",
            "good.com:",
            "good.com:0",
            "good.com:0443",
            "good.com:+443",
            "good.com:65536",
            "good.com:443x",
            "good.com: 443",
            "good.com:4 43",
            "good.com:\u{664}",
        ] {
            assert_eq!(refused(text), "egress-port-malformed", "{text}");
        }
        for text in [
            "",
            ":443",
            "good.com\0.evil.com:443",
            "good.com/:443",
            "good.com#:443",
            "a b:443",
        ] {
            assert_eq!(refused(text), "egress-name-malformed", "{text}");
        }
        for text in [
            "127.0.0.1:443",
            "[::1]:443",
            "[::ffff:7f00:1]:443",
            "2130706433:443",
            "0x7f.1:80",
            "::1",
        ] {
            assert_eq!(refused(text), "egress-ip-literal", "{text}");
        }
        for text in ["good.com@evil.com:443", "u:p@good.com:443"] {
            assert_eq!(refused(text), "egress-user-info", "{text}");
        }
    }

    #[test]
    fn a_url_is_taken_apart_once() {
        let found = Target::of_url("HTTP://Good.com/a?b=c/../d").unwrap();
        assert_eq!(
            (found.endpoint.to_string(), found.path_and_query()),
            ("good.com:80".to_owned(), "/a?b=c/../d".to_owned())
        );
        assert_eq!(
            Target::of_url("https://good.com").unwrap().path_and_query(),
            "/"
        );
        assert_eq!(
            Target::of_url("https://good.com:8443/x")
                .unwrap()
                .endpoint
                .port,
            8443
        );
        for (url, code) in [
            ("ftp://good.com/", "egress-url-malformed"),
            ("good.com/", "egress-url-malformed"),
            ("http://user:pass@good.com/", "egress-user-info"),
            ("http://good.com#@evil.com/", "egress-path-malformed"),
            ("http://good.com\\@evil.com/", "egress-path-malformed"),
            ("http://good.com?x@evil.com/", "egress-path-malformed"),
            ("http://good.com:80:80/", "egress-name-malformed"),
            ("http://good.com/a/../b", "egress-path-ambiguous"),
            ("http://good.com/a?b#c", "egress-path-malformed"),
            ("http:///a", "egress-name-malformed"),
            ("http://169.254.169.254/latest", "egress-ip-literal"),
        ] {
            assert_eq!(Target::of_url(url).unwrap_err().code(), code, "{url}");
        }
    }

    #[test]
    fn a_host_header_means_its_own_endpoint() {
        let endpoint = Endpoint::of_connect("good.com:443").unwrap();
        assert!(endpoint.is_named_by("GOOD.com", 443) && endpoint.is_named_by("good.com:443", 80));
        for header in [
            "good.com:80",
            "evil.com",
            "good.com.evil.com",
            "good.com@evil.com",
            "",
            "127.0.0.1",
        ] {
            assert!(!endpoint.is_named_by(header, 443), "{header}");
        }
    }
}
