//! Attestation evidence as claims (RFC 9334): Intel TDX quotes, the PCK certificate's platform
//! facts, AMD SEV-SNP and NVIDIA device reports, the document that an attested upstream serves, and what a room says
//! of itself. Reads bytes, decides nothing: whether any of it is true or trusted is the verifier's
//! to say.

#![forbid(unsafe_code)]

mod challenge;
mod document;
mod error;
mod event_log;
#[cfg(test)]
mod genuine;
pub mod gpu;
mod hcl;
mod pck;
mod quote;
mod reader;
mod room;
mod room_error;
pub mod snp;
mod statement;
mod tpm;
mod vtpm;

pub use challenge::{CHALLENGE_PURPOSE, Challenge};
pub use document::{Collateral, EvidenceDocument, FORMAT, MAX_DOCUMENT_BYTES};
pub use error::EvidenceError;
pub use event_log::{EV_NO_ACTION, EventLog, LogEvent, MAX_EVENT_LOG_BYTES};
pub use hcl::{HclError, HclReport, HclTee, MAX_HCL_BYTES, RsaNumbers};
pub use pck::{Fmspc, PckFacts, Ppid};
pub use quote::{
    BodyKind, MAX_QUOTE_BYTES, Measurement, Quote, QuoteVersion, REPORT_DATA_BYTES, Register,
    TdAttributes, TdClaims, TdFlaw,
};
pub use room::{
    ASSIGNMENT_EVENT, AssignmentEvent, BOOT_CONFIG_EVENT, EvidenceType, MAX_ROOM_DOCUMENT_BYTES,
    MAX_ROOM_EVIDENCE_BYTES, MAX_RUNTIME_CONTENT_BYTES, MAX_RUNTIME_EVENTS, Moment,
    ROOM_DOCUMENT_FORMAT, ROOM_EVIDENCE_FORMAT, RoomDocument, RoomEndorsements, RoomEvidence,
    RuntimeEvent,
};
pub use room_error::RoomError;
pub use statement::{KeysetStatement, MAX_MODEL_BYTES, MAX_STATEMENT_BYTES, PURPOSE, ReportData};
pub use tpm::{
    Bank, KeyAttributes, MAX_TPM_BYTES, PcrSelection, TpmKey, TpmQuote, TpmSignature,
    VtpmSignature, pcr_digest,
};
pub use vtpm::{
    Base64, MAX_VTPM_DOCUMENT_BYTES, VTPM_FORMAT, VTPM_KEY_PURPOSE, VTPM_REGISTERS, VtpmDocument,
    VtpmGuest, key_report_data,
};
