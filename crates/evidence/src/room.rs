//! Room evidence: what a guest says of the room it is, and the document in which the host keeps it
//! with its endorsements. Both are strict JSON in one spelling; nothing in them is verified here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{Digest, json};
use serde::{Deserialize, Serialize};

use crate::{Collateral, ReportData, RoomError};

mod runtime;
#[cfg(test)]
mod tests;

pub use runtime::{
    ASSIGNMENT_EVENT, AssignmentEvent, BOOT_CONFIG_EVENT, MAX_RUNTIME_CONTENT_BYTES,
    MAX_RUNTIME_EVENTS, RuntimeEvent,
};

/// The `format` member of room evidence.
pub const ROOM_EVIDENCE_FORMAT: &str = "proofroom.room-evidence.v1";
/// The `format` member of a room-evidence document.
pub const ROOM_DOCUMENT_FORMAT: &str = "proofroom.room-evidence-document.v1";
/// The most bytes of room evidence that are read: with its escapes it fits one frame of 1 MiB.
pub const MAX_ROOM_EVIDENCE_BYTES: usize = 768 * 1024;
/// The most bytes of a room-evidence document that are read.
pub const MAX_ROOM_DOCUMENT_BYTES: usize = 1536 * 1024;

/// What kind of machine signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceType {
    /// A TPM 2.0 quote with a TCG event log.
    Tpm2,
    /// An Intel TDX quote with a CC event log.
    Tdx,
    /// An AMD SEV-SNP report.
    SevSnp,
}

impl EvidenceType {
    /// The type's name as evidence spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tpm2 => "tpm2",
            Self::Tdx => "tdx",
            Self::SevSnp => "sev-snp",
        }
    }
}

/// When in a session evidence was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before the session key got its certificate.
    Start,
    /// After the last event.
    End,
}

impl Moment {
    /// The moment's name as evidence spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
        }
    }
}

/// What a guest says of its room. Claims until its quote is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEvidence {
    /// What kind of machine signed it.
    pub kind: EvidenceType,
    /// When it was made.
    pub moment: Moment,
    /// The exact text whose SHA-512 the quote carries.
    pub statement: String,
    /// TPMS_ATTEST, TD quote or SNP report.
    pub quote: Vec<u8>,
    /// TPMT_SIGNATURE; empty for TDX and SEV-SNP, whose quotes hold their signature.
    pub signature: Vec<u8>,
    /// TPMT_PUBLIC of the attestation key; empty for TDX and SEV-SNP.
    pub key: Vec<u8>,
    /// TCG event log of the boot, or the CC event log.
    pub boot_log: Vec<u8>,
    /// What the guest measured after its boot, in order.
    pub runtime: Vec<RuntimeEvent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvidence {
    format: String,
    #[serde(rename = "type")]
    kind: EvidenceType,
    moment: Moment,
    statement: String,
    quote: String,
    signature: String,
    key: String,
    boot_log: String,
    runtime: Vec<RuntimeEvent>,
}

impl RoomEvidence {
    /// Reads room evidence from its exact text.
    ///
    /// # Errors
    /// `room-evidence-malformed` for anything but strict JSON with exactly the known members,
    /// `room-evidence-member` for another format, base64 or an unusable runtime event,
    /// `room-evidence-not-canonical` for another spelling than [`RoomEvidence::to_text`] writes.
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        let raw: RawEvidence =
            json::parse(text.as_bytes(), MAX_ROOM_EVIDENCE_BYTES).map_err(RoomError::Evidence)?;
        if raw.format != ROOM_EVIDENCE_FORMAT {
            return Err(RoomError::Member(
                "format",
                "is not `proofroom.room-evidence.v1`",
            ));
        }
        runtime::check(&raw.runtime)?;
        let evidence = Self {
            kind: raw.kind,
            moment: raw.moment,
            statement: raw.statement.clone(),
            quote: decode("quote", &raw.quote)?,
            signature: decode("signature", &raw.signature)?,
            key: decode("key", &raw.key)?,
            boot_log: decode("boot_log", &raw.boot_log)?,
            runtime: raw.runtime.clone(),
        };
        evidence.check_members()?;
        if into_text(&raw, MAX_ROOM_EVIDENCE_BYTES).map_err(RoomError::Evidence)? != text {
            return Err(RoomError::NotCanonical("room evidence"));
        }
        Ok(evidence)
    }

    /// Quotes of TDX and reports of SEV-SNP hold their signature: nothing stands beside them.
    fn check_members(&self) -> Result<(), RoomError> {
        let beside = [("signature", &self.signature), ("key", &self.key)];
        match beside.into_iter().find(|(_, bytes)| !bytes.is_empty()) {
            Some((member, _)) if self.kind != EvidenceType::Tpm2 => Err(RoomError::Member(
                member,
                "must be empty: a quote of this type holds its signature",
            )),
            _ => Ok(()),
        }
    }

    /// The evidence's one spelling: compact JSON, members in the order of the specification.
    ///
    /// # Errors
    /// `room-evidence-malformed` when it is larger than [`MAX_ROOM_EVIDENCE_BYTES`].
    pub fn to_text(&self) -> Result<String, RoomError> {
        let raw = RawEvidence {
            format: ROOM_EVIDENCE_FORMAT.to_owned(),
            kind: self.kind,
            moment: self.moment,
            statement: self.statement.clone(),
            quote: STANDARD.encode(&self.quote),
            signature: STANDARD.encode(&self.signature),
            key: STANDARD.encode(&self.key),
            boot_log: STANDARD.encode(&self.boot_log),
            runtime: self.runtime.clone(),
        };
        into_text(&raw, MAX_ROOM_EVIDENCE_BYTES).map_err(RoomError::Evidence)
    }

    /// The 64 bytes that a quote must carry to bind this evidence's statement.
    #[must_use]
    pub fn bound_report_data(&self) -> ReportData {
        ReportData::of_statement(self.statement.as_bytes())
    }

    /// The qualifying data that a TPM quote must carry: SHA-256 of the report data.
    #[must_use]
    pub fn bound_qualifying_data(&self) -> [u8; 32] {
        *Digest::of(self.bound_report_data().as_bytes()).as_bytes()
    }
}

/// What others say about the key or platform that signed room evidence. Claims until verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RoomEndorsements {
    /// Of a TPM's attestation key.
    Tpm2 {
        /// The attestation key's certificate, PEM.
        ak_certificate: String,
    },
    /// Of a TDX platform: what Intel's provisioning certification service publishes.
    Tdx(Box<Collateral>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTpm2 {
    ak_certificate: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    format: String,
    evidence: String,
    endorsements: serde_json::Value,
}

#[derive(Serialize)]
struct WrittenDocument<'a> {
    format: &'static str,
    evidence: &'a str,
    endorsements: &'a RoomEndorsements,
}

/// A document whose outer form is right: evidence with the endorsements of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomDocument {
    text: String,
    evidence: RoomEvidence,
    endorsements: RoomEndorsements,
}

impl RoomDocument {
    /// Reads a document.
    ///
    /// # Errors
    /// `room-document-malformed`, `room-evidence-member`, `room-evidence-not-canonical`,
    /// `room-evidence-unsupported` for SEV-SNP, and what [`RoomEvidence::parse`] refuses.
    pub fn parse(bytes: &[u8]) -> Result<Self, RoomError> {
        let raw: RawDocument =
            json::parse(bytes, MAX_ROOM_DOCUMENT_BYTES).map_err(RoomError::Document)?;
        if raw.format != ROOM_DOCUMENT_FORMAT {
            return Err(RoomError::Member(
                "format",
                "is not `proofroom.room-evidence-document.v1`",
            ));
        }
        let evidence = RoomEvidence::parse(&raw.evidence)?;
        let malformed = |source| RoomError::Document(json::JsonError::Shape(source));
        let endorsements = match evidence.kind {
            EvidenceType::Tpm2 => {
                let raw = RawTpm2::deserialize(raw.endorsements).map_err(malformed)?;
                RoomEndorsements::Tpm2 {
                    ak_certificate: raw.ak_certificate,
                }
            }
            EvidenceType::Tdx => RoomEndorsements::Tdx(Box::new(
                Collateral::deserialize(raw.endorsements).map_err(malformed)?,
            )),
            EvidenceType::SevSnp => return Err(RoomError::Unsupported("sev-snp")),
        };
        if Self::write(&raw.evidence, &endorsements)? != bytes {
            return Err(RoomError::NotCanonical("room-evidence document"));
        }
        Ok(Self {
            text: raw.evidence,
            evidence,
            endorsements,
        })
    }

    /// Writes a document around the exact text of room evidence.
    ///
    /// # Errors
    /// `room-document-malformed` when it is larger than [`MAX_ROOM_DOCUMENT_BYTES`].
    pub fn write(evidence: &str, endorsements: &RoomEndorsements) -> Result<Vec<u8>, RoomError> {
        let document = WrittenDocument {
            format: ROOM_DOCUMENT_FORMAT,
            evidence,
            endorsements,
        };
        let text = into_text(&document, MAX_ROOM_DOCUMENT_BYTES);
        text.map(String::into_bytes).map_err(RoomError::Document)
    }

    /// SHA-256 of the evidence's exact text: what records call this evidence. Endorsements are not
    /// part of it, so the room that made the evidence can name it.
    #[must_use]
    pub fn evidence_digest(&self) -> Digest {
        Digest::of(&self.text)
    }

    /// The evidence.
    #[must_use]
    pub const fn evidence(&self) -> &RoomEvidence {
        &self.evidence
    }

    /// What others say about its signer.
    #[must_use]
    pub const fn endorsements(&self) -> &RoomEndorsements {
        &self.endorsements
    }
}

fn into_text<T: Serialize>(value: &T, max: usize) -> Result<String, json::JsonError> {
    let text = serde_json::to_string(value).map_err(json::JsonError::Shape)?;
    if text.len() > max {
        let have = text.len();
        return Err(json::JsonError::TooLarge { have, max });
    }
    Ok(text)
}

fn decode(member: &'static str, text: &str) -> Result<Vec<u8>, RoomError> {
    STANDARD
        .decode(text)
        .map_err(|_| RoomError::Member(member, "is not canonical padded base64"))
}
