//! One pass of literals over a text, the rules' patterns where a literal occurs, then the checks;
//! again over every other reading of the text within a budget.

mod building;
mod seam;

use std::{mem, ops::Range, sync::LazyLock};

use memchr::memrchr;
use regex_automata::{Anchored, Input};

use super::{
    MAX_REQUEST_BYTES, OVER_BUDGET, REDACTED,
    literals::Engine,
    rules::{RuleNames, RuleNumber},
    scratch::{Pool, Scratch},
    view::{View, ViewKind, readings, rejoined, seam_length},
    warming,
};
use crate::{
    ClassificationPolicy, Confidence, Label, Levels,
    detect::{
        Broken, Hit, Least, Lent, Marks, Pattern, QuickLook, SENSITIVE_CODE, Search, Shape, Sure,
        Verdict, Window, ceil_boundary, crowded_tokens, floor_boundary, long_runs, number_search,
        scan_digits, scan_tokens, scored,
    },
    finding::MAX_FINDINGS,
};
use building::{Anchor, Building};
pub(super) use seam::{Run, SEAM_REACH};

/// A finding in one text, before it has a segment.
pub(super) struct Found<'a> {
    pub(super) rule: &'a str,
    pub(super) number: RuleNumber,
    pub(super) reason: &'static str,
    pub(super) label: Label,
    pub(super) span: Range<usize>,
    pub(super) confidence: Confidence,
}

/// Rules made ready: automaton, patterns, checks, labels.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Absent only if it could not be built; then every text counts as unread.
    literals: Option<Box<dyn Engine>>,
    /// The literals themselves.
    words: Vec<String>,
    /// Per literal, the rules to try.
    tries_of: Vec<Vec<Try>>,
    rules: Vec<Rule>,
    digits: Vec<Ruling>,
    names: RuleNames,
    /// Whether JSON web tokens are looked for.
    web_tokens: bool,
    unreadable: Label,
    pool: Pool,
}

/// A rule to try where a literal stands.
#[derive(Debug)]
struct Try {
    rule: usize,
    /// Length of the literal.
    length: usize,
    shape: Option<Shape>,
}

/// A pattern and what it can mean.
#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    /// The pattern as it is written.
    source: String,
    window: Window,
    broken: Broken,
    needs: QuickLook,
    /// The pattern starts at the literal and there must be a word's edge.
    begins_word: bool,
    rulings: Vec<Ruling>,
}

/// One meaning of a pattern's match.
#[derive(Debug)]
struct Ruling {
    id: String,
    number: RuleNumber,
    reason: &'static str,
    label: Label,
    check: Check,
    redact: Redact,
}

#[derive(Clone, Copy, Debug)]
enum Check {
    Builtin(fn(&Hit<'_>) -> Verdict),
    /// What the scorer says, from how sure on the policy says.
    Scored(Least),
    /// A customer's word: it must not be part of a longer one.
    WholeWord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redact {
    Value,
    Nothing,
}

/// What is found goes here: ruling, span in the text scanned, confidence.
type Report<'s, 'r> = dyn FnMut(&'s Ruling, Range<usize>, Sure) + 'r;

impl Scanner {
    pub(super) fn new(policy: &ClassificationPolicy) -> Self {
        let mut building = Building::default();
        building.least = policy.least;
        let mut complete =
            building.add_builtin(|index, _| policy.detectors.get(index).copied().flatten());
        for rule in &policy.terms {
            for term in &rule.terms {
                complete &= building.add_term(&rule.id, rule.label, term, Anchor::Word);
            }
        }
        for rule in &policy.markings {
            for line in &rule.lines {
                complete &= building.add_term(&rule.id, rule.label, line, Anchor::Line);
            }
        }
        building.finish(policy.unreadable, complete)
    }

    /// The scanner with every built-in detector on.
    pub(super) fn builtin() -> Option<&'static Self> {
        static BUILTIN: LazyLock<Option<Scanner>> = LazyLock::new(|| {
            let levels = Levels::default();
            let mut building = Building::default();
            let complete = building.add_builtin(|_, c| Some(c.detector.severity.label(&levels)));
            complete.then(|| building.finish(levels.highest(), true))
        });
        BUILTIN.as_ref()
    }

    /// The same with another engine, given the literals.
    #[cfg(test)]
    pub(super) fn with_engine(
        policy: &ClassificationPolicy,
        engine: impl FnOnce(&[String]) -> Box<dyn Engine>,
    ) -> Self {
        let mut building = Building::default();
        building.add_builtin(|index, _| policy.detectors.get(index).copied().flatten());
        let engine = engine(&building.literals);
        Self {
            literals: Some(engine),
            ..building.finish(policy.unreadable, true)
        }
    }

    /// Bytes of the literals' tables and of the compiled patterns.
    #[cfg(test)]
    pub(super) fn table_bytes(&self) -> usize {
        let patterns = self.rules.iter().map(|rule| rule.pattern.memory_usage());
        self.literals
            .as_ref()
            .map_or(0, |engine| engine.table_bytes())
            + patterns.sum::<usize>()
    }

    /// Builds now what the patterns would build when they are first met: states of their automata, for
    /// `threads` scans at once, and tables of words. Text that is like them decides nothing.
    pub(super) fn warm(&self, threads: usize) {
        let often = |attempt: &Try| {
            let rule = self.rules.get(attempt.rule);
            rule.is_some_and(|rule| rule.pattern.is_tried_often())
        };
        let words = self.words.iter().zip(&self.tries_of);
        let words = words.filter(|(_, tries)| tries.iter().any(often));
        // after the detectors' come those of the customer's terms, which may be many
        let words = words.take(WARMED);
        let texts: Vec<String> = warming::texts(words.map(|(word, _)| word)).collect();
        let warm = |_| {
            let mut scratch = self.scratch();
            for rule in &self.rules {
                let reach = rule.window.range(usize::MAX / 2, usize::MAX).len();
                scratch.marks.make_room(&rule.pattern, reach);
            }
            for text in &texts {
                self.scan_with(text, &mut scratch, &mut |_| {});
            }
            scratch
        };
        let spare = (0..threads.max(1)).map(warm).collect();
        self.pool.keep(spare);
        // builds what is built once for all: automata of words, and of what follows a match
        self.scan(&warming::samples(), &mut |_| {});
    }

    fn scratch(&self) -> Scratch {
        let rules = self.rules.iter().map(|rule| Search::of(&rule.pattern));
        Scratch {
            rules: rules.collect(),
            marks: Marks::default(),
            numbers: number_search(),
        }
    }

    /// Reports everything found in `text` and in its other readings.
    pub(super) fn scan<'s>(&'s self, text: &str, report: &mut dyn FnMut(Found<'s>)) {
        let scan = |scratch: &mut Scratch| self.scan_with(text, scratch, report);
        self.pool.with(|| self.scratch(), scan);
    }

    fn scan_with<'s>(
        &'s self,
        text: &str,
        scratch: &mut Scratch,
        report: &mut dyn FnMut(Found<'s>),
    ) {
        let mut descent = Descent {
            scanner: self,
            scratch,
            budget: text
                .len()
                .saturating_mul(DECODE_FACTOR)
                .saturating_add(DECODE_FLOOR),
            said: Said {
                found: Vec::new(),
                scanner: self,
                report,
            },
        };
        if self.literals.is_none() {
            descent
                .said
                .undecoded(0..text.len(), "the scanner could not be built");
        }
        descent.read(text, &mut Vec::new(), text);
    }

    /// The ids of the rules that findings have.
    pub(super) const fn names(&self) -> &RuleNames {
        &self.names
    }

    /// Where a token may stand that was not looked for.
    fn unlooked(&self, text: &str, runs: &[Range<usize>]) -> Vec<Range<usize>> {
        if self.web_tokens {
            crowded_tokens(text, runs)
        } else {
            Vec::new()
        }
    }

    const fn undecoded(&self, span: Range<usize>, reason: &'static str) -> Found<'static> {
        Found {
            rule: OVER_BUDGET,
            number: RuleNumber::OVER_BUDGET,
            reason,
            label: self.unreadable,
            span,
            confidence: Confidence::High,
        }
    }

    /// Scans `text` in this one reading.
    fn scan_part<'s>(&'s self, text: &str, report: &mut Report<'s, '_>) {
        let scan = |scratch: &mut Scratch| self.scan_text(text, &long_runs(text), scratch, report);
        self.pool.with(|| self.scratch(), scan);
    }

    /// `text` with the values of all rulings on secrets replaced.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut spans: Vec<Range<usize>> = Vec::new();
        if text.len() > MAX_REQUEST_BYTES {
            return REDACTED.to_owned();
        }
        self.scan(text, &mut |found| {
            if self.redacts(found.rule) {
                spans.push(found.span);
            }
        });
        spans.sort_by_key(|span| (span.start, span.end));
        let mut clean = String::with_capacity(text.len());
        let mut done = 0;
        for span in spans {
            if span.start >= done {
                clean.push_str(text.get(done..span.start).unwrap_or_default());
                clean.push_str(REDACTED);
            }
            done = done.max(span.end);
        }
        clean.push_str(text.get(done..).unwrap_or_default());
        clean
    }

    fn redacts(&self, rule: &str) -> bool {
        let rulings = self
            .rules
            .iter()
            .flat_map(|r| &r.rulings)
            .chain(&self.digits);
        rule == OVER_BUDGET
            || rulings
                .filter(|ruling| ruling.id == rule)
                .any(|ruling| ruling.redact == Redact::Value)
    }

    fn scan_text<'s>(
        &'s self,
        text: &str,
        runs: &[Range<usize>],
        scratch: &mut Scratch,
        report: &mut Report<'s, '_>,
    ) {
        work::count(text.len());
        self.scan_literals(text, scratch, report);
        let mut numbered = |id: &str, span: Range<usize>, confidence| {
            if let Some(ruling) = self.digits.iter().find(|ruling| ruling.id == id) {
                report(ruling, span, Sure::from(confidence));
            }
        };
        scan_digits(text, &mut scratch.numbers, &mut numbered);
        scan_tokens(text, runs, &mut numbered);
    }

    /// Tries the rules whose literals occur.
    fn scan_literals<'s>(
        &'s self,
        text: &str,
        Scratch { rules, marks, .. }: &mut Scratch,
        report: &mut Report<'s, '_>,
    ) {
        let Some(literals) = &self.literals else {
            return;
        };
        // of what a text is about one finding says it
        let mut said = false;
        literals.scan(text.as_bytes(), &mut |literal, start| {
            let within = start.checked_sub(1).and_then(|at| text.as_bytes().get(at));
            let within = within.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
            for attempt in self.tries_of.get(literal).into_iter().flatten() {
                if let Some(rule) = self.rules.get(attempt.rule)
                    && let Some(search) = rules.get_mut(attempt.rule)
                    && !(within && rule.begins_word)
                    && !(said && rule.says_once())
                {
                    let mut report = |ruling: &'s Ruling, span: Range<usize>, sure| {
                        said |= rule.says_once();
                        report(ruling, span, sure);
                    };
                    let marks = &mut *marks;
                    let mut lent = Lent { search, marks };
                    rule.apply(text, start, attempt, &mut lent, &mut report);
                }
            }
        });
    }
}

impl Rule {
    fn says_once(&self) -> bool {
        self.rulings
            .first()
            .is_some_and(|ruling| ruling.id == SENSITIVE_CODE)
    }

    fn apply<'s>(
        &'s self,
        text: &str,
        literal: usize,
        attempt: &Try,
        search: &mut Lent<'_>,
        report: &mut Report<'s, '_>,
    ) {
        let window = self.window.range(literal, text.len());
        if !(self.needs)(text.as_bytes(), window, literal) {
            return;
        }
        match self.window {
            Window::At { reach } => {
                let fits = attempt.fits(text, literal, self.broken);
                let end = literal.saturating_add(reach).min(text.len());
                let input = Input::new(text).range(literal..end).anchored(Anchored::Yes);
                let found = match fits {
                    Fit::Whole => self.judge(text, &input, search, report),
                    Fit::Broken => None,
                    Fit::Not => return,
                };
                if found.is_none() && self.broken == Broken::Rejoin {
                    self.apply_rejoined(text, literal, search, report);
                }
            }
            Window::Line { before, reach } => {
                let from = literal.saturating_sub(before);
                let line = text.as_bytes().get(from..literal).unwrap_or_default();
                if let Some(start) = line_start(line, from) {
                    let end = literal.saturating_add(reach).min(text.len());
                    let input = Input::new(text).range(start..end).anchored(Anchored::Yes);
                    self.judge(text, &input, search, report);
                }
            }
            Window::Around { before, reach } => {
                let mut start = literal.saturating_sub(before);
                let end = literal.saturating_add(reach).min(text.len());
                while start <= literal {
                    let input = Input::new(text).range(start..end);
                    let Some(span) = self.judge(text, &input, search, report) else {
                        return;
                    };
                    start = span.end.max(start + 1);
                }
            }
        }
    }

    /// Puts a broken value together and tries again. Only a value with a digit counts: the words
    /// of the next line have none.
    fn apply_rejoined<'s>(
        &'s self,
        text: &str,
        literal: usize,
        search: &mut Lent<'_>,
        report: &mut Report<'s, '_>,
    ) {
        let end = floor_boundary(text, literal.saturating_add(REJOIN_REACH));
        let window = text.get(literal..end).unwrap_or_default();
        if !window.contains('\n') && !window.contains('+') {
            return;
        }
        let Some(view) = rejoined(window) else { return };
        let input = Input::new(&view.text).anchored(Anchored::Yes);
        let mut report = |ruling: &'s Ruling, span: Range<usize>, sure| {
            let value = view.text.get(span.clone()).unwrap_or_default();
            let at = view.to_parent(&span);
            if value.bytes().any(|b| b.is_ascii_digit()) {
                report(ruling, literal + at.start..literal + at.end, sure);
            }
        };
        self.judge(&view.text, &input, search, &mut report);
    }

    /// Matches once and lets every ruling decide. Returns the match, whatever they decided.
    fn judge<'s>(
        &'s self,
        text: &str,
        input: &Input<'_>,
        search: &mut Lent<'_>,
        report: &mut Report<'s, '_>,
    ) -> Option<Range<usize>> {
        work::count(input.get_range().len());
        let found = search.first(&self.pattern, input)?;
        let hit = Hit::new(text, found.span, found.value, found.group);
        let span = hit.span.clone();
        for ruling in &self.rulings {
            let verdict = ruling.check.decide(&hit);
            let Some((sure, end)) = verdict.accepted(hit.value.end) else {
                continue;
            };
            let start = floor_boundary(text, hit.value.start);
            report(ruling, start..ceil_boundary(text, end), sure);
        }
        Some(span)
    }
}

/// Where the last line of `before` begins, which begins at `from` in its text.
fn line_start(before: &[u8], from: usize) -> Option<usize> {
    match memrchr(b'\n', before) {
        Some(line_break) => Some(from + line_break + 1),
        None => (from == 0).then_some(0),
    }
}

/// How what follows a literal goes with a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It may match.
    Whole,
    /// It may, once a break is taken out.
    Broken,
    /// It cannot.
    Not,
}

impl Try {
    fn fits(&self, text: &str, literal: usize, broken: Broken) -> Fit {
        let after = literal + self.length;
        let Some(shape) = &self.shape else {
            return Fit::Whole;
        };
        let Some(misfit) = shape.misfit(text.as_bytes(), after) else {
            return Fit::Whole;
        };
        let seam = |at: usize| text.get(at..).is_some_and(|rest| seam_length(rest) > 0);
        if broken == Broken::Rejoin && (after..=misfit).any(seam) {
            Fit::Broken
        } else {
            Fit::Not
        }
    }
}

impl Check {
    fn decide(self, hit: &Hit<'_>) -> Verdict {
        match self {
            Self::Builtin(check) => check(hit),
            Self::Scored(least) => scored(hit, least),
            Self::WholeWord => {
                let word = |c: char| c.is_alphanumeric() || c == '_';
                let before = hit
                    .text
                    .get(..hit.span.start)
                    .and_then(|t| t.chars().next_back());
                let after = hit.text.get(hit.span.end..).and_then(|t| t.chars().next());
                let whole = hit.whole();
                let cut = |inside: Option<char>, outside: Option<char>| {
                    inside.is_some_and(word) && outside.is_some_and(word)
                };
                if cut(whole.chars().next(), before) || cut(whole.chars().next_back(), after) {
                    Verdict::Reject
                } else {
                    Verdict::Accept(Confidence::High)
                }
            }
        }
    }
}

impl Ruling {
    fn found(&self, span: Range<usize>, sure: Sure) -> Found<'_> {
        Found {
            rule: &self.id,
            number: self.number,
            reason: sure.because.unwrap_or(self.reason),
            label: self.label,
            span,
            confidence: sure.confidence,
        }
    }
}

/// The scan of one text and of what it decodes to.
struct Descent<'s, 'r> {
    scanner: &'s Scanner,
    scratch: &'r mut Scratch,
    /// Bytes that may still be decoded.
    budget: usize,
    said: Said<'s, 'r>,
}

/// What is reported of one text.
struct Said<'s, 'r> {
    /// Rule and place of it, so that a second reading does not repeat it.
    found: Vec<(&'s str, Range<usize>)>,
    scanner: &'s Scanner,
    report: &'r mut dyn FnMut(Found<'s>),
}

impl<'s> Descent<'s, '_> {
    /// Scans `text`, which `path` leads to from `original`, then its other readings.
    fn read(&mut self, text: &str, path: &mut Vec<View>, original: &str) {
        let scanner = self.scanner;
        let runs = long_runs(text);
        let (scratch, said) = (&mut *self.scratch, &mut self.said);
        scanner.scan_text(text, &runs, scratch, &mut |ruling, span, sure| {
            said.report_once(ruling, to_original(path, span, original), sure);
        });
        for span in scanner.unlooked(text, &runs) {
            said.undecoded(to_original(path, span, original), CROWDED);
        }
        let decoded = path.iter().filter(|view| view.kind != ViewKind::Visible);
        let depth = decoded.count();
        let visible = path.iter().any(|view| view.kind == ViewKind::Visible);
        readings(text, &runs, &mut |mut view| {
            // a visible text has no other visible reading, and none is longer than its original
            let plain = view.kind == ViewKind::Visible;
            if plain && visible {
                return true;
            }
            if depth >= MAX_DEPTH && !plain {
                // spellings nest harmlessly, as escapes in escapes do; an encoding hides something
                if view.kind == ViewKind::Base64 {
                    let span = to_original(path, 0..text.len(), original);
                    self.said
                        .undecoded(span, "text encoded more often than is decoded");
                }
                return true;
            }
            let cost = if plain { 0 } else { view.text.len() };
            let Some(left) = self.budget.checked_sub(cost) else {
                let span = to_original(path, 0..text.len(), original);
                self.said
                    .undecoded(span, "text that decodes to more than is read");
                return false;
            };
            self.budget = left;
            let inner = mem::take(&mut view.text);
            path.push(view);
            self.read(&inner, path, original);
            path.pop();
            true
        });
    }
}

impl<'s> Said<'s, '_> {
    fn report_once(&mut self, ruling: &'s Ruling, span: Range<usize>, sure: Sure) {
        let overlaps = |(rule, at): &(&str, Range<usize>)| {
            *rule == ruling.id && at.start < span.end && span.start < at.end
        };
        // of what a text is about, one finding says it
        let said =
            |(rule, _): &(&str, Range<usize>)| *rule == ruling.id && ruling.id == SENSITIVE_CODE;
        if self
            .found
            .iter()
            .any(|known| overlaps(known) || said(known))
        {
            return;
        }
        if self.found.len() < MAX_FINDINGS {
            self.found.push((&ruling.id, span.clone()));
        }
        (self.report)(ruling.found(span, sure));
    }

    fn undecoded(&mut self, span: Range<usize>, reason: &'static str) {
        (self.report)(self.scanner.undecoded(span, reason));
    }
}

fn to_original(path: &[View], span: Range<usize>, original: &str) -> Range<usize> {
    let span = path
        .iter()
        .rev()
        .fold(span, |span, view| view.to_parent(&span));
    floor_boundary(original, span.start)..ceil_boundary(original, span.end)
}

/// How many bytes were looked at, for the tests that say this is linear. Costs nothing elsewhere.
pub(super) mod work {
    #[cfg(test)]
    thread_local! {
        static BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[cfg(test)]
    pub(in crate::classifier) fn count(bytes: usize) {
        BYTES.with(|known| known.set(known.get() + bytes));
    }

    #[cfg(not(test))]
    pub(super) const fn count(_: usize) {}

    /// What was counted on this thread since the last call.
    #[cfg(test)]
    pub(in crate::classifier) fn take() -> usize {
        BYTES.with(std::cell::Cell::take)
    }
}

/// Why a place in a text counts as unread where it is crowded with beginnings of tokens.
const CROWDED: &str = "more beginnings of one token than are tried";

/// For so many literals automata are made warm.
const WARMED: usize = 256;

/// What redaction leaves in: these describe a text, or name who a line is for.
const KEPT: [&str; 4] = ["marking-", "health-", "contact-", SENSITIVE_CODE];

/// How often an encoding may stand inside another and still be read.
const MAX_DEPTH: usize = 2;
/// Decoded bytes per byte of text; each reading is at most as long as what it reads.
const DECODE_FACTOR: usize = 2;
/// Decoded bytes granted to a short text.
const DECODE_FLOOR: usize = 4_096;
const REJOIN_REACH: usize = 600;
/// A term is at most 200 bytes, in which words may be 20 blanks apart.
const MAX_TERM_REACH: usize = 2_400;
