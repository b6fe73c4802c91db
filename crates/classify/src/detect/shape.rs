//! What may stand after a pattern's literal, byte by byte: a look of a few nanoseconds that spares
//! most announcements the pattern itself. Made from the pattern, so that the two cannot differ.

use std::{collections::BTreeSet, ops::RangeInclusive};

use regex_automata::{
    nfa::thompson::{NFA, State, Transition},
    util::{primitives::StateID, syntax},
};

/// The bytes that may follow a literal at which a pattern begins.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Per byte a bit for each place after the literal where it may stand.
    places: Box<[u16; 256]>,
    /// So many bytes must follow at least.
    length: usize,
}

impl Shape {
    /// The shape of `pattern` after `literal`, which stands in any letter case. Nothing where the
    /// pattern may end at once, or cannot be read.
    pub(crate) fn of(pattern: &NFA, literal: &str) -> Option<Self> {
        let mut states = closed(pattern, [pattern.start_anchored()].into());
        for byte in literal.bytes() {
            let steps = steps(pattern, &states);
            let either = |step: &&Step| {
                step.holds(byte.to_ascii_lowercase()) || step.holds(byte.to_ascii_uppercase())
            };
            let next = steps.iter().filter(either).map(|step| step.next).collect();
            states = closed(pattern, next);
        }
        let mut shape = Self {
            places: Box::new([0; 256]),
            length: 0,
        };
        while shape.length < MAX_PLACES && !may_end(pattern, &states) && !states.is_empty() {
            let steps = steps(pattern, &states);
            for step in &steps {
                let bytes = shape.places.get_mut(step.first.into()..=step.last.into());
                let bytes = bytes.into_iter().flatten();
                bytes.for_each(|places| *places |= 1 << shape.length);
            }
            shape.length += 1;
            states = closed(pattern, steps.iter().map(|step| step.next).collect());
        }
        (shape.length > 0).then_some(shape)
    }

    /// The first byte after `at` that may not stand there, or nothing where all may. `len()` of the
    /// text where it ends too early.
    pub(crate) fn misfit(&self, text: &[u8], at: usize) -> Option<usize> {
        let mut place = 1_u16;
        for at in at..at + self.length {
            let byte = text.get(at).copied();
            let places = byte.and_then(|b| self.places.get(usize::from(b)));
            if places.is_none_or(|places| places & place == 0) {
                return Some(at);
            }
            place <<= 1;
        }
        None
    }
}

/// The automaton of a pattern, for [`Shape::of`].
pub(crate) fn automaton(pattern: &str) -> Option<NFA> {
    NFA::compiler()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .configure(NFA::config().utf8(false))
        .build(pattern)
        .ok()
}

/// All states that are reached without a byte. What a pattern asserts about its surroundings is
/// taken to hold.
fn closed(nfa: &NFA, from: BTreeSet<StateID>) -> BTreeSet<StateID> {
    let mut open: Vec<StateID> = from.iter().copied().collect();
    let mut all = from;
    while let Some(state) = open.pop() {
        let next = reached_from(nfa, state).into_iter();
        open.extend(next.filter(|state| all.insert(*state)));
    }
    all
}

/// The states that come right after `state` without a byte.
fn reached_from(nfa: &NFA, state: StateID) -> Vec<StateID> {
    match nfa.state(state) {
        State::Look { next, .. } | State::Capture { next, .. } => vec![*next],
        State::Union { alternates } => alternates.to_vec(),
        State::BinaryUnion { alt1, alt2 } => vec![*alt1, *alt2],
        _ => Vec::new(),
    }
}

/// Bytes, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes([u128; 2]);

impl Bytes {
    /// Those that a match of `pattern` may hold.
    pub(crate) fn of(pattern: &NFA) -> Self {
        let mut bytes = Self::default();
        let mut met = vec![false; pattern.states().len()];
        let mut open = vec![pattern.start_anchored()];
        while let Some(state) = open.pop() {
            let Some(met) = met.get_mut(state.as_usize()).filter(|met| !**met) else {
                continue;
            };
            *met = true;
            open.extend(reached_from(pattern, state));
            for step in steps_from(pattern, state) {
                (step.first..=step.last).for_each(|byte| bytes.add(byte));
                open.push(step.next);
            }
        }
        bytes
    }

    /// Those of `ranges`.
    pub(super) fn from_ranges(ranges: impl IntoIterator<Item = RangeInclusive<u8>>) -> Self {
        let mut bytes = Self::default();
        ranges
            .into_iter()
            .flatten()
            .for_each(|byte| bytes.add(byte));
        bytes
    }

    /// Whether any byte is of both.
    pub(super) const fn overlaps(self, other: Self) -> bool {
        let Self([low, high]) = self;
        let Self([other_low, other_high]) = other;
        low & other_low != 0 || high & other_high != 0
    }

    /// The byte where there is one alone.
    pub(super) fn only(self) -> Option<u8> {
        let mut all = (0..=u8::MAX).filter(|byte| self.run(&[*byte]) == 1);
        let first = all.next();
        first.filter(|_| all.next().is_none())
    }

    fn add(&mut self, byte: u8) {
        if let Some(half) = self.0.get_mut(usize::from(byte >> 7)) {
            *half |= 1 << (byte & 0x7f);
        }
    }

    /// How many bytes `text` begins with that are of these alone.
    pub(crate) fn run(self, text: &[u8]) -> usize {
        let [low, high] = self.0;
        let outside = |byte: &u8| {
            let half = if *byte < 0x80 { low } else { high };
            half & (1 << (byte & 0x7f)) == 0
        };
        text.iter().position(outside).unwrap_or(text.len())
    }
}

fn may_end(nfa: &NFA, states: &BTreeSet<StateID>) -> bool {
    states
        .iter()
        .any(|state| matches!(nfa.state(*state), State::Match { .. }))
}

/// A way on by any byte of a range.
struct Step {
    first: u8,
    last: u8,
    next: StateID,
}

impl Step {
    const fn holds(&self, byte: u8) -> bool {
        self.first <= byte && byte <= self.last
    }
}

fn steps(nfa: &NFA, states: &BTreeSet<StateID>) -> Vec<Step> {
    let states = states.iter();
    states.flat_map(|state| steps_from(nfa, *state)).collect()
}

fn steps_from(nfa: &NFA, state: StateID) -> Vec<Step> {
    let step = |t: &Transition| Step {
        first: t.start,
        last: t.end,
        next: t.next,
    };
    match nfa.state(state) {
        State::ByteRange { trans } => vec![step(trans)],
        State::Sparse(sparse) => sparse.transitions.iter().map(step).collect(),
        State::Dense(dense) => {
            let one = |byte| {
                let next = dense.matches_byte(byte)?;
                Some(Step {
                    first: byte,
                    last: byte,
                    next,
                })
            };
            (0..=u8::MAX).filter_map(one).collect()
        }
        _ => Vec::new(),
    }
}

const MAX_PLACES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_automata::{Anchored, Input};

    use super::{Bytes, Shape, automaton};
    use crate::detect::{Window, catalogue};

    #[test]
    fn a_shape_is_as_long_as_what_must_follow() {
        let shape = |pattern, literal| Shape::of(&automaton(pattern).unwrap(), literal);
        let pat = shape(r"\bpat[A-Za-z0-9]{3}\.[a-f]{64}", "pat").unwrap();
        assert_eq!(pat.misfit(b"patA1b.aaaaaaaaaaaaaaaa", 3), None);
        assert_eq!(pat.misfit(b"patA1bc", 3), Some(6));
        assert_eq!(pat.misfit(b"patA1b.", 3), Some(7));
        assert!(shape("(?i)key[a-z]?", "key").is_none());
    }

    /// Every place of every sample where a pattern matches at its literal.
    #[test]
    fn what_a_pattern_matches_in_a_sample_fits_its_shape() {
        let samples = include_str!("../classifier/cases.txt")
            .replace('~', "")
            .replace("\\n", "\n");
        let lower = samples.to_ascii_lowercase();
        let mut matched = 0;
        for compiled in catalogue().unwrap() {
            let Window::At { reach } = compiled.detector.window else {
                continue;
            };
            for (literal, shape) in compiled.detector.literals.iter().zip(&compiled.shapes) {
                for (at, _) in lower.match_indices(literal) {
                    let end = samples.len().min(at + reach);
                    let input = Input::new(&samples).range(at..end).anchored(Anchored::Yes);
                    if let Some(shape) = shape
                        && compiled.pattern.is_match(&input)
                    {
                        let misfit = shape.misfit(samples.as_bytes(), at + literal.len());
                        assert_eq!(misfit, None, "{literal} at {at}");
                        matched += 1;
                    }
                }
            }
        }
        assert!(matched > 100, "{matched}");
    }

    #[test]
    fn a_match_holds_what_its_pattern_says() {
        let bytes = |pattern| Bytes::of(&automaton(pattern).unwrap());
        assert_eq!(bytes(r"\bpat[A-F]{3}\.").run(b"patABC.x"), 7);
        assert_eq!(bytes("(?:ab|[^\n]{2})c$").run(b"\xff any \0 \n"), 8);
        assert_eq!(bytes("a").run(b"aaa"), 3);
        assert_eq!(bytes("a").run(b""), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// A shape never keeps a pattern from a match, whatever the detector.
        #[test]
        fn what_a_pattern_matches_fits_its_shape(
            detector in 0_usize..400, literal in 0_usize..40, upper: bool,
            tail in "[A-Z0-9a-z_.=:'\" -]{0,80}|[A-Za-z0-9]{20,80}|[a-f0-9]{20,70}",
        ) {
            let catalogue = catalogue().unwrap();
            let compiled = &catalogue[detector % catalogue.len()];
            let index = literal % compiled.shapes.len().max(1);
            if let Some(Some(shape)) = compiled.shapes.get(index) {
                let literal = compiled.detector.literals[index];
                let literal = if upper { literal.to_uppercase() } else { literal.to_owned() };
                let text = format!("{literal}{tail}");
                let matches = compiled.pattern.is_match(&Input::new(&text).anchored(Anchored::Yes));
                prop_assert!(!matches || shape.misfit(text.as_bytes(), literal.len()).is_none(), "{text:?}");
            }
        }
    }
}
