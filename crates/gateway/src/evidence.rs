//! Evidence documents that were accepted, by digest, so that a bundle can hold them.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use proofroom_canonical::Digest;

/// The most documents kept: at 512 KiB at most each, 128 MiB; at 20 KiB as they are, 5 MiB. With one
/// upstream and hourly renewal that is ten days.
pub const MAX_EVIDENCE_DOCUMENTS: usize = 256;

/// Accepted evidence, oldest first.
#[derive(Debug, Default)]
pub(crate) struct EvidenceStore(Mutex<VecDeque<(Digest, Bytes)>>);

impl EvidenceStore {
    pub(crate) fn keep(&self, digest: Digest, document: Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().any(|(other, _)| *other == digest) {
            return;
        }
        if kept.len() >= MAX_EVIDENCE_DOCUMENTS {
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
