//! The evidence document of an attested upstream: keyset statement, quote and that day's vendor
//! collateral in one strict JSON file, so that anybody can appraise it offline at any later time.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{Digest, json};
use serde::{Deserialize, Serialize};

use crate::{EvidenceError, KeysetStatement, MAX_QUOTE_BYTES, Quote, ReportData};

/// The `format` member of every document.
pub const FORMAT: &str = "proofroom.upstream-evidence.v1";
/// The most bytes of a document that are read. Collateral is the bulk: revocation lists grow.
pub const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// What Intel's provisioning certification service says about a platform, as published. Claims
/// until their signatures are verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collateral {
    /// Issuer of the PCK revocation list, then its issuers up to the root; PEM.
    pub pck_crl_issuer_chain: String,
    /// The root's revocation list; DER in lower-case hex.
    #[serde(with = "hex::serde")]
    pub root_ca_crl: Vec<u8>,
    /// The PCK issuer's revocation list; DER in lower-case hex.
    #[serde(with = "hex::serde")]
    pub pck_crl: Vec<u8>,
    /// Signer of the TCB info, then the root; PEM.
    pub tcb_info_issuer_chain: String,
    /// TCB info, the exact JSON text that is signed.
    pub tcb_info: String,
    /// Raw ECDSA P-256 signature over it, r then s; hex.
    #[serde(with = "hex::serde")]
    pub tcb_info_signature: Vec<u8>,
    /// Signer of the QE identity, then the root; PEM.
    pub qe_identity_issuer_chain: String,
    /// QE identity, the exact JSON text that is signed.
    pub qe_identity: String,
    /// Raw ECDSA P-256 signature over it, r then s; hex.
    #[serde(with = "hex::serde")]
    pub qe_identity_signature: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    statement: String,
    quote: String,
    collateral: Collateral,
}

/// An evidence document whose outer form is right. Its quote and statement still have to be parsed
/// ([`EvidenceDocument::quote`], [`EvidenceDocument::statement`]), and nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceDocument {
    digest: Digest,
    statement: String,
    quote: Vec<u8>,
    collateral: Collateral,
}

impl EvidenceDocument {
    /// Reads a document of at most [`MAX_DOCUMENT_BYTES`].
    ///
    /// # Errors
    /// `document-malformed` for anything but strict JSON with exactly the known members,
    /// `document-member` for another format or base64 that is not canonical, `quote-too-large`.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let raw: Raw = json::parse(bytes, MAX_DOCUMENT_BYTES).map_err(EvidenceError::Document)?;
        if raw.format != FORMAT {
            return Err(EvidenceError::Member(
                "format",
                "is not `proofroom.upstream-evidence.v1`",
            ));
        }
        let quote = STANDARD
            .decode(&raw.quote)
            .map_err(|_| EvidenceError::Member("quote", "is not canonical padded base64"))?;
        if quote.len() > MAX_QUOTE_BYTES {
            return Err(EvidenceError::QuoteTooLarge {
                have: quote.len(),
                max: MAX_QUOTE_BYTES,
            });
        }
        Ok(Self {
            digest: Digest::of(bytes),
            statement: raw.statement,
            quote,
            collateral: raw.collateral,
        })
    }

    /// Writes a document around the exact bytes of a statement and a quote.
    ///
    /// # Errors
    /// `document-member` if the statement is not UTF-8.
    pub fn write(
        statement: &[u8],
        quote: &[u8],
        collateral: &Collateral,
    ) -> Result<Vec<u8>, EvidenceError> {
        let statement = std::str::from_utf8(statement)
            .map_err(|_| EvidenceError::Member("statement", "is not UTF-8"))?;
        json::to_bytes(&Raw {
            format: FORMAT.to_owned(),
            statement: statement.to_owned(),
            quote: STANDARD.encode(quote),
            collateral: collateral.clone(),
        })
        .map_err(EvidenceError::Document)
    }

    /// SHA-256 of the document's bytes: its file name in a bundle. It names these bytes, not the
    /// attestation; for that see [`Quote::identity`].
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The statement, parsed.
    ///
    /// # Errors
    /// See [`KeysetStatement::parse`].
    pub fn statement(&self) -> Result<KeysetStatement, EvidenceError> {
        KeysetStatement::parse(self.statement.as_bytes())
    }

    /// The report data that a quote must carry to bind this document's statement.
    #[must_use]
    pub fn bound_report_data(&self) -> ReportData {
        ReportData::of_statement(self.statement.as_bytes())
    }

    /// The quote, parsed.
    ///
    /// # Errors
    /// See [`Quote::parse`].
    pub fn quote(&self) -> Result<Quote, EvidenceError> {
        Quote::parse(&self.quote)
    }

    /// The quote's bytes.
    #[must_use]
    pub fn quote_bytes(&self) -> &[u8] {
        &self.quote
    }

    /// The vendor's collateral.
    #[must_use]
    pub const fn collateral(&self) -> &Collateral {
        &self.collateral
    }
}

#[cfg(test)]
mod tests;
