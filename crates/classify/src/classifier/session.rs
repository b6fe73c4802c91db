//! What was found in the texts of a session, so that a conversation that grows costs its new part
//! only. Holds no text: rule, place and level of each finding under a digest of the text.

use std::{
    collections::HashMap,
    fmt, mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proofroom_canonical::{Digest, Hasher};
use zeroize::{Zeroize as _, Zeroizing};

use super::scan::Found;
use crate::{Confidence, Label, finding::MAX_FINDINGS};

/// The verdicts of one session, in memory only and of bounded size. Threads may share it.
///
/// A verdict is found again by the SHA-256 of the session's key, the policy's digest and the whole
/// text: whoever wanted a text to pass for another would have to make two with one digest.
pub struct SessionVerdicts {
    key: Zeroizing<[u8; 32]>,
    most: usize,
    known: Mutex<Generations>,
}

/// Which text, or which two neighbours, a verdict is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Text(Digest),
    Seam(Digest, Digest),
}

/// All findings of a subject, in the order of the scan.
type Verdict = Arc<[Known]>;

/// A finding without its text.
#[derive(Debug)]
pub(super) struct Known {
    rule: Box<str>,
    reason: &'static str,
    label: Label,
    span: Range<usize>,
    confidence: Confidence,
}

/// What was used lately, and what was used before that.
#[derive(Default)]
struct Generations {
    young: HashMap<Subject, Verdict>,
    old: HashMap<Subject, Verdict>,
    /// Verdicts and findings in `young`.
    weight: usize,
}

/// Most verdicts and findings that are kept twice over: some 10 MiB.
const MOST: usize = 32_768;

impl SessionVerdicts {
    /// Takes a key nobody knows, so that what is left of a digest in memory tells nothing of a text.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self::with_most(key, MOST)
    }

    pub(super) fn with_most(key: [u8; 32], most: usize) -> Self {
        Self {
            key: Zeroizing::new(key),
            most,
            known: Mutex::default(),
        }
    }

    /// Forgets and wipes every verdict. The session may go on.
    pub fn forget(&self) {
        let mut known = self.lock();
        known.wipe();
    }

    /// How many texts and pairs of neighbours have a verdict.
    #[must_use]
    pub fn len(&self) -> usize {
        let known = self.lock();
        known.young.len() + known.old.len()
    }

    /// Whether nothing has a verdict.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest under which `text` is known under the policy of this digest.
    pub(super) fn digest(&self, policy: Digest, text: &str) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(*self.key);
        hasher.update(policy.as_bytes());
        hasher.update(text);
        hasher.finish()
    }

    /// Reports what is known of `subject`, or what `scan` finds, which is known from then on.
    pub(super) fn recall(
        &self,
        subject: Subject,
        scan: impl FnOnce(&mut dyn FnMut(Found<'_>)),
        report: &mut dyn FnMut(Found<'_>),
    ) {
        let known = self.lock().find(subject);
        if let Some(known) = known {
            known.iter().for_each(|known| report(known.found()));
            return;
        }
        let mut found = Vec::new();
        scan(&mut |hit| {
            if found.len() <= MAX_FINDINGS {
                found.push(Known::of(&hit));
            }
            report(hit);
        });
        // of a text with more, the level alone would have to be kept apart
        if found.len() <= MAX_FINDINGS {
            self.lock().keep(subject, found.into(), self.most);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionVerdicts {
    fn drop(&mut self) {
        self.lock().wipe();
    }
}

impl fmt::Debug for SessionVerdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionVerdicts").finish_non_exhaustive()
    }
}

impl Generations {
    fn find(&mut self, subject: Subject) -> Option<Verdict> {
        if let Some(known) = self.young.get(&subject) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(&subject)?;
        self.weight = self.weight.saturating_add(1 + known.len());
        self.young.insert(subject, Arc::clone(&known));
        Some(known)
    }

    fn keep(&mut self, subject: Subject, found: Verdict, most: usize) {
        let weight = 1 + found.len();
        if self.weight.saturating_add(weight) > most {
            let young = mem::take(&mut self.young);
            wipe(&mut mem::replace(&mut self.old, young));
            self.weight = 0;
        }
        self.weight = self.weight.saturating_add(weight);
        self.young.insert(subject, found);
    }

    fn wipe(&mut self) {
        wipe(&mut self.young);
        wipe(&mut self.old);
        self.weight = 0;
    }
}

/// Overwrites every finding. The digests are of no use without the session's key.
fn wipe(verdicts: &mut HashMap<Subject, Verdict>) {
    for (_, mut verdict) in verdicts.drain() {
        for known in Arc::get_mut(&mut verdict).into_iter().flatten() {
            known.wipe();
        }
    }
}

impl Known {
    fn of(found: &Found<'_>) -> Self {
        Self {
            rule: found.rule.into(),
            reason: found.reason,
            label: found.label,
            span: found.span.clone(),
            confidence: found.confidence,
        }
    }

    fn found(&self) -> Found<'_> {
        Found {
            rule: &self.rule,
            reason: self.reason,
            label: self.label,
            span: self.span.clone(),
            confidence: self.confidence,
        }
    }

    fn wipe(&mut self) {
        self.rule.zeroize();
        self.span.start.zeroize();
        self.span.end.zeroize();
    }
}
