//! One pass over a text for all literals at once, in any ASCII letter case. Each literal is
//! announced by its rarest three characters: a bitmap of 4 KiB that stays in the first-level cache
//! answers for nearly all of a text, and only where it says yes is a literal compared.

/// Literals made ready.
#[derive(Debug)]
pub(super) struct Literals {
    /// A bit per [`gram`].
    announced: Box<[u64; GRAMS / 64]>,
    /// Per gram where its entries begin in `entries`, and one more.
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
        let mut by_gram: Vec<Vec<Entry>> = vec![Vec::new(); GRAMS];
        for (index, literal) in literals.iter().enumerate() {
            let Ok(index) = u32::try_from(index) else {
                break;
            };
            for (gram, offset) in announcing(literal.as_bytes()) {
                if let Some(entries) = by_gram.get_mut(gram) {
                    let (head, mask) = head(literal.as_bytes());
                    entries.push(Entry {
                        literal: index,
                        offset,
                        head,
                        mask,
                    });
                }
            }
        }
        let mut announced = Box::new([0_u64; GRAMS / 64]);
        let mut begins = Vec::with_capacity(GRAMS + 1);
        let mut entries = Vec::new();
        for (gram, of) in by_gram.iter().enumerate() {
            begins.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            entries.extend_from_slice(of);
            if let Some(word) = announced.get_mut(gram / 64).filter(|_| !of.is_empty()) {
                *word |= 1 << (gram % 64);
            }
        }
        begins.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        Self {
            announced,
            begins,
            entries,
            literals: literals.iter().map(|l| l.as_bytes().to_vec()).collect(),
        }
    }

    /// Calls `found(literal, start)` for every occurrence, overlapping ones too, in the order of
    /// the grams that announce them.
    pub(super) fn scan(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        let mut gram = 0_usize;
        for (at, byte) in text.iter().enumerate() {
            gram = (gram << CLASS_BITS | usize::from(class(*byte))) & (GRAMS - 1);
            // the mask keeps the index inside, so the compiler drops the check
            let word = self.announced.get(gram >> 6).copied().unwrap_or(0);
            if word >> (gram & 63) & 1 != 0 {
                self.compare(gram, text, at + 1, &mut found);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn compare(&self, gram: usize, text: &[u8], end: usize, found: &mut impl FnMut(usize, usize)) {
        let bound = |at: usize| {
            self.begins
                .get(at)
                .and_then(|b| usize::try_from(*b).ok())
                .unwrap_or(0)
        };
        for entry in self
            .entries
            .get(bound(gram)..bound(gram + 1))
            .unwrap_or_default()
        {
            let (literal, offset) = (entry.literal as usize, entry.offset as usize);
            let Some(start) = end.checked_sub(offset) else {
                continue;
            };
            // most announcements are false; this finds out without a look at the literal
            let first = text.get(start..).and_then(<[u8]>::first_chunk);
            if first.is_some_and(|first| folded(*first) & entry.mask != entry.head) {
                continue;
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

    /// Bytes of all tables.
    #[cfg(test)]
    pub(super) fn table_bytes(&self) -> usize {
        size_of_val(&*self.announced)
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
            let weight = |three: &[u8]| three.iter().map(|b| commonness(*b)).sum::<u32>();
            let rarest = literal
                .windows(3)
                .enumerate()
                .min_by_key(|(_, three)| weight(three));
            rarest
                .map(|(at, three)| (gram(three), offset(at + 3)))
                .into_iter()
                .collect()
        }
    }
}

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

/// 32 classes: letters without case, digits, and what tokens and text are joined with.
fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0_u8;
    loop {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated when compiled; a byte is below 256"
        )]
        {
            classes[byte as usize] = match byte {
                b'a'..=b'z' => byte - b'a',
                b'A'..=b'Z' => byte - b'A',
                b'0'..=b'9' => 26,
                b'_' => 27,
                b'-' => 28,
                b'@' => 29,
                b'.' | b':' | b'/' | b'=' => 30,
                _ => OTHER,
            };
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    classes
};

/// Roughly 10 times the logarithm of a class's share in source code and prose.
fn commonness(byte: u8) -> u32 {
    match byte.to_ascii_lowercase() {
        b'e' | b't' => 40,
        b'a' | b'i' | b'n' | b'o' | b'r' | b's' => 37,
        b'c' | b'd' | b'l' => 32,
        b'f' | b'h' | b'm' | b'p' | b'u' => 28,
        b'b' | b'g' | b'w' | b'y' => 24,
        b'v' | b'k' => 18,
        b'x' => 14,
        b'j' | b'q' | b'z' => 5,
        b'0'..=b'9' => 36,
        b'_' => 26,
        b'-' => 22,
        b'@' => 1,
        b'.' | b':' | b'/' | b'=' => 34,
        _ => 50,
    }
}

const OTHER: u8 = 31;
const CLASS_BITS: u32 = 5;
const GRAMS: usize = 1 << (3 * CLASS_BITS);

#[cfg(test)]
mod tests {
    use aho_corasick::AhoCorasick;
    use proptest::prelude::*;

    use super::Literals;

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
            Literals::new(&samples).scan(text.as_bytes(), |literal, start| found.push((literal, start)));
            wanted.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, wanted);
        }
    }
}
