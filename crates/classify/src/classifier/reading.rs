//! The way through the texts of a request, a stretch of them at a time. What a session knows of a
//! stretch, and of everything before it, is said again without another look at its texts.

use super::{
    Classifier, Context, MAX_REQUEST_BYTES, MAX_SEGMENTS, Outcome, UNREADABLE, scan,
    session::{Names, Part, STRETCH, SessionVerdicts, Source, Subject, Tag, Verdict},
};
use crate::{Classification, Origin, Segment};

/// A request as far as it is read.
pub(super) struct Reading<'a> {
    classifier: &'a Classifier,
    outcome: Outcome<'a>,
    verdicts: Option<&'a SessionVerdicts>,
    /// Place of the next segment.
    index: usize,
    /// Bytes that may still be read.
    left: usize,
    before: Option<Read<'a>>,
    /// What a session knows everything so far by.
    chain: Option<Tag>,
    /// What it knows beginnings of what is read by.
    names: Option<Names<'a>>,
}

/// A segment as far as it is read.
#[derive(Clone, Copy)]
struct Read<'a> {
    text: &'a str,
    origin: Origin,
    path: Option<&'a str>,
    /// What a session knows the text by, once somebody asked.
    tag: Option<Tag>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        classifier: &'a Classifier,
        context: &'a Context<'a>,
        verdicts: Option<&'a SessionVerdicts>,
    ) -> Self {
        let begin = |verdicts: &SessionVerdicts| {
            verdicts.beginning(classifier.policy.digest, context.repository)
        };
        Self {
            classifier,
            outcome: Outcome::new(classifier, context),
            verdicts,
            index: 0,
            left: MAX_REQUEST_BYTES,
            before: None,
            chain: verdicts.map(begin),
            names: None,
        }
    }

    /// The same for segments from this source.
    pub(super) fn from(mut self, source: &Source<'a>) -> Self {
        let policy = self.classifier.policy.digest;
        let repository = self.outcome.context.repository;
        let names = |verdicts: &SessionVerdicts| verdicts.names(policy, repository, source);
        self.names = self.verdicts.map(names);
        self
    }

    /// Reads all `segments`.
    pub(super) fn finish(mut self, segments: &[Segment<'a>]) -> Classification {
        self.outcome.repository_floor();
        for stretch in segments.chunks(STRETCH) {
            if !self.stretch(stretch) {
                break;
            }
        }
        self.outcome.finish()
    }

    /// Reads a stretch. False where nothing after it is read.
    fn stretch(&mut self, segments: &[Segment<'a>]) -> bool {
        self.chain = self.name_of(segments);
        if let Some((verdicts, name)) = self.verdicts.zip(self.chain)
            && let Some(parts) = verdicts.stretch(name)
        {
            self.replay(segments, &parts);
            return true;
        }
        let mut parts = Vec::new();
        for segment in segments {
            if self.index >= MAX_SEGMENTS || self.left == 0 {
                self.outcome.oversize(self.index, 0);
                return false;
            }
            parts.push(self.one(segment));
        }
        if let Some((verdicts, name)) = self.verdicts.zip(self.chain)
            && let Some(parts) = parts.into_iter().collect()
        {
            verdicts.keep_stretch(name, parts);
        }
        true
    }

    /// What a session knows the request by up to and with these segments: nothing where they are
    /// no whole stretch, or are not read to their end.
    fn name_of(&self, segments: &[Segment<'_>]) -> Option<Tag> {
        let length: usize = segments.iter().map(|segment| segment.text.len()).sum();
        let whole = segments.len() == STRETCH
            && length <= self.left
            && self.index.saturating_add(STRETCH) <= MAX_SEGMENTS;
        let chain = self.chain.filter(|_| whole)?;
        let verdicts = self.verdicts?;
        let last = self.index.saturating_add(STRETCH).saturating_sub(1);
        let beginning = self.names.as_ref().and_then(|names| names.of(last));
        if let Some(name) = beginning.and_then(|tag| verdicts.known_by(tag)) {
            return Some(name);
        }
        let name = verdicts.following(chain, segments);
        if let Some(beginning) = beginning {
            verdicts.keep_name(beginning, name);
        }
        Some(name)
    }

    fn replay(&mut self, segments: &[Segment<'a>], parts: &[Part]) {
        for (segment, part) in segments.iter().zip(parts) {
            self.floor(segment, &part.floors);
            let read = Read::new(segment, segment.text);
            self.say(self.index, read.path, &part.text);
            if let (Some(seam), Some(earlier)) = (&part.seam, self.before) {
                self.say(self.index.saturating_sub(1), earlier.path, seam);
            }
            self.go_on(read);
        }
    }

    fn say(&mut self, index: usize, path: Option<&str>, verdict: &Verdict) {
        for known in verdict.iter() {
            self.outcome.hit(index, path, known.found());
        }
    }

    /// Reads a segment. Nothing where a session cannot keep what was found.
    fn one(&mut self, segment: &Segment<'a>) -> Option<Part> {
        let floors = self.outcome.floors_of(segment);
        self.floor(segment, &floors);
        let cut = crate::detect::floor_boundary(segment.text, self.left);
        if cut < segment.text.len() {
            self.outcome.oversize(self.index, cut);
        }
        let mut read = Read::new(segment, segment.text.get(..cut).unwrap_or_default());
        read.tag = self.tag(read);
        let text = self.scan(read);
        let earlier = self.before.filter(|before| before.origin == read.origin);
        let seam = earlier.map(|earlier| self.scan_seam(earlier, read));
        self.go_on(read);
        if cut < segment.text.len() {
            self.left = 0;
        }
        let seam = match seam {
            Some(None) => return None,
            Some(seam) => seam,
            None => None,
        };
        Some(Part {
            floors,
            text: text?,
            seam,
        })
    }

    fn floor(&mut self, segment: &Segment<'_>, floors: &[usize]) {
        self.outcome.path_floor(self.index, segment, floors);
        if segment.origin == Origin::Unreadable {
            let reason = "content that is not text";
            self.outcome.unread(UNREADABLE, reason, self.index, 0);
        }
    }

    fn go_on(&mut self, read: Read<'a>) {
        self.left = self.left.saturating_sub(read.text.len());
        self.index = self.index.saturating_add(1);
        self.before = Some(read);
    }

    fn tag(&self, read: Read<'_>) -> Option<Tag> {
        let policy = self.classifier.policy.digest;
        let verdicts = self.verdicts?;
        Some(read.tag.unwrap_or_else(|| verdicts.tag(policy, read.text)))
    }

    fn scan(&mut self, read: Read<'_>) -> Option<Verdict> {
        let scanner = &self.classifier.scanner;
        let index = self.index;
        let mut report = |hit: scan::Found<'_>| self.outcome.hit(index, read.path, hit);
        match self.verdicts.zip(read.tag) {
            None => {
                scanner.scan(read.text, &mut report);
                None
            }
            Some((verdicts, tag)) => {
                let scan = |report: &mut dyn FnMut(scan::Found<'_>)| {
                    scanner.scan(read.text, &mut |hit| report(hit));
                };
                verdicts.recall(Subject::Text(tag), scan, &mut report)
            }
        }
    }

    fn scan_seam(&mut self, first: Read<'_>, second: Read<'_>) -> Option<Verdict> {
        let scanner = &self.classifier.scanner;
        let tags = self.tag(first).zip(second.tag);
        let index = self.index.saturating_sub(1);
        let mut report = |hit: scan::Found<'_>| self.outcome.hit(index, first.path, hit);
        match self.verdicts.zip(tags) {
            None => {
                scanner.scan_seam(first.text, second.text, &mut report);
                None
            }
            Some((verdicts, (one, other))) => {
                let scan = |report: &mut dyn FnMut(scan::Found<'_>)| {
                    scanner.scan_seam(first.text, second.text, &mut |hit| report(hit));
                };
                verdicts.recall(Subject::Seam(one, other), scan, &mut report)
            }
        }
    }
}

impl<'a> Read<'a> {
    const fn new(segment: &Segment<'a>, text: &'a str) -> Self {
        Self {
            text,
            origin: segment.origin,
            path: segment.path,
            tag: None,
        }
    }
}
