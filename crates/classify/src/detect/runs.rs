//! Patterns that are runs of bytes one after the other, each of a class and a length, as tokens are. Where no byte can
//! belong to two runs next to each other a run ends where its class does, so there is one way to read a text and no state
//! to build, keep or wipe; a text that is met for the first time pays for those. Made from the pattern, so that the two
//! cannot differ; the library's engine is the oracle.

use std::{cmp::Ordering, ops::Range};

use regex_automata::util::syntax;
use regex_syntax::hir::{Capture, Class, Hir, HirKind, Look, Repetition};

use super::{search::Match, shape::Bytes};

/// A pattern of runs: the ways it can be written without an alternative, the preferred first.
#[derive(Debug)]
pub(crate) struct Runs {
    ways: Vec<Way>,
    steps: Vec<Step>,
    /// The classes of all steps, none twice.
    classes: Vec<Bytes>,
}

/// Runs from the first to the last.
#[derive(Debug)]
struct Way {
    /// The byte it begins with, where that is one: most ways are passed over by it.
    first: Option<u8>,
    /// Its part of the steps.
    steps: Range<usize>,
    /// Whether it begins at a word's edge.
    at_edge: bool,
    ending: Ending,
    /// The first group, and between which of its steps.
    value: Option<(usize, Range<usize>)>,
}

/// What must follow the last run, which gives bytes back until it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Anything,
    WordEdge,
    TextEnd,
    /// A byte of this class, which the match holds too. Its step is kept, and in no way.
    Byte(u32),
    /// One, or the end of the text.
    ByteOrTextEnd(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// Index of its class.
    class: u32,
    least: u32,
    most: u32,
}

/// What a pattern says, one piece after the other.
#[derive(Clone, Debug)]
enum Piece {
    Run(Bytes, u32, u32),
    Begin(usize),
    End(usize),
    Look(Look),
}

impl Runs {
    /// Those of `pattern`. Nothing where it is not of this kind.
    pub(crate) fn of(pattern: &str) -> Option<Self> {
        let config = syntax::Config::new().unicode(false).utf8(false);
        let hir = syntax::parse_with(pattern, &config).ok()?;
        let mut runs = Self {
            ways: Vec::new(),
            steps: Vec::new(),
            classes: Vec::new(),
        };
        ways_of(&hir)?
            .iter()
            .try_for_each(|way| runs.add(way))
            .map(|()| runs)
    }

    fn add(&mut self, pieces: &[Piece]) -> Option<()> {
        let mut way = self.way_of(pieces)?;
        if !self.is_read_one_way(&way) {
            let last = self
                .steps
                .last()
                .map(|last| (last.class, last.least, last.most));
            let (Ending::Anything, Some((class, 1, 1))) = (way.ending, last) else {
                return None;
            };
            way.ending = Ending::Byte(class);
            way.steps.end -= 1;
            self.is_read_one_way(&way).then_some(())?;
        }
        let steps = self.steps.as_slice();
        let mut last = self.ways.last_mut();
        if last.as_mut().is_some_and(|last| last.joins(&way, steps)) {
            return Some(());
        }
        let hidden = self.ways.iter().any(|known| known.hides(&way, steps));
        (!hidden).then(|| self.ways.push(way))
    }

    fn way_of(&mut self, pieces: &[Piece]) -> Option<Way> {
        let begin = self.steps.len();
        let (mut at_edge, mut ending) = (false, Ending::Anything);
        let mut groups: Vec<(usize, Range<usize>)> = Vec::new();
        for piece in pieces {
            let at = self.steps.len() - begin;
            match piece {
                // nothing but an end may be asserted, and nothing comes behind it
                Piece::Run(..) | Piece::Look(_) if ending != Ending::Anything => return None,
                Piece::Run(class, least, most) => self.push(*class, *least, *most),
                Piece::Look(Look::WordAscii) if at == 0 => at_edge = true,
                Piece::Look(Look::WordAscii) => ending = Ending::WordEdge,
                Piece::Look(Look::End) => ending = Ending::TextEnd,
                Piece::Look(_) => return None,
                Piece::Begin(group) => groups.push((*group, at..at)),
                Piece::End(group) => {
                    let known = groups.iter_mut().rev().find(|known| known.0 == *group);
                    known?.1.end = at;
                }
            }
        }
        let first = Some(self.steps.get(begin)?).filter(|first| first.least > 0);
        let first = first.and_then(|first| self.classes.get(first.class as usize)?.only());
        groups.sort_by_key(|group| group.0);
        // of a group that is met twice the last counts, which no detector has
        let twice = |two: &[(usize, _)]| matches!(two, [a, b] if a.0 == b.0);
        (!groups.windows(2).any(twice)).then_some(())?;
        Some(Way {
            first,
            steps: begin..self.steps.len(),
            at_edge,
            ending,
            value: groups.into_iter().next(),
        })
    }

    fn push(&mut self, class: Bytes, least: u32, most: u32) {
        let known = self
            .classes
            .iter()
            .zip(0..)
            .find(|(known, _)| **known == class);
        let class = match known {
            Some((_, at)) => at,
            None => {
                self.classes.push(class);
                u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.steps.push(Step { class, least, most });
    }

    /// Whether the byte behind a run of no fixed length is never of its class: then the run ends there in every match. The
    /// last run of all may give bytes back where the way says what must follow.
    fn is_read_one_way(&self, way: &Way) -> bool {
        let asserts = way.ending != Ending::Anything;
        let steps = self.steps.get(way.steps.clone()).unwrap_or_default();
        let class = |step: &Step| {
            let class = self.classes.get(step.class as usize);
            class.copied().unwrap_or_default()
        };
        steps.iter().zip(1..).all(|(step, next)| {
            let behind = steps.get(next..).unwrap_or_default();
            // the next run that cannot be empty, and those before it
            let needed = behind.iter().position(|step| step.least > 0);
            let near = behind.iter().take(needed.map_or(behind.len(), |at| at + 1));
            let apart = near
                .into_iter()
                .all(|near| !class(near).overlaps(class(step)));
            step.least == step.most || apart && (needed.is_some() || behind.is_empty() || !asserts)
        })
    }

    /// Bytes of it all.
    #[cfg(test)]
    pub(super) fn memory_usage(&self) -> usize {
        size_of_val(self.ways.as_slice())
            + size_of_val(self.steps.as_slice())
            + size_of_val(self.classes.as_slice())
    }

    /// What the pattern matches at the start of `range` and within it.
    pub(crate) fn at(&self, text: &[u8], range: &Range<usize>) -> Option<Match> {
        let byte = text.get(range.start);
        let begins = |way: &&Way| way.first.is_none() || way.first.as_ref() == byte;
        let mut ways = self.ways.iter().filter(begins);
        ways.find_map(|way| self.read(way, text, range))
    }

    fn read(&self, way: &Way, text: &[u8], range: &Range<usize>) -> Option<Match> {
        let start = range.start;
        let steps = self.steps.get(way.steps.clone())?;
        let within = text.get(..range.end)?;
        let mut value = way
            .value
            .as_ref()
            .map(|(group, at)| (*group, at, start..start));
        let (mut at, mut spare) = (start, 0);
        for (step, place) in steps.iter().zip(0..) {
            if let Some((_, places, span)) = &mut value {
                if places.start == place {
                    span.start = at;
                }
                if places.end == place {
                    span.end = at;
                }
            }
            let class = self.classes.get(step.class as usize)?;
            let rest = within.get(at..)?;
            let most = rest.get(..rest.len().min(step.most as usize))?;
            let length = class.run(most);
            spare = length.checked_sub(step.least as usize)?;
            at += length;
        }
        (!way.at_edge || is_edge(text, start)).then_some(())?;
        // from the longest on, as a greedy run does
        let mut ends = (at - spare..=at).rev();
        let (behind, end) = ends.find_map(|behind| {
            let end = self.ended(way.ending, text, within, behind)?;
            Some((behind, end))
        })?;
        let span = start..end;
        Some(match value {
            Some((group, places, mut value)) => {
                for (place, at) in [
                    (places.start, &mut value.start),
                    (places.end, &mut value.end),
                ] {
                    match place.cmp(&steps.len()) {
                        Ordering::Less => {}
                        Ordering::Equal => *at = behind,
                        Ordering::Greater => *at = end,
                    }
                }
                Match { span, group, value }
            }
            None => Match {
                value: span.clone(),
                group: 0,
                span,
            },
        })
    }

    /// Where a match ends whose last run ends at `end` of `text`, and which lies `within` the beginning. Nothing where what
    /// must follow does not.
    fn ended(&self, ending: Ending, text: &[u8], within: &[u8], end: usize) -> Option<usize> {
        let byte = |class: u32| {
            let byte = within.get(end..end + 1)?;
            (self.classes.get(class as usize)?.run(byte) == 1).then_some(end + 1)
        };
        let text_end = || (end == text.len()).then_some(end);
        match ending {
            Ending::Anything => Some(end),
            Ending::WordEdge => is_edge(text, end).then_some(end),
            Ending::TextEnd => text_end(),
            Ending::Byte(class) => byte(class),
            Ending::ByteOrTextEnd(class) => byte(class).or_else(text_end),
        }
    }
}

impl Way {
    /// Takes `next` in, where it differs from this one in that the text may end instead of a byte: a run gives no byte back
    /// before either was tried.
    fn joins(&mut self, next: &Self, steps: &[Step]) -> bool {
        let Ending::Byte(class) = self.ending else {
            return false;
        };
        let same = steps.get(self.steps.clone()) == steps.get(next.steps.clone())
            && self.at_edge == next.at_edge
            && self.value == next.value
            && next.ending == Ending::TextEnd;
        if same {
            self.ending = Ending::ByteOrTextEnd(class);
        }
        same
    }

    /// Whether the last run of this one may give bytes back before `next`, which goes on behind it, is tried.
    fn hides(&self, next: &Self, steps: &[Step]) -> bool {
        let begun = next.steps.start..next.steps.end.min(next.steps.start + self.steps.len());
        !matches!(self.ending, Ending::Anything | Ending::TextEnd)
            && steps.get(self.steps.clone()) == steps.get(begun)
    }
}

fn is_edge(text: &[u8], at: usize) -> bool {
    let word = |at: Option<usize>| {
        let byte = at.and_then(|at| text.get(at));
        byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
    };
    word(at.checked_sub(1)) != word(Some(at))
}

/// The ways to write `hir` without an alternative, the preferred first. Nothing where they are too many, or where one is
/// no row of runs.
fn ways_of(hir: &Hir) -> Option<Vec<Vec<Piece>>> {
    let ways = match hir.kind() {
        HirKind::Empty => vec![Vec::new()],
        HirKind::Literal(literal) => {
            let run = |byte: &u8| Piece::Run(Bytes::from_ranges([*byte..=*byte]), 1, 1);
            vec![literal.0.iter().map(run).collect()]
        }
        HirKind::Class(Class::Bytes(class)) => {
            let ranges = class
                .ranges()
                .iter()
                .map(|range| range.start()..=range.end());
            vec![vec![Piece::Run(Bytes::from_ranges(ranges), 1, 1)]]
        }
        HirKind::Class(Class::Unicode(_)) => return None,
        HirKind::Look(look) => vec![vec![Piece::Look(*look)]],
        HirKind::Repetition(repetition) => repeated(repetition)?,
        HirKind::Capture(Capture { index, sub, .. }) => {
            let group = usize::try_from(*index).ok()?;
            let ways = ways_of(sub)?.into_iter();
            let around = |way: Vec<Piece>| {
                let (begin, end) = (Piece::Begin(group), Piece::End(group));
                [begin].into_iter().chain(way).chain([end]).collect()
            };
            ways.map(around).collect()
        }
        HirKind::Concat(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(ways_of).collect();
            parts?
                .iter()
                .try_fold(vec![Vec::new()], |ways, part| joined(&ways, part))?
        }
        HirKind::Alternation(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(ways_of).collect();
            parts?.concat()
        }
    };
    (ways.len() <= MOST_WAYS).then_some(ways)
}

/// A class so often is one run, and anything else is written out.
fn repeated(repetition: &Repetition) -> Option<Vec<Vec<Piece>>> {
    let ways = ways_of(&repetition.sub)?;
    let (least, most) = (repetition.min, repetition.max);
    (repetition.greedy || Some(least) == most).then_some(())?;
    if let [way] = ways.as_slice()
        && let [Piece::Run(class, 1, 1)] = way.as_slice()
    {
        return Some(vec![vec![Piece::Run(
            *class,
            least,
            most.unwrap_or(u32::MAX),
        )]]);
    }
    let most = most.filter(|most| *most as usize <= MOST_WAYS)?;
    let none = vec![Vec::new()];
    let mut written = none.clone();
    // one more is preferred to none at every place
    for _ in least..most {
        written = joined(&ways, &written)?;
        written.extend(none.clone());
    }
    for _ in 0..least {
        written = joined(&ways, &written)?;
    }
    Some(written)
}

/// Each of `first` with each of `then`.
fn joined(first: &[Vec<Piece>], then: &[Vec<Piece>]) -> Option<Vec<Vec<Piece>>> {
    (first.len() * then.len() <= MOST_WAYS).then_some(())?;
    let with_each = |head: &Vec<Piece>| {
        let rests = then.iter();
        let join = |rest: &Vec<Piece>| [head.as_slice(), rest.as_slice()].concat();
        rests.map(join).collect::<Vec<_>>()
    };
    Some(first.iter().flat_map(with_each).collect())
}

/// Most ways to write one pattern.
const MOST_WAYS: usize = 128;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::{prelude::*, sample::Index, string::string_regex};
    use regex_automata::{Anchored, Input};

    use super::Runs;
    use crate::detect::{Marks, Pattern, Search, Window, catalogue};

    /// What pattern and runs say of all places of `text`, of which the last `cut` bytes are beside the range.
    fn same(pattern: &'static str, text: &str, cut: usize) -> Result<(), TestCaseError> {
        let runs = Runs::of(pattern).unwrap();
        let engine = Pattern::new(pattern).unwrap();
        let (mut search, mut marks) = (Search::of(&engine), Marks::default());
        let end = text.len().saturating_sub(cut);
        for start in 0..=end {
            let input = Input::new(text).range(start..end).anchored(Anchored::Yes);
            let wanted = search.first(&engine, &input, &mut marks);
            let found = runs.at(text.as_bytes(), &(start..end));
            let shown = |found: &dyn Debug| format!("{found:?}");
            prop_assert_eq!(
                shown(&found),
                shown(&wanted),
                "{} at {} of {:?}",
                pattern,
                start,
                text
            );
        }
        Ok(())
    }

    fn of_runs() -> Vec<&'static str> {
        let all = catalogue().unwrap().iter();
        let at = all.filter(|compiled| matches!(compiled.detector.window, Window::At { .. }));
        let patterns = at.map(|compiled| compiled.detector.pattern);
        patterns
            .filter(|pattern| Runs::of(pattern).is_some())
            .collect()
    }

    /// Texts that a pattern matches, as far as it says nothing of what stands beside it.
    fn written(pattern: &str) -> BoxedStrategy<String> {
        let mut plain = pattern.replace(r"\b", "");
        while let Some(end) = plain.find("|$)") {
            let begin = plain.get(..end).unwrap().rfind("(?:[^").unwrap();
            plain.replace_range(begin..end + "|$)".len(), "");
        }
        string_regex(&plain).unwrap().boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        /// The library's engine is the oracle: of what a pattern matches, with a byte more, less or another.
        #[test]
        fn runs_match_what_their_pattern_does(
            (pattern, text) in prop::sample::select(of_runs())
                .prop_flat_map(|pattern| (Just(pattern), written(pattern))),
            before in "[-a A.]{0,2}", after in "[-_a .=+/\"é]{0,3}",
            change in prop::option::of((any::<Index>(), "[-a_Z0.+/=\\n]{0,2}", 0_usize..3)),
            cut in 0_usize..3,
        ) {
            let mut text = text.replace(|c: char| !c.is_ascii(), "x");
            if let Some((at, by, taken)) = change {
                let at = at.index(text.len());
                text.replace_range(at..text.len().min(at + taken), &by);
            }
            same(pattern, &format!("{before}{text}{after}"), cut)?;
        }

        /// Runs that are next to each other, optional, in groups or in no order that a detector has.
        #[test]
        fn small_patterns_match_what_the_engine_does(
            pattern in prop::sample::select(vec![
                r"\ba{1,3}b{0,2}c", r"a{2}b{1,3}\b", r"(?:a|ab){0,2}c", r"a(b{1,2})(?:c|$)", r"a{1,2}(?:b{1,2}c)?",
                r"(?:(a)|b(c))d?", r"a{0,2}b{0,2}", r"[a-c-]{1,4}\b", r"a(?:b|bc){1,2}", r"(?i)ab{1,2}(?:[^b]|$)",
                r"a[b.]{1,3}(?:[^bc]|$)", r"a([b.]{1,3}[.b])", r"a{1,3}a", r"(a[b-]{1,4})\b",
            ]),
            text in "[abcdA.-]{0,9}", cut in 0_usize..3,
        ) {
            same(pattern, &text, cut)?;
        }
    }

    #[test]
    fn most_tokens_are_runs_and_what_is_read_two_ways_is_none() {
        let runs = of_runs();
        assert!(runs.len() > 70, "{}", runs.len());
        assert!(runs.iter().any(|pattern| pattern.starts_with(r"\b(?:aio_")));
        for pattern in [
            "a{1,3}b{0,2}a",
            "a{1,3}?b",
            r"a\bb",
            r"a[b.]{1,2}(?:\b|c)",
            r"a[b.]{1,2}(?:[.b]|x|$)",
            r"a[b.]{1,2}(?:[.b]|c)",
            r"a[b.]{1,3}c?\b",
            "(?m)a$",
            "a{0,2}b{0,2}\\b",
            "(ab){2}",
        ] {
            assert!(Runs::of(pattern).is_none(), "{pattern}");
        }
    }
}
