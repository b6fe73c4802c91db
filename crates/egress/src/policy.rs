//! `egress.toml`: parsed into an [`EgressPolicy`] whose examples came out as they say, or refused
//! with every problem at once.

use std::{fmt, path::PathBuf};

use proofroom_canonical::Digest;
use serde::Deserialize;

use crate::{
    address::Network,
    host::{HostName, HostPattern},
    meter::Caps,
    path::PathPattern,
    target::Endpoint,
};

mod examples;
mod raw;

pub(crate) use raw::RawRule;

/// The most bytes that an egress policy may have.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

/// What may leave a room. Nothing else may.
#[derive(Clone, Debug)]
pub struct EgressPolicy {
    pub(crate) rules: Vec<Rule>,
    caps: Caps,
    digest: Digest,
}

/// Which endpoints, and what may be said to them.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, in events and records.
    pub name: String,
    /// Which hosts.
    pub hosts: Vec<HostPattern>,
    /// Which ports.
    pub ports: Vec<u16>,
    /// What may be said.
    pub mode: Mode,
    /// Addresses that are not public and that its hosts may lead to all the same.
    pub allow_addresses: Vec<Network>,
}

/// What may be said to an endpoint.
#[derive(Clone, Debug)]
pub enum Mode {
    /// TLS connections, whose bytes nobody sees.
    TlsPassthrough,
    /// Requests, which the broker makes itself.
    Http {
        /// How the broker speaks to the endpoint.
        scheme: Scheme,
        /// Which methods.
        methods: Vec<String>,
        /// Which paths.
        paths: Vec<PathPattern>,
        /// Whether a request may have a query.
        queries: Queries,
        /// Whether a path may hold an encoded slash.
        encoded_slashes: EncodedSlashes,
        /// Names of request headers that go out besides the usual ones.
        headers: Vec<String>,
        /// Our credential for this one endpoint.
        credential: Option<Credential>,
        /// Certificates of authorities that vouch for the endpoint in place of the public ones.
        ca_file: Option<PathBuf>,
    },
}

/// How the broker speaks to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Over TLS.
    Https,
    /// In clear.
    Http,
}

/// Whether a request may have a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queries {
    /// It may.
    Allowed,
    /// It may not.
    Refused,
}

/// Whether a path may hold `%2f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncodedSlashes {
    /// It may.
    Allowed,
    /// It may not.
    Refused,
}

/// A credential of ours: which header it goes into, and which file of the host's holds it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Name of the header.
    pub header: String,
    /// What stands before it in the header, such as `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// The file.
    pub file: PathBuf,
}

/// One thing that is wrong with an egress policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The stable code.
    pub code: &'static str,
    /// Where, and what to do.
    pub message: String,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyProblem {}

pub(crate) fn problem(code: &'static str, message: impl Into<String>) -> PolicyProblem {
    PolicyProblem {
        code,
        message: message.into(),
    }
}

impl EgressPolicy {
    /// Parses `egress.toml` and runs its examples.
    ///
    /// # Errors
    /// Every problem found.
    pub fn parse(text: &str) -> Result<Self, Vec<PolicyProblem>> {
        if text.len() > MAX_POLICY_BYTES {
            let message = format!("the file is longer than {MAX_POLICY_BYTES} bytes");
            return Err(vec![problem("too-long", message)]);
        }
        raw::read(text, Digest::of(text))
    }

    /// Digest of the file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The caps of a session.
    #[must_use]
    pub const fn caps(&self) -> Caps {
        self.caps
    }

    /// The rules, those of profiles last.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether it allows nothing at all.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Rule {
    /// Whether the rule is about this endpoint.
    #[must_use]
    pub fn covers(&self, endpoint: &Endpoint) -> bool {
        self.ports.contains(&endpoint.port) && self.names(&endpoint.host)
    }

    pub(crate) fn names(&self, host: &HostName) -> bool {
        self.hosts.iter().any(|pattern| pattern.covers(host))
    }
}

#[cfg(test)]
mod tests;
