//! Name, operator, literal: the form of an assignment as a pattern, and the same matched by hand. Every `token` and
//! `secret` of a text is tried, and what engines change as they search is in no cache when a text is met for the
//! first time; by hand nothing is changed. The pattern is the oracle.

use std::ops::Range;

use crate::detect::{Match, name::KEY_QUALIFIERS};

/// Name, operator, literal. Groups 1 to 3: quoted; 4: the rest of a line of configuration.
pub(in crate::detect) const PATTERN: &str = concat!(
    r"(?i:pass|pwd|secret|token|credential|(?:api|access|private|auth|encryption|signing|master|",
    r"account|client|app|service|storage|license)[_-]?key|_key)[A-Za-z0-9_.\-]{0,40}",
    r#"(?:\\?["'`\]\)]){0,3}[ \t]{0,20}"#,
    r#"(?::[ \t]{0,4}[&A-Za-z_<>'\[\]?|. ]{1,30}=|:=|=>|::?:?=|[!=]={1,2}|[+.|?]{1,2}=|[=:(,>])"#,
    r#"[ \t]{0,20}(?:\r?\n[ \t]{0,40})?(?:[bruLf@]{0,2}\\?"([^"\r\n]{3,300}?)\\?"|[bruLf@]{0,2}'([^'\r\n]{3,300})'"#,
    r#"|`([^`\r\n]{3,300})`|([^\s"'`,;(){}\[\]<>&|]{4,300})(?:[ \t]*(?:[#;,&\\<}]|$)|[ \t]*[\r\n]))"#,
);

/// What [`PATTERN`] matches at the start of `range` and within it.
pub(in crate::detect) fn assignment(text: &[u8], range: Range<usize>) -> Option<Match> {
    let form = Form {
        text: text.get(..range.end)?,
        ends: range.end == text.len(),
    };
    let word = form.word(range.start)?;
    // of a shorter name, whose last dots are of an operator such as `..=`, the operator ends nowhere else
    let name = word + form.run(word, MAX_REST, is_name);
    let closings = form.closings(name).into_iter().rev().flatten();
    let (group, value, end) = closings
        .flat_map(|closed| form.operators(form.blanks(closed, MAX_BLANKS)))
        .find_map(|operator| form.literal(form.indented(operator)))?;
    Some(Match {
        span: range.start..end,
        group,
        value,
    })
}

/// Which group a literal is, the value in it, and where what it ends with ends.
type Literal = (usize, Range<usize>, usize);

struct Form<'a> {
    /// Up to where a match may end.
    text: &'a [u8],
    /// Whether nothing follows.
    ends: bool,
}

impl Form<'_> {
    fn at(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    /// How many bytes are so from `at` on, up to `most`.
    fn run(&self, at: usize, most: usize, is: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.get(at..).unwrap_or_default().iter();
        rest.take(most).take_while(|b| is(**b)).count()
    }

    fn blanks(&self, at: usize, most: usize) -> usize {
        at + self.run(at, most, is_blank)
    }

    /// Where the word ends that begins a name at `at`.
    fn word(&self, at: usize) -> Option<usize> {
        let after = |at: usize, word: &[u8]| {
            let end = at + word.len();
            let is = self.text.get(at..end)?;
            is.eq_ignore_ascii_case(word).then_some(end)
        };
        let mut words = WORDS.iter().map(|word| word.as_bytes());
        words.find_map(|word| after(at, word)).or_else(|| {
            let mut owners = KEY_QUALIFIERS.iter().map(|owner| owner.as_bytes());
            let owner = owners.find_map(|owner| after(at, owner))?;
            let joined = matches!(self.at(owner), Some(b'_' | b'-'));
            after(owner + usize::from(joined), b"key")
        })
    }

    /// Where none, one, two and three closing marks end.
    fn closings(&self, from: usize) -> [Option<usize>; 4] {
        let mut ends = [Some(from), None, None, None];
        let mut at = from;
        for end in ends.iter_mut().skip(1) {
            let escape = usize::from(self.at(at) == Some(b'\\'));
            let mark = self.at(at + escape);
            if !matches!(mark, Some(b'"' | b'\'' | b'`' | b']' | b')')) {
                break;
            }
            at += escape + 1;
            *end = Some(at);
        }
        ends
    }

    /// Where the operators end that begin at `at`, as the pattern prefers them.
    fn operators(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let two = (self.at(at), self.at(at + 1));
        let equals = |after: usize| (self.at(at + after) == Some(b'=')).then_some(at + after + 1);
        let or_more = |b: Option<u8>| matches!(b, Some(b'+' | b'.' | b'|' | b'?'));
        let ends = match two {
            (Some(b':'), next) => {
                let colons = usize::from(next == Some(b':'));
                let colons = colons + usize::from(colons == 1 && self.at(at + 2) == Some(b':'));
                [self.declared(at + 1), equals(1 + colons), Some(at + 1)]
            }
            (Some(b'='), Some(b'>')) => [Some(at + 2), None, Some(at + 1)],
            (Some(b'='), _) => [equals(1).and(equals(2)), equals(1), Some(at + 1)],
            (Some(b'!'), _) => [equals(1).and(equals(2)), equals(1), None],
            (Some(b'(' | b',' | b'>'), _) => [None, None, Some(at + 1)],
            (first, second) if or_more(first) => {
                [equals(1 + usize::from(or_more(second))), None, None]
            }
            _ => [None; 3],
        };
        ends.into_iter().flatten()
    }

    /// Where the `=` behind a declared type ends, which begins after the `:` before `at`.
    fn declared(&self, at: usize) -> Option<usize> {
        let blanks = self.run(at, MAX_BEFORE_TYPE, is_blank);
        // blanks may be of the type
        (0..=blanks).rev().find_map(|blanks| {
            let end = at + blanks + self.run(at + blanks, MAX_TYPE, is_type);
            (end > at + blanks && self.at(end) == Some(b'=')).then_some(end + 1)
        })
    }

    /// Where a literal begins after blanks, and on the next line after more.
    fn indented(&self, at: usize) -> usize {
        let blank = self.blanks(at, MAX_BLANKS);
        let line = blank + usize::from(self.at(blank) == Some(b'\r'));
        match self.at(line) {
            Some(b'\n') => self.blanks(line + 1, MAX_INDENT),
            _ => blank,
        }
    }

    fn literal(&self, at: usize) -> Option<Literal> {
        let prefixed = at + self.run(at, MAX_PREFIX, |b| b"bruLf@".contains(&b));
        let double = prefixed + usize::from(self.at(prefixed) == Some(b'\\'));
        let quoted = match (self.at(double), self.at(prefixed), self.at(at)) {
            (Some(b'"'), _, _) => self.escapable(double + 1),
            (_, Some(b'\''), _) => self.quoted(prefixed + 1, b'\'', 2),
            (_, _, Some(b'`')) => self.quoted(at + 1, b'`', 3),
            _ => None,
        };
        quoted.or_else(|| self.bare(at))
    }

    /// A literal in quotes from `from` on, of which the last may be escaped.
    fn escapable(&self, from: usize) -> Option<Literal> {
        let length = self.run(from, MAX_VALUE + 2, |b| !matches!(b, b'"' | b'\r' | b'\n'));
        let close = from + length;
        let escaped = length > MIN_VALUE && self.at(close - 1) == Some(b'\\');
        let value = from..close - usize::from(escaped);
        let fits = (MIN_VALUE..=MAX_VALUE).contains(&value.len());
        (fits && self.at(close) == Some(b'"')).then_some((1, value, close + 1))
    }

    fn quoted(&self, from: usize, mark: u8, group: usize) -> Option<Literal> {
        let within = |b: u8| b != mark && !matches!(b, b'\r' | b'\n');
        let close = from + self.run(from, MAX_VALUE, within);
        let fits = close - from >= MIN_VALUE && self.at(close) == Some(mark);
        fits.then_some((group, from..close, close + 1))
    }

    fn bare(&self, from: usize) -> Option<Literal> {
        let most = self.run(from, MAX_VALUE, is_bare);
        // what ends a literal may be of one
        let mut lengths = (MIN_BARE..=most).rev();
        lengths.find_map(|length| {
            let end = from + length;
            let after = end + self.run(end, usize::MAX, is_blank);
            let mark = self.at(after);
            let closed = mark.is_some_and(|mark| b"#;,&\\<}\r\n".contains(&mark));
            let ends = closed || (mark.is_none() && self.ends);
            ends.then_some((4, from..end, after + usize::from(closed)))
        })
    }
}

const fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

const fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

fn is_type(b: u8) -> bool {
    b.is_ascii_alphabetic() || b"&_<>'[]?|. ".contains(&b)
}

fn is_bare(b: u8) -> bool {
    !matches!(b, b'\t'..=b'\r') && !b" \"'`,;(){}[]<>&|".contains(&b)
}

const WORDS: &[&str] = &["pass", "pwd", "secret", "token", "credential", "_key"];

/// The longest rest of a name after the word that says credential.
const MAX_REST: usize = 40;
const MAX_BLANKS: usize = 20;
const MAX_INDENT: usize = 40;
const MAX_BEFORE_TYPE: usize = 4;
const MAX_TYPE: usize = 30;
const MAX_PREFIX: usize = 2;
const MIN_VALUE: usize = 3;
const MIN_BARE: usize = 4;
const MAX_VALUE: usize = 300;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex_automata::{Anchored, Input};

    use super::{PATTERN, assignment};
    use crate::detect::{Marks, Pattern, Search};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6_000))]
        #[test]
        fn by_hand_it_is_what_the_pattern_says(
            name in "(pass|pwd|TOKEN|credential|(api|app|auth)[_-]?key|apikay|_key|x)[a-zA-Z._-]{0,4}([a-z_.]{34,39})?[.]{0,3}",
            middle in "(\\\\?[\"'`\\])x]){0,4}[ \t]{0,2}( {18,20})?",
            operator in "(:[ \t]{0,5}[&A-Za-z<>' \t.]{0,4}([a-z]{26,30})?=?|:{1,4}=|=>|[!=]={0,3}|[+.|?=]{1,3}|[=:(,>])",
            before in "[ \t]{0,2}( {18,20})?(\r?\n[ \t]{0,2}( {38,40})?)?",
            value in "[bruLfx@]{0,3}\\\\?[\"'`]?([a-f0-9#\\\\é]{0,6}|[a-f#]{296,304})\\\\?[\"'`]?[ \t]{0,2}[#;,&\\\\<}\r\n\u{b}x]{0,2}",
            cut in 0_usize..6,
        ) {
            let text = format!("{name}{middle}{operator}{before}{value}");
            static SHARED: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(PATTERN).unwrap());
            let (mut search, mut marks) = (Search::of(&SHARED), Marks::default());
            for end in [text.len(), text.len().saturating_sub(cut)] {
                let input = Input::new(&text).range(..end).anchored(Anchored::Yes);
                let wanted = search.first(&SHARED, &input, &mut marks);
                let found = assignment(text.as_bytes(), 0..end);
                prop_assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "{:?}", text);
            }
        }
    }
}
