//! What a provider serves as evidence, taken apart without trust: NEAR AI's report, with its gateway's
//! attestation beside those of its models, and dstack's, which is one attestation alone. Members that
//! are not named here are not read, so nothing is taken from them.

use std::fmt;

use proofroom_canonical::{
    Digest,
    json::{self, JsonError},
};
use proofroom_evidence::MAX_QUOTE_BYTES;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{log::RawLog, policy::Format};

/// The most bytes of a report that are read. One with eight GPUs and its gateway has 250,000.
pub const MAX_REPORT_BYTES: usize = 1024 * 1024;
/// The most machines that may serve one model behind one address.
const MAX_MODELS: usize = 16;

/// Why bytes are no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Not strict JSON with the members that are used.
    #[error("provider's report refused")]
    Document(#[source] JsonError),
    /// Not a report of `proofroom-enclave`.
    #[error(transparent)]
    Serving(#[from] proofroom_serving::ServingError),
    /// A document of a version whose evidence was made at boot, for no challenge.
    #[error("the provider's report is of a version that answers no challenge")]
    Superseded,
    /// A member cannot be used.
    #[error("member `{member}` of the provider's report {problem}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl ReportError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Superseded => "report-superseded",
            Self::Document(_) | Self::Serving(_) | Self::Member { .. } => "report-malformed",
        }
    }
}

/// A key with which a provider signs receipts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// The last 20 bytes of the Keccak-256 of a secp256k1 key.
    Ethereum([u8; 20]),
    /// An Ed25519 key.
    Ed25519([u8; 32]),
}

impl SigningKey {
    /// The key as a quote binds it.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::Ethereum(bytes) => bytes,
            Self::Ed25519(bytes) => bytes,
        }
    }

    /// As providers spell the algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ethereum(_) => "ecdsa",
            Self::Ed25519(_) => "ed25519",
        }
    }

    fn read(algorithm: &str, text: &str) -> Option<Self> {
        let text = text.strip_prefix("0x").unwrap_or(text);
        let bytes = hex::decode(text).ok()?;
        match algorithm {
            "ecdsa" => bytes.try_into().ok().map(Self::Ethereum),
            "ed25519" => bytes.try_into().ok().map(Self::Ed25519),
            _ => None,
        }
    }
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm())
    }
}

/// What one machine of a provider says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Attestation {
    pub(crate) model: Option<String>,
    pub(crate) key: SigningKey,
    pub(crate) tls_spki: Option<Digest>,
    pub(crate) quote: Vec<u8>,
    pub(crate) log: RawLog,
    pub(crate) compose: String,
    /// The request to NVIDIA's attestation service that it would make.
    pub(crate) gpus: Option<String>,
}

/// A report: who ends the connection, and who runs the model. In dstack's format that is one machine.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) gateway: Option<Attestation>,
    pub(crate) models: Vec<Attestation>,
}

#[derive(Deserialize)]
struct RawNear {
    gateway_attestation: RawAttestation,
    model_attestations: Vec<RawAttestation>,
}

#[derive(Deserialize)]
struct RawAttestation {
    #[serde(default)]
    model_name: Option<String>,
    signing_address: String,
    signing_algo: String,
    #[serde(default)]
    tls_cert_fingerprint: Option<String>,
    intel_quote: String,
    event_log: RawLog,
    info: RawInfo,
    #[serde(default)]
    nvidia_payload: Option<String>,
}

#[derive(Deserialize)]
struct RawInfo {
    tcb_info: RawTcbInfo,
}

/// An object, or the text of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawTcbInfo {
    Text(String),
    Object(TcbInfo),
}

#[derive(Deserialize)]
struct TcbInfo {
    app_compose: String,
}

impl Report {
    /// Reads a report of at most [`MAX_REPORT_BYTES`].
    pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<Self, ReportError> {
        match format {
            Format::NearAi => {
                let raw: RawNear = strict(bytes)?;
                let models = raw.model_attestations;
                if models.is_empty() || models.len() > MAX_MODELS {
                    return Err(member("model_attestations", "has none, or too many"));
                }
                Ok(Self {
                    gateway: Some(read(raw.gateway_attestation)?),
                    models: models.into_iter().map(read).collect::<Result<_, _>>()?,
                })
            }
            Format::Dstack => Ok(Self {
                gateway: None,
                models: vec![read(strict(bytes)?)?],
            }),
            Format::ProofroomEnclave | Format::Aci | Format::Tinfoil => {
                Err(member("format", "has a report of its own"))
            }
        }
    }

    /// All machines of the report.
    pub(crate) fn attestations(&self) -> impl Iterator<Item = &Attestation> {
        self.gateway.iter().chain(&self.models)
    }
}

fn strict<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReportError> {
    json::parse(bytes, MAX_REPORT_BYTES).map_err(ReportError::Document)
}

fn read(raw: RawAttestation) -> Result<Attestation, ReportError> {
    let key = SigningKey::read(&raw.signing_algo, &raw.signing_address)
        .ok_or(member("signing_address", "is not a key of `signing_algo`"))?;
    let tls_spki = raw.tls_cert_fingerprint.map(|text| fingerprint(&text));
    let quote = hex::decode(raw.intel_quote.trim_start_matches("0x"))
        .map_err(|_| member("intel_quote", "is not hex"))?;
    if quote.len() > MAX_QUOTE_BYTES {
        return Err(member("intel_quote", "is larger than a quote may be"));
    }
    let compose = match raw.info.tcb_info {
        RawTcbInfo::Object(info) => info.app_compose,
        RawTcbInfo::Text(text) => strict::<TcbInfo>(text.as_bytes())?.app_compose,
    };
    Ok(Attestation {
        model: raw.model_name,
        key,
        tls_spki: tls_spki.transpose()?,
        quote,
        log: raw.event_log,
        compose,
        gpus: raw.nvidia_payload.filter(|text| !text.is_empty()),
    })
}

fn fingerprint(text: &str) -> Result<Digest, ReportError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| member("tls_cert_fingerprint", "is not SHA-256 in hex"))?;
    Ok(Digest::from_bytes(bytes))
}

const fn member(member: &'static str, problem: &'static str) -> ReportError {
    ReportError::Member { member, problem }
}
