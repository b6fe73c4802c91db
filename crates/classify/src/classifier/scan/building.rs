//! From a policy's detectors and terms to the rules of a scanner.

use std::collections::HashMap;

use regex_automata::meta::Regex;

use super::{
    super::{
        literals::{Engine, Literals},
        rules::RuleNames,
        scratch::Pool,
    },
    Check, KEPT, MAX_TERM_REACH, Redact, Rule, Ruling, Scanner, Try,
};
use crate::{
    Label,
    detect::{self, Broken, Compiled, Detector, Least, Pattern, SCORED, Shape, Window},
};

/// How a customer's word must stand in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Word,
    Line,
}

/// Rules being gathered.
#[derive(Default)]
pub(super) struct Building {
    pub(super) literals: Vec<String>,
    index_of: HashMap<String, usize>,
    tries_of: Vec<Vec<Try>>,
    rules: Vec<Rule>,
    digits: Vec<Ruling>,
    names: RuleNames,
    /// How sure the scorer must be, where a policy says it.
    pub(super) least: Option<Least>,
}

impl Building {
    /// Adds the built-in detectors that `label_of` gives a label. False if they did not compile.
    pub(super) fn add_builtin(
        &mut self,
        label_of: impl Fn(usize, &Compiled) -> Option<Label>,
    ) -> bool {
        let Ok(catalogue) = detect::catalogue() else {
            return false;
        };
        for (index, compiled) in catalogue.iter().enumerate() {
            let Some(label) = label_of(index, compiled) else {
                continue;
            };
            let detector = compiled.detector;
            let Some(check) = self.check_of(detector) else {
                continue;
            };
            let ruling = Ruling {
                id: detector.id.to_owned(),
                number: self.names.add(detector.id),
                reason: detector.reason,
                label,
                check,
                redact: if KEPT.iter().any(|kept| detector.id.starts_with(kept)) {
                    Redact::Nothing
                } else {
                    Redact::Value
                },
            };
            if detector.literals.is_empty() {
                self.digits.push(ruling);
                continue;
            }
            // neighbours with the same pattern are one rule with two meanings
            match self.rules.last_mut() {
                Some(last) if last.source == detector.pattern => {
                    last.needs = detector.needs;
                    last.rulings.push(ruling);
                }
                _ => {
                    let rule = Rule {
                        pattern: compiled.pattern.clone(),
                        source: detector.pattern.to_owned(),
                        window: detector.window,
                        broken: detector.broken,
                        needs: detector.needs,
                        begins_word: begins_word(detector),
                        rulings: vec![ruling],
                    };
                    let literals = detector.literals.iter().map(|l| (*l).to_owned());
                    self.add_rule(rule, literals.zip(compiled.shapes.iter().cloned()));
                }
            }
        }
        true
    }

    /// Nothing for the scorer where no policy says how sure it must be.
    fn check_of(&self, detector: &Detector) -> Option<Check> {
        if detector.id == SCORED {
            return self.least.map(Check::Scored);
        }
        Some(Check::Builtin(detector.check))
    }

    pub(super) fn add_term(&mut self, id: &str, label: Label, term: &str, anchor: Anchor) -> bool {
        let words: Vec<String> = term.split_whitespace().map(regex_escape).collect();
        let words = words.join(r"\s{1,20}");
        let (pattern, before) = match anchor {
            Anchor::Word => (format!("(?i:{words})"), 0),
            Anchor::Line => (
                format!(r"(?m)^[ \t/*#;<!(-]{{0,12}}(?i:{words})[ \t*/)>.-]{{0,12}}\r?$"),
                24,
            ),
        };
        let regex = Regex::new(&pattern);
        let Ok(regex) = regex else { return false };
        let reach = MAX_TERM_REACH;
        let rule = Rule {
            pattern: Pattern::of(regex),
            source: pattern,
            window: match anchor {
                Anchor::Word => Window::At { reach },
                Anchor::Line => Window::Around { before, reach },
            },
            broken: Broken::Leave,
            needs: detect::always,
            begins_word: false,
            rulings: vec![Ruling {
                id: id.to_owned(),
                number: self.names.add(id),
                reason: "a term of the customer's policy",
                label,
                check: Check::WholeWord,
                redact: Redact::Nothing,
            }],
        };
        let first = term.split_whitespace().next().unwrap_or_default();
        // the automaton folds ASCII only, so the ASCII start of the word announces it
        let ascii: String = first.chars().take_while(char::is_ascii).collect();
        let cases = if ascii.len() >= 2 {
            vec![ascii]
        } else {
            vec![first.to_owned(), first.to_lowercase(), first.to_uppercase()]
        };
        self.add_rule(rule, cases.into_iter().map(|literal| (literal, None)));
        !first.is_empty()
    }

    fn add_rule(
        &mut self,
        rule: Rule,
        literals: impl IntoIterator<Item = (String, Option<Shape>)>,
    ) {
        let index = self.rules.len();
        self.rules.push(rule);
        for (mut literal, shape) in literals {
            literal.make_ascii_lowercase();
            let attempt = Try {
                rule: index,
                length: literal.len(),
                shape,
            };
            let at = *self.index_of.entry(literal.clone()).or_insert_with(|| {
                self.literals.push(literal);
                self.tries_of.push(Vec::new());
                self.tries_of.len().saturating_sub(1)
            });
            if let Some(tries) = self.tries_of.get_mut(at)
                && tries.iter().all(|known| known.rule != index)
            {
                tries.push(attempt);
            }
        }
    }

    pub(super) fn finish(self, unreadable: Label, complete: bool) -> Scanner {
        let rulings = self.rules.iter().flat_map(|rule| &rule.rulings);
        let web_tokens = rulings
            .map(|ruling| &*ruling.id)
            .any(|id| id == detect::JSON_WEB_TOKEN);
        Scanner {
            web_tokens,
            literals: complete.then(|| Box::new(Literals::new(&self.literals)) as Box<dyn Engine>),
            words: self.literals,
            tries_of: self.tries_of,
            rules: self.rules,
            digits: self.digits,
            names: self.names,
            unreadable,
            pool: Pool::default(),
        }
    }
}

fn begins_word(detector: &Detector) -> bool {
    let words = |literal: &&str| literal.starts_with(|c: char| c.is_ascii_alphanumeric());
    let edge = [r"\b", r"(?i)\b"]
        .iter()
        .any(|start| detector.pattern.starts_with(start));
    matches!(detector.window, Window::At { .. })
        && edge
        && !detector.pattern.contains(r"|\b")
        && detector.literals.iter().all(words)
}

fn regex_escape(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for c in word.chars() {
        if c.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
