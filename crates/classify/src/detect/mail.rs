//! The form of a mail address, as a pattern and matched by hand: texts have many `@`, and an engine takes longer to make
//! ready for one than a look at it. The pattern is the oracle.

use std::ops::Range;

use super::Match;

pub(super) const PATTERN: &str =
    r"[A-Za-z0-9][A-Za-z0-9._%+'-]{0,63}@(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,5}[A-Za-z]{2,24}";

/// What [`PATTERN`] matches at the start of `range` and within it.
pub(super) fn mail_address(text: &[u8], range: Range<usize>) -> Option<Match> {
    let text = text.get(..range.end)?;
    let at = part(text, range.start, MAX_LOCAL, |b| {
        b.is_ascii_alphanumeric() || b"._%+'-".contains(&b)
    })?;
    let end = (text.get(at) == Some(&b'@')).then(|| domain(text, at + 1))??;
    let span = range.start..end;
    Some(Match {
        value: span.clone(),
        group: 0,
        span,
    })
}

/// Where the domain of an address ends that begins at `from`.
pub(super) fn domain(text: &[u8], from: usize) -> Option<usize> {
    let (mut label, mut end) = (from, None);
    for _ in 0..MAX_LABELS {
        let dot = part(text, label, MAX_LABEL, |b| {
            b.is_ascii_alphanumeric() || b == b'-'
        });
        let Some(dot) = dot.filter(|dot| text.get(*dot) == Some(&b'.')) else {
            break;
        };
        label = dot + 1;
        let rest = text.get(label..).unwrap_or_default().iter();
        let letters = rest.take(MAX_TOP).take_while(|b| b.is_ascii_alphabetic());
        let top = label + letters.count();
        // as many labels as there are before a top one
        end = (top >= label + MIN_TOP).then_some(top).or(end);
    }
    end
}

/// Where a part of an address ends that begins at `from`, with a letter or digit, and goes on so for at most so many bytes.
fn part(text: &[u8], from: usize, most: usize, goes_on: impl Fn(u8) -> bool) -> Option<usize> {
    let begins = text.get(from)?.is_ascii_alphanumeric();
    let rest = text.get(from + 1..)?.iter();
    let length = rest.take(most).take_while(|b| goes_on(**b)).count();
    begins.then_some(from + 1 + length)
}

/// After the first byte of the part before the `@`, and of a label.
const MAX_LOCAL: usize = 63;
const MAX_LABEL: usize = 62;
const MAX_LABELS: usize = 5;
const MIN_TOP: usize = 2;
const MAX_TOP: usize = 24;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex_automata::Input;

    use super::{PATTERN, mail_address};
    use crate::detect::{Marks, Pattern, Search};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6_000))]
        #[test]
        fn by_hand_it_is_what_the_pattern_says(
            local in "[ .%_]{0,2}([A-Za-z0-9._%+'-]{0,6}|[a-z.]{61,66})",
            domain in "(@([a-z0-9-]{0,4}|[a-z]{1,3}|[a-z-]{61,65})[.]{0,2}){0,2}([a-z0-9-]{1,3}[.]){0,6}([a-z]{0,3}|[a-z]{23,26})",
            after in "[ .@é1]{0,2}",
            cut in 0_usize..4,
        ) {
            static SHARED: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(PATTERN).unwrap());
            static BY_HAND: Pattern = Pattern::by_hand(mail_address);
            let text = format!("{local}{domain}{after}");
            let end = text.len().saturating_sub(cut);
            let first = |pattern: &Pattern| {
                let input = Input::new(&text).range(..end);
                let found = Search::of(pattern).first(pattern, &input, &mut Marks::default());
                format!("{found:?}")
            };
            prop_assert_eq!(first(&BY_HAND), first(&SHARED), "{:?}", text);
        }
    }
}
