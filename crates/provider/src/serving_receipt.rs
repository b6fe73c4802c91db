//! The signature of `proofroom-enclave` over one answer: which request, which answer, for which challenge.

use proofroom_canonical::{Digest, Hex, Nonce, lower_hex};
use proofroom_serving::{ReceiptText, SignedReceipt};

use crate::{
    Component, KeptAnswer, KeptReceipt, ReceiptError, SigningKey, VerifiedProvider,
    VerifiedReceipt, receipt::is_signed,
};

/// What was sent and what arrived in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedRun {
    /// The challenge that was sent with the request, used for this run and never before.
    pub challenge: Nonce,
    /// SHA-256 of the request's body.
    pub request: Digest,
    /// SHA-256 of the answer's body, to its end.
    pub answer: Digest,
    /// Bytes of the answer's body.
    pub answer_bytes: u64,
}

/// Verifies that the enclave which `provider` proves signed the exact bytes of `run`.
///
/// # Errors
/// [`ReceiptError`]. The key and its signature come first, so that what a code says of the text is the enclave's
/// word.
pub fn verify_serving_receipt(
    receipt: &[u8],
    provider: &VerifiedProvider,
    run: &ServedRun,
) -> Result<VerifiedReceipt, ReceiptError> {
    let signed = SignedReceipt::parse(receipt).map_err(ReceiptError::Serving)?;
    let (text, verified) = signed_text(signed, provider)?;
    if text.challenge != run.challenge {
        return Err(ReceiptError::Replayed);
    }
    is_about(&text, provider.model(), run.request)?;
    if run.answer_bytes < text.answer_bytes {
        return Err(ReceiptError::Truncated {
            signed: text.answer_bytes,
            arrived: run.answer_bytes,
        });
    }
    if (text.answer_sha256, text.answer_bytes) != (run.answer, run.answer_bytes) {
        return Err(ReceiptError::ResponseDiffers);
    }
    Ok(verified)
}

/// The same of what a record keeps. That the challenge was this run's is the word of who made the record.
pub(crate) fn judge_kept(
    receipt: KeptReceipt<'_>,
    provider: &VerifiedProvider,
    request: Digest,
    answer: KeptAnswer,
) -> Result<VerifiedReceipt, ReceiptError> {
    let key = lower_hex(receipt.key).ok_or(ReceiptError::KeyUnknown)?;
    let signature = lower_hex(receipt.signature).ok_or(ReceiptError::Signature)?;
    let signed = SignedReceipt {
        text: receipt.text.to_owned(),
        key: Hex::from_bytes(key),
        signature: Hex::from_bytes(signature),
    };
    let (text, verified) = signed_text(signed, provider)?;
    is_about(&text, provider.model(), request)?;
    if answer.differs(|whole| text.answer_sha256 == whole) {
        return Err(ReceiptError::ResponseDiffers);
    }
    Ok(verified)
}

/// What a machine of the provider signed.
fn signed_text(
    signed: SignedReceipt,
    provider: &VerifiedProvider,
) -> Result<(ReceiptText, VerifiedReceipt), ReceiptError> {
    let text = ReceiptText::parse(signed.text.as_bytes()).map_err(|_| ReceiptError::Text)?;
    let key = SigningKey::Ed25519(*signed.key.as_bytes());
    let mut machines = provider.machines.iter();
    let place = machines.position(|machine| machine.key == Some(key));
    let place = place.ok_or(ReceiptError::KeyUnknown)?;
    if !is_signed(
        &signed.text,
        signed.key.as_bytes(),
        signed.signature.as_bytes(),
    ) {
        return Err(ReceiptError::Signature);
    }
    let verified = VerifiedReceipt {
        signer: Component::Model(place),
        key,
        text: signed.text,
        signature: signed.signature.to_string(),
    };
    Ok((text, verified))
}

fn is_about(text: &ReceiptText, model: &str, request: Digest) -> Result<(), ReceiptError> {
    if text.model != model {
        return Err(ReceiptError::ModelDiffers);
    }
    if text.request_sha256 != request {
        return Err(ReceiptError::RequestDiffers);
    }
    Ok(())
}
