//! The addresses under which clients know a gateway: what a proof's `htu` (RFC 9449 section 4.3, check 9) is compared
//! with. From the configuration, because a request's own `host` is its sender's word.

use std::{fmt, str::FromStr};

use http::Uri;
use serde::{Deserialize, Deserializer};

/// Scheme, host and port of a server, normalised (RFC 3986 sections 6.2.2 and 6.2.3): lower case, and no port that
/// is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// Why a text is no [`Origin`].
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "an address is `https://host` or `https://host:port`, or the same with `http://` at loopback, and no path"
)]
pub struct OriginError;

impl Origin {
    /// Whether it is one that nobody on the network can listen in on: https, or plain at loopback.
    fn is_private(scheme: &str, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']);
        let address = host.parse::<std::net::IpAddr>();
        let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        scheme == "https" || (scheme == "http" && loopback)
    }

    /// The origin of `uri`, and its path.
    fn split(uri: &str) -> Option<(Self, String)> {
        // a fragment is no part of what is requested, and no client sends one
        if uri.contains('#') {
            return None;
        }
        let uri: Uri = uri.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        // a port that is no number is none, which would be the scheme's own
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return None;
        }
        let port = match (scheme.as_str(), authority.port_u16()) {
            ("https", Some(443)) | ("http", Some(80)) | (_, None) => String::new(),
            (_, Some(port)) => format!(":{port}"),
        };
        if host.is_empty() || !Self::is_private(&scheme, &host) {
            return None;
        }
        Some((
            Self(format!("{scheme}://{host}{port}")),
            uri.path().to_owned(),
        ))
    }

    /// Where an address leads, which has no query, no fragment and names nobody.
    ///
    /// # Errors
    /// [`OriginError`], also for plain http to elsewhere than loopback.
    pub fn of(address: &str) -> Result<Self, OriginError> {
        let found = Self::split(address);
        found.map(|(origin, _)| origin).ok_or(OriginError)
    }

    /// Whether `htu` is `path` at this address. Paths are compared as they were written.
    pub(crate) fn has(&self, htu: &str, path: &str) -> bool {
        Self::split(htu).is_some_and(|(origin, at)| origin == *self && at == path)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match Self::split(text) {
            Some((origin, path)) if path == "/" => Ok(origin),
            _ => Err(OriginError),
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
