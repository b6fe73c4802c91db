//! A JWS in compact form (RFC 7515 section 7.1), taken apart strictly: three parts of canonical base64url,
//! a header and claims that are strict JSON objects. Nothing is verified here.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proofroom_canonical::{Digest, json, json::JsonError};
use serde_json::{Map, Value};

/// The most bytes of one. Tokens with a hundred groups have some 8 KiB; headers of a request 64.
pub const MAX_JWS_BYTES: usize = 16 * 1024;
/// The longest text of a header's member that an error repeats.
const SHOWN: usize = 60;

/// Why a text is no JWS that is looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Too long.
    #[error("it has {0} bytes, more than {MAX_JWS_BYTES}")]
    TooLarge(usize),
    /// Not three parts of canonical base64url.
    #[error("it is not three parts of base64url without padding, with dots between them")]
    Form,
    /// Header or claims are not one strict JSON object.
    #[error("its {part} is not a strict JSON object")]
    Json {
        /// `header` or `claims`.
        part: &'static str,
        /// What is wrong.
        #[source]
        source: Option<JsonError>,
    },
    /// A header member that changes what is verified, or that nobody here knows.
    #[error("its header has `{0}`, which is not looked at")]
    Member(String),
}

/// One that was taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Jws<'a> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes `text` apart. The header may have `members` and no other: not `crit`, no key and no address of
    /// one that its author chose.
    pub(crate) fn parse(text: &'a str, members: &[&str]) -> Result<Self, JwsError> {
        if text.len() > MAX_JWS_BYTES {
            return Err(JwsError::TooLarge(text.len()));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(JwsError::Form)?;
        let header = object("header", header)?;
        if let Some(other) = header.keys().find(|name| !members.contains(&name.as_str())) {
            return Err(JwsError::Member(shown(other)));
        }
        Ok(Self {
            header,
            claims: object("claims", claims)?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// A member of the header that is a text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A member of the header that is an object.
    pub(crate) fn header_object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.header.get(name)?.as_object()
    }

    pub(crate) const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(crate) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }

    /// The bytes under the signature.
    pub(crate) const fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Digest of what is signed: an ECDSA signature has a twin, and with it a token another text.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.signed)
    }
}

/// As much of a stranger's text as may be repeated to them.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .take(SHOWN)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

fn object(part: &'static str, text: &str) -> Result<Map<String, Value>, JwsError> {
    let bytes = decode(text)?;
    match json::parse_value(&bytes, MAX_JWS_BYTES) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(JwsError::Json { part, source: None }),
        Err(error) => Err(JwsError::Json {
            part,
            source: Some(error),
        }),
    }
}

/// Base64url without padding and without bits that say nothing (RFC 7515 section 2).
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JwsError::Form)
}

/// The same, of these bytes.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
