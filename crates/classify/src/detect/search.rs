//! Compiled patterns, and what searches with them change. To build states of an automaton takes some
//! ten times as long as to go over the same text without any, and pays where a text is searched again
//! and again: so a pattern's first tries in each text build none.

use std::{ops::Range, sync::Arc};

use regex_automata::{
    Input,
    meta::{Cache, Config, Regex},
    nfa::thompson::{
        NFA,
        backtrack::{self, BoundedBacktracker},
    },
    util::{primitives::NonMaxUsize, syntax},
};

use super::{
    runs::Runs,
    shape::{Bytes, automaton},
};

/// A pattern, ready to search with.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Compiled {
        /// Builds states as texts ask for them.
        often: Regex,
        /// Builds none. Absent where the pattern is large, or its owner compiled it.
        seldom: Option<BoundedBacktracker>,
        /// What a match may hold. Absent where it is not known.
        holds: Option<Bytes>,
    },
    ByHand(ByHand),
    /// Shared with the other scanners.
    Runs(Arc<Runs>),
}

/// What a pattern matches that begins where the range does, and ends within it.
pub(crate) type ByHand = fn(&[u8], Range<usize>) -> Option<Match>;

/// What searches with one pattern change: states, and places of the last match. Holds no text.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    often: Option<Cache>,
    /// How often this text was searched.
    tries: usize,
    /// Where the groups of the last match begin and end.
    places: Vec<Option<NonMaxUsize>>,
}

/// The marks of searches that build no states, of whatever pattern: one for each place in the pattern at each byte. All
/// share them, so that what is wiped is in a near cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Option<backtrack::Cache>);

/// What a search with one pattern is lent.
pub(crate) struct Lent<'a> {
    pub(crate) search: &'a mut Search,
    pub(crate) marks: &'a mut Marks,
}

impl Lent<'_> {
    /// The leftmost match.
    pub(crate) fn first(&mut self, pattern: &Pattern, input: &Input<'_>) -> Option<Match> {
        self.search.first(pattern, input, self.marks)
    }
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
        let seldom = (often.memory_usage() <= MOST_FOR_SELDOM).then(|| backtracker(pattern));
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

    /// A pattern of runs, which needs no engine either. Nothing where `pattern` is none. Searches that are not anchored
    /// look at every place anew.
    pub(crate) fn of_runs(pattern: &str) -> Option<Self> {
        Runs::of(pattern).map(|runs| Self(Kind::Runs(Arc::new(runs))))
    }

    /// Whether all its searches build states.
    pub(crate) const fn is_tried_often(&self) -> bool {
        matches!(&self.0, Kind::Compiled { seldom: None, .. })
    }

    /// Bytes that no search changes.
    #[cfg(test)]
    pub(crate) fn memory_usage(&self) -> usize {
        match &self.0 {
            Kind::Compiled { often, seldom, .. } => {
                let seldom = seldom.as_ref();
                often.memory_usage() + seldom.map_or(0, |regex| regex.get_nfa().memory_usage())
            }
            Kind::Runs(runs) => runs.memory_usage(),
            Kind::ByHand(_) => 0,
        }
    }

    /// Whether it matches in `input`.
    #[cfg(test)]
    pub(crate) fn is_match(&self, input: &Input<'_>) -> bool {
        let mut search = Search::of(self);
        search.first(self, input, &mut Marks::default()).is_some()
    }
}

impl Marks {
    /// Makes room for what a search with `pattern` over so many bytes marks, so that none asks for memory.
    pub(crate) fn make_room(&mut self, pattern: &Pattern, bytes: usize) {
        if let Kind::Compiled {
            seldom: Some(regex),
            ..
        } = &pattern.0
        {
            let text = vec![b' '; bytes.min(regex.max_haystack_len())];
            self.search(regex, &Input::new(&text), &mut []);
        }
    }

    /// Whether it matches in `input`, and the places of the leftmost match. Nothing where there would have to be too many
    /// marks.
    fn search(
        &mut self,
        regex: &BoundedBacktracker,
        input: &Input<'_>,
        places: &mut [Option<NonMaxUsize>],
    ) -> Option<bool> {
        let cache = self.0.get_or_insert_with(|| regex.create_cache());
        regex.reset_cache(cache);
        let found = regex.try_search_slots(cache, input, places).ok()?;
        Some(found.is_some())
    }
}

/// The leftmost match of a pattern that is matched by hand.
fn leftmost(at: impl Fn(&[u8], Range<usize>) -> Option<Match>, input: &Input<'_>) -> Option<Match> {
    let range = input.get_range();
    let anchored = input.get_anchored().is_anchored();
    let last = if anchored { range.start } else { range.end };
    (range.start..=last).find_map(|start| at(input.haystack(), start..range.end))
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

/// The same with all states built at once, where they fit.
pub(crate) fn compile_whole(pattern: &str) -> Option<Regex> {
    let whole = config().dfa(true).dfa_state_limit(None);
    compile_with(pattern, whole.dfa_size_limit(Some(MOST_STATES)))
}

/// The same as a search that goes over the text once and again for each way to match.
fn backtracker(pattern: &str) -> Option<BoundedBacktracker> {
    BoundedBacktracker::builder()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(NFA::config().utf8(false))
        .build(pattern)
        .ok()
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
        let often = match &pattern.0 {
            Kind::Compiled { often, .. } => Some(often),
            Kind::ByHand(_) | Kind::Runs(_) => None,
        };
        let places = often.map_or(0, |regex| regex.group_info().slot_len());
        Self {
            often: often.map(Regex::create_cache),
            tries: 0,
            places: vec![None; places],
        }
    }

    /// Another text is searched from now on.
    pub(crate) const fn begin(&mut self) {
        self.tries = 0;
    }

    /// The leftmost match.
    pub(crate) fn first(
        &mut self,
        pattern: &Pattern,
        input: &Input<'_>,
        marks: &mut Marks,
    ) -> Option<Match> {
        let (often, seldom, holds) = match &pattern.0 {
            Kind::Compiled {
                often,
                seldom,
                holds,
            } => (often, seldom, *holds),
            Kind::ByHand(by_hand) => return leftmost(*by_hand, input),
            Kind::Runs(runs) => return leftmost(|text, range| runs.at(text, &range), input),
        };
        self.tries += 1;
        let seldom = seldom.as_ref().filter(|_| self.tries <= FEW);
        let early = seldom.and_then(|regex| {
            // such a search first wipes a mark for every place in the pattern at every byte
            let input = within(input, holds);
            marks.search(regex, &input, &mut self.places)
        });
        match early {
            Some(found) => found.then_some(())?,
            None => {
                let cache = self.often.as_mut()?;
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

    use super::{FEW, Marks, Search};
    use crate::detect::catalogue;

    #[test]
    fn a_pattern_matches_the_same_however_often_it_was_tried() {
        let samples = include_str!("../classifier/cases.txt")
            .replace('~', "")
            .replace("\\n", "\n");
        let mut matched = 0;
        for compiled in catalogue().unwrap() {
            let pattern = &compiled.pattern;
            let (mut search, mut marks) = (Search::of(pattern), Marks::default());
            for line in samples.lines() {
                search.begin();
                let early = search.first(pattern, &Input::new(line), &mut marks);
                search.tries = FEW;
                let late = search.first(pattern, &Input::new(line), &mut marks);
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
                let early = search.first(pattern, &there, &mut marks);
                search.tries = FEW;
                let late = search.first(pattern, &there, &mut marks);
                assert_eq!(format!("{early:?}"), format!("{late:?}"), "{after}");
            }
        }
        assert!(matched > 200, "{matched}");
    }
}
