//! `gateway.toml`: where the server listens, where its files are, and what keeps it within bounds.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use proofroom_authn::Origin;
use proofroom_record::statement::LogMode;
use serde::Deserialize;

use crate::{
    limits::Limits,
    people::{PeopleConfig, RawPeople},
    telemetry::{self, TelemetryConfig, TelemetryProblem},
};

/// The most bytes that the file may have.
pub const MAX_CONFIG_BYTES: usize = 256 * 1024;

/// The commented file that a new deployment starts from.
pub const DEFAULT_CONFIG: &str = include_str!("../gateway.default.toml");

/// What a standalone gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub address: SocketAddr,
    /// The certificate and key; nothing for plain HTTP, to loopback only.
    pub tls: Option<TlsFiles>,
    /// The addresses under which clients know the server, which proofs of possession name. With none, what is bound to a
    /// client's key by proofs is refused.
    pub urls: Vec<Origin>,
    /// Where health, readiness and metrics are served; loopback only.
    pub operations: Option<SocketAddr>,
    /// Where keys, records and log are kept.
    pub state: PathBuf,
    /// Directory with the policy files; the built-in policies where it is missing.
    pub policy: Option<PathBuf>,
    /// Upstreams file, instead of the one in the policy directory.
    pub upstreams: Option<PathBuf>,
    /// The file of virtual keys.
    pub keys: PathBuf,
    /// What models cost.
    pub prices: Option<PathBuf>,
    /// Where the kernel makes reports of the machine, instead of configfs-tsm's own place.
    pub reports: Option<PathBuf>,
    /// What Intel says of providers' platforms, as `proofroom collateral` keeps it.
    pub collateral: Option<PathBuf>,
    /// How long a session may do nothing before it ends; nothing where it lasts as long as its key.
    pub session_idle: Option<Duration>,
    /// How runs are written down whose session is below the highest level.
    pub log: LogMode,
    /// Whether prompts may reach swap.
    pub memory: MemoryMode,
    /// Where spans of runs go; nowhere where it is `None`.
    pub telemetry: Option<TelemetryConfig>,
    /// What bounds a connection and its requests.
    pub caps: Caps,
    /// Limits of users and teams together, beside those of each key.
    pub shared: Vec<SharedLimits>,
    /// People who come with tokens of an issuer.
    pub people: PeopleConfig,
}

/// PEM files of the listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whether clients are asked for a certificate, to which keys can be bound.
    pub client_certificates: ClientCertificates,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// They are not.
    NotAsked,
    /// They are asked, and may have none; a key that is bound to one needs it.
    Asked,
}

/// Whether prompts may reach swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryMode {
    /// Memory is locked where the system lets the process do so.
    #[default]
    LockedIfPossible,
    /// A gateway that cannot lock its memory does not start.
    Locked,
}

/// What bounds a connection and its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// Bytes of a request's line and headers together.
    pub header_bytes: u32,
    /// Headers of a request.
    pub headers: usize,
    /// Seconds that a request's headers, or a TLS handshake, may take.
    pub header_seconds: u64,
    /// Seconds that a request's body may pause.
    pub body_stall_seconds: u64,
    /// Seconds that a request's body may take in all.
    pub body_seconds: u64,
    /// Seconds that a connection may do nothing.
    pub idle_seconds: u64,
    /// Seconds that runs may go on after the server was asked to stop.
    pub stop_seconds: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            connections: 16_384,
            streams_per_connection: 128,
            header_bytes: 64 * 1024,
            headers: 100,
            header_seconds: 10,
            body_stall_seconds: 30,
            body_seconds: 300,
            idle_seconds: 120,
            stop_seconds: 30,
        }
    }
}

/// Limits that several keys share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLimits {
    /// Whose keys.
    pub whose: Whose,
    /// What they may do together.
    pub limits: Limits,
}

/// Whose keys share limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    /// Those of one user.
    User(String),
    /// Those of one team.
    Team(String),
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// More bytes than it may have.
    #[error("the gateway's configuration is larger than {MAX_CONFIG_BYTES} bytes")]
    TooLarge,
    /// Not TOML, or not of this shape.
    #[error("the gateway's configuration cannot be read: {0}")]
    Syntax(String),
    /// Another version.
    #[error("the gateway's configuration is of version {0}; this program reads version 1")]
    Version(u32),
    /// Plain HTTP where others can listen in.
    #[error(
        "`{0}` is not loopback; give `listen.tls`, so that keys and prompts are not readable on the network"
    )]
    PlainToNetwork(SocketAddr),
    /// Operations where others can reach them.
    #[error("`listen.operations` must be a loopback address, not `{0}`")]
    OperationsToNetwork(SocketAddr),
    /// A bound of zero.
    #[error("`{0}` must be more than 0")]
    Zero(&'static str),
    /// Issuers or rules that cannot be used.
    #[error("`people` of the gateway's configuration: {0}")]
    People(String),
    /// Where spans go.
    #[error(transparent)]
    Telemetry(#[from] TelemetryProblem),
}

impl ConfigProblem {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "gateway-config-too-large",
            Self::Syntax(_) => "gateway-config-syntax",
            Self::Version(_) => "gateway-config-version",
            Self::PlainToNetwork(_) => "gateway-plain-to-network",
            Self::OperationsToNetwork(_) => "gateway-operations-to-network",
            Self::Zero(_) => "gateway-config-zero",
            Self::People(_) => "gateway-people",
            Self::Telemetry(problem) => problem.code(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u32,
    state: PathBuf,
    policy: Option<PathBuf>,
    upstreams: Option<PathBuf>,
    keys: Option<PathBuf>,
    prices: Option<PathBuf>,
    reports: Option<PathBuf>,
    collateral: Option<PathBuf>,
    #[serde(default)]
    memory: MemoryMode,
    listen: RawListen,
    #[serde(default)]
    sessions: RawSessions,
    #[serde(default)]
    log: RawLog,
    telemetry: Option<telemetry::Raw>,
    #[serde(default)]
    caps: Caps,
    #[serde(default)]
    shared: Vec<RawShared>,
    #[serde(default)]
    people: RawPeople,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListen {
    address: SocketAddr,
    #[serde(default)]
    urls: Vec<Origin>,
    tls: Option<TlsFiles>,
    operations: Option<SocketAddr>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSessions {
    end_after_idle_hours: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    #[serde(default)]
    mode: LogMode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShared {
    user: Option<String>,
    team: Option<String>,
    limits: Limits,
}

impl Config {
    /// Reads the file. Paths in it are relative to `base`, the file's directory.
    ///
    /// # Errors
    /// See [`ConfigProblem`].
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigProblem> {
        if text.len() > MAX_CONFIG_BYTES {
            return Err(ConfigProblem::TooLarge);
        }
        let raw: Raw = toml::from_str(text)
            .map_err(|error| ConfigProblem::Syntax(error.message().replace('\n', " ")))?;
        if raw.version != 1 {
            return Err(ConfigProblem::Version(raw.version));
        }
        check_addresses(&raw.listen)?;
        check_caps(&raw.caps)?;
        let from_base = |path: PathBuf| base.join(path);
        let state = from_base(raw.state);
        Ok(Self {
            address: raw.listen.address,
            tls: raw.listen.tls.map(|files| TlsFiles {
                certificate: from_base(files.certificate),
                key: from_base(files.key),
                ..files
            }),
            operations: raw.listen.operations,
            urls: raw.listen.urls,
            policy: raw.policy.map(from_base),
            upstreams: raw.upstreams.map(from_base),
            keys: raw
                .keys
                .map_or_else(|| state.join("gateway-keys.json"), from_base),
            prices: raw.prices.map(from_base),
            reports: raw.reports.map(from_base),
            collateral: raw.collateral.map(from_base),
            session_idle: raw
                .sessions
                .end_after_idle_hours
                .map(|hours| Duration::from_secs(hours.saturating_mul(3600))),
            log: raw.log.mode,
            memory: raw.memory,
            telemetry: raw.telemetry.map(|raw| raw.read(base)).transpose()?,
            caps: raw.caps,
            shared: shared(raw.shared)?,
            people: raw
                .people
                .read(base, &state)
                .map_err(ConfigProblem::People)?,
            state,
        })
    }
}

fn check_addresses(listen: &RawListen) -> Result<(), ConfigProblem> {
    if listen.tls.is_none() && !listen.address.ip().is_loopback() {
        return Err(ConfigProblem::PlainToNetwork(listen.address));
    }
    match listen.operations {
        Some(address) if !address.ip().is_loopback() => {
            Err(ConfigProblem::OperationsToNetwork(address))
        }
        _ => Ok(()),
    }
}

fn check_caps(caps: &Caps) -> Result<(), ConfigProblem> {
    let bounds = [
        ("caps.connections", caps.connections as u64),
        (
            "caps.streams_per_connection",
            caps.streams_per_connection.into(),
        ),
        ("caps.header_bytes", caps.header_bytes.into()),
        ("caps.headers", caps.headers as u64),
        ("caps.header_seconds", caps.header_seconds),
        ("caps.body_stall_seconds", caps.body_stall_seconds),
        ("caps.body_seconds", caps.body_seconds),
        ("caps.idle_seconds", caps.idle_seconds),
    ];
    match bounds.into_iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(ConfigProblem::Zero(name)),
        None => Ok(()),
    }
}

fn shared(raw: Vec<RawShared>) -> Result<Vec<SharedLimits>, ConfigProblem> {
    let one = |raw: RawShared| {
        let whose = match (raw.user, raw.team) {
            (Some(user), None) => Whose::User(user),
            (None, Some(team)) => Whose::Team(team),
            _ => {
                let words = "each `[[shared]]` names either a `user` or a `team`";
                return Err(ConfigProblem::Syntax(words.to_owned()));
            }
        };
        let limits = raw.limits;
        Ok(SharedLimits { whose, limits })
    };
    raw.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests;
