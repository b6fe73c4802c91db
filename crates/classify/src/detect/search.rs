//! Compiled patterns, and what searches with them change. To build states of an automaton takes some
//! ten times as long as to go over the same text without any, and pays where a text is searched again
//! and again: so a pattern's first tries in each text build none.

use std::ops::Range;

use regex_automata::{
    Input,
    meta::{Cache, Config, Regex},
    util::{primitives::NonMaxUsize, syntax},
};

use super::shape::{Bytes, automaton};

/// A pattern, ready to search with.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Compiled {
        /// Builds states as texts ask for them.
        often: Regex,
        /// Builds none. Absent where the pattern is large, or its owner compiled it.
        seldom: Option<Regex>,
        /// What a match may hold. Absent where it is not known.
        holds: Option<Bytes>,
    },
    ByHand(ByHand),
}

/// What a pattern matches that begins where the range does, and ends within it.
pub(crate) type ByHand = fn(&[u8], Range<usize>) -> Option<Match>;

/// What searches with one pattern change: states, and places of the last match. Holds no text.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    often: Option<Cache>,
    seldom: Option<Cache>,
    /// How often this text was searched.
    tries: usize,
    /// Where the groups of the last match begin and end.
    places: Vec<Option<NonMaxUsize>>,
}

/// A match and the first group that takes part in it, or the whole match as group 0.
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) span: Range<usize>,
    pub(crate) group: usize,
    pub(crate) value: Range<usize>,
}

impl Pattern {
    /// Compiles `pattern`.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let often = compile(pattern)?;
        let seldom = (often.memory_usage() <= MOST_FOR_SELDOM).then(|| compile_seldom(pattern));
        Some(Self(Kind::Compiled {
            often,
            seldom: seldom.flatten(),
            holds: automaton(pattern).as_ref().map(Bytes::of),
        }))
    }

    /// A pattern that its owner compiled.
    pub(crate) const fn of(often: Regex) -> Self {
        Self(Kind::Compiled {
            often,
            seldom: None,
            holds: None,
        })
    }

    /// A pattern that is matched without an engine, which changes nothing as it searches.
    pub(crate) const fn by_hand(by_hand: ByHand) -> Self {
        Self(Kind::ByHand(by_hand))
    }

    /// Whether all its searches build states.
    pub(crate) const fn is_tried_often(&self) -> bool {
        matches!(&self.0, Kind::Compiled { seldom: None, .. })
    }

    /// Bytes that no search changes.
    #[cfg(test)]
    pub(crate) fn memory_usage(&self) -> usize {
        let Kind::Compiled { often, seldom, .. } = &self.0 else {
            return 0;
        };
        often.memory_usage() + seldom.as_ref().map_or(0, Regex::memory_usage)
    }

    /// Whether it matches in `input`.
    #[cfg(test)]
    pub(crate) fn is_match(&self, input: &Input<'_>) -> bool {
        Search::of(self).first(self, input).is_some()
    }
}

/// As much of `input` as a match of `bytes` alone can hold.
fn within<'h>(input: &Input<'h>, bytes: Option<Bytes>) -> Input<'h> {
    let mut input = input.clone();
    if let (true, Some(bytes)) = (input.get_anchored().is_anchored(), bytes) {
        let span = input.get_range();
        let text = input.haystack().get(span.clone()).unwrap_or_default();
        input.set_end(span.start + bytes.run(text));
    }
    input
}

/// Compiles a pattern the way detectors are compiled: over bytes, ASCII classes.
pub(crate) fn compile(pattern: &str) -> Option<Regex> {
    compile_with(pattern, config())
}

/// The same without states that are built while it searches.
pub(crate) fn compile_seldom(pattern: &str) -> Option<Regex> {
    compile_with(pattern, config().hybrid(false))
}

/// The same with all states built at once, where they fit.
pub(crate) fn compile_whole(pattern: &str) -> Option<Regex> {
    let whole = config().dfa(true).dfa_state_limit(None);
    compile_with(pattern, whole.dfa_size_limit(Some(MOST_STATES)))
}

fn config() -> Config {
    Regex::config().utf8_empty(false).onepass(false).dfa(false)
}

fn compile_with(pattern: &str, config: Config) -> Option<Regex> {
    Regex::builder()
        .configure(config)
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .build(pattern)
        .ok()
}

impl Search {
    /// For searches with `pattern`, and with no other.
    pub(crate) fn of(pattern: &Pattern) -> Self {
        let (often, seldom) = match &pattern.0 {
            Kind::Compiled { often, seldom, .. } => (Some(often), seldom.as_ref()),
            Kind::ByHand(_) => (None, None),
        };
        let places = often.map_or(0, |regex| regex.group_info().slot_len());
        Self {
            often: often.map(Regex::create_cache),
            seldom: seldom.map(Regex::create_cache),
            tries: 0,
            places: vec![None; places],
        }
    }

    /// Another text is searched from now on.
    pub(crate) const fn begin(&mut self) {
        self.tries = 0;
    }

    /// The leftmost match.
    pub(crate) fn first(&mut self, pattern: &Pattern, input: &Input<'_>) -> Option<Match> {
        let (often, seldom, holds) = match &pattern.0 {
            Kind::Compiled {
                often,
                seldom,
                holds,
            } => (often, seldom, *holds),
            Kind::ByHand(by_hand) => {
                let range = input.get_range();
                let last = if input.get_anchored().is_anchored() {
                    range.start
                } else {
                    range.end
                };
                let mut starts = range.start..=last;
                return starts.find_map(|start| by_hand(input.haystack(), start..range.end));
            }
        };
        self.tries += 1;
        match (seldom, &mut self.seldom, &mut self.often) {
            (Some(regex), Some(cache), _) if self.tries <= FEW => {
                // such a search first wipes a mark for every place in the pattern at every byte
                let input = within(input, holds);
                regex.search_slots_with(cache, &input, &mut self.places)?;
            }
            (_, _, cache) => {
                let cache = cache.as_mut()?;
                // most tries are in vain, which this finds out soonest
                often.search_half_with(cache, input)?;
                often.search_slots_with(cache, input, &mut self.places)?;
            }
        }
        let span = self.group(0)?;
        let groups = 1..self.places.len() / 2;
        let mut taking_part = groups.filter_map(|group| Some((group, self.group(group)?)));
        let (group, value) = taking_part.next().unwrap_or_else(|| (0, span.clone()));
        Some(Match { span, group, value })
    }

    /// The place of a group of the last match.
    fn group(&self, group: usize) -> Option<Range<usize>> {
        let place = |at: usize| self.places.get(at).copied().flatten();
        Some(place(2 * group)?.get()..place(2 * group + 1)?.get())
    }
}

/// So many tries in one text build no states.
const FEW: usize = 16;
/// Most bytes of a pattern that is compiled twice: such a search marks every place in the pattern for
/// every byte of the text.
const MOST_FOR_SELDOM: usize = 256 << 10;
/// Most bytes of states in either direction.
const MOST_STATES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use regex_automata::{Anchored, Input};

    use super::{FEW, Search};
    use crate::detect::catalogue;

    #[test]
    fn a_pattern_matches_the_same_however_often_it_was_tried() {
        let samples = include_str!("../classifier/cases.txt")
            .replace('~', "")
            .replace("\\n", "\n");
        let mut matched = 0;
        for compiled in catalogue().unwrap() {
            let pattern = &compiled.pattern;
            let mut search = Search::of(pattern);
            for line in samples.lines() {
                search.begin();
                let early = search.first(pattern, &Input::new(line));
                search.tries = FEW;
                let late = search.first(pattern, &Input::new(line));
                assert_eq!(format!("{early:?}"), format!("{late:?}"), "{line}");
                let Some(early) = early.filter(|early| !early.span.is_empty()) else {
                    continue;
                };
                matched += 1;
                // the same where the match must begin, and more follows
                let after = format!("{line}\u{e9}\n{line}");
                let there = Input::new(&after).range(early.span.start..);
                let there = there.anchored(Anchored::Yes);
                search.begin();
                let early = search.first(pattern, &there);
                search.tries = FEW;
                let late = search.first(pattern, &there);
                assert_eq!(format!("{early:?}"), format!("{late:?}"), "{after}");
            }
        }
        assert!(matched > 200, "{matched}");
    }
}
