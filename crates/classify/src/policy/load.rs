//! Reads `classification.toml`, reports everything wrong with it, and runs its examples.

use proofroom_canonical::{Digest, Timestamp};

use super::{ClassificationPolicy, Exception, MarkingRule, PathRule, RepositoryRule, TermRule};
use crate::{
    Classifier, Context, Label, Levels, Origin, Segment,
    classifier::{OVER_BUDGET, OVERSIZE, UNREADABLE},
    detect::{self, Least},
    label::RAISED,
    problem::{ExampleOutcome, Problems},
    table::{GlobKind, Globs, MAX_POLICY_BYTES, Reader, parse_file},
};

/// An example as read.
pub(super) struct Example {
    at: String,
    rule: String,
    kind: Kind,
    expected: Expected,
    text: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Path,
    Repository,
}

#[derive(Clone, Copy)]
enum Expected {
    Match,
    NoMatch,
}

/// What reading needs at every step.
struct Reading<'a> {
    levels: Levels,
    ids: Vec<String>,
    examples: Vec<Example>,
    problems: &'a mut Problems,
}

pub(super) fn load(
    text: &str,
    problems: &mut Problems,
) -> Option<(ClassificationPolicy, Vec<Example>)> {
    let catalogue = match detect::catalogue() {
        Ok(catalogue) => catalogue,
        Err(id) => {
            let text = format!("built-in detector `{id}` does not compile; this build is unusable");
            problems.add("built-in", "broken-detector", text);
            return None;
        }
    };
    let read = if is_empty(text) { NO_RULES } else { text };
    let mut file = parse_file(read, problems)?;
    let levels = read_levels(&mut file, problems);
    let mut reading = Reading {
        levels,
        ids: [UNREADABLE, OVERSIZE, OVER_BUDGET, RAISED]
            .map(str::to_owned)
            .into_iter()
            .chain(catalogue.iter().map(|c| c.detector.id.to_owned()))
            .collect(),
        examples: Vec::new(),
        problems,
    };
    let default = reading.default_level(&mut file);
    let unreadable = reading.unreadable_level(&mut file);
    let detectors = reading.detectors(&mut file, catalogue);
    let least = reading.scorer(&mut file);
    let terms = reading.terms(&mut file);
    let markings = reading.markings(&mut file);
    let paths = reading.paths(&mut file);
    let repositories = reading.repositories(&mut file);
    let exceptions = reading.exceptions(&mut file);
    let values = terms.iter().map(|rule| rule.id.clone());
    let values: Vec<String> = values
        .chain(markings.iter().map(|rule| rule.id.clone()))
        .chain(catalogue.iter().map(|c| c.detector.id.to_owned()))
        .collect();
    let redacted = super::redaction::read(&mut file, &values, reading.problems);
    reading.builtin_examples(&mut file, catalogue);
    let Reading {
        levels,
        examples,
        problems,
        ..
    } = reading;
    file.finish(problems);
    let policy = ClassificationPolicy {
        levels,
        default,
        unreadable,
        detectors,
        least,
        terms,
        markings,
        paths,
        repositories,
        exceptions,
        redacted,
        digest: Digest::of(text),
    };
    Some((policy, examples))
}

/// Nothing but blanks and comments.
fn is_empty(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    text.len() <= MAX_POLICY_BYTES && lines.all(|line| line.is_empty() || line.starts_with('#'))
}

/// What a file without any rule says: everything has the highest level. A file that was emptied by
/// mistake opens nothing.
const NO_RULES: &str = "version = 1\nlevels = [\"public\", \"internal\", \"confidential\", \"restricted\"]\n\
                        default = \"restricted\"\nunreadable = \"restricted\"\n";

fn read_levels(file: &mut Reader, problems: &mut Problems) -> Levels {
    let names = file.required_texts("levels", problems);
    Levels::new(names).unwrap_or_else(|message| {
        problems.add("levels", "bad-levels", message);
        Levels::default()
    })
}

impl Reading<'_> {
    fn level(&mut self, table: &mut Reader, key: &str) -> Option<Label> {
        let name = table.required_text(key, self.problems)?;
        self.level_named(table.at(), &name)
    }

    fn level_named(&mut self, at: &str, name: &str) -> Option<Label> {
        let label = self.levels.label(name);
        if label.is_none() {
            let known = self.levels.names().join("`, `");
            let text = format!("`{name}` is not a level; the levels are `{known}`");
            self.problems.add(at, "unknown-level", text);
        }
        label
    }

    fn default_level(&mut self, file: &mut Reader) -> Label {
        let lowest = self.levels.lowest();
        self.level(file, "default").unwrap_or(lowest)
    }

    fn unreadable_level(&mut self, file: &mut Reader) -> Label {
        let highest = self.levels.highest();
        let label = self.level(file, "unreadable").unwrap_or(highest);
        if label == self.levels.lowest() {
            let text = "content that nobody could read must not carry the lowest label";
            self.problems.add("unreadable", "unreadable-too-low", text);
        }
        label
    }

    /// A rule id that no other rule has.
    fn id(&mut self, table: &mut Reader) -> Option<String> {
        let id = table.id(self.problems)?;
        if self.ids.contains(&id) {
            let text = format!("rule id `{id}` is taken; give each rule its own");
            self.problems.add(table.at(), "duplicate-id", text);
            return None;
        }
        self.ids.push(id.clone());
        Some(id)
    }

    fn detectors(
        &mut self,
        file: &mut Reader,
        catalogue: &[detect::Compiled],
    ) -> Vec<Option<Label>> {
        let of = |c: &detect::Compiled| Some(c.detector.severity.label(&self.levels));
        let mut labels: Vec<Option<Label>> = catalogue.iter().map(of).collect();
        let Some(mut table) = file.child("detectors", self.problems) else {
            return labels;
        };
        let find = |id: &str| catalogue.iter().position(|c| c.detector.id == id);
        let off = table.texts("off", self.problems);
        for id in &off {
            match find(id) {
                Some(index) => labels
                    .iter_mut()
                    .skip(index)
                    .take(1)
                    .for_each(|l| *l = None),
                None => self.unknown_detector("detectors.off", id),
            }
        }
        if let Some(child) = table.child("labels", self.problems) {
            for (id, name) in child.rest_texts(self.problems) {
                let at = format!("detectors.labels.{id}");
                let label = self.level_named(&at, &name);
                let Some(index) = find(&id) else {
                    self.unknown_detector(&at, &id);
                    continue;
                };
                if off.contains(&id) {
                    let text = format!("detector `{id}` is switched off and given a label");
                    self.problems.add(&at, "contradictory-detector", text);
                }
                labels
                    .iter_mut()
                    .skip(index)
                    .take(1)
                    .for_each(|l| *l = label);
            }
        }
        table.finish(self.problems);
        labels
    }

    fn scorer(&mut self, file: &mut Reader) -> Option<Least> {
        let mut table = file.child("scorer", self.problems)?;
        let percent = table.required_number("sure_percent", self.problems);
        table.finish(self.problems);
        let least = percent.and_then(Least::percent);
        if percent.is_some() && least.is_none() {
            let text = "`sure_percent` is a number from 50 to 99";
            self.problems.add("scorer", "wrong-value", text);
        }
        least
    }

    fn unknown_detector(&mut self, at: &str, id: &str) {
        let text = format!("`{id}` is not a built-in detector");
        self.problems.add(at, "unknown-detector", text);
    }

    fn examples(&mut self, table: &mut Reader, rule: &str, kind: Kind) {
        for (key, expected) in [("match", Expected::Match), ("not_match", Expected::NoMatch)] {
            let texts = table.texts(key, self.problems);
            for (index, text) in texts.into_iter().enumerate() {
                self.examples.push(Example {
                    at: format!("{}.{key}[{}]", table.at(), index + 1),
                    rule: rule.to_owned(),
                    kind,
                    expected,
                    text,
                });
            }
        }
    }

    fn terms(&mut self, file: &mut Reader) -> Vec<TermRule> {
        let mut rules = Vec::new();
        for mut table in file.children("terms", self.problems) {
            let id = self.id(&mut table);
            let terms = table.required_texts("terms", self.problems);
            for term in &terms {
                if term.trim().chars().count() < MIN_TERM_CHARS || term.len() > MAX_TERM_BYTES {
                    let text = format!(
                        "term `{term}` must have {MIN_TERM_CHARS} characters or more and at most \
                         {MAX_TERM_BYTES} bytes"
                    );
                    self.problems.add(table.at(), "bad-term", text);
                }
            }
            let label = self.level(&mut table, "label");
            self.examples(&mut table, id.as_deref().unwrap_or(""), Kind::Text);
            table.finish(self.problems);
            if let (Some(id), Some(label)) = (id, label) {
                rules.push(TermRule { id, terms, label });
            }
        }
        rules
    }

    fn markings(&mut self, file: &mut Reader) -> Vec<MarkingRule> {
        let mut rules = Vec::new();
        for mut table in file.children("markings", self.problems) {
            let id = self.id(&mut table);
            let lines = table.required_texts("lines", self.problems);
            for line in &lines {
                if line.trim().len() < MIN_TERM_CHARS || line.len() > MAX_TERM_BYTES {
                    let text = format!("marking `{line}` is too short or too long");
                    self.problems.add(table.at(), "bad-term", text);
                }
            }
            let label = self.level(&mut table, "label");
            self.examples(&mut table, id.as_deref().unwrap_or(""), Kind::Text);
            table.finish(self.problems);
            if let (Some(id), Some(label)) = (id, label) {
                rules.push(MarkingRule { id, lines, label });
            }
        }
        rules
    }

    fn globs(&mut self, table: &mut Reader, key: &str, kind: GlobKind) -> Globs {
        let patterns = table.required_texts(key, self.problems);
        Globs::parse(kind, patterns, table.at(), self.problems)
    }

    fn paths(&mut self, file: &mut Reader) -> Vec<PathRule> {
        let mut rules = Vec::new();
        for mut table in file.children("paths", self.problems) {
            let id = self.id(&mut table);
            let repositories = self.globs(&mut table, "repositories", GlobKind::Path);
            let paths = self.globs(&mut table, "globs", GlobKind::Path);
            let label = self.level(&mut table, "label");
            self.examples(&mut table, id.as_deref().unwrap_or(""), Kind::Path);
            table.finish(self.problems);
            if let (Some(id), Some(label)) = (id, label) {
                rules.push(PathRule {
                    id,
                    repositories,
                    paths,
                    label,
                });
            }
        }
        rules
    }

    fn repositories(&mut self, file: &mut Reader) -> Vec<RepositoryRule> {
        let mut rules = Vec::new();
        for mut table in file.children("repositories", self.problems) {
            let id = self.id(&mut table);
            let repositories = self.globs(&mut table, "globs", GlobKind::Path);
            let label = self.level(&mut table, "label");
            self.examples(&mut table, id.as_deref().unwrap_or(""), Kind::Repository);
            table.finish(self.problems);
            if let (Some(id), Some(label)) = (id, label) {
                rules.push(RepositoryRule {
                    id,
                    repositories,
                    label,
                });
            }
        }
        rules
    }

    fn exceptions(&mut self, file: &mut Reader) -> Vec<Exception> {
        let mut exceptions = Vec::new();
        for mut table in file.children("exceptions", self.problems) {
            let id = self.id(&mut table);
            let rule = table.required_text("rule", self.problems);
            if let Some(rule) = rule.as_ref().filter(|rule| !self.can_be_excepted(rule)) {
                let text = format!("`{rule}` is not a rule that can have exceptions");
                self.problems.add(table.at(), "unknown-rule", text);
            }
            let repositories = self.globs(&mut table, "repositories", GlobKind::ExactPath);
            let paths = self.globs(&mut table, "globs", GlobKind::ExactPath);
            if paths.any() {
                let text = "an exception for every path switches the rule off; name the files";
                self.problems.add(table.at(), "exception-too-wide", text);
            }
            let owner = table.required_text("owner", self.problems);
            let reason = table.required_text("reason", self.problems);
            let expires = self.expiry(&mut table);
            table.finish(self.problems);
            if let (Some(id), Some(rule), Some(owner), Some(_), Some(expires)) =
                (id, rule, owner, reason, expires)
            {
                exceptions.push(Exception {
                    id,
                    rule,
                    repositories,
                    paths,
                    owner,
                    expires,
                });
            }
        }
        exceptions
    }

    /// Content that could not be read has no exceptions: nobody knows what would be excused.
    fn can_be_excepted(&self, rule: &str) -> bool {
        ![UNREADABLE, OVERSIZE, OVER_BUDGET, RAISED].contains(&rule)
            && self.ids.iter().any(|id| id == rule)
    }

    fn expiry(&mut self, table: &mut Reader) -> Option<Timestamp> {
        let written = table.required_text("expires", self.problems)?;
        // whole seconds are the usual way to write it; records write milliseconds
        let full = match written.strip_suffix('Z') {
            Some(start) if !start.contains('.') => format!("{start}.000Z"),
            _ => written.clone(),
        };
        let parsed = full.parse().ok();
        if parsed.is_none() {
            let text = format!("`{written}` must be a time in UTC such as `2027-06-30T00:00:00Z`");
            self.problems.add(table.at(), "bad-expiry", text);
        }
        parsed
    }

    fn builtin_examples(&mut self, file: &mut Reader, catalogue: &[detect::Compiled]) {
        for mut table in file.children("examples", self.problems) {
            if let Some(rule) = table.required_text("rule", self.problems) {
                if !catalogue.iter().any(|c| c.detector.id == rule) {
                    self.unknown_detector(table.at(), &rule);
                }
                table.place(&rule);
                self.examples(&mut table, &rule, Kind::Text);
            }
            table.finish(self.problems);
        }
    }
}

/// Whether the rule of `example` matches it.
fn matches(classifier: &Classifier, policy: &ClassificationPolicy, example: &Example) -> bool {
    match example.kind {
        Kind::Text => classifier.finds(&example.rule, &example.text),
        Kind::Path => policy
            .paths
            .iter()
            .any(|rule| rule.id == example.rule && rule.paths.matches(&example.text)),
        Kind::Repository => policy
            .repositories
            .iter()
            .any(|rule| rule.id == example.rule && rule.repositories.matches(&example.text)),
    }
}

/// How each example comes out, in the order of the file.
pub(super) fn outcomes(
    classifier: &Classifier,
    policy: &ClassificationPolicy,
    examples: &[Example],
) -> Vec<ExampleOutcome> {
    let outcome = |example: &Example| {
        let wanted = matches!(example.expected, Expected::Match);
        ExampleOutcome {
            location: example.at.clone(),
            rule: example.rule.clone(),
            wanted,
            holds: matches(classifier, policy, example) == wanted,
        }
    };
    examples.iter().map(outcome).collect()
}

pub(super) fn run_examples(
    classifier: &Classifier,
    policy: &ClassificationPolicy,
    examples: &[Example],
    problems: &mut Problems,
) {
    for example in examples {
        let matched = matches(classifier, policy, example);
        let (rule, text) = (&example.rule, &example.text);
        match (example.expected, matched) {
            (Expected::Match, false) => problems.add(
                &example.at,
                "example-not-matched",
                format!("rule `{rule}` should match `{text}` and does not"),
            ),
            (Expected::NoMatch, true) => problems.add(
                &example.at,
                "example-matched",
                format!("rule `{rule}` should not match `{text}` and does"),
            ),
            _ => {}
        }
    }
}

impl Classifier {
    /// Whether `rule` fires on `text` alone, exceptions aside.
    fn finds(&self, rule: &str, text: &str) -> bool {
        let segment = Segment {
            text,
            origin: Origin::User,
            path: None,
        };
        let context = Context {
            repository: "",
            now: Timestamp::from_unix_millis(i64::MAX),
        };
        let found = self.classify(&[segment], &context);
        found.findings.iter().any(|finding| finding.rule == rule)
    }
}

/// Shortest term or marking: two characters would match in every request.
const MIN_TERM_CHARS: usize = 3;
const MAX_TERM_BYTES: usize = 200;
