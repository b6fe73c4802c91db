//! The document that puts the parts of a virtual TPM's evidence into one file, for guests behind Azure's
//! paravisor and for guests of Google. See `docs/spec/vtpm.md`. Nothing here is verified.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{Digest, Hex, json};
use serde::{Deserialize, Serialize};

use crate::{EvidenceError, MAX_EVENT_LOG_BYTES, REPORT_DATA_BYTES, ReportData};

/// The `format` member of every document.
pub const VTPM_FORMAT: &str = "proofroom.vtpm-evidence.v1";
/// The most bytes of a document that are read: an event log of [`MAX_EVENT_LOG_BYTES`] in base64 is the bulk.
pub const MAX_VTPM_DOCUMENT_BYTES: usize = MAX_EVENT_LOG_BYTES / 2 * 3;
/// How many registers a bank has.
pub const VTPM_REGISTERS: usize = 24;
/// The purpose of the statement that binds a virtual TPM's key. See [`key_report_data`].
pub const VTPM_KEY_PURPOSE: &str = "proofroom.vtpm-key.v1";

/// Bytes, in JSON as canonical padded base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base64(pub Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = STANDARD.decode(text);
        bytes.map(Self).map_err(|_| "no canonical padded base64")
    }
}

impl From<Base64> for String {
    fn from(Base64(bytes): Base64) -> Self {
        STANDARD.encode(bytes)
    }
}

/// What a guest with a virtual TPM shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VtpmDocument {
    format: String,
    /// Whose guest it is, with what only guests of that cloud show.
    pub guest: VtpmGuest,
    /// The virtual TPM's TPMS_ATTEST.
    pub quote: Base64,
    /// The signature over it: of Azure's guests the bare RSASSA-PKCS1-v1_5 signature, of Google's a
    /// TPMT_SIGNATURE.
    pub signature: Base64,
    /// The SHA-256 bank.
    pub pcrs: [Hex<32>; VTPM_REGISTERS],
    /// The TD's quote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub td_quote: Option<Base64>,
}

/// What only guests of one cloud show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum VtpmGuest {
    /// A guest behind Azure's paravisor.
    Azure {
        /// The paravisor's report, from NV index 0x01400001.
        hcl_report: Base64,
    },
    /// A guest of Google's.
    Gcp {
        /// The attestation key's certificate first, its root's last; DER.
        ak_certificates: Vec<Base64>,
        /// The TCG event log of the boot.
        event_log: Base64,
        /// The report of an SEV-SNP guest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snp_report: Option<Base64>,
    },
}

impl VtpmDocument {
    /// A document of these parts.
    #[must_use]
    pub fn new(
        guest: VtpmGuest,
        (quote, signature): (Vec<u8>, Vec<u8>),
        pcrs: [[u8; 32]; VTPM_REGISTERS],
        td_quote: Option<Vec<u8>>,
    ) -> Self {
        Self {
            format: VTPM_FORMAT.to_owned(),
            guest,
            quote: Base64(quote),
            signature: Base64(signature),
            pcrs: pcrs.map(Hex::from_bytes),
            td_quote: td_quote.map(Base64),
        }
    }

    /// Reads a document of at most [`MAX_VTPM_DOCUMENT_BYTES`].
    ///
    /// # Errors
    /// `document-malformed` for anything but strict JSON with exactly the known members, base64 that is
    /// not canonical, or another number of registers; `document-member` for another format.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let document: Self =
            json::parse(bytes, MAX_VTPM_DOCUMENT_BYTES).map_err(EvidenceError::Document)?;
        if document.format != VTPM_FORMAT {
            let words = "is not `proofroom.vtpm-evidence.v1`";
            return Err(EvidenceError::Member("format", words));
        }
        Ok(document)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// `document-malformed`, which no document of [`VtpmDocument::new`] causes.
    pub fn write(&self) -> Result<Vec<u8>, EvidenceError> {
        json::to_bytes(self).map_err(EvidenceError::Document)
    }

    /// The values of the SHA-256 bank.
    #[must_use]
    pub fn registers(&self) -> [[u8; 32]; VTPM_REGISTERS] {
        self.pcrs.map(|value| *value.as_bytes())
    }
}

/// The report data that binds nonce and attestation key: SHA-512 of
/// `{"purpose":"proofroom.vtpm-key.v1","nonce":"<hex>","key":"sha256:<64 hex>"}`, whose `key` is the digest
/// of the key's `SubjectPublicKeyInfo` in DER.
#[must_use]
pub fn key_report_data(nonce: &[u8], spki: &[u8]) -> [u8; REPORT_DATA_BYTES] {
    let (nonce, key) = (hex::encode(nonce), Digest::of(spki));
    let statement =
        format!(r#"{{"purpose":"{VTPM_KEY_PURPOSE}","nonce":"{nonce}","key":"{key}"}}"#);
    *ReportData::of_statement(statement.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256, Sha512};

    use super::{Base64, VTPM_REGISTERS, VtpmDocument, VtpmGuest, key_report_data};

    fn document() -> Vec<u8> {
        let guest = VtpmGuest::Gcp {
            ak_certificates: vec![Base64(vec![1; 4])],
            event_log: Base64(vec![2; 4]),
            snp_report: None,
        };
        let pcrs = [[3; 32]; VTPM_REGISTERS];
        let document = VtpmDocument::new(guest, (vec![4; 4], vec![5; 4]), pcrs, Some(vec![6; 4]));
        document.write().unwrap()
    }

    #[track_caller]
    fn refused(from: &str, to: &str, code: &str) {
        let text = String::from_utf8(document()).unwrap();
        assert!(text.contains(from), "{from}");
        let changed = text.replacen(from, to, 1);
        let refused = VtpmDocument::parse(changed.as_bytes()).unwrap_err();
        assert_eq!(refused.code(), code, "{changed}");
    }

    #[test]
    fn a_document_is_read_as_it_was_written_and_at_no_other_length() {
        let bytes = document();
        let read = VtpmDocument::parse(&bytes).unwrap();
        assert_eq!(read.write().unwrap(), bytes);
        assert_eq!(read.registers(), [[3; 32]; VTPM_REGISTERS]);
        for cut in 0..bytes.len() {
            let refused = VtpmDocument::parse(bytes.get(..cut).unwrap()).unwrap_err();
            assert_eq!(refused.code(), "document-malformed");
        }
    }

    #[test]
    fn another_shape_is_refused() {
        refused("evidence.v1", "evidence.v2", "document-member");
        refused("BAQEBA==", "BAQEBA", "document-malformed");
        refused("BAQEBA==", "BAQEBB==", "document-malformed");
        refused("0303", "03", "document-malformed");
        let register = format!("\"{}\",", "03".repeat(32));
        refused(&register, "", "document-malformed");
        refused("\"gcp\"", "\"other\"", "document-malformed");
        refused("\"event_log\"", "\"log\"", "document-malformed");
        refused(
            "\"quote\"",
            "\"quote\":\"\",\"quote\"",
            "document-malformed",
        );
        refused(
            "\"td_quote\"",
            "\"collateral\":1,\"td_quote\"",
            "document-malformed",
        );
    }

    #[test]
    fn the_key_is_bound_by_the_documented_text() {
        let key = hex::encode(Sha256::digest(b"spki"));
        let text = format!(
            "{{\"purpose\":\"proofroom.vtpm-key.v1\",\"nonce\":\"6e\",\"key\":\"sha256:{key}\"}}"
        );
        let expected: [u8; 64] = Sha512::digest(text.as_bytes()).into();
        assert_eq!(key_report_data(b"n", b"spki"), expected);
    }
}
