//! Evidence documents that were accepted, by digest, so that a bundle can hold them.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use proofroom_canonical::Digest;

/// The most documents kept. With one upstream and hourly renewal that is ten days.
pub const MAX_EVIDENCE_DOCUMENTS: usize = 256;
/// The most bytes of them: a provider's with eight GPUs has 300 KiB, 256 of those 75 MiB.
const MAX_EVIDENCE_BYTES: usize = 128 * 1024 * 1024;

/// Takes evidence documents that were accepted, before anything is sent by their word.
pub trait EvidenceSink: Send + Sync {
    /// Keeps a document, whose SHA-256 is `evidence`, as long as the records that will cite it.
    ///
    /// # Errors
    /// [`EvidenceNotKept`]: the way to the upstream stays closed, since no record of it could be judged later.
    fn keep(&self, evidence: Digest, document: &[u8]) -> Result<(), EvidenceNotKept>;
}

/// A document could not be kept. Whoever keeps documents says why, where its own events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceNotKept;

/// Keeps no more than the gateway does by itself: the last [`MAX_EVIDENCE_DOCUMENTS`], in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct InMemoryAlone;

impl EvidenceSink for InMemoryAlone {
    fn keep(&self, _: Digest, _: &[u8]) -> Result<(), EvidenceNotKept> {
        Ok(())
    }
}

/// Accepted evidence, oldest first.
#[derive(Debug, Default)]
pub(crate) struct EvidenceStore(Mutex<VecDeque<(Digest, Bytes)>>);

impl EvidenceStore {
    pub(crate) fn keep(&self, digest: Digest, document: Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().any(|(other, _)| *other == digest) {
            return;
        }
        let held = |kept: &VecDeque<(Digest, Bytes)>| {
            let bytes: usize = kept.iter().map(|(_, held)| held.len()).sum();
            bytes.saturating_add(document.len())
        };
        while kept.len() >= MAX_EVIDENCE_DOCUMENTS
            || (!kept.is_empty() && held(&kept) > MAX_EVIDENCE_BYTES)
        {
            kept.pop_front();
        }
        kept.push_back((digest, document));
    }

    pub(crate) fn find(&self, digest: Digest) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|(other, _)| *other == digest);
        found.map(|(_, document)| document.clone())
    }
}
