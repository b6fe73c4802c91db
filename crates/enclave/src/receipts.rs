//! Receipts of this run's answers: signed when an answer has ended, held for whoever asks, and forgotten.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use proofroom_canonical::{Digest, Nonce};
use proofroom_serving::{RECEIPT_PURPOSE, ReceiptText, ServingError, SignedReceipt};

use crate::keys::Keys;

/// The most runs that are remembered: with receipts of 600 bytes each, 5 MiB.
const MAX_HELD: usize = 8192;

/// Signs and holds.
pub(crate) struct Receipts {
    keys: Arc<Keys>,
    model: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Challenges of runs that have not ended.
    pending: HashSet<Nonce>,
    /// Receipts; none of a run whose answer broke off, so that nobody repeats its request for another answer.
    held: HashMap<Nonce, Option<Bytes>>,
    oldest_first: VecDeque<Nonce>,
}

impl Receipts {
    pub(crate) fn new(keys: Arc<Keys>, model: String) -> Self {
        Self {
            keys,
            model,
            known: Mutex::default(),
        }
    }

    /// Begins a run under a challenge; `None` if another run has it, or has had it.
    pub(crate) fn begin(self: &Arc<Self>, challenge: Nonce, request: Digest) -> Option<Pending> {
        let mut known = self.known();
        let fresh = !known.held.contains_key(&challenge) && known.pending.insert(challenge);
        fresh.then(|| Pending {
            receipts: Arc::clone(self),
            challenge,
            request,
        })
    }

    /// The receipt of an answer that has ended.
    pub(crate) fn find(&self, challenge: Nonce) -> Option<Bytes> {
        self.known().held.get(&challenge).cloned().flatten()
    }

    fn signed(&self, text: &ReceiptText) -> Result<Bytes, ServingError> {
        let text = text.to_text()?;
        let receipt = SignedReceipt {
            key: self.keys.receipt_key(),
            signature: self.keys.sign(&text),
            text,
        };
        Ok(receipt.to_bytes()?.into())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn hold(&mut self, challenge: Nonce, receipt: Option<Bytes>) {
        if self.oldest_first.len() >= MAX_HELD
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.held.remove(&oldest);
        }
        self.oldest_first.push_back(challenge);
        self.held.insert(challenge, receipt);
    }
}

/// A run whose answer has not ended. Dropped without being signed, it leaves no receipt, and its challenge used.
pub(crate) struct Pending {
    receipts: Arc<Receipts>,
    challenge: Nonce,
    request: Digest,
}

impl Pending {
    pub(crate) const fn challenge(&self) -> Nonce {
        self.challenge
    }

    /// Signs for an answer that has ended.
    pub(crate) fn sign(&self, answer: Digest, bytes: u64) {
        let text = ReceiptText {
            purpose: RECEIPT_PURPOSE.to_owned(),
            challenge: self.challenge,
            model: self.receipts.model.clone(),
            request_sha256: self.request,
            answer_sha256: answer,
            answer_bytes: bytes,
        };
        if let Ok(receipt) = self.receipts.signed(&text) {
            self.receipts.known().hold(self.challenge, Some(receipt));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut known = self.receipts.known();
        known.pending.remove(&self.challenge);
        if !known.held.contains_key(&self.challenge) {
            known.hold(self.challenge, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proofroom_canonical::{Digest, Nonce};

    use super::{MAX_HELD, Receipts};
    use crate::keys::Keys;

    fn challenge(number: usize) -> Nonce {
        Nonce::from_random(*Digest::of(number.to_string()).as_bytes())
    }

    #[test]
    fn a_challenge_is_used_once_and_the_oldest_receipts_are_forgotten() {
        let keys = Arc::new(Keys::fresh().unwrap());
        let receipts = Arc::new(Receipts::new(keys, "m".to_owned()));
        let begin = |number| receipts.begin(challenge(number), Digest::of("request"));
        let first = begin(0).unwrap();
        assert!(begin(0).is_none(), "one run at a time");
        assert!(receipts.find(challenge(0)).is_none());
        first.sign(Digest::of("answer"), 6);
        drop(first);
        assert!(begin(0).is_none(), "its receipt is held");
        assert!(receipts.find(challenge(0)).is_some());
        drop(begin(1).unwrap());
        assert!(receipts.find(challenge(1)).is_none(), "it was never signed");
        assert!(begin(1).is_none(), "its answer may have been seen");
        let mut known = receipts.known();
        for number in 2..=MAX_HELD {
            known.hold(challenge(number), None);
        }
        assert_eq!(
            (known.held.len(), known.oldest_first.len()),
            (MAX_HELD, MAX_HELD)
        );
        drop(known);
        assert!(receipts.find(challenge(0)).is_none());
    }
}
