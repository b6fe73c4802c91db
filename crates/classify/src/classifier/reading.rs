//! The way through the texts of a request, a stretch of them at a time. What a session knows of a
//! stretch, and of everything before it, is said again without another look at its texts.

use std::sync::Arc;

use super::{
    Classifier, Context, MAX_REQUEST_BYTES, MAX_SEGMENTS, Outcome, UNREADABLE,
    scan::{self, SEAM_REACH},
    session::{
        Known, STRETCH, Said, SessionVerdicts, SoFar, Source, Stretch, Subject, Tag, Verdict, What,
    },
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
    /// What it knows the beginnings by that end with the stretches ahead, the next one's last.
    beginnings: Vec<Option<Tag>>,
    /// What is said of everything so far, where there is a source and nothing is missing.
    so_far: Option<Arc<SoFar>>,
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
            beginnings: Vec::new(),
            so_far: None,
        }
    }

    /// The same for segments from this source.
    pub(super) const fn from(mut self, source: &Source<'a>) -> Self {
        self.source = Some(*source);
        self
    }

    /// Reads all `segments`.
    pub(super) fn finish(mut self, segments: &'a [Segment<'a>]) -> Classification {
        self.outcome.repository_floor();
        self.begin(segments);
        let left = segments.get(self.index..).unwrap_or_default();
        for stretch in left.chunks(STRETCH) {
            if !self.stretch(segments, stretch) {
                break;
            }
        }
        self.outcome.finish()
    }

    /// Says what the session knows of the longest beginning that it has met, and goes on behind it. Looks from the last
    /// stretch on: a conversation that grows differs from its last turn at its end.
    fn begin(&mut self, segments: &'a [Segment<'a>]) {
        let Some((verdicts, source)) = self.verdicts.zip(self.source) else {
            return;
        };
        let policy = self.classifier.policy.digest;
        let repository = self.outcome.context.repository;
        let names = verdicts.names(policy, repository, &source);
        let whole = segments.len().min(MAX_SEGMENTS) / STRETCH;
        for end in (1..=whole).rev().map(|stretches| stretches * STRETCH) {
            let beginning = names.of(end.saturating_sub(1));
            if let Some((name, so_far)) = beginning.and_then(|tag| verdicts.said_of(tag)) {
                let known = segments.get(..end).unwrap_or_default();
                self.chain = Some(name);
                self.outcome.make_room(so_far.count());
                self.replay(segments, so_far.said());
                self.pass(known, so_far.bytes);
                self.so_far = Some(so_far);
                return;
            }
            self.beginnings.push(beginning);
        }
        self.so_far = Some(Arc::default());
    }

    /// Reads a stretch of `all` segments. False where nothing after it is read.
    fn stretch(&mut self, all: &'a [Segment<'a>], segments: &'a [Segment<'a>]) -> bool {
        let length: usize = segments.iter().map(|segment| segment.text.len()).sum();
        let beginning = self.beginnings.pop().flatten();
        let name = self.name_of(segments, length, beginning);
        self.chain = name;
        let known = self.verdicts.zip(name);
        if let Some(said) = known.and_then(|(verdicts, name)| verdicts.stretch(name)) {
            self.replay(all, said.iter());
            self.pass(segments, length);
            self.keep(beginning, Some(said), length);
            return true;
        }
        let mut said = known.map(|_| Vec::new());
        for segment in segments {
            if self.index >= MAX_SEGMENTS || self.left == 0 {
                self.outcome.oversize(self.index, 0);
                return false;
            }
            let more = self.one(segment);
            said = said.zip(more).map(|(mut said, more)| {
                said.extend(more);
                said
            });
        }
        let said = said.map(Stretch::from);
        if let (Some((verdicts, name)), Some(said)) = (known, &said) {
            verdicts.keep_stretch(name, Arc::clone(said));
        }
        self.keep(beginning, said, length);
        true
    }

    /// Keeps what is said of everything up to a stretch, where a beginning is of it and nothing is missing.
    fn keep(&mut self, beginning: Option<Tag>, said: Option<Stretch>, bytes: usize) {
        let so_far = self.so_far.take();
        self.so_far = so_far.zip(said).map(|(mut so_far, said)| {
            Arc::make_mut(&mut so_far).go_on(said, bytes);
            so_far
        });
        if let (Some(verdicts), Some(_), Some(name), Some(so_far)) =
            (self.verdicts, beginning, self.chain, &self.so_far)
        {
            verdicts.keep_so_far(name, Arc::clone(so_far));
        }
    }

    /// What a session knows the request by up to and with these segments of so many bytes: nothing where they are
    /// no whole stretch, or are not read to their end.
    fn name_of(
        &self,
        segments: &[Segment<'_>],
        length: usize,
        beginning: Option<Tag>,
    ) -> Option<Tag> {
        let whole = segments.len() == STRETCH
            && length <= self.left
            && self.index.saturating_add(STRETCH) <= MAX_SEGMENTS;
        let chain = self.chain.filter(|_| whole)?;
        let verdicts = self.verdicts?;
        if let Some(name) = beginning.and_then(|tag| verdicts.known_by(tag)) {
            return Some(name);
        }
        let name = verdicts.following(chain, segments);
        if let Some(beginning) = beginning {
            verdicts.keep_name(beginning, name);
        }
        Some(name)
    }

    /// Says what is known of some of `all` segments.
    fn replay<'k>(&mut self, all: &[Segment<'_>], said: impl Iterator<Item = &'k Said>) {
        for Said { index, what } in said {
            let Some(segment) = all.get(*index) else {
                continue;
            };
            match what {
                What::Floor(rule) => self.outcome.path_floor(*index, segment, &[*rule]),
                What::Unreadable => self.unreadable(*index),
                What::Found(known) => {
                    let names = self.classifier.scanner.names();
                    self.outcome.hit(*index, segment.path, known.found(names));
                }
            }
        }
    }

    /// Goes on behind segments of so many bytes of which all is said: what the next text is read with is all that is
    /// still needed of them.
    fn pass(&mut self, segments: &'a [Segment<'a>], bytes: usize) {
        let author = segments.last().map(|segment| segment.origin);
        let mut later = 0;
        let near = segments.iter().rev().take_while(|segment| {
            let near = later < SEAM_REACH && Some(segment.origin) == author;
            later += segment.text.len();
            near
        });
        let (passed, near) = segments.split_at(segments.len() - near.count());
        let left = self.left.saturating_sub(bytes);
        if !passed.is_empty() {
            self.author = None;
            self.index = self.index.saturating_add(passed.len());
        }
        for segment in near {
            self.go_on(Read::new(segment, segment.text));
        }
        self.left = left;
    }

    /// Reads a segment. What is said of it, and nothing where a session cannot keep that.
    fn one(&mut self, segment: &Segment<'a>) -> Option<Vec<Said>> {
        let floors = self.outcome.floors_of(segment);
        self.outcome.path_floor(self.index, segment, &floors);
        if segment.origin == Origin::Unreadable {
            self.unreadable(self.index);
        }
        let cut = crate::detect::floor_boundary(segment.text, self.left);
        if cut < segment.text.len() {
            self.outcome.oversize(self.index, cut);
        }
        let mut read = Read::new(segment, segment.text.get(..cut).unwrap_or_default());
        read.tag = self.tag(read.text);
        let text = self.scan(read);
        let seam = if self.author == Some(read.origin) {
            self.scan_seam(read)
        } else {
            Some(Verdict::default())
        };
        let said = text.zip(seam);
        let said = said.map(|(text, seam)| self.said(read.origin, floors, &text, &seam));
        self.go_on(read);
        if cut < segment.text.len() {
            self.left = 0;
        }
        said
    }

    /// What is said of the next segment.
    fn said(
        &self,
        origin: Origin,
        floors: Vec<usize>,
        text: &[(usize, Known)],
        seam: &[(usize, Known)],
    ) -> Vec<Said> {
        let found = |known: &Known| What::Found(known.clone());
        let unreadable = (origin == Origin::Unreadable).then_some(What::Unreadable);
        let floors = floors.into_iter().map(What::Floor);
        let text = text.iter().map(|(_, known)| found(known));
        let here = floors.chain(unreadable).chain(text);
        let here = here.map(|what| (Some(self.index), what));
        let before = |back: &usize| self.run.back(*back).map(|written| written.index);
        let seam = seam
            .iter()
            .map(|(back, known)| (before(back), found(known)));
        let placed = |(index, what): (Option<usize>, What)| {
            Some(Said {
                index: index?,
                what,
            })
        };
        here.chain(seam).filter_map(placed).collect()
    }

    fn unreadable(&mut self, index: usize) {
        let reason = "content that is not text";
        self.outcome.unread(UNREADABLE, reason, index, 0);
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
                verdicts.recall(Subject::Text(tag), scanner.names(), scan, &mut |_, hit| {
                    report(hit)
                })
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
                verdicts.recall(
                    Subject::Seam(one, other),
                    scanner.names(),
                    scan,
                    &mut report,
                )
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
