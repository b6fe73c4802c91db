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
    /// What one author wrote right before, and who that is.
    run: scan::Run<'a, Written<'a>>,
    author: Option<Origin>,
    /// What a session knows everything so far by.
    chain: Option<Tag>,
    source: Option<Source<'a>>,
    /// What it knows beginnings of what is read by, once there was a whole stretch.
    names: Option<Names<'a>>,
}

/// What is known of a segment that was read, beside its text.
#[derive(Clone, Copy, Debug)]
struct Written<'a> {
    /// Its place.
    index: usize,
    path: Option<&'a str>,
    tag: Option<Tag>,
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
            run: scan::Run::default(),
            author: None,
            chain: verdicts.map(begin),
            source: None,
            names: None,
        }
    }

    /// The same for segments from this source.
    pub(super) const fn from(mut self, source: &Source<'a>) -> Self {
        self.source = Some(*source);
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
    fn name_of(&mut self, segments: &[Segment<'_>]) -> Option<Tag> {
        let length: usize = segments.iter().map(|segment| segment.text.len()).sum();
        let whole = segments.len() == STRETCH
            && length <= self.left
            && self.index.saturating_add(STRETCH) <= MAX_SEGMENTS;
        let chain = self.chain.filter(|_| whole)?;
        let verdicts = self.verdicts?;
        let last = self.index.saturating_add(STRETCH).saturating_sub(1);
        if let (None, Some(source)) = (&self.names, &self.source) {
            let policy = self.classifier.policy.digest;
            let repository = self.outcome.context.repository;
            self.names = Some(verdicts.names(policy, repository, source));
        }
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
            for known in part.text.iter() {
                self.outcome.hit(self.index, read.path, known.found());
            }
            for known in part.seam.iter().flat_map(|seam| seam.iter()) {
                if let Some(written) = self.run.back(known.back()) {
                    self.outcome.hit(written.index, written.path, known.found());
                }
            }
            self.go_on(read);
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
        read.tag = self.tag(read.text);
        let text = self.scan(read);
        let seam = (self.author == Some(read.origin)).then(|| self.scan_seam(read));
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
        if self.author.replace(read.origin) != Some(read.origin) {
            self.run.begin();
        }
        let written = Written {
            index: self.index,
            path: read.path,
            tag: read.tag,
        };
        self.run.push(read.text, written);
        self.left = self.left.saturating_sub(read.text.len());
        self.index = self.index.saturating_add(1);
    }

    fn tag(&self, text: &str) -> Option<Tag> {
        let policy = self.classifier.policy.digest;
        Some(self.verdicts?.tag(policy, text))
    }

    /// What a session knows what one author wrote right before by.
    fn tag_of_run(&mut self) -> Option<Tag> {
        let (policy, verdicts) = (self.classifier.policy.digest, self.verdicts?);
        let texts = self.run.known();
        let tags: Vec<Tag> = texts
            .map(|(text, written)| {
                *written
                    .tag
                    .get_or_insert_with(|| verdicts.tag(policy, text))
            })
            .collect();
        match *tags {
            [text] => Some(text),
            _ => Some(verdicts.row(&tags)),
        }
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
                let scan = |report: &mut dyn FnMut(usize, scan::Found<'_>)| {
                    scanner.scan(read.text, &mut |hit| report(0, hit));
                };
                verdicts.recall(Subject::Text(tag), scan, &mut |_, hit| report(hit))
            }
        }
    }

    fn scan_seam(&mut self, read: Read<'_>) -> Option<Verdict> {
        let scanner = &self.classifier.scanner;
        let tags = self.tag_of_run().zip(read.tag);
        let (run, outcome) = (&self.run, &mut self.outcome);
        let mut report = |back, hit: scan::Found<'_>| {
            if let Some(written) = run.back(back) {
                outcome.hit(written.index, written.path, hit);
            }
        };
        match self.verdicts.zip(tags) {
            None => {
                scanner.scan_seam(run, read.text, &mut report);
                None
            }
            Some((verdicts, (one, other))) => {
                let scan = |report: &mut dyn FnMut(usize, scan::Found<'_>)| {
                    scanner.scan_seam(run, read.text, &mut |back, hit| report(back, hit));
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
