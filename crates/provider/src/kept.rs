//! A receipt that a record keeps, judged again: by the same rules as when it was served, but for what the record does not
//! hold.

use proofroom_canonical::{Digest, Timestamp};

use crate::{
    CitedSession, Format, ReceiptError, VerifiedProvider, VerifiedReceipt, aci,
    receipt::{self, Raw},
    serving_receipt,
};

/// What a record keeps of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptReceipt<'a> {
    /// `ecdsa` or `ed25519`.
    pub algorithm: &'a str,
    /// The address or key in hex.
    pub key: &'a str,
    /// What was signed.
    pub text: &'a str,
    /// The signature in hex, as it was served.
    pub signature: &'a str,
}

/// The answer as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptAnswer {
    /// SHA-256 of its body, to its end.
    Whole(Digest),
    /// The record has the digest of other bytes: the client got them changed, or not to their end.
    NotKept,
}

impl KeptAnswer {
    /// Whether this is another answer than the one that `is_signed` knows.
    pub(crate) fn differs(self, is_signed: impl FnOnce(Digest) -> bool) -> bool {
        match self {
            Self::Whole(digest) => !is_signed(digest),
            Self::NotKept => false,
        }
    }
}

/// What a record says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptRun<'a> {
    /// The path that the upstream was asked.
    pub endpoint: &'a str,
    /// SHA-256 of the request's body as it was forwarded.
    pub request: Digest,
    /// The answer.
    pub answer: KeptAnswer,
    /// When the request was sent, or earlier.
    pub sent: Timestamp,
    /// When the answer had ended, or later.
    pub ended: Timestamp,
}

/// Verifies that a machine of `provider` signed what a record keeps, and that it is about `run`. That the receipt was
/// made for this very run, and not for an earlier one of the same bytes, is the word of who made the record, where
/// the format has no time; and a session that is returned was not looked at.
///
/// # Errors
/// [`ReceiptError`].
pub fn verify_kept_receipt(
    kept: KeptReceipt<'_>,
    provider: &VerifiedProvider,
    run: &KeptRun<'_>,
) -> Result<(VerifiedReceipt, Option<CitedSession>), ReceiptError> {
    let verified = match provider.format() {
        Format::NearAi | Format::Dstack => {
            let raw = Raw {
                text: kept.text.to_owned(),
                signature: kept.signature.to_owned(),
                signing_address: kept.key.to_owned(),
                signing_algo: kept.algorithm.to_owned(),
            };
            receipt::judge(raw, provider, run.request, run.answer)
        }
        Format::ProofroomEnclave => {
            serving_receipt::judge_kept(kept, provider, run.request, run.answer)
        }
        Format::Aci => return aci::judge_kept_receipt(kept, provider, run),
        Format::Tinfoil => Err(ReceiptError::KeyUnknown),
    };
    Ok((verified?, None))
}
