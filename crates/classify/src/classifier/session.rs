//! What was found in the texts of a session, so that a conversation that grows costs its new part
//! only. Holds no text: rule, place and level of each finding under a keyed hash of the text.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use highway::{HighwayHash as _, HighwayHasher, Key};
use proofroom_canonical::{Digest, Hasher};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    rules::{RuleNames, RuleNumber},
    scan::Found,
};
use crate::{Confidence, Label, Origin, Segment, finding::MAX_FINDINGS};

/// The verdicts of one session, in memory only and of bounded size. Threads may share it.
///
/// A verdict is found again by a [`Tag`]: whoever wanted a text to pass for another would have to
/// find two with one tag, without the key and without ever seeing a tag.
pub struct SessionVerdicts {
    key: Zeroizing<[u8; 32]>,
    most: usize,
    known: Mutex<Memory>,
}

/// `HighwayHash` of 256 bits under the session's key, which is drawn afresh, over the policy's digest
/// and a text, or over everything that a request says up to a place. The hash is made to be a
/// pseudorandom function (Alakuijala, Cox, Wassenberg, arXiv 1612.06257; nobody has proved it one):
/// then q texts that meet n known ones collide with a chance of q * n / 2^256. A digest without key,
/// as SHA-256 is, takes ten times as long.
pub(super) type Tag = [u8; 32];

/// What a request's segments were read from, as far as that says which they are.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Names the way of reading: of one beginning, another way may make other segments.
    pub reading: &'a str,
    /// SHA-256 of a beginning of what was read that decides which are the segment at this place and all
    /// before it: whatever begins so and is read in the same way has the same ones, with origins and paths.
    pub beginning: &'a dyn Fn(usize) -> Option<Digest>,
}

/// What the beginnings of a request are known by, as they are met in one way of reading, under one
/// policy and in one repository.
pub(super) struct Names<'a> {
    met: Hasher,
    beginning: &'a dyn Fn(usize) -> Option<Digest>,
}

/// Which text, or which texts right behind each other, a verdict is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Text(Tag),
    /// What comes first of two, and the second.
    Seam(Tag, Tag),
}

/// All findings of a subject, in the order of the scan, each with how many texts before the one it was found with it
/// begins in.
pub(super) type Verdict = Arc<[(usize, Known)]>;

/// A finding without its text.
#[derive(Clone, Debug)]
pub(super) struct Known {
    rule: RuleNumber,
    reason: &'static str,
    label: Label,
    span: Range<usize>,
    confidence: Confidence,
}

/// What is said of one segment.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The segment's place in the request.
    pub(super) index: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// This path rule of the policy, by its place, gives it a label.
    Floor(usize),
    /// It is not text.
    Unreadable,
    Found(Known),
}

/// All that is said of the segments of a stretch, as it is said: of most nothing.
pub(super) type Stretch = Arc<[Said]>;

/// All that is said of the segments up to the end of a stretch.
#[derive(Clone, Debug, Default)]
pub(super) struct SoFar {
    /// In turn. Each holds more than the next, so that they are few.
    said: Vec<Stretch>,
    /// Of all the segments' texts.
    pub(super) bytes: usize,
}

#[derive(Default)]
struct Memory {
    findings: Generations<Subject, Verdict>,
    stretches: Generations<Tag, Stretch>,
    /// What a request is known by that is read from a known beginning.
    names: Generations<Tag, Tag>,
    /// By the same.
    so_far: Generations<Tag, Arc<SoFar>>,
}

/// What was used lately, and what was used before that.
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Of all in `young`.
    weight: usize,
}

/// What takes so much room, counted in verdicts and findings.
trait Weighs {
    fn weight(&self) -> usize;
}

/// So many segments are known together: few enough that little of a conversation is between two
/// stretches, enough that looking stretches up costs little beside hashing them.
pub(super) const STRETCH: usize = 16;

/// Most verdicts and findings of each kind that are kept twice over: some 10 MiB.
const MOST: usize = 32_768;

impl SessionVerdicts {
    /// Takes a key nobody knows, so that what is left of a hash in memory tells nothing of a text.
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
        *self.lock() = Memory::default();
    }

    /// How many texts, pairs of neighbours and stretches have a verdict, and how many beginnings of
    /// requests are known.
    #[must_use]
    pub fn len(&self) -> usize {
        let known = self.lock();
        let requests = known.names.len() + known.so_far.len();
        known.findings.len() + known.stretches.len() + requests
    }

    /// Whether nothing has a verdict.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `text` is known by under the policy of this digest.
    pub(super) fn tag(&self, policy: Digest, text: &str) -> Tag {
        let mut hash = self.hash(b"text");
        hash.append(policy.as_bytes());
        hash.append(text.as_bytes());
        finish(hash)
    }

    /// What texts right behind each other are known by that are known by these, of which there are several.
    pub(super) fn row(&self, texts: &[Tag]) -> Tag {
        let mut hash = self.hash(b"row ");
        for text in texts {
            hash.append(text);
        }
        finish(hash)
    }

    /// What a request is known by of which nothing is read.
    pub(super) fn beginning(&self, policy: Digest, repository: &str) -> Tag {
        let mut hash = self.hash(b"none");
        hash.append(policy.as_bytes());
        hash.append(repository.as_bytes());
        finish(hash)
    }

    /// What a request is known by that goes on after `chain` with `segments`.
    pub(super) fn following(&self, chain: Tag, segments: &[Segment<'_>]) -> Tag {
        let mut hash = self.hash(b"some");
        hash.append(&chain);
        for segment in segments {
            let path = segment.path.unwrap_or_default().as_bytes();
            hash.append(&[origin(segment.origin), u8::from(segment.path.is_some())]);
            hash.append(&path.len().to_le_bytes());
            hash.append(&segment.text.len().to_le_bytes());
            hash.append(path);
            hash.append(segment.text.as_bytes());
        }
        finish(hash)
    }

    /// What beginnings of a request from `source` are known by.
    pub(super) fn names<'a>(
        &self,
        policy: Digest,
        repository: &str,
        source: &Source<'a>,
    ) -> Names<'a> {
        let mut met = Hasher::new();
        met.update(self.key.as_slice());
        met.update(policy.as_bytes());
        for text in [repository, source.reading] {
            met.update(text.len().to_le_bytes());
            met.update(text);
        }
        Names {
            met,
            beginning: source.beginning,
        }
    }

    /// What a request is known by whose beginning is known by `beginning`.
    pub(super) fn known_by(&self, beginning: Tag) -> Option<Tag> {
        self.lock().names.find(beginning)
    }

    pub(super) fn keep_name(&self, beginning: Tag, name: Tag) {
        self.lock().names.keep(beginning, name, self.most);
    }

    /// What a request is known by whose beginning is known by `beginning`, and all that is said of that.
    pub(super) fn said_of(&self, beginning: Tag) -> Option<(Tag, Arc<SoFar>)> {
        let mut known = self.lock();
        let name = known.names.find(beginning)?;
        Some((name, known.so_far.find(name)?))
    }

    /// Keeps all that is said of what is known by `name`, where there is room for several of that size.
    pub(super) fn keep_so_far(&self, name: Tag, so_far: Arc<SoFar>) {
        if so_far.weight() <= self.most / 4 {
            self.lock().so_far.keep(name, so_far, self.most);
        }
    }

    fn hash(&self, kind: &[u8; 4]) -> HighwayHasher {
        let (words, _) = self.key.as_chunks::<8>();
        let mut key = [0; 4];
        for (word, bytes) in key.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        let mut hash = HighwayHasher::new(Key(key));
        hash.append(kind);
        hash
    }

    /// Reports what is known of `subject`, or what `scan` finds, which is known from then on and
    /// returned, unless there is too much of it.
    pub(super) fn recall(
        &self,
        subject: Subject,
        rules: &RuleNames,
        scan: impl FnOnce(&mut dyn FnMut(usize, Found<'_>)),
        report: &mut dyn FnMut(usize, Found<'_>),
    ) -> Option<Verdict> {
        let known = self.lock().findings.find(subject);
        if let Some(known) = known {
            let known_ones = known.iter();
            known_ones.for_each(|(back, known)| report(*back, known.found(rules)));
            return Some(known);
        }
        let mut found = Vec::new();
        scan(&mut |back, hit| {
            if found.len() <= MAX_FINDINGS {
                found.push((back, Known::of(&hit)));
            }
            report(back, hit);
        });
        // of a text with more, the level alone would have to be kept apart
        if found.len() > MAX_FINDINGS {
            return None;
        }
        let found: Verdict = found.into();
        let kept = Arc::clone(&found);
        self.lock().findings.keep(subject, kept, self.most);
        Some(found)
    }

    /// What is known of the stretch that ends what `tag` stands for.
    pub(super) fn stretch(&self, tag: Tag) -> Option<Stretch> {
        self.lock().stretches.find(tag)
    }

    pub(super) fn keep_stretch(&self, tag: Tag, said: Stretch) {
        self.lock().stretches.keep(tag, said, self.most);
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn origin(origin: Origin) -> u8 {
    match origin {
        Origin::System => 0,
        Origin::User => 1,
        Origin::Assistant => 2,
        Origin::ToolArguments => 3,
        Origin::ToolResult => 4,
        Origin::Unreadable => 5,
    }
}

fn finish(hash: HighwayHasher) -> Tag {
    let mut tag = [0; 32];
    let (bytes, _) = tag.as_chunks_mut::<8>();
    for (bytes, word) in bytes.iter_mut().zip(hash.finalize256()) {
        *bytes = word.to_le_bytes();
    }
    tag
}

impl fmt::Debug for SessionVerdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionVerdicts").finish_non_exhaustive()
    }
}

impl<K: Copy + Eq + Hash, V: Clone + Weighs> Generations<K, V> {
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn find(&mut self, subject: K) -> Option<V> {
        if let Some(known) = self.young.get(&subject) {
            return Some(known.clone());
        }
        let known = self.old.remove(&subject)?;
        self.weight = self.weight.saturating_add(known.weight());
        self.young.insert(subject, known.clone());
        Some(known)
    }

    fn keep(&mut self, subject: K, known: V, most: usize) {
        let weight = known.weight();
        if self.weight.saturating_add(weight) > most {
            self.old = mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight = self.weight.saturating_add(weight);
        self.young.insert(subject, known);
    }
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            weight: 0,
        }
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

impl Names<'_> {
    /// What the beginning is known by that decides all segments up to the place `last`. Equal ones are of equal
    /// segments, as nobody finds two texts with one SHA-256.
    pub(super) fn of(&self, last: usize) -> Option<Tag> {
        let beginning = (self.beginning)(last)?;
        let mut met = self.met.clone();
        met.update(last.to_le_bytes());
        met.update(beginning.as_bytes());
        Some(*met.finish().as_bytes())
    }
}

/// As much as the stretch that it is for.
impl Weighs for Tag {
    fn weight(&self) -> usize {
        STRETCH
    }
}

impl Weighs for Verdict {
    fn weight(&self) -> usize {
        1 + self.len()
    }
}

impl Weighs for Stretch {
    fn weight(&self) -> usize {
        STRETCH + self.len()
    }
}

impl Weighs for Arc<SoFar> {
    fn weight(&self) -> usize {
        // what others share of it counts too, as they may be forgotten before it
        STRETCH + self.count()
    }
}

impl SoFar {
    /// A stretch of so many bytes more.
    pub(super) fn go_on(&mut self, stretch: Stretch, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if stretch.is_empty() {
            return;
        }
        let mut last = stretch;
        while let Some(before) = self.said.pop_if(|before| before.len() <= last.len()) {
            last = before.iter().chain(last.iter()).cloned().collect();
        }
        self.said.push(last);
    }

    /// How much it is.
    pub(super) fn count(&self) -> usize {
        self.said.iter().map(|said| said.len()).sum()
    }

    /// In turn.
    pub(super) fn said(&self) -> impl Iterator<Item = &Said> {
        self.said.iter().flat_map(|said| said.iter())
    }
}

impl Known {
    fn of(found: &Found<'_>) -> Self {
        Self {
            rule: found.number,
            reason: found.reason,
            label: found.label,
            span: found.span.clone(),
            confidence: found.confidence,
        }
    }

    /// With `rules` of the policy that it was found under.
    pub(super) fn found<'r>(&self, rules: &'r RuleNames) -> Found<'r> {
        Found {
            rule: rules.name(self.rule),
            number: self.rule,
            reason: self.reason,
            label: self.label,
            span: self.span.clone(),
            confidence: self.confidence,
        }
    }
}

/// The tags are of no use without the session's key, so findings alone are overwritten.
impl Drop for Known {
    fn drop(&mut self) {
        self.rule.zeroize();
        self.span.start.zeroize();
        self.span.end.zeroize();
    }
}

#[cfg(test)]
mod tests;
