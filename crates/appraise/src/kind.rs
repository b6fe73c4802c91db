//! What evidence is, by its bytes alone: neither file names nor options are asked.

use std::fmt;

use proofroom_canonical::json;
use proofroom_evidence::{
    FORMAT, MAX_ROOM_DOCUMENT_BYTES, ROOM_DOCUMENT_FORMAT, VTPM_FORMAT, snp::SNP_REPORT_BYTES,
};
use serde_json::Value;

use crate::AppraiseError;

/// The most bytes that are looked at: the largest evidence is a room's document.
pub const MAX_EVIDENCE_BYTES: usize = MAX_ROOM_DOCUMENT_BYTES;

/// `TEE_TYPE` of a TDX quote's header (Intel DCAP, appendix A.3).
const TEE_TDX: [u8; 4] = [0x81, 0, 0, 0];
/// `TPM_GENERATED_VALUE` (TCG TPM 2.0 Library, part 2, section 6.2).
const TPM_GENERATED: &[u8] = &[0xff, b'T', b'C', b'G'];

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare Intel TDX quote, version 4 or 5.
    TdxQuote,
    /// The evidence document of an attested upstream.
    Upstream,
    /// The evidence document of a room, by a TPM or a TD.
    Room,
    /// An AMD SEV-SNP attestation report.
    SnpReport,
    /// Reports of NVIDIA devices with their certificates.
    GpuList,
    /// A detached EAT of NVIDIA's attestation service.
    NrasToken,
    /// A TPMS_ATTEST.
    TpmQuote,
    /// The evidence document of a guest with a virtual TPM.
    Vtpm,
}

impl Kind {
    /// All kinds, in the order in which they are looked for.
    pub const ALL: [Self; 8] = [
        Self::TdxQuote,
        Self::SnpReport,
        Self::TpmQuote,
        Self::Upstream,
        Self::Room,
        Self::Vtpm,
        Self::GpuList,
        Self::NrasToken,
    ];

    /// The stable spelling in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TdxQuote => "tdx-quote",
            Self::Upstream => "upstream-evidence",
            Self::Room => "room-evidence",
            Self::SnpReport => "snp-report",
            Self::GpuList => "gpu-evidence",
            Self::NrasToken => "nras-token",
            Self::TpmQuote => "tpm-quote",
            Self::Vtpm => "vtpm-evidence",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::TdxQuote => "an Intel TDX quote, version 4 or 5",
            Self::Upstream => "an upstream's evidence document",
            Self::Room => "a room's evidence document",
            Self::SnpReport => "an AMD SEV-SNP report",
            Self::GpuList => "evidence of NVIDIA devices",
            Self::NrasToken => "a token of NVIDIA's attestation service",
            Self::TpmQuote => "a TPM 2.0 attestation",
            Self::Vtpm => "an evidence document of a guest with a virtual TPM",
        }
    }

    /// All kinds, as words.
    #[must_use]
    pub fn looked_for() -> String {
        Self::ALL.map(Self::words).join("; ")
    }

    /// Says what `bytes` are.
    ///
    /// # Errors
    /// `evidence-too-large`; `evidence-unknown` with what was looked for.
    pub fn recognise(bytes: &[u8]) -> Result<Self, AppraiseError> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            let (have, max) = (bytes.len(), MAX_EVIDENCE_BYTES);
            return Err(AppraiseError::TooLarge { have, max });
        }
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => of_json(bytes),
            _ => of_binary(bytes),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

fn of_binary(bytes: &[u8]) -> Result<Kind, AppraiseError> {
    let unknown = |seen| Err(AppraiseError::Unknown { seen });
    if bytes.starts_with(TPM_GENERATED) {
        return Ok(Kind::TpmQuote);
    }
    match bytes {
        [4 | 5, 0, _, _, tee @ ..] if tee.starts_with(&TEE_TDX) => Ok(Kind::TdxQuote),
        [3, 0, 2 | 3, 0, ..] if bytes.len() != SNP_REPORT_BYTES => {
            unknown("it looks like an SGX quote")
        }
        [2..=5, 0, 0, 0, ..] if bytes.len() == SNP_REPORT_BYTES => Ok(Kind::SnpReport),
        [] => unknown("it is empty"),
        _ => unknown("binary data"),
    }
}

fn of_json(bytes: &[u8]) -> Result<Kind, AppraiseError> {
    let unknown = |seen| AppraiseError::Unknown { seen };
    let value = json::parse_value(bytes, MAX_EVIDENCE_BYTES)
        .map_err(|_| unknown("it begins like JSON and is not strict JSON"))?;
    match &value {
        Value::Object(members) => match members.get("format").and_then(Value::as_str) {
            Some(FORMAT) => Ok(Kind::Upstream),
            Some(ROOM_DOCUMENT_FORMAT) => Ok(Kind::Room),
            Some(VTPM_FORMAT) => Ok(Kind::Vtpm),
            Some(_) => Err(unknown("JSON of another `format`")),
            None if members.contains_key("evidence_list") => Ok(Kind::GpuList),
            None => Err(unknown("a JSON object without `format`")),
        },
        Value::Array(items) => match items.first() {
            Some(Value::Object(device)) if device.contains_key("evidence") => Ok(Kind::GpuList),
            Some(Value::Array(pair)) if pair.first().and_then(Value::as_str) == Some("JWT") => {
                Ok(Kind::NrasToken)
            }
            _ => Err(unknown("a JSON list")),
        },
        _ => Err(unknown("JSON")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, MAX_EVIDENCE_BYTES};

    #[test]
    fn what_is_no_evidence_is_refused_with_what_was_looked_for() {
        for bytes in [
            &b""[..],
            b"{}",
            b"[]",
            b"[{}]",
            b"{",
            b"hello",
            &[4, 0, 2, 0, 0, 0, 0, 0],
        ] {
            let refused = Kind::recognise(bytes).unwrap_err();
            assert_eq!(refused.code(), "evidence-unknown");
            assert!(refused.to_string().contains("Intel TDX quote"));
        }
    }

    #[test]
    fn an_sgx_quote_is_called_one() {
        let refused = Kind::recognise(&[3, 0, 2, 0, 0, 0, 0, 0]).unwrap_err();
        assert!(refused.to_string().contains("SGX"));
    }

    #[test]
    fn too_many_bytes_are_not_looked_at() {
        let refused = Kind::recognise(&vec![b'{'; MAX_EVIDENCE_BYTES + 1]).unwrap_err();
        assert_eq!(refused.code(), "evidence-too-large");
    }
}
