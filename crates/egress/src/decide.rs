//! The decision: may this go outside, and how. Everything that no rule covers is denied, with a
//! reason that an event carries.

use std::collections::BTreeSet;

use crate::{
    address::AddressRefusal,
    client_hello::HelloError,
    host::{HostName, NameError},
    meter::CapReached,
    path::{EncodedSlash, PathError},
    policy::{EgressPolicy, EncodedSlashes, Mode, Queries, Rule, Scheme},
    target::{Endpoint, Target},
};

/// Why something does not go outside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The host is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The port is none.
    #[error("`{0}` has no port of 1 to 65535")]
    PortMalformed(String),
    /// Something before an `@`.
    #[error("a user name in an address is refused")]
    UserInfo,
    /// Not a URL of `http` or `https`.
    #[error("this is no absolute URL of `http` or `https`")]
    UrlMalformed,
    /// The path is refused.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Two places of one request name different hosts.
    #[error("the request is for `{asked}`, and its `Host` names another")]
    HostDiffers {
        /// Where the request goes.
        asked: Endpoint,
    },
    /// No rule is about the host.
    #[error("no rule of the egress policy is about host `{0}`")]
    Host(HostName),
    /// Rules about the host are not about the port.
    #[error("no rule of the egress policy allows port {} of host `{}`", .0.port, .0.host)]
    Port(Endpoint),
    /// The rule lets encrypted connections through and nothing else.
    #[error("`{0}` takes TLS connections by `CONNECT` only")]
    TunnelOnly(Endpoint),
    /// The rule is about single requests, and this is a connection.
    #[error("`{0}` takes single requests only, no `CONNECT`")]
    RequestsOnly(Endpoint),
    /// No rule about the endpoint allows the method.
    #[error("no rule of the egress policy allows method `{method}` at `{endpoint}`")]
    Method {
        /// The method.
        method: String,
        /// Where.
        endpoint: Endpoint,
    },
    /// No rule about the endpoint and method allows the path.
    #[error("no rule of the egress policy allows this path at `{0}`")]
    PathNotAllowed(Endpoint),
    /// The rule allows no query.
    #[error("the egress policy allows no query at `{0}`")]
    Query(Endpoint),
    /// A connection's first bytes.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The TLS client hello names another server.
    #[error("the connection is for `{asked}`, and its TLS client hello names `{named}`")]
    SniDiffers {
        /// Where the connection goes.
        asked: HostName,
        /// What the hello names.
        named: HostName,
    },
    /// The name leads to an address that is not public.
    #[error(transparent)]
    Address(#[from] AddressRefusal),
    /// A cap.
    #[error(transparent)]
    Cap(#[from] CapReached),
}

impl Denial {
    /// The stable code of this denial.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name(NameError::Malformed(_)) => "egress-name-malformed",
            Self::Name(NameError::IpLiteral(_)) => "egress-ip-literal",
            Self::PortMalformed(_) => "egress-port-malformed",
            Self::UserInfo => "egress-user-info",
            Self::UrlMalformed => "egress-url-malformed",
            Self::Path(PathError::Ambiguous) => "egress-path-ambiguous",
            Self::Path(PathError::Malformed) => "egress-path-malformed",
            Self::HostDiffers { .. } => "egress-host-differs",
            Self::Host(_) => "egress-host",
            Self::Port(_) => "egress-port",
            Self::TunnelOnly(_) => "egress-tunnel-only",
            Self::RequestsOnly(_) => "egress-requests-only",
            Self::Method { .. } => "egress-method",
            Self::PathNotAllowed(_) => "egress-path",
            Self::Query(_) => "egress-query",
            Self::Hello(error) => match error {
                HelloError::NotTls => "egress-not-tls",
                HelloError::Malformed => "egress-hello-malformed",
                HelloError::TooLarge => "egress-hello-too-large",
                HelloError::NoName => "egress-sni-missing",
                HelloError::Name(_) => "egress-sni-malformed",
                HelloError::Encrypted => "egress-sni-hidden",
            },
            Self::SniDiffers { .. } => "egress-sni-differs",
            Self::Address(_) => "egress-address",
            Self::Cap(_) => "egress-cap",
        }
    }
}

/// How a connection of a client's to an endpoint is treated.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// Its bytes go through as they are, once its client hello names the host.
    Through(&'a Rule),
    /// It ends in the room, its TLS too where there is any, and each of its requests is decided by
    /// itself.
    Requests(Scheme),
}

impl EgressPolicy {
    /// Decides about a `CONNECT`. The first rule that covers the endpoint says how.
    ///
    /// # Errors
    /// A [`Denial`].
    pub fn connect(&self, endpoint: &Endpoint) -> Result<Way<'_>, Denial> {
        match self.way(endpoint)? {
            Way::Requests(Scheme::Http) => Err(Denial::RequestsOnly(endpoint.clone())),
            way => Ok(way),
        }
    }

    /// Decides about a connection that a client made to the endpoint itself, without a proxy. The
    /// first rule that covers it says how.
    ///
    /// # Errors
    /// A [`Denial`].
    pub fn way(&self, endpoint: &Endpoint) -> Result<Way<'_>, Denial> {
        let rule = self.first(endpoint)?;
        Ok(match rule.mode {
            Mode::TlsPassthrough => Way::Through(rule),
            Mode::Http { scheme, .. } => Way::Requests(scheme),
        })
    }

    /// Every port that a rule names.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        let ports = self.rules.iter().flat_map(|rule| &rule.ports);
        ports.copied().collect()
    }

    /// Decides about one request, whatever connection it came over.
    ///
    /// # Errors
    /// A [`Denial`]: the one of the rule that came closest.
    pub fn request(&self, method: &str, target: &Target) -> Result<&Rule, Denial> {
        let endpoint = &target.endpoint;
        if matches!(self.first(endpoint)?.mode, Mode::TlsPassthrough) {
            return Err(Denial::TunnelOnly(endpoint.clone()));
        }
        let mut closest = (0, Denial::Port(endpoint.clone()));
        for rule in self.rules.iter().filter(|rule| rule.covers(endpoint)) {
            match judge(rule, method, target) {
                Ok(()) => return Ok(rule),
                Err((steps, denial)) if steps > closest.0 => closest = (steps, denial),
                Err(_) => {}
            }
        }
        Err(closest.1)
    }

    /// Whether any rule is about `host`, on whatever port.
    #[must_use]
    pub fn knows(&self, host: &HostName) -> bool {
        self.rules.iter().any(|rule| rule.names(host))
    }

    fn first(&self, endpoint: &Endpoint) -> Result<&Rule, Denial> {
        if !self.knows(&endpoint.host) {
            return Err(Denial::Host(endpoint.host.clone()));
        }
        let mut rules = self.rules.iter();
        rules
            .find(|rule| rule.covers(endpoint))
            .ok_or_else(|| Denial::Port(endpoint.clone()))
    }
}

/// How far a request came through a rule, and what stopped it.
fn judge(rule: &Rule, method: &str, target: &Target) -> Result<(), (u8, Denial)> {
    let endpoint = || target.endpoint.clone();
    let Mode::Http {
        methods,
        paths,
        queries,
        encoded_slashes,
        ..
    } = &rule.mode
    else {
        return Err((1, Denial::TunnelOnly(endpoint())));
    };
    if !methods.iter().any(|allowed| allowed == method) {
        let method = crate::host::shown(method);
        let endpoint = endpoint();
        return Err((2, Denial::Method { method, endpoint }));
    }
    if !paths.iter().any(|pattern| pattern.covers(&target.path)) {
        return Err((3, Denial::PathNotAllowed(endpoint())));
    }
    if target.path.encoded_slash() == EncodedSlash::Present
        && *encoded_slashes == EncodedSlashes::Refused
    {
        return Err((4, Denial::Path(PathError::Ambiguous)));
    }
    if target.query.is_some() && *queries == Queries::Refused {
        return Err((5, Denial::Query(endpoint())));
    }
    Ok(())
}
