//! One pass over a text for all literals at once, in any ASCII letter case. Each literal is
//! announced by its rarest three characters: a table of 64 KiB answers for nearly all of a text, eight
//! places at a time, and only where it says yes is a literal compared.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use memchr::memchr_iter;

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
    hash: Hash,
    /// Per slot the bucket of what its grams announce; none is 0.
    buckets: Box<[u8; SLOTS]>,
    /// Per bucket where its entries begin in `entries`, and one more.
    begins: Vec<u32>,
    entries: Vec<Entry>,
    literals: Vec<Vec<u8>>,
    /// Literals of one byte, which no three bytes announce.
    single: Vec<(usize, u8)>,
    /// Literals of two, which have no byte before them where a text begins.
    double: Vec<(usize, [u8; 2])>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    literal: u32,
    /// From the literal's start to the byte after its announcing gram.
    offset: u32,
    /// The literal's first eight bytes, and which of them it has.
    head: u64,
    mask: u64,
}

/// From three folded bytes to a slot: the first two as one number, and the third, each times an odd
/// number, so that no two grams with the same third byte share one. Small numbers alone, of which the
/// compiler takes eight at once.
#[derive(Clone, Copy, Debug)]
struct Hash {
    first_two: u16,
    third: u16,
}

impl Hash {
    /// Of all hashes tried the one that gives frequent grams the fewest slots of `grams`.
    fn best_for(grams: &[Gram]) -> Self {
        let mut common: Vec<Gram> = LINE_ENDS
            .iter()
            .copied()
            .chain(COMMON_GRAMS.split(['\t', '\n']))
            .filter_map(|common| common.as_bytes().first_chunk())
            .map(|three| gram(*three))
            .collect();
        common.reverse();
        let mut taken = vec![false; SLOTS];
        let mut best = (usize::MAX, Self::tried(0));
        for hash in (0..TRIED_HASHES).map(Self::tried) {
            hash.mark(grams, true, &mut taken);
            let ranked = common.iter().zip(0_usize..);
            let fires =
                ranked.filter(|(gram, _)| taken.get(usize::from(hash.slot(**gram))) == Some(&true));
            let cost = fires.map(|(_, rank)| rank * rank).sum();
            hash.mark(grams, false, &mut taken);
            if cost < best.0 {
                best = (cost, hash);
            }
        }
        best.1
    }

    fn mark(self, grams: &[Gram], taken: bool, slots: &mut [bool]) {
        for gram in grams {
            if let Some(slot) = slots.get_mut(usize::from(self.slot(*gram))) {
                *slot = taken;
            }
        }
    }

    /// Odd multiples of the golden ratio's fraction, which spread well (Knuth, TAOCP 3, 6.4).
    const fn tried(n: u16) -> Self {
        Self {
            first_two: n.wrapping_mul(2).wrapping_add(1).wrapping_mul(0x9e37),
            third: n.wrapping_mul(2).wrapping_add(3).wrapping_mul(0x79b1),
        }
    }

    fn slot(self, [a, b, c]: Gram) -> u16 {
        let first_two = u16::from_le_bytes([a, b]).wrapping_mul(self.first_two);
        first_two.wrapping_add(u16::from(c).wrapping_mul(self.third))
    }

    /// The slots of the grams that begin at the first places of `bytes`.
    #[inline]
    fn slots(self, bytes: &[u8; BLOCK + 2]) -> [u16; BLOCK] {
        let mut slots = [0; BLOCK];
        let threes = bytes.windows(3).filter_map(<[u8]>::first_chunk);
        for (slot, three) in slots.iter_mut().zip(threes) {
            *slot = self.slot(gram(*three));
        }
        slots
    }
}

/// Three folded bytes.
type Gram = [u8; 3];

impl Literals {
    /// Takes lower-case literals. An empty one matches nowhere.
    pub(super) fn new(literals: &[String]) -> Self {
        let mut announcements: Vec<(Gram, Entry)> = Vec::new();
        let (mut single, mut double) = (Vec::new(), Vec::new());
        for (literal, text) in literals.iter().enumerate() {
            match text.as_bytes() {
                [byte] => single.push((literal, *byte)),
                [a, b] => double.push((literal, [*a, *b])),
                _ => {}
            }
            let (head, mask) = head(text.as_bytes());
            let literal = u32::try_from(literal).unwrap_or(u32::MAX);
            announcements.extend(
                announcing(text.as_bytes())
                    .into_iter()
                    .map(|(gram, offset)| {
                        let entry = Entry {
                            literal,
                            offset,
                            head,
                            mask,
                        };
                        (gram, entry)
                    }),
            );
        }
        let grams: Vec<Gram> = announcements.iter().map(|(gram, _)| *gram).collect();
        let hash = Hash::best_for(&grams);
        let mut buckets = Box::new([0; SLOTS]);
        let mut by_bucket: BTreeMap<u8, Vec<Entry>> = BTreeMap::new();
        let mut in_turn = (1..=u8::MAX).cycle();
        for (gram, entry) in announcements {
            if let Some(bucket) = buckets.get_mut(usize::from(hash.slot(gram))) {
                if *bucket == 0 {
                    *bucket = in_turn.next().unwrap_or(1);
                }
                by_bucket.entry(*bucket).or_default().push(entry);
            }
        }
        let mut begins = Vec::new();
        let mut entries = Vec::new();
        for bucket in 0..=u8::MAX {
            begins.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            entries.extend(by_bucket.remove(&bucket).unwrap_or_default());
        }
        begins.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        Self {
            hash,
            buckets,
            begins,
            entries,
            literals: literals.iter().map(|l| l.as_bytes().to_vec()).collect(),
            single,
            double,
        }
    }

    fn bucket(&self, slot: u16) -> u8 {
        let slot = usize::from(slot);
        self.buckets.get(slot).copied().unwrap_or(0)
    }

    /// What the grams of `slots` announce, which stand one after the other, the first up to `end`.
    #[cold]
    #[inline(never)]
    fn compare_all(
        &self,
        slots: &[u16; PLACES],
        text: &[u8],
        end: usize,
        found: &mut dyn FnMut(usize, usize),
    ) {
        // in turn, but without a look at each that announces nothing
        let mut left = u64::from_le_bytes(slots.map(|slot| self.bucket(slot)));
        while left != 0 {
            let place = left.trailing_zeros() & !7;
            let [bucket, ..] = (left >> place).to_le_bytes();
            self.compare(bucket, text, end + place as usize / 8, found);
            left &= !(0xff << place);
        }
    }

    fn compare(&self, bucket: u8, text: &[u8], end: usize, found: &mut dyn FnMut(usize, usize)) {
        for entry in self.entries_of(bucket) {
            let Some(start) = end.checked_sub(entry.offset as usize) else {
                continue;
            };
            let literal = entry.literal as usize;
            // most announcements are false; this finds out without a look at the literal, and whether a short one
            // is there
            if let Some(first) = text.get(start..).and_then(<[u8]>::first_chunk) {
                let differ = (u64::from_le_bytes(*first) ^ entry.head) & entry.mask;
                let alike = differ & !u64::from_le_bytes([FOLD; 8]) == 0;
                if !alike || small(*first) & entry.mask != entry.head {
                    continue;
                }
                if entry.mask != u64::MAX {
                    found(literal, start);
                    continue;
                }
            }
            let Some(wanted) = self.literals.get(literal) else {
                continue;
            };
            let is = text.get(start..start + wanted.len());
            if is.is_some_and(|is| is.eq_ignore_ascii_case(wanted)) {
                found(literal, start);
            }
        }
    }

    fn entries_of(&self, bucket: u8) -> &[Entry] {
        let bound = |at: usize| self.begins.get(at).map_or(0, |begin| *begin as usize);
        let bucket = usize::from(bucket);
        self.entries
            .get(bound(bucket)..bound(bucket + 1))
            .unwrap_or_default()
    }
}

impl Engine for Literals {
    /// Short literals first, then in the order of the grams that announce the others.
    fn scan(&self, text: &[u8], found: &mut dyn FnMut(usize, usize)) {
        for (literal, byte) in &self.single {
            for at in memchr_iter(*byte, text) {
                found(*literal, at);
            }
            if byte.is_ascii_lowercase() {
                for at in memchr_iter(byte.to_ascii_uppercase(), text) {
                    found(*literal, at);
                }
            }
        }
        for (literal, two) in &self.double {
            if text
                .get(..2)
                .is_some_and(|start| start.eq_ignore_ascii_case(two))
            {
                found(*literal, 0);
            }
        }
        let mut next = 0;
        while let Some(bytes) = text.get(next..).and_then(<[u8]>::first_chunk) {
            // by way of memory: to take numbers out of a vector one by one takes longer
            let slots = self.hash.slots(bytes);
            let (places, _) = slots.as_chunks::<PLACES>();
            for (slots, end) in places.iter().zip((next + 3..).step_by(PLACES)) {
                if slots.iter().fold(0, |any, slot| any | self.bucket(*slot)) != 0 {
                    self.compare_all(slots, text, end, found);
                }
            }
            next += BLOCK;
        }
        let rest = text.get(next..).unwrap_or_default();
        for (three, end) in rest.windows(3).zip(next + 3..) {
            if let Some(three) = three.first_chunk() {
                let bucket = self.bucket(self.hash.slot(gram(*three)));
                self.compare(bucket, text, end, found);
            }
        }
    }

    #[cfg(test)]
    fn table_bytes(&self) -> usize {
        size_of_val(&*self.buckets)
            + size_of_val(&*self.begins)
            + self.entries.len() * size_of::<Entry>()
            + self
                .literals
                .iter()
                .map(|l| l.len() + size_of::<Vec<u8>>())
                .sum::<usize>()
    }
}

/// The grams that announce a literal, each with what is from the literal's start to the gram's end:
/// its rarest, or every one that ends with a literal of two bytes.
fn announcing(literal: &[u8]) -> Vec<(Gram, u32)> {
    if let [a, b] = literal {
        // what folded bytes can be
        let before = (0..=u8::MAX).filter(|before| before & FOLD == FOLD);
        return before.map(|before| (gram([before, *a, *b]), 2)).collect();
    }
    let threes = literal.windows(3).filter_map(<[u8]>::first_chunk);
    let rarest = threes.zip(3..).min_by_key(|(three, _)| commonness(**three));
    let gram = rarest.map(|(three, end)| (gram(*three), end));
    gram.into_iter().collect()
}

/// How often three bytes stand in source code and prose: those of the list by their place in it,
/// the others by the letters they are of.
fn commonness(three: [u8; 3]) -> usize {
    static PLACES: LazyLock<HashMap<&[u8], usize>> = LazyLock::new(|| {
        let listed = COMMON_GRAMS.split(['\t', '\n']);
        listed.map(str::as_bytes).zip(0..).collect()
    });
    match PLACES.get(three.as_slice()) {
        Some(place) => 2_000 - place,
        None => three.iter().map(|b| commonness_of(*b)).sum(),
    }
}

/// The 1,536 most frequent groups of three characters of source code and prose, the first the most.
const COMMON_GRAMS: &str = include_str!("common_grams.txt");

/// What the list cannot hold, whose groups are on lines.
const LINE_ENDS: &[&str] = &[
    "\n  ", "\n\t\t", ";\n ", ",\n ", "{\n ", ");\n", "}\n\n", "\n\n ", "\n}\n", ")\n ", ":\n ",
    ".\n\n", "\n//", "},\n", ";\n}", "\n},", "),\n", "\n\n\n",
];

/// Eight bytes, capital letters of ASCII made small.
const fn small(bytes: [u8; 8]) -> u64 {
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let bytes = u64::from_le_bytes(bytes);
    // no byte carries into its neighbour, as its high bit is clear before
    let low = bytes & !HIGH;
    let from_a = low + u64::from_le_bytes([0x80 - b'A'; 8]);
    let behind_z = low + u64::from_le_bytes([0x7f - b'Z'; 8]);
    let capital = (from_a ^ behind_z) & !bytes & HIGH;
    // the high bit of a byte becomes the bit in which the cases differ
    bytes | (capital >> 2)
}

/// The first eight bytes of a literal in small letters, and a mask of those it has.
fn head(literal: &[u8]) -> (u64, u64) {
    let (mut head, mut mask) = ([0; 8], [0; 8]);
    for ((byte, head), mask) in literal.iter().zip(&mut head).zip(&mut mask) {
        (*head, *mask) = (*byte, u8::MAX);
    }
    let mask = u64::from_le_bytes(mask);
    (u64::from_le_bytes(head) & mask, mask)
}

const fn gram([a, b, c]: [u8; 3]) -> Gram {
    [a | FOLD, b | FOLD, c | FOLD]
}

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

/// The bit in which a letter's cases differ.
const FOLD: u8 = 0x20;
const SLOTS: usize = 1 << u16::BITS;
const TRIED_HASHES: u16 = 64;
/// So many places are hashed at once,
const BLOCK: usize = 64;
/// and so many are looked at before anything is compared.
const PLACES: usize = 8;

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
                0..48,
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
