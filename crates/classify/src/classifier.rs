//! Applies a classification policy to the texts of a request. Whatever it cannot look at takes
//! the policy's `unreadable` label; nothing it finds is kept beyond rule and position.

mod literals;
mod reading;
mod rules;
mod scan;
mod scratch;
mod session;
#[cfg(test)]
mod tests;
mod view;
mod warming;

use proofroom_canonical::Timestamp;

use crate::{
    AppliedException, Classification, ClassificationPolicy, Confidence, Finding, Label, Segment,
    finding::MAX_FINDINGS, policy::PathRule,
};
use reading::Reading;
use scan::Scanner;
pub use session::{SessionVerdicts, Source};

/// Rule id of content that is not text.
pub const UNREADABLE: &str = "unreadable-content";
/// Rule id of a request larger than [`MAX_REQUEST_BYTES`] or [`MAX_SEGMENTS`].
pub const OVERSIZE: &str = "oversize-content";
/// Rule id of text whose decoding takes more depth or space than is granted.
pub const OVER_BUDGET: &str = "undecoded-content";

/// Most bytes of text classified in one request: eight times the context of the largest models.
pub const MAX_REQUEST_BYTES: usize = 32 << 20;
/// Most segments classified in one request.
pub const MAX_SEGMENTS: usize = 50_000;

/// What a classification depends on besides the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context<'a> {
    /// The repository of the session, as policies name it.
    pub repository: &'a str,
    /// The time at which exceptions are judged.
    pub now: Timestamp,
}

/// A policy made ready to scan with. Build once, share between threads.
#[derive(Debug)]
pub struct Classifier {
    policy: ClassificationPolicy,
    scanner: Scanner,
}

impl Classifier {
    /// Prepares `policy`.
    #[must_use]
    pub fn new(policy: &ClassificationPolicy) -> Self {
        Self {
            policy: policy.clone(),
            scanner: Scanner::new(policy),
        }
    }

    /// Builds much of what is otherwise built as the first texts ask for it: the detectors, lists of
    /// words, and states of automata, these once for each of `threads` that may classify at the same
    /// time. Takes some milliseconds.
    pub fn warm(&self, threads: usize) {
        self.scanner.warm(threads);
    }

    /// The policy this classifier applies.
    #[must_use]
    pub const fn policy(&self) -> &ClassificationPolicy {
        &self.policy
    }

    /// Classifies one request. More segments or more lines never give a lower label.
    #[must_use]
    pub fn classify(&self, segments: &[Segment<'_>], context: &Context<'_>) -> Classification {
        Reading::new(self, context, None).finish(segments)
    }

    /// Says what [`Self::classify`] says, and looks only at texts and neighbours of texts that the
    /// session has no verdict on.
    #[must_use]
    pub fn classify_in_session(
        &self,
        segments: &[Segment<'_>],
        context: &Context<'_>,
        verdicts: &SessionVerdicts,
    ) -> Classification {
        Reading::new(self, context, Some(verdicts)).finish(segments)
    }

    /// Says what [`Self::classify`] says, and does not even look at texts that were read from a beginning
    /// which the session knows.
    #[must_use]
    pub fn classify_from(
        &self,
        source: &Source<'_>,
        segments: &[Segment<'_>],
        context: &Context<'_>,
        verdicts: &SessionVerdicts,
    ) -> Classification {
        let reading = Reading::new(self, context, Some(verdicts));
        reading.from(source).finish(segments)
    }

    /// `text` with every secret in it replaced by `[redacted]`; customer terms, paths and markings
    /// stay. Text over [`MAX_REQUEST_BYTES`] is replaced whole.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.scanner.redact(text)
    }
}

/// `text` with everything that a built-in detector takes for a secret, card or personal number
/// replaced by `[redacted]`. Needs no policy; for command lines and the like.
#[must_use]
pub fn redact(text: &str) -> String {
    Scanner::builtin().map_or_else(|| REDACTED.to_owned(), |scanner| scanner.redact(text))
}

/// What stands for a secret in redacted text.
pub const REDACTED: &str = "[redacted]";

/// A classification in the making.
struct Outcome<'a> {
    classifier: &'a Classifier,
    context: &'a Context<'a>,
    label: Label,
    findings: Vec<Finding>,
    excepted: Vec<AppliedException>,
}

impl<'a> Outcome<'a> {
    fn new(classifier: &'a Classifier, context: &'a Context<'a>) -> Self {
        Self {
            classifier,
            context,
            label: classifier.policy.default,
            findings: Vec::new(),
            excepted: Vec::new(),
        }
    }

    fn add(&mut self, finding: Finding) {
        self.label = self.label.max(finding.label);
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// For so many findings more, as many as are listed.
    fn make_room(&mut self, findings: usize) {
        self.findings.reserve(findings.min(MAX_FINDINGS));
    }

    fn repository_floor(&mut self) {
        let repository = self.context.repository;
        for rule in &self.classifier.policy.repositories {
            if rule.repositories.matches(repository) {
                self.add(Finding {
                    rule: rule.id.clone(),
                    reason: "the repository has this label",
                    label: rule.label,
                    segment: 0,
                    span: 0..0,
                    confidence: Confidence::High,
                });
            }
        }
    }

    /// The rules of the policy, by their place, that give the file of `segment` a label.
    fn floors_of(&self, segment: &Segment<'_>) -> Vec<usize> {
        let Some(path) = segment.path.map(in_repository) else {
            return Vec::new();
        };
        let repository = self.context.repository;
        let rules = self.classifier.policy.paths.iter().enumerate();
        let applies = |(_, rule): &(usize, &PathRule)| {
            rule.repositories.matches(repository) && rule.paths.matches(&path)
        };
        rules.filter(applies).map(|(place, _)| place).collect()
    }

    fn path_floor(&mut self, index: usize, segment: &Segment<'_>, floors: &[usize]) {
        let rules = &self.classifier.policy.paths;
        for rule in floors.iter().filter_map(|place| rules.get(*place)) {
            self.add(Finding {
                rule: rule.id.clone(),
                reason: "the file's path has this label",
                label: rule.label,
                segment: index,
                span: 0..segment.text.len(),
                confidence: Confidence::High,
            });
        }
    }

    fn oversize(&mut self, index: usize, from: usize) {
        let reason = "the request is larger than is classified";
        self.unread(OVERSIZE, reason, index, from);
    }

    fn unread(&mut self, rule: &str, reason: &'static str, index: usize, from: usize) {
        self.add(Finding {
            rule: rule.to_owned(),
            reason,
            label: self.classifier.policy.unreadable,
            segment: index,
            span: from..from,
            confidence: Confidence::High,
        });
    }

    fn hit(&mut self, index: usize, path: Option<&str>, hit: scan::Found<'_>) {
        let finding = Finding {
            rule: hit.rule.to_owned(),
            reason: hit.reason,
            label: hit.label,
            segment: index,
            span: hit.span,
            confidence: hit.confidence,
        };
        match self.exception_for(&finding, path) {
            Some(exception) => {
                if self.excepted.len() < MAX_FINDINGS {
                    self.excepted.push(AppliedException { exception, finding });
                }
            }
            None => self.add(finding),
        }
    }

    fn exception_for(&self, finding: &Finding, path: Option<&str>) -> Option<String> {
        let path = in_repository(path?);
        let applies = |exception: &&crate::policy::Exception| {
            exception.rule == finding.rule
                && exception.expires > self.context.now
                && exception.repositories.matches(self.context.repository)
                && exception.paths.matches(&path)
        };
        let exceptions = &self.classifier.policy.exceptions;
        exceptions.iter().find(applies).map(|e| e.id.clone())
    }

    fn finish(mut self) -> Classification {
        self.findings.sort_by(|a, b| {
            (a.segment, a.span.start, a.span.end, &a.rule).cmp(&(
                b.segment,
                b.span.start,
                b.span.end,
                &b.rule,
            ))
        });
        Classification {
            label: self.label,
            findings: self.findings,
            excepted: self.excepted,
        }
    }
}

/// A path as policies write it: relative to the repository, without `.` and `..`.
fn in_repository(path: &str) -> String {
    let path = path.strip_prefix(WORKSPACE).unwrap_or(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where a room keeps the repository.
const WORKSPACE: &str = "/workspace/";
