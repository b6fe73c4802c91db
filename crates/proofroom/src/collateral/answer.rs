//! Answers of Intel's Provisioning Certification Service (API version 4), or of a caching one, made into
//! collateral. Signed texts are taken as they stand, byte for byte; nothing is verified.

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use proofroom_evidence::Collateral;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An answer's body and headers.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// The four answers of which collateral is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// `pckcrl`, DER.
    pub(super) pck_crl: Answer,
    /// The root's revocation list, DER.
    pub(super) root_crl: Vec<u8>,
    /// `tcb`.
    pub(super) tcb: Answer,
    /// `qe/identity`.
    pub(super) identity: Answer,
}

#[derive(Deserialize)]
struct Tcb<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    text: &'a RawValue,
    signature: String,
}

#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(borrow, rename = "enclaveIdentity")]
    text: &'a RawValue,
    signature: String,
}

const PCK_CRL_CHAIN: &[&str] = &["SGX-PCK-CRL-Issuer-Chain"];
const TCB_CHAIN: &[&str] = &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
const IDENTITY_CHAIN: &[&str] = &["SGX-Enclave-Identity-Issuer-Chain"];

impl Answers {
    /// The collateral that they are, or what is wrong with one of them.
    pub(super) fn collateral(self) -> Result<Collateral, String> {
        let malformed = |what: &'static str| move |error| format!("{what}: {error}");
        let tcb: Tcb<'_> =
            serde_json::from_slice(&self.tcb.body).map_err(malformed("the TCB info"))?;
        let identity: Identity<'_> =
            serde_json::from_slice(&self.identity.body).map_err(malformed("the QE identity"))?;
        Ok(Collateral {
            pck_crl_issuer_chain: chain(&self.pck_crl.headers, PCK_CRL_CHAIN)?,
            root_ca_crl: self.root_crl,
            pck_crl: self.pck_crl.body,
            tcb_info_issuer_chain: chain(&self.tcb.headers, TCB_CHAIN)?,
            tcb_info: tcb.text.get().to_owned(),
            tcb_info_signature: signature(&tcb.signature)?,
            qe_identity_issuer_chain: chain(&self.identity.headers, IDENTITY_CHAIN)?,
            qe_identity: identity.text.get().to_owned(),
            qe_identity_signature: signature(&identity.signature)?,
        })
    }
}

/// A chain of certificates, PEM, percent-encoded in the header of one of these names.
fn chain(headers: &HeaderMap, names: &[&str]) -> Result<String, String> {
    let value = names
        .iter()
        .find_map(|name| headers.get(*name))
        .ok_or_else(|| format!("the answer has no header `{}`", names.join("` or `")))?;
    let text = value.to_str().map_err(|error| error.to_string())?;
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|error| format!("header `{}`: {error}", names.join("` or `")))
}

fn signature(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|error| format!("a signature: {error}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{Answer, Answers};

    fn answer(name: &'static str, body: &str) -> Answer {
        let mut answer = Answer {
            body: body.as_bytes().to_vec(),
            ..Answer::default()
        };
        let chain = HeaderValue::from_static("-----BEGIN%20CERTIFICATE-----%0A");
        answer.headers.insert(name, chain);
        answer
    }

    fn answers() -> Answers {
        Answers {
            pck_crl: answer("sgx-pck-crl-issuer-chain", "crl"),
            root_crl: b"root".to_vec(),
            tcb: answer(
                "tcb-info-issuer-chain",
                r#"{"tcbInfo": {"b" : 1, "a":  2} ,"signature":"0a0B"}"#,
            ),
            identity: answer(
                "sgx-enclave-identity-issuer-chain",
                r#"{"signature":"ff","enclaveIdentity":{"id":"TD_QE"}}"#,
            ),
        }
    }

    #[test]
    fn signed_texts_keep_every_byte() {
        let collateral = answers().collateral().unwrap();
        assert_eq!(collateral.tcb_info, r#"{"b" : 1, "a":  2}"#);
        assert_eq!(collateral.tcb_info_signature, [0x0a, 0x0b]);
        assert_eq!(collateral.qe_identity, r#"{"id":"TD_QE"}"#);
        let pem = "-----BEGIN CERTIFICATE-----\n";
        assert_eq!(collateral.tcb_info_issuer_chain, pem);
    }

    #[test]
    fn what_is_missing_or_no_answer_is_named() {
        let mut headless = answers();
        headless.tcb.headers.clear();
        let problem = headless.collateral().unwrap_err();
        assert!(problem.contains("`TCB-Info-Issuer-Chain`"), "{problem}");
        for body in ["", "{}", "[]", r#"{"tcbInfo":{},"signature":"no hex"}"#] {
            let mut broken = answers();
            broken.tcb.body = body.as_bytes().to_vec();
            broken.collateral().unwrap_err();
        }
    }
}
