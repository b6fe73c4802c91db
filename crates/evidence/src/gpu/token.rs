//! Tokens of NVIDIA's attestation service: a detached EAT (RFC 9711 section 4.2.18.2), which is one
//! overall JWT and one JWT for each device, all JWS in compact form (RFC 7515 section 7.1). Taken
//! apart; no signature is looked at here.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proofroom_canonical::{Digest, json};
use serde::Deserialize;
use serde_json::Value;

use super::{GpuError, MAX_DEVICES};

/// The most bytes of a detached EAT that are read: 33 JWTs with some 3,000 bytes each, and room.
pub const MAX_TOKEN_BYTES: usize = 512 * 1024;
const MAX_NAME: usize = 64;

/// A JWS header. Anything else in one, above all keys and `crit`, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwsHeader {
    /// The signature algorithm.
    pub alg: String,
    /// Which key signed.
    pub kid: Option<String>,
    /// `JWT`, if anything.
    pub typ: Option<String>,
}

/// A JWS in compact form, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Jws {
    header: JwsHeader,
    claims: Value,
    signed: Vec<u8>,
    signature: Vec<u8>,
    digest: Digest,
}

impl Jws {
    /// Takes a JWS apart whose payload is a JSON object. An empty signature is read: judging it is
    /// the verifier's.
    ///
    /// # Errors
    /// `gpu-token-malformed` for anything but three parts of canonical base64url, a strict header and
    /// strict JSON.
    pub fn parse(text: &str) -> Result<Self, GpuError> {
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(GpuError::TokenForm("a JWS has three parts"));
        };
        let signed = text.len().saturating_sub(signature.len() + 1);
        let claims: Value =
            json::parse_value(&decode(payload)?, MAX_TOKEN_BYTES).map_err(GpuError::Token)?;
        if !claims.is_object() {
            return Err(GpuError::TokenForm("claims are an object"));
        }
        Ok(Self {
            header: json::parse(&decode(header)?, MAX_TOKEN_BYTES).map_err(GpuError::Token)?,
            claims,
            signed: text.as_bytes().get(..signed).unwrap_or_default().to_vec(),
            signature: decode(signature)?,
            digest: Digest::of(text),
        })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &JwsHeader {
        &self.header
    }

    /// The claims, an object.
    #[must_use]
    pub const fn claims(&self) -> &Value {
        &self.claims
    }

    /// The bytes under the signature: header and payload as they were written.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// The signature; empty if there is none.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// SHA-256 of the JWS's text, by which an overall token names it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// A detached EAT: the overall token and, by name, the token of each device.
#[derive(Clone, Debug, PartialEq)]
pub struct DetachedEat {
    overall: Jws,
    submodules: BTreeMap<String, Jws>,
}

impl DetachedEat {
    /// Reads `[["JWT", "<overall>"], {"GPU-0": "<device>", …}]`.
    ///
    /// # Errors
    /// `gpu-token-malformed` for anything else, and for no device or more than [`MAX_DEVICES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, GpuError> {
        type Raw = ((String, String), BTreeMap<String, String>);
        let ((kind, overall), devices): Raw =
            json::parse(bytes, MAX_TOKEN_BYTES).map_err(GpuError::Token)?;
        if kind != "JWT" {
            return Err(GpuError::TokenForm("the overall token is a JWT"));
        }
        let named = |name: &String| !name.is_empty() && name.len() <= MAX_NAME;
        if devices.is_empty() || devices.len() > MAX_DEVICES || !devices.keys().all(named) {
            return Err(GpuError::TokenForm("no device, too many, or a bad name"));
        }
        let submodules = devices
            .into_iter()
            .map(|(name, text)| Ok((name, Jws::parse(&text)?)))
            .collect::<Result<_, GpuError>>()?;
        Ok(Self {
            overall: Jws::parse(&overall)?,
            submodules,
        })
    }

    /// The token about the whole machine.
    #[must_use]
    pub const fn overall(&self) -> &Jws {
        &self.overall
    }

    /// The tokens about devices, by the names that the overall token gives them.
    #[must_use]
    pub const fn submodules(&self) -> &BTreeMap<String, Jws> {
        &self.submodules
    }
}

fn decode(text: &str) -> Result<Vec<u8>, GpuError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| GpuError::TokenForm("a part is not canonical base64url"))
}
