//! One request, one answer, each one line of JSON: what an implementation under test reads and
//! writes.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{Digest, Nonce, SessionId, Timestamp};
use proofroom_evidence::Moment;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes of a request line: a document whose log has ten megabytes, in base64 twice, and room
/// for a policy.
pub const MAX_REQUEST_BYTES: usize = 24 * 1024 * 1024;

/// Bytes, in JSON as padded base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        STANDARD
            .decode(text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// What a relying party knows of the session whose room is appraised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// When the evidence was to be made.
    pub moment: Moment,
    /// The exact text that its quote must bind.
    pub statement: String,
    /// The session.
    pub session: SessionId,
    /// The nonce that the relying party chose for it.
    pub nonce: Nonce,
    /// The agent.
    pub agent: String,
    /// The commit.
    pub commit: String,
    /// Digest of every policy in force, by the policy's name.
    pub policies: BTreeMap<String, Digest>,
}

/// The 64 bytes that a report must carry, in JSON as 128 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportData(pub [u8; 64]);

impl Serialize for ReportData {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for ReportData {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(String::deserialize(d)?, &mut bytes)
            .map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// What is asked of `snp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpRequest {
    /// The time of appraisal.
    pub at: Timestamp,
    /// What the report must bind, made for this very exchange.
    pub report_data: ReportData,
    /// The appraisal policy's text.
    pub policy: String,
    /// The report.
    pub report: Bytes,
    /// The chip key's certificate, DER.
    pub leaf: Bytes,
    /// The signing key's certificate, DER.
    pub intermediate: Bytes,
    /// The root certificate, DER.
    pub root: Bytes,
    /// The root's revocation list, DER; `null` where there is none.
    pub crl: Option<Bytes>,
}

/// What is asked of `gpu`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuRequest {
    /// The time of appraisal.
    pub at: Timestamp,
    /// The nonce that the relying party sent; `null` for an archive audit.
    pub nonce: Option<Nonce>,
    /// The appraisal policy's text.
    pub policy: String,
    /// The evidence list.
    pub list: Bytes,
    /// Reference manifests of drivers.
    pub driver_rims: Vec<Bytes>,
    /// Reference manifests of BIOSes.
    pub bios_rims: Vec<Bytes>,
    /// Detached EATs.
    pub tokens: Vec<Bytes>,
    /// The key set of the tokens; `null` where there is none.
    pub jwks: Option<Bytes>,
}

/// AMD's certificates of a chip's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipChain {
    /// The chip key's certificate, DER.
    pub leaf: Bytes,
    /// The signing key's certificate, DER.
    pub intermediate: Bytes,
    /// The root certificate, DER.
    pub root: Bytes,
    /// The root's revocation list, DER; `null` where there is none.
    pub crl: Option<Bytes>,
}

/// What is asked of `vtpm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VtpmRequest {
    /// The time of appraisal.
    pub at: Timestamp,
    /// The nonce that the relying party sent.
    pub nonce: Nonce,
    /// The appraisal policy's text.
    pub policy: String,
    /// The document.
    pub document: Bytes,
    /// Intel's collateral, JSON; `null` where there is none.
    pub collateral: Option<Bytes>,
    /// AMD's certificates; `null` where there are none.
    pub chain: Option<ChipChain>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Appraise the evidence document of an upstream (`docs/spec/evidence.md`).
    UpstreamTdx {
        /// The time of appraisal.
        at: Timestamp,
        /// The nonce that the relying party sent; `null` for an archive audit.
        nonce: Option<Nonce>,
        /// The appraisal policy's text.
        policy: String,
        /// The document.
        document: Bytes,
    },
    /// Appraise the evidence document of a room (`docs/spec/room-evidence.md`).
    Room {
        /// The time of appraisal.
        at: Timestamp,
        /// The room appraisal policy's text.
        policy: String,
        /// The reference manifest's file.
        reference: Bytes,
        /// The deployment's CA certificate, PEM.
        deployment_ca: String,
        /// The session that the room is to be of.
        session: Expectation,
        /// The document.
        document: Bytes,
    },
    /// Appraise a report of AMD SEV-SNP (`docs/spec/snp.md`).
    Snp(Box<SnpRequest>),
    /// Appraise the NVIDIA devices of a machine (`docs/spec/gpu.md`).
    Gpu(Box<GpuRequest>),
    /// Appraise a guest with a virtual TPM (`docs/spec/vtpm.md`).
    Vtpm(Box<VtpmRequest>),
    /// Verify a record's envelope (`docs/spec/records.md`).
    Dsse {
        /// The signer's public key, PEM.
        key: String,
        /// The envelope's file.
        envelope: Bytes,
    },
    /// Verify a receipt of the log for a leaf (`docs/spec/log.md`).
    TlogProof {
        /// The log's verifier key.
        key: String,
        /// The receipt's file.
        proof: Bytes,
        /// The leaf.
        leaf: Bytes,
    },
}

/// How an implementation decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was asked holds.
    Accept,
    /// Nothing failed, and something could not be looked at.
    Incomplete,
    /// Something failed.
    Reject,
}

impl From<proofroom_verifier::Verdict> for Verdict {
    fn from(verdict: proofroom_verifier::Verdict) -> Self {
        match verdict {
            proofroom_verifier::Verdict::Accept => Self::Accept,
            proofroom_verifier::Verdict::Incomplete => Self::Incomplete,
            proofroom_verifier::Verdict::Reject => Self::Reject,
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The decision.
    pub verdict: Verdict,
    /// The first check, in the order of the specification, that failed; where a stage has checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// The stable code of what failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the input is known by: a quote's identity, an envelope's payload digest, a leaf's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The platform's TCB status in Intel's spelling, where `tcb-status` and `td-attributes` passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcb: Option<String>,
}

impl Answer {
    /// A rejection for `code`, where a stage has no named checks.
    #[must_use]
    pub fn reject(code: &str) -> Self {
        Self {
            verdict: Verdict::Reject,
            check: None,
            code: Some(code.to_owned()),
            identity: None,
            tcb: None,
        }
    }

    /// An acceptance of what is known by `identity`.
    #[must_use]
    pub const fn accept(identity: String) -> Self {
        Self {
            verdict: Verdict::Accept,
            check: None,
            code: None,
            identity: Some(identity),
            tcb: None,
        }
    }
}
