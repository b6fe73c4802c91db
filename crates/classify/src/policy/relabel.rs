//! What a past request's label would be under this policy, from the rules and counts that its record
//! keeps. What would take the text, which nobody kept, is said and never guessed.

use std::collections::BTreeSet;

use super::ClassificationPolicy;
use crate::{
    Label, MAX_FINDINGS,
    classifier::{OVER_BUDGET, OVERSIZE, UNREADABLE},
    detect,
    label::RAISED,
    table::Globs,
};

/// One rule's findings in one request, as its record keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptFinding<'a> {
    /// Id of the rule.
    pub rule: &'a str,
    /// Name of the label that it asked for.
    pub label: &'a str,
    /// How many.
    pub count: u64,
}

/// The label that a request would have, as far as what was kept of it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relabelled {
    /// At least this: what certainly would be found.
    pub least: Label,
    /// At most this: with everything that might be found.
    pub most: Label,
    /// Why `most` is above `least`, sorted; empty where it is not.
    pub unknown: Vec<String>,
}

/// A label in the making: what is certain, and what is not with its reason.
struct Range {
    least: Label,
    doubts: Vec<(Label, String)>,
}

impl Range {
    fn certain(&mut self, label: Label) {
        self.least = self.least.max(label);
    }

    fn doubt(&mut self, label: Label, why: impl Into<String>) {
        self.doubts.push((label, why.into()));
    }

    fn finish(self) -> Relabelled {
        let least = self.least;
        let above = self.doubts.into_iter().filter(|(label, _)| *label > least);
        let (mut most, mut unknown) = (least, BTreeSet::new());
        for (label, why) in above {
            most = most.max(label);
            unknown.insert(why);
        }
        Relabelled {
            least,
            most,
            unknown: unknown.into_iter().collect(),
        }
    }
}

impl ClassificationPolicy {
    /// The label of a request that had these findings under the policy `old`, in `repository` where
    /// its record names one.
    #[must_use]
    pub fn relabel(
        &self,
        old: &Self,
        kept: &[KeptFinding<'_>],
        repository: Option<&str>,
    ) -> Relabelled {
        let mut range = Range {
            least: self.default,
            doubts: Vec::new(),
        };
        for finding in kept {
            self.kept(old, finding, &mut range);
        }
        let listed: u64 = kept.iter().map(|finding| finding.count).sum();
        if listed >= MAX_FINDINGS as u64 {
            let why = "more findings than a record lists";
            range.doubt(self.levels.highest(), why);
        }
        self.by_repository(repository, &mut range);
        self.new_detectors(old, &mut range);
        self.new_words(old, &mut range);
        self.lost_exceptions(old, &mut range);
        range.finish()
    }

    fn kept(&self, old: &Self, finding: &KeptFinding<'_>, range: &mut Range) {
        let rule = finding.rule;
        if rule == RAISED {
            return match self.levels.label(finding.label) {
                Some(label) => range.certain(label),
                None => range.doubt(
                    self.levels.highest(),
                    format!(
                        "a developer asked for `{}`, which is no level now",
                        finding.label
                    ),
                ),
            };
        }
        if [UNREADABLE, OVERSIZE, OVER_BUDGET].contains(&rule) {
            return range.certain(self.unreadable);
        }
        match self.standing(old, rule) {
            Standing::Gone => {}
            Standing::Stays(label) if self.has_new_exception(old, rule) => {
                range.doubt(label, format!("a new exception for `{rule}` may excuse it"));
            }
            Standing::Stays(label) => range.certain(label),
            Standing::Changed(label) => {
                range.doubt(label, format!("rule `{rule}` says something else now"));
            }
        }
    }

    /// What became of a rule that had a finding.
    fn standing(&self, old: &Self, rule: &str) -> Standing {
        if let Some(index) = detector(rule) {
            let now = self.detectors.get(index).copied().flatten();
            return now.map_or(Standing::Gone, Standing::Stays);
        }
        if let Some(now) = self.terms.iter().find(|now| now.id == rule) {
            let before = old.terms.iter().find(|before| before.id == rule);
            let all = before.is_some_and(|before| has_all(&now.terms, &before.terms));
            return Standing::changed_unless(all, now.label);
        }
        if let Some(now) = self.markings.iter().find(|now| now.id == rule) {
            let before = old.markings.iter().find(|before| before.id == rule);
            let all = before.is_some_and(|before| has_all(&now.lines, &before.lines));
            return Standing::changed_unless(all, now.label);
        }
        if let Some(now) = self.paths.iter().find(|now| now.id == rule) {
            let before = old.paths.iter().find(|before| before.id == rule);
            let same = before.is_some_and(|before| {
                equal(&now.paths, &before.paths) && equal(&now.repositories, &before.repositories)
            });
            return Standing::changed_unless(same, now.label);
        }
        // floors of repositories are worked out from the repository's name
        Standing::Gone
    }

    fn by_repository(&self, repository: Option<&str>, range: &mut Range) {
        for rule in &self.repositories {
            match repository {
                Some(name) if rule.repositories.matches(name) => range.certain(rule.label),
                Some(_) => {}
                None => range.doubt(rule.label, "the record does not name the repository"),
            }
        }
    }

    fn new_detectors(&self, old: &Self, range: &mut Range) {
        let Ok(catalogue) = detect::catalogue() else {
            return range.doubt(self.levels.highest(), "the detectors do not compile");
        };
        for (index, compiled) in catalogue.iter().enumerate() {
            let before = old.detectors.get(index).copied().flatten();
            if let (None, Some(label)) = (before, self.detectors.get(index).copied().flatten()) {
                let id = compiled.detector.id;
                range.doubt(
                    label,
                    format!("detector `{id}` was off, and no text was kept"),
                );
            }
        }
    }

    fn new_words(&self, old: &Self, range: &mut Range) {
        for rule in &self.terms {
            let before = old.terms.iter().find(|before| before.id == rule.id);
            if !before.is_some_and(|before| has_all(&before.terms, &rule.terms)) {
                range.doubt(rule.label, unseen("terms", &rule.id));
            }
        }
        for rule in &self.markings {
            let before = old.markings.iter().find(|before| before.id == rule.id);
            if !before.is_some_and(|before| has_all(&before.lines, &rule.lines)) {
                range.doubt(rule.label, unseen("markings", &rule.id));
            }
        }
        for rule in &self.paths {
            let before = old.paths.iter().find(|before| before.id == rule.id);
            let same = before.is_some_and(|before| {
                equal(&rule.paths, &before.paths) && equal(&rule.repositories, &before.repositories)
            });
            if !same {
                let why = format!("paths of rule `{}` are new, and no path was kept", rule.id);
                range.doubt(rule.label, why);
            }
        }
    }

    /// Findings that an exception excused are in no record; without the exception they would count.
    fn lost_exceptions(&self, old: &Self, range: &mut Range) {
        for lost in old.exceptions.iter().filter(|lost| !self.excuses_as(lost)) {
            let label = match self.standing(old, &lost.rule) {
                Standing::Gone => continue,
                Standing::Stays(label) | Standing::Changed(label) => label,
            };
            let why = format!("exception `{}` may have excused a finding", lost.id);
            range.doubt(label, why);
        }
    }

    fn has_new_exception(&self, old: &Self, rule: &str) -> bool {
        let mut own = self.exceptions.iter().filter(|new| new.rule == rule);
        own.any(|new| !old.excuses_as(new))
    }

    fn excuses_as(&self, other: &super::Exception) -> bool {
        self.exceptions.iter().any(|own| {
            own.rule == other.rule
                && own.expires == other.expires
                && equal(&own.paths, &other.paths)
                && equal(&own.repositories, &other.repositories)
        })
    }
}

/// What became of a rule.
enum Standing {
    /// It finds nothing any more.
    Gone,
    /// It would find what it found.
    Stays(Label),
    /// Nobody can tell whether it would.
    Changed(Label),
}

impl Standing {
    const fn changed_unless(same: bool, label: Label) -> Self {
        if same {
            Self::Stays(label)
        } else {
            Self::Changed(label)
        }
    }
}

fn detector(rule: &str) -> Option<usize> {
    let catalogue = detect::catalogue().ok()?;
    catalogue.iter().position(|known| known.detector.id == rule)
}

fn has_all(these: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|word| these.contains(word))
}

fn equal(one: &Globs, other: &Globs) -> bool {
    one.written().eq(other.written())
}

fn unseen(what: &str, rule: &str) -> String {
    format!("{what} of rule `{rule}` are new, and no text was kept")
}

#[cfg(test)]
mod tests;
