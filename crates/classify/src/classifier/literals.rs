//! One pass over a text for all literals at once, in any ASCII letter case. Each literal is
//! announced by its rarest three characters: a bitmap of 32 KiB, of which text uses little,
//! answers for nearly all of a text, and only where it says yes is a literal compared.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

/// What finds literals. The rules above it do not care how, so a second engine can be its oracle.
pub(super) trait Engine: std::fmt::Debug + Send + Sync {
    /// Calls `found(literal, start)` for every occurrence of every literal in any ASCII letter case,
    /// overlapping ones too.
    fn scan(&self, text: &[u8], found: &mut dyn FnMut(usize, usize));

    /// Bytes of all tables.
    #[cfg(test)]
    fn table_bytes(&self) -> usize;
}

/// Literals made ready.
#[derive(Debug)]
pub(super) struct Literals {
    /// A bit per [`gram`].
    announced: Box<[u64; WORDS]>,
    /// Per word of `announced`, how many bits are set before it.
    ranks: Box<[u16; WORDS]>,
    /// Per announced gram where its entries begin in `entries`, and one more.
    begins: Vec<u32>,
    entries: Vec<Entry>,
    literals: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    literal: u32,
    /// From the literal's start to the byte after its announcing gram.
    offset: u32,
    /// The literal's first bytes as [`folded`], and which of them it has.
    head: u64,
    mask: u64,
}

impl Literals {
    /// Takes lower-case literals. An empty one matches nowhere.
    pub(super) fn new(literals: &[String]) -> Self {
        let mut by_gram: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
        for (index, literal) in literals.iter().enumerate() {
            let Ok(index) = u32::try_from(index) else {
                break;
            };
            let (head, mask) = head(literal.as_bytes());
            for (gram, offset) in announcing(literal.as_bytes()) {
                by_gram.entry(gram).or_default().push(Entry {
                    literal: index,
                    offset,
                    head,
                    mask,
                });
            }
        }
        let (mut announced, mut ranks) = (Box::new([0_u64; WORDS]), Box::new([0_u16; WORDS]));
        let mut begins = vec![0];
        let mut entries = Vec::new();
        for (gram, of) in by_gram {
            entries.extend(of);
            begins.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            if let Some(word) = announced.get_mut(gram / 64) {
                *word |= 1 << (gram % 64);
            }
        }
        let mut before = 0_u16;
        for (rank, word) in ranks.iter_mut().zip(announced.iter()) {
            *rank = before;
            before += u16::try_from(word.count_ones()).unwrap_or(0);
        }
        Self {
            announced,
            ranks,
            begins,
            entries,
            literals: literals.iter().map(|l| l.as_bytes().to_vec()).collect(),
        }
    }

    #[cold]
    #[inline(never)]
    fn compare(&self, gram: usize, text: &[u8], end: usize, found: &mut dyn FnMut(usize, usize)) {
        for entry in self.entries_of(gram) {
            let Some(start) = end.checked_sub(entry.offset as usize) else {
                continue;
            };
            // most announcements are false; this finds out without a look at the literal
            let first = text.get(start..).and_then(<[u8]>::first_chunk);
            if first.is_some_and(|first| folded(*first) & entry.mask != entry.head) {
                continue;
            }
            let literal = entry.literal as usize;
            let Some(wanted) = self.literals.get(literal) else {
                continue;
            };
            let is = text.get(start..start + wanted.len());
            if is.is_some_and(|is| is.eq_ignore_ascii_case(wanted)) {
                found(literal, start);
            }
        }
    }

    fn entries_of(&self, gram: usize) -> &[Entry] {
        let (word, bit) = (gram / 64, gram % 64);
        let bits = self.announced.get(word).copied().unwrap_or(0);
        let below = (bits & ((1 << bit) - 1)).count_ones() as usize;
        let at = usize::from(self.ranks.get(word).copied().unwrap_or(0)) + below;
        let bound = |at: usize| self.begins.get(at).map_or(0, |begin| *begin as usize);
        self.entries
            .get(bound(at)..bound(at + 1))
            .unwrap_or_default()
    }
}

impl Engine for Literals {
    /// In the order of the grams that announce them.
    fn scan(&self, text: &[u8], found: &mut dyn FnMut(usize, usize)) {
        let (mut before, mut last) = (0_usize, 0_usize);
        for (at, byte) in text.iter().enumerate() {
            // no step waits for more than the one before it: the classes are looked up apart
            let class = usize::from(class(*byte));
            let gram = before | last << CLASS_BITS | class;
            (before, last) = (last << (2 * CLASS_BITS), class);
            // the mask keeps the index inside, so the compiler drops the check
            let word = self
                .announced
                .get((gram & (GRAMS - 1)) >> 6)
                .copied()
                .unwrap_or(0);
            if word >> (gram & 63) & 1 != 0 {
                self.compare(gram, text, at + 1, found);
            }
        }
    }

    #[cfg(test)]
    fn table_bytes(&self) -> usize {
        size_of_val(&*self.announced)
            + size_of_val(&*self.ranks)
            + self.begins.len() * size_of::<u32>()
            + self.entries.len() * size_of::<Entry>()
            + self
                .literals
                .iter()
                .map(|l| l.len() + size_of::<Vec<u8>>())
                .sum::<usize>()
    }
}

/// The grams that announce a literal: its rarest, or every one that ends in it where it is shorter
/// than three bytes.
fn announcing(literal: &[u8]) -> Vec<(usize, u32)> {
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    match literal {
        [] => Vec::new(),
        [a] => (0..1 << (2 * CLASS_BITS))
            .map(|before: usize| (before << CLASS_BITS | usize::from(class(*a)), 1))
            .collect(),
        [a, b] => (0..1_usize << CLASS_BITS)
            .map(|before| (before << (2 * CLASS_BITS) | gram(&[*a, *b]), 2))
            .collect(),
        _ => {
            let rarest = literal
                .windows(3)
                .enumerate()
                .min_by_key(|(_, three)| commonness(three));
            rarest
                .map(|(at, three)| (gram(three), offset(at + 3)))
                .into_iter()
                .collect()
        }
    }
}

/// How often three bytes stand in source code and prose: those of the list by their place in it,
/// the others by the letters they are of.
fn commonness(three: &[u8]) -> usize {
    static PLACES: LazyLock<HashMap<&[u8], usize>> = LazyLock::new(|| {
        let listed = COMMON_GRAMS.split(['\t', '\n']);
        listed.map(str::as_bytes).zip(0..).collect()
    });
    match PLACES.get(three) {
        Some(place) => 2_000 - place,
        None => three.iter().map(|b| commonness_of(*b)).sum(),
    }
}

/// The 1,536 most frequent groups of three characters of source code and prose, the first the most.
const COMMON_GRAMS: &str = include_str!("common_grams.txt");

/// Eight bytes in which the letters' case, and more, is one.
const fn folded(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes) | 0x2020_2020_2020_2020
}

/// The first eight bytes of a literal, folded, and a mask of those it has.
fn head(literal: &[u8]) -> (u64, u64) {
    let (mut head, mut mask) = ([0; 8], [0; 8]);
    for ((byte, head), mask) in literal.iter().zip(&mut head).zip(&mut mask) {
        (*head, *mask) = (*byte, u8::MAX);
    }
    let mask = u64::from_le_bytes(mask);
    (folded(head) & mask, mask)
}

fn gram(three: &[u8]) -> usize {
    three.iter().fold(0, |gram, byte| {
        gram << CLASS_BITS | usize::from(class(*byte))
    })
}

/// 64 classes: letters without case, digits, and what tokens and text are joined with.
fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut class = 0;
    while class < OTHER {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated when compiled; a byte is below 256"
        )]
        {
            let byte = CLASSED[class as usize];
            classes[byte as usize] = class;
            classes[byte.to_ascii_uppercase() as usize] = class;
        }
        class += 1;
    }
    classes
};

/// The bytes that have a class of their own, in the order of the classes.
const CLASSED: &[u8; OTHER as usize] =
    b"abcdefghijklmnopqrstuvwxyz0123456789_-@.:/= *|<>'\"~!()+,#;$%&\\\n";

/// Roughly 10 times the logarithm of a byte's share in source code and prose.
const fn commonness_of(byte: u8) -> usize {
    match byte {
        b'e' | b't' | b' ' => 40,
        b'a' | b'i' | b'n' | b'o' | b'r' | b's' => 37,
        b'c' | b'd' | b'l' | b'/' => 32,
        b'f' | b'h' | b'm' | b'p' | b'u' | b'.' | b':' | b'=' => 28,
        b'b' | b'g' | b'w' | b'y' | b'0' | b'1' | b'_' => 24,
        b'v' | b'k' | b'-' => 18,
        b'x' | b'2'..=b'9' => 16,
        b'j' | b'q' | b'z' => 5,
        b'@' | b'|' | b'~' | b'$' => 1,
        _ => 30,
    }
}

const OTHER: u8 = 63;
const CLASS_BITS: u32 = 6;
const GRAMS: usize = 1 << (3 * CLASS_BITS);
const WORDS: usize = GRAMS / 64;

#[cfg(test)]
mod tests {
    use aho_corasick::AhoCorasick;
    use proptest::prelude::*;

    use super::{Engine as _, Literals};

    const SAMPLES: &[&str] = &[
        "pass",
        "password",
        "api_key",
        "sk-",
        "@",
        "y/o",
        "-u ",
        "://",
        "ab",
        "eyj",
        "größe",
        "-----begin",
        "__",
        "a",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// The library's automaton is the oracle.
        #[test]
        fn every_occurrence_is_found_that_the_library_finds(
            parts in proptest::collection::vec(
                prop_oneof![proptest::sample::select(SAMPLES).prop_map(str::to_owned), "[a-zA-Z_@:/ -]{0,6}", "\\PC{0,3}"],
                0..12,
            ),
        ) {
            let text = parts.concat();
            let samples: Vec<String> = SAMPLES.iter().map(|s| (*s).to_owned()).collect();
            let oracle = AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .build(&samples)
                .unwrap();
            let mut wanted: Vec<(usize, usize)> = oracle
                .find_overlapping_iter(&text)
                .map(|m| (m.pattern().as_usize(), m.start()))
                .collect();
            let mut found = Vec::new();
            let mut keep = |literal, start| found.push((literal, start));
            Literals::new(&samples).scan(text.as_bytes(), &mut keep);
            wanted.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, wanted);
        }
    }
}
