//! Attestation evidence as claims (RFC 9334): Intel TDX quotes, the PCK certificate's platform
//! facts, and the document that an attested upstream serves. Reads bytes, decides nothing: whether
//! any of it is true or trusted is the verifier's to say.

#![forbid(unsafe_code)]

mod document;
mod error;
mod pck;
mod quote;
mod statement;

pub use document::{Collateral, EvidenceDocument, FORMAT, MAX_DOCUMENT_BYTES};
pub use error::EvidenceError;
pub use pck::{Fmspc, PckFacts};
pub use quote::{
    BodyKind, MAX_QUOTE_BYTES, Measurement, Quote, QuoteVersion, REPORT_DATA_BYTES, Register,
    TdAttributes, TdClaims, TdFlaw,
};
pub use statement::{KeysetStatement, MAX_MODEL_BYTES, MAX_STATEMENT_BYTES, PURPOSE, ReportData};
