//! The signature of a provider over one answer: which request, which answer, by a key that its evidence
//! binds. In the lineage of dstack the signed text is `[<model>:]<sha256 of request>:<sha256 of answer>`,
//! signed as an Ethereum message (EIP-191) or with Ed25519.

use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey as Ed25519Key};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use proofroom_canonical::{
    Digest,
    json::{self, JsonError},
};
use serde::Deserialize;
use sha3::{Digest as _, Keccak256};

use crate::{Component, KeptAnswer, SigningKey, VerifiedProvider, verified::Machine};

/// The most bytes of a receipt that are read.
pub const MAX_RECEIPT_BYTES: usize = 16 * 1024;

/// Why an answer's receipt is refused. The answer is then nobody's word.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Not strict JSON with the members that are used.
    #[error("receipt refused")]
    Malformed(#[source] JsonError),
    /// Not a receipt of `proofroom-enclave`.
    #[error("receipt refused")]
    Serving(#[source] proofroom_serving::ServingError),
    /// It answers another challenge: it was made for another run.
    #[error("the receipt was made for another run")]
    Replayed,
    /// Less of the answer arrived than was signed.
    #[error("the receipt is about {signed} bytes of answer, of which {arrived} arrived")]
    Truncated {
        /// Bytes that were signed.
        signed: u64,
        /// Bytes that arrived.
        arrived: u64,
    },
    /// It names another keyset than the one that was attested.
    #[error("the receipt names another keyset than the attested one")]
    KeysetDiffers,
    /// It is about another path or method than what was asked.
    #[error("the receipt is about something else than what was asked for")]
    EndpointDiffers,
    /// An event is missing, there twice, or in another place than it must be.
    #[error("the events of the receipt do not tell one request and its answer")]
    Events,
    /// The service changed the request before it was answered, which the policy does not allow.
    #[error("the service changed the request, which the policy does not allow")]
    Rewritten,
    /// It speaks of an upstream where the service answers itself.
    #[error("the receipt speaks of an upstream, and the policy of none")]
    UpstreamUnexpected,
    /// It does not say of exactly one upstream that it was verified.
    #[error("the receipt does not say who answered and was verified")]
    UpstreamUnverified,
    /// The upstream was verified, but would have been used otherwise too.
    #[error("the answer did not depend on the upstream's verification")]
    UpstreamOptional,
    /// The upstream was asked for a model that the policy does not list.
    #[error("the upstream was asked for another model than the policy allows")]
    UpstreamModel,
    /// The session that it cites is refused.
    #[error(transparent)]
    Session(crate::SessionError),
    /// The signed text has no form that is known.
    #[error("the text that the receipt signs has no known form")]
    Text,
    /// It is about another request than the one that was sent.
    #[error("the receipt is about another request")]
    RequestDiffers,
    /// It is about another answer than the one that arrived.
    #[error("the receipt is about another answer")]
    ResponseDiffers,
    /// It is about another model than the one that was verified.
    #[error("the receipt is about another model")]
    ModelDiffers,
    /// The signature does not verify.
    #[error("the signature of the receipt does not verify")]
    Signature,
    /// The signature is that of a key which no accepted quote binds to who may sign this.
    #[error("the receipt is signed by a key that the evidence does not name")]
    KeyUnknown,
}

impl ReceiptError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Serving(_) => "receipt-malformed",
            Self::Replayed => "receipt-replayed",
            Self::Truncated { .. } => "receipt-response-truncated",
            Self::KeysetDiffers => "receipt-keyset-differs",
            Self::EndpointDiffers => "receipt-endpoint-differs",
            Self::Events => "receipt-events",
            Self::Rewritten => "receipt-rewritten",
            Self::UpstreamUnexpected => "receipt-upstream-unexpected",
            Self::UpstreamUnverified => "receipt-upstream-unverified",
            Self::UpstreamOptional => "receipt-upstream-optional",
            Self::UpstreamModel => "receipt-upstream-model",
            Self::Session(error) => error.code(),
            Self::Text => "receipt-text",
            Self::RequestDiffers => "receipt-request-differs",
            Self::ResponseDiffers => "receipt-response-differs",
            Self::ModelDiffers => "receipt-model-differs",
            Self::Signature => "receipt-signature",
            Self::KeyUnknown => "receipt-key-unknown",
        }
    }
}

/// As it is served.
#[derive(Deserialize)]
pub(crate) struct Raw {
    pub(crate) text: String,
    pub(crate) signature: String,
    pub(crate) signing_address: String,
    pub(crate) signing_algo: String,
}

/// A receipt that verified: this key signed this request and this answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    pub(crate) signer: Component,
    pub(crate) key: SigningKey,
    pub(crate) text: String,
    pub(crate) signature: String,
}

impl VerifiedReceipt {
    /// Who signed.
    #[must_use]
    pub const fn signer(&self) -> Component {
        self.signer
    }

    /// With which key.
    #[must_use]
    pub const fn key(&self) -> SigningKey {
        self.key
    }

    /// What was signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature in hex, as it was served.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }
}

/// Verifies that a machine of `provider` signed the exact bytes of a request and its answer, by their
/// SHA-256.
///
/// # Errors
/// [`ReceiptError`]. Text and digests are compared first, so that a receipt for another answer says so.
pub fn verify_receipt(
    receipt: &[u8],
    provider: &VerifiedProvider,
    request: Digest,
    response: Digest,
) -> Result<VerifiedReceipt, ReceiptError> {
    let raw: Raw = json::parse(receipt, MAX_RECEIPT_BYTES).map_err(ReceiptError::Malformed)?;
    judge(raw, provider, request, KeptAnswer::Whole(response))
}

pub(crate) fn judge(
    raw: Raw,
    provider: &VerifiedProvider,
    request: Digest,
    response: KeptAnswer,
) -> Result<VerifiedReceipt, ReceiptError> {
    let text = Text::parse(&raw.text).ok_or(ReceiptError::Text)?;
    if text.request != request.to_hex() {
        return Err(ReceiptError::RequestDiffers);
    }
    if response.differs(|whole| text.response == whole.to_hex()) {
        return Err(ReceiptError::ResponseDiffers);
    }
    if text.model.is_some_and(|model| model != provider.model()) {
        return Err(ReceiptError::ModelDiffers);
    }
    let key = signer(&raw)?;
    let signer = text
        .may_sign(provider, key)
        .ok_or(ReceiptError::KeyUnknown)?;
    Ok(VerifiedReceipt {
        signer,
        key,
        text: raw.text,
        signature: raw.signature,
    })
}

/// What is signed, taken apart from its end: a model's name may have colons.
struct Text<'a> {
    model: Option<&'a str>,
    request: &'a str,
    response: &'a str,
}

impl<'a> Text<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (rest, response) = text.rsplit_once(':')?;
        let (model, request) = match rest.rsplit_once(':') {
            Some((model, request)) => (Some(model), request),
            None => (None, rest),
        };
        let hex = |part: &str| {
            let digit = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
            part.len() == 64 && part.bytes().all(digit)
        };
        (hex(request) && hex(response)).then_some(Self {
            model,
            request,
            response,
        })
    }

    /// Whose key this is, of those who may sign such a text: one that names the model is a model's word; one that
    /// does not is the gateway's, or the machine's where there is no gateway.
    fn may_sign(&self, provider: &VerifiedProvider, key: SigningKey) -> Option<Component> {
        let is = |machine: &Machine| machine.key == Some(key);
        if let (None, Some(gateway)) = (self.model, &provider.gateway) {
            return is(gateway).then_some(Component::Gateway);
        }
        provider.machines.iter().position(is).map(Component::Model)
    }
}

/// The key that made the signature.
fn signer(raw: &Raw) -> Result<SigningKey, ReceiptError> {
    let text = raw.signature.strip_prefix("0x").unwrap_or(&raw.signature);
    let signature = hex::decode(text).map_err(|_| ReceiptError::Signature)?;
    match raw.signing_algo.as_str() {
        "ecdsa" => recover(&raw.text, &signature),
        "ed25519" => verify_ed25519(raw, &signature),
        _ => None,
    }
    .ok_or(ReceiptError::Signature)
}

/// The address whose key signed `text` as an Ethereum message (EIP-191, version `0x45`).
fn recover(text: &str, signature: &[u8]) -> Option<SigningKey> {
    let message = format!("\x19Ethereum Signed Message:\n{}{text}", text.len());
    let key = recover_key(message.as_bytes(), signature)?;
    address_of(&key).map(SigningKey::Ethereum)
}

/// The secp256k1 key that signed the Keccak-256 of `message`. `s` must be in the lower half of the order (EIP-2),
/// so that there is one signature and no second.
pub(crate) fn recover_key(message: &[u8], signature: &[u8]) -> Option<VerifyingKey> {
    let (rs, v) = signature
        .split_last_chunk::<1>()
        .map(|(rs, [v])| (rs, *v))?;
    let signature = Signature::from_slice(rs).ok()?;
    let high = signature.normalize_s() != signature;
    let id = RecoveryId::from_byte(v.checked_sub(27).unwrap_or(v)).filter(|_| !high)?;
    let hash = Keccak256::digest(message);
    VerifyingKey::recover_from_prehash(&hash, &signature, id).ok()
}

fn address_of(key: &VerifyingKey) -> Option<[u8; 20]> {
    let point = key.to_sec1_point(false);
    let (_, coordinates) = point.as_bytes().split_first()?;
    Keccak256::digest(coordinates).last_chunk().copied()
}

fn verify_ed25519(raw: &Raw, signature: &[u8]) -> Option<SigningKey> {
    let mut bytes = [0; 32];
    let address = raw
        .signing_address
        .strip_prefix("0x")
        .unwrap_or(&raw.signing_address);
    hex::decode_to_slice(address, &mut bytes).ok()?;
    is_signed(&raw.text, &bytes, signature).then_some(SigningKey::Ed25519(bytes))
}

/// Whether `signature` is the Ed25519 key's over `text`, by the strict rules.
pub(crate) fn is_signed(text: &str, key: &[u8; 32], signature: &[u8]) -> bool {
    let key = Ed25519Key::from_bytes(key);
    let signature = Ed25519Signature::from_slice(signature);
    matches!((key, signature), (Ok(key), Ok(signature))
        if key.verify_strict(text.as_bytes(), &signature).is_ok())
}
