//! Whether two globs of names have a name in common: decided, not guessed, by walking both of their automata at once.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use globset::Glob;
use regex_automata::{
    Anchored,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start, syntax},
};

/// An automaton's size, and that of the work to build it, in bytes.
const MAX_AUTOMATON: usize = 1 << 20;
/// Pairs of states that are looked at before two globs are given up.
const MAX_PAIRS: usize = 1 << 14;

/// A glob as an automaton over the bytes of a whole name.
pub(super) struct NameGlob(dense::DFA<Vec<u32>>);

/// A glob whose automaton is too large, or two that are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Where a walk over two automata is.
type Pair = (StateID, StateID);

impl NameGlob {
    pub(super) fn new(glob: &Glob) -> Result<Self, TooLarge> {
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MAX_AUTOMATON))
            .determinize_size_limit(Some(MAX_AUTOMATON));
        // the glob's own expression speaks of bytes
        dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().utf8(false))
            .thompson(thompson::Config::new().utf8(false))
            .build(glob.regex())
            .map(Self)
            .map_err(|_| TooLarge)
    }

    fn start(&self) -> Result<StateID, TooLarge> {
        let start = start::Config::new().anchored(Anchored::Yes);
        self.0.start_state(&start).map_err(|_| TooLarge)
    }

    fn ends_at(&self, state: StateID) -> bool {
        self.0.is_match_state(self.0.next_eoi_state(state))
    }

    /// A shortest name of printable ASCII, in lower case, that fits both globs in some spelling: names that differ in
    /// the case of their letters alone count as one.
    pub(super) fn common_name(&self, other: &Self) -> Result<Option<String>, TooLarge> {
        let first = (self.start()?, other.start()?);
        let mut reached: BTreeMap<Pair, Option<(Pair, u8)>> = BTreeMap::from([(first, None)]);
        let mut next = VecDeque::from([first]);
        while let Some(from) = next.pop_front() {
            for (byte, pair) in self.steps(other, from) {
                let Entry::Vacant(place) = reached.entry(pair) else {
                    continue;
                };
                place.insert(Some((from, byte)));
                if self.ends_at(pair.0) && other.ends_at(pair.1) {
                    return Ok(Some(spelled(&reached, pair)));
                }
                if reached.len() > MAX_PAIRS {
                    return Err(TooLarge);
                }
                next.push_back(pair);
            }
        }
        Ok(None)
    }

    /// Where one more byte leads both, but for where no name is any more.
    fn steps(&self, other: &Self, (here, there): Pair) -> impl Iterator<Item = (u8, Pair)> {
        let bytes = (b' '..=b'~').filter(|byte| !byte.is_ascii_uppercase());
        let spellings = bytes.flat_map(|byte| {
            let both = [byte, byte.to_ascii_uppercase()];
            let pairs = both.map(|one| both.map(|other| (byte, one, other)));
            pairs.into_iter().flatten()
        });
        spellings.filter_map(move |(byte, one, two)| {
            let pair = (self.0.next_state(here, one), other.0.next_state(there, two));
            let over = self.0.is_dead_state(pair.0) || other.0.is_dead_state(pair.1);
            (!over).then_some((byte, pair))
        })
    }
}

/// The bytes that led to `end`.
fn spelled(reached: &BTreeMap<Pair, Option<(Pair, u8)>>, end: Pair) -> String {
    let way = std::iter::successors(reached.get(&end).copied().flatten(), |(from, _)| {
        reached.get(from).copied().flatten()
    });
    let mut name: Vec<char> = way.map(|(_, byte)| char::from(byte)).collect();
    name.reverse();
    name.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::{NameGlob, TooLarge};

    fn common(one: &str, other: &str) -> Result<Option<String>, TooLarge> {
        let read = |text: &str| NameGlob::new(&Glob::new(text).unwrap());
        read(one)?.common_name(&read(other)?)
    }

    #[test]
    fn a_name_that_two_globs_share_is_found_however_they_are_written() {
        for (one, other, name) in [
            ("*@corp.example", "a*", Some("a@corp.example")),
            ("*@corp.example", "*@other.example", None),
            ("*@corp.example", "*@CORP.example", Some("@corp.example")),
            ("{ann,bob}@corp.example", "b?b@*", Some("bob@corp.example")),
            ("[a-c]*@corp.example", "[d-z]*@corp.example", None),
            (
                "[a-c]*@corp.example",
                "[C-Z]*@corp.example",
                Some("c@corp.example"),
            ),
            // `A`
            ("[!a]*", "a*", Some("a")),
            ("[!aA]*", "a*", None),
            ("a*b", "a*c", None),
            ("*.corp.example", "*@*", Some("@.corp.example")),
            ("ann", "ann?", None),
            ("*", "*", Some(" ")),
            ("", "*", None),
        ] {
            assert_eq!(
                common(one, other).unwrap().as_deref(),
                name,
                "{one} {other}"
            );
            let back = common(other, one).unwrap();
            assert_eq!(back.is_some(), name.is_some(), "{other} {one}");
        }
    }

    /// The found name fits both, and what the walk calls disjoint no short name fits.
    #[test]
    fn the_walk_agrees_with_the_matchers_on_every_short_name() {
        let globs = [
            "*", "a*", "*a", "?", "a?b", "{a,bb}*", "[!a]?", "b*a*", "ab", "*b?",
        ];
        let mut names = vec![String::new()];
        for _ in 0..4 {
            let longer = names
                .iter()
                .flat_map(|name| ["a", "b", "c"].map(|end| format!("{name}{end}")));
            let longer: Vec<String> = longer.collect();
            names.extend(longer);
        }
        let fits = |glob: &str, name: &str| {
            let glob = Glob::new(glob).unwrap().compile_matcher();
            glob.is_match(name) || glob.is_match(name.to_ascii_uppercase())
        };
        for one in globs {
            for other in globs {
                let found = common(one, other).unwrap();
                let short = names.iter().filter(|name| !name.is_empty());
                let shared = short
                    .into_iter()
                    .any(|name| fits(one, name) && fits(other, name));
                assert!(found.is_some() || !shared, "{one} {other}");
                if let Some(name) = found {
                    assert!(
                        fits(one, &name) && fits(other, &name),
                        "{one} {other} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn globs_that_are_too_large_to_compare_are_not_taken_for_apart() {
        let long = "*a????????????????????";
        assert_eq!(common(long, "b*"), Err(TooLarge));
    }
}
