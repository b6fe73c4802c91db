//! Other readings of a text: without invisible characters, unescaped, decoded. Each remembers
//! where in the text it came from. Reads only; decides nothing.

use std::ops::Range;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::{memchr, memrchr};

use crate::detect::{bytes_of, floor_boundary, next_run};

/// A reading of a text.
#[derive(Debug)]
pub(super) struct View {
    pub(super) text: String,
    pub(super) kind: ViewKind,
    map: Map,
}

/// How a reading came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ViewKind {
    /// Invisible characters dropped, full-width ones folded.
    Visible,
    /// Escapes undone.
    Spelling,
    /// Base64 or hexadecimal decoded.
    Base64,
}

#[derive(Debug)]
enum Map {
    /// Everything stands for this range.
    Whole(Range<usize>),
    Pieces(Pieces),
}

/// From each view offset on, bytes correspond one to one from the parent offset on; where the
/// pieces were too many to keep, somewhere between that offset and the next piece's.
#[derive(Debug)]
struct Pieces {
    pieces: Vec<(u32, u32)>,
    exact: bool,
    /// Where the parent ends.
    end: usize,
}

impl View {
    /// The range of the parent text that `range` of this reading stands for.
    pub(super) fn to_parent(&self, range: &Range<usize>) -> Range<usize> {
        match &self.map {
            Map::Whole(whole) => whole.clone(),
            Map::Pieces(pieces) => pieces.to_parent(range),
        }
    }
}

impl Pieces {
    fn to_parent(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.position(range.start);
        let last = self.piece(range.end.saturating_sub(1));
        let next = self.at(last.saturating_add(1));
        let follows = self.at(last.saturating_add(1)).map(|piece| piece.0);
        let end = match next {
            Some((_, parent)) if !self.exact || follows == Some(range.end) => parent,
            None if !self.exact => self.end,
            _ => self.position(range.end.saturating_sub(1)).saturating_add(1),
        };
        start..end.max(start)
    }

    fn position(&self, at: usize) -> usize {
        match self.at(self.piece(at)) {
            Some((view, parent)) if self.exact => parent + at.saturating_sub(view),
            Some((_, parent)) => parent,
            None => at,
        }
    }

    /// Index of the piece that holds `at`.
    fn piece(&self, at: usize) -> usize {
        let begun = |piece: &(u32, u32)| piece.0 as usize <= at;
        self.pieces.partition_point(begun).saturating_sub(1)
    }

    fn at(&self, index: usize) -> Option<(usize, usize)> {
        let (view, parent) = self.pieces.get(index)?;
        Some((*view as usize, *parent as usize))
    }
}

/// Builds a piecewise view.
struct Builder {
    text: String,
    pieces: Vec<(u32, u32)>,
    /// Most pieces, an eighth of the parent's size; then every other is dropped.
    room: usize,
    /// Least bytes of text from piece to piece.
    gap: usize,
    end: usize,
}

impl Builder {
    fn of(parent: &str) -> Self {
        Self {
            text: String::new(),
            pieces: Vec::new(),
            room: MIN_PIECES + parent.len() / 64,
            gap: 0,
            end: parent.len(),
        }
    }

    fn at(&mut self, parent: usize) {
        // no text is longer than a request may be
        let (Ok(view), Ok(parent)) = (u32::try_from(self.text.len()), u32::try_from(parent)) else {
            return;
        };
        let near = |last: &(u32, u32)| (view - last.0) as usize <= self.gap;
        if self.gap > 0 && self.pieces.last().is_some_and(near) {
            return;
        }
        if self.pieces.len() >= self.room {
            let mut keep = false;
            self.pieces.retain(|_| {
                keep = !keep;
                keep
            });
            self.gap = self.gap.max(MIN_GAP) * 2;
        }
        self.pieces.push((view, parent));
    }

    fn copy(&mut self, text: &str, range: Range<usize>) {
        // no reading is longer than its parent and a line break, so it never grows twice over
        let left = self.end.saturating_sub(self.text.len()) + 1;
        if self.text.capacity() == 0 {
            self.text.reserve_exact(left);
        }
        self.text.push_str(text.get(range).unwrap_or_default());
    }

    fn finish(self, kind: ViewKind) -> View {
        View {
            text: self.text,
            kind,
            map: Map::Pieces(Pieces {
                exact: self.gap == 0,
                pieces: self.pieces,
                end: self.end,
            }),
        }
    }
}

const MIN_PIECES: usize = 64;
const MIN_GAP: usize = 32;

/// Gives every reading of `text` that differs from it, one at a time, until `give` says no. `runs`
/// are the long runs of the text, of which encoded text is one.
pub(super) fn readings(text: &str, runs: &[Range<usize>], give: &mut dyn FnMut(View) -> bool) {
    let (visible, seen) = visible(text);
    // what is read without its invisible characters is decoded from there on
    let _ = visible
        .into_iter()
        .chain(unescaped(text, &seen))
        .all(&mut *give)
        && percent_decoded(text, &seen, give)
        && base64_decoded(text, runs, &seen, give);
}

/// The end of the part of `seen`, which is in order, that holds `at`.
fn past(seen: &[Range<usize>], at: usize) -> Option<usize> {
    let next = seen.get(seen.partition_point(|part| part.end <= at))?;
    (next.start <= at).then_some(next.end)
}

/// `text` without zero-width characters and with full-width forms folded to ASCII: the lines that
/// have any, with so much around them as one detector looks at. And which parts of it these are.
fn visible(text: &str) -> (Option<View>, Vec<Range<usize>>) {
    let changed = foreign(text).filter(|(_, c)| is_invisible(*c) || fold(*c) != *c);
    let mut builder = Builder::of(text);
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut copied = 0;
    for (at, c) in changed {
        let reach = at.saturating_add(VISIBLE_AFTER);
        let before = parts.last().map_or(0, |part| part.end);
        if at >= before {
            builder.copy(text, copied..before);
            copied = line_start(text, at.saturating_sub(VISIBLE_BEFORE)).max(before);
            builder.at(copied);
            parts.push(copied..line_end(text, reach));
        } else if reach >= before
            && let Some(part) = parts.last_mut()
        {
            // no byte is searched twice for the end of its line
            part.end = line_end(text, reach);
        }
        builder.copy(text, copied..at);
        if !is_invisible(c) {
            builder.at(at);
            builder.text.push(fold(c));
        }
        copied = at + c.len_utf8();
        builder.at(copied);
    }
    let end = parts.last().map_or(0, |part| part.end);
    builder.copy(text, copied..end);
    let view = (!parts.is_empty()).then(|| builder.finish(ViewKind::Visible));
    (view, parts)
}

fn line_start(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    memrchr(b'\n', before).map_or(0, |line_break| line_break + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    let after = text.as_bytes().get(at..).unwrap_or_default();
    memchr(b'\n', after).map_or(text.len(), |line_break| at + line_break + 1)
}

/// The characters outside ASCII and where they stand, blocks of ASCII passed over whole.
fn foreign(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let blocks = text.as_bytes().chunks(ASCII_BLOCK).enumerate();
    blocks
        .filter(|(_, block)| block.iter().fold(0, |all, b| all | b) >= 0x80)
        .flat_map(|(index, block)| {
            let begin = index * ASCII_BLOCK;
            // a byte of 0xC2 or more begins a character
            let starts = block.iter().enumerate().filter(|(_, byte)| **byte >= 0xc2);
            starts.map(move |(at, _)| begin + at)
        })
        .filter_map(|at| Some((at, text.get(at..)?.chars().next()?)))
}

const ASCII_BLOCK: usize = 128;

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e007f}'
    )
}

fn fold(c: char) -> char {
    match c {
        // U+FF01 to U+FF5E are U+0021 to U+007E in full width
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{3000}' | '\u{a0}' => ' ',
        // dashes of prose are left: they stand in every second text and join no token
        '\u{2010}' | '\u{2011}' | '\u{2212}' => '-',
        _ => look_alike(c).unwrap_or(c),
    }
}

/// The ASCII letter that a Cyrillic or Greek one is drawn like (Unicode TR 39, confusables).
fn look_alike(c: char) -> Option<char> {
    if !('\u{370}'..='\u{4ff}').contains(&c) {
        return None;
    }
    let at = LOOK_ALIKES.0.chars().position(|known| known == c)?;
    LOOK_ALIKES.1.chars().nth(at)
}

const LOOK_ALIKES: (&str, &str) = (
    "асеорхуіјѕԁһԛԝАВЕКМНОРСТХУІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧοιν",
    "aceopxyijsdhqwABEKMHOPCTXYIJSABEZHIKMNOPTYXoiv",
);

/// The lines that hold JSON or source code escapes, with these undone.
fn unescaped(text: &str, seen: &[Range<usize>]) -> Option<View> {
    let bytes = text.as_bytes();
    let rest = |from: usize| bytes.get(from..).unwrap_or_default();
    let mut builder = Builder::of(text);
    // always where a line begins
    let mut from = 0;
    while let Some(ahead) = memchr(b'\\', rest(from)) {
        let slash = from + ahead;
        let before = bytes.get(from..slash).unwrap_or_default();
        let start = memrchr(b'\n', before).map_or(from, |at| from + at + 1);
        let end = memchr(b'\n', rest(slash)).map_or(bytes.len(), |at| slash + at + 1);
        from = past(seen, start).unwrap_or_else(|| {
            let line = text.get(start..end).unwrap_or_default();
            unescape_line(line, start, &mut builder);
            end
        });
    }
    (!builder.text.is_empty()).then(|| builder.finish(ViewKind::Spelling))
}

fn unescape_line(line: &str, offset: usize, builder: &mut Builder) {
    let (mut copied, mut at, mut found) = (0, 0, false);
    while let Some(slash) = line
        .get(at..)
        .and_then(|rest| memchr(b'\\', rest.as_bytes()))
    {
        let slash = at + slash;
        let rest = line.get(slash..).unwrap_or_default();
        let Some((decoded, length)) = unescape(rest) else {
            at = slash + 1;
            continue;
        };
        if !found {
            builder.at(offset);
        }
        found = true;
        builder.copy(line, copied..slash);
        builder.at(offset + slash);
        builder.text.push(decoded);
        at = slash + length;
        copied = at;
        builder.at(offset + at);
    }
    if found {
        builder.copy(line, copied..line.len());
        if !line.ends_with('\n') {
            builder.text.push('\n');
        }
    }
}

/// The character that an escape at the start of `text` stands for, and the escape's length.
fn unescape(text: &str) -> Option<(char, usize)> {
    match text.as_bytes().get(1)? {
        b'n' => Some(('\n', 2)),
        b'r' => Some(('\r', 2)),
        b't' => Some(('\t', 2)),
        b'"' => Some(('"', 2)),
        b'\'' => Some(('\'', 2)),
        b'/' => Some(('/', 2)),
        b'\\' => Some(('\\', 2)),
        b'x' => Some((char::from_u32(hex(text.get(2..4)?)?)?, 4)),
        b'u' => Some((char::from_u32(hex(text.get(2..6)?)?)?, 6)),
        _ => None,
    }
}

fn hex(digits: &str) -> Option<u32> {
    let all = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| all)
}

/// Every run without white space that holds a percent escape, decoded.
fn percent_decoded(text: &str, seen: &[Range<usize>], give: &mut dyn FnMut(View) -> bool) -> bool {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| memchr(b'%', rest)) {
        let at = from + at;
        from = at + 1;
        if percent_byte(bytes, at).is_none() {
            continue;
        }
        if let Some(end) = past(seen, at) {
            from = end;
            continue;
        }
        let inside = |b: &u8| !b.is_ascii_whitespace();
        let back = bytes.get(..at).unwrap_or_default().iter().rev();
        let before = back.take(MAX_RUN_BEFORE).take_while(|b| inside(b)).count();
        let ahead = bytes.get(at..).unwrap_or_default().iter();
        let after = ahead.take(MAX_RUN_AFTER).take_while(|b| inside(b)).count();
        let run = at - before..at + after;
        let mut decoded = Vec::with_capacity(run.len());
        let mut next = run.start;
        while next < run.end {
            let byte = percent_byte(bytes, next);
            decoded.extend(byte.or_else(|| bytes.get(next).copied()));
            next += if byte.is_some() { 3 } else { 1 };
        }
        from = run.end;
        let view = View {
            text: String::from_utf8_lossy(&decoded).into_owned(),
            kind: ViewKind::Spelling,
            map: Map::Whole(run),
        };
        if !give(view) {
            return false;
        }
    }
    true
}

fn percent_byte(bytes: &[u8], at: usize) -> Option<u8> {
    if bytes.get(at) != Some(&b'%') {
        return None;
    }
    let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
    hex(digits).and_then(|value| u8::try_from(value).ok())
}

/// Every run of base64 that decodes to text, runs over several lines put together.
fn base64_decoded(
    text: &str,
    runs: &[Range<usize>],
    seen: &[Range<usize>],
    give: &mut dyn FnMut(View) -> bool,
) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    let long = |run: &&Range<usize>| run.len() >= MIN_RUN && past(seen, run.start).is_none();
    for long in runs.iter().filter(long) {
        at = at.max(long.start);
        let within = bytes.get(..long.end).unwrap_or_default();
        while let Some(run) = next_run::<MIN_RUN>(within, at, &BASE64) {
            let (view, end) = decoded_run(bytes, run);
            at = end;
            if view.is_some_and(|view| !give(view)) {
                return false;
            }
        }
    }
    true
}

/// What a run is in plain text, if it is, and where what was read of it ends.
fn decoded_run(bytes: &[u8], run: Range<usize>) -> (Option<View>, usize) {
    let view = |text, whole| View {
        text,
        kind: ViewKind::Base64,
        map: Map::Whole(whole),
    };
    let mut end = run.end;
    if let Some(decoded) = hex_decoded(bytes.get(run.clone()).unwrap_or_default()) {
        return (Some(view(decoded, run)), end);
    }
    let Some(shift) = (0..4).find(|shift| reads_as_text(bytes, &run, *shift)) else {
        return (None, end);
    };
    let start = run.start + shift;
    let mut encoded = bytes.get(start..run.end).unwrap_or_default().to_vec();
    let mut line = run.len();
    while line >= MIN_WRAPPED_LINE
        && let Some(next) = wrapped(bytes, end)
    {
        encoded.extend_from_slice(bytes.get(next.clone()).unwrap_or_default());
        end = next.end;
        line = next.len();
    }
    let decoded = decode(&encoded);
    drop(encoded);
    let text = decoded.map(as_text);
    (text.map(|text| view(text, start..end)), end)
}

/// The text that a run of hexadecimal digits is, if it is one.
fn hex_decoded(run: &[u8]) -> Option<String> {
    if !run.len().is_multiple_of(2) || !run.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok()?;
        let value = hex(digits).and_then(|value| u8::try_from(value).ok())?;
        matches!(value, b' '..=b'~' | b'\n' | b'\r' | b'\t').then_some(char::from(value))
    };
    run.chunks_exact(2).map(byte).collect()
}

/// The run on the next line, where nothing but a line break and indentation is between.
fn wrapped(bytes: &[u8], end: usize) -> Option<Range<usize>> {
    let rest = bytes.get(end..)?;
    let gap = rest
        .iter()
        .take(32)
        .take_while(|b| b.is_ascii_whitespace())
        .count();
    let broken = rest.get(..gap)?.contains(&b'\n');
    let run = rest
        .get(gap..)?
        .iter()
        .take_while(|b| is_base64(**b))
        .count();
    (broken && run > 0).then(|| end + gap..end + gap + run)
}

fn is_base64(byte: u8) -> bool {
    BASE64.get(usize::from(byte)).copied().unwrap_or(false)
}

const BASE64: [bool; 256] =
    bytes_of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_");

fn reads_as_text(bytes: &[u8], run: &Range<usize>, shift: usize) -> bool {
    let start = run.start + shift;
    let head = bytes
        .get(start..(start + 24).min(run.end))
        .unwrap_or_default();
    decode(head).is_some_and(|decoded| {
        let readable = |b: &u8| matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t');
        decoded.iter().all(readable) || is_utf16(&decoded)
    })
}

fn is_utf16(decoded: &[u8]) -> bool {
    let wide = |pair: &[u8]| matches!(pair, [b' '..=b'~' | b'\n' | b'\r' | b'\t', 0]);
    decoded.len() >= 8 && decoded.chunks_exact(2).all(wide)
}

fn as_text(decoded: Vec<u8>) -> String {
    let head = decoded.get(..decoded.len().min(16)).unwrap_or_default();
    if is_utf16(head) {
        let narrow: Vec<u8> = decoded.iter().copied().step_by(2).collect();
        return String::from_utf8_lossy(&narrow).into_owned();
    }
    String::from_utf8(decoded)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    // a lone last character holds six bits, too few for a byte
    let whole = encoded.len() - usize::from(encoded.len() % 4 == 1);
    let encoded = encoded.get(..whole)?;
    let url = encoded.iter().any(|b| matches!(b, b'-' | b'_'));
    if url { &URL_SAFE } else { &STANDARD }.decode(encoded).ok()
}

/// The text with line breaks and string concatenations taken out of it, where it has any: what a
/// value was before an editor or a programmer broke it.
pub(super) fn rejoined(text: &str) -> Option<View> {
    let mut builder = Builder::of(text);
    builder.at(0);
    let (mut at, mut copied) = (0, 0);
    while let Some(ahead) = next_seam(text, at) {
        at += ahead;
        let seam = seam_length(text.get(at..).unwrap_or_default());
        if seam == 0 {
            at += 1;
            continue;
        }
        builder
            .text
            .push_str(text.get(copied..at).unwrap_or_default());
        at += seam;
        copied = at;
        builder.at(at);
    }
    if copied == 0 {
        return None;
    }
    builder
        .text
        .push_str(text.get(copied..).unwrap_or_default());
    Some(builder.finish(ViewKind::Spelling))
}

/// How far on the next byte is that a seam begins with; all of these are ASCII.
fn next_seam(text: &str, from: usize) -> Option<usize> {
    let rest = text.as_bytes().get(from..)?;
    rest.iter()
        .position(|b| matches!(b, b'"' | b'\'' | b'\\' | b'\n' | b'\r'))
}

/// Length of what breaks a value at the start of `text`: `"` `+` line `"`, a backslash and a line
/// break, or a line break and indentation. Zero where nothing does.
pub(super) fn seam_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else { return 0 };
    let quote = matches!(first, b'"' | b'\'');
    if !quote && !matches!(first, b'\\' | b'\n' | b'\r') {
        return 0;
    }
    let rest = bytes.iter().skip(1).take(MAX_SEAM);
    let filler = |b: &&u8| b.is_ascii_whitespace() || matches!(b, b'+' | b'.' | b'\\' | b'&');
    let length = 1 + rest.take_while(filler).count();
    let broken = bytes.get(..length).is_some_and(|gap| gap.contains(&b'\n'));
    let joined = bytes.get(..length).is_some_and(|gap| gap.contains(&b'+'));
    match (quote, bytes.get(length)) {
        (true, Some(next)) if next == first && (broken || joined) => length + 1,
        (false, _) if broken => floor_boundary(text, length),
        _ => 0,
    }
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The shortest run taken for base64: 24 bytes of text, the shortest token worth hiding.
const MIN_RUN: usize = 32;
/// What a detector that looks at much text looks at, a FHIR resource.
const VISIBLE_BEFORE: usize = 512;
const VISIBLE_AFTER: usize = 4_352;
/// Encoders wrap at 64 or 76.
const MIN_WRAPPED_LINE: usize = 60;
const MAX_RUN_BEFORE: usize = 512;
const MAX_RUN_AFTER: usize = 8_192;
const MAX_SEAM: usize = 64;

#[cfg(test)]
#[expect(
    clippy::string_slice,
    reason = "the samples are ASCII where they are cut"
)]
mod tests {
    use super::{View, readings, rejoined};
    use crate::detect::long_runs;

    fn all(text: &str) -> Vec<View> {
        let mut views = Vec::new();
        readings(text, &long_runs(text), &mut |view| {
            views.push(view);
            true
        });
        views
    }

    fn texts(text: &str) -> Vec<String> {
        all(text).into_iter().map(|view| view.text).collect()
    }

    #[test]
    fn plain_text_has_no_other_reading() {
        assert!(texts("fn main() { println!(\"100% {}\", x); }\n").is_empty());
    }

    #[test]
    fn zero_width_characters_and_full_width_letters_are_undone() {
        assert_eq!(texts("a\u{200b}b\u{ff21}"), ["abA"]);
        let view = &all("a\u{200b}b")[0];
        assert_eq!(view.to_parent(&(1..2)), 4..5);
    }

    #[test]
    fn escapes_are_undone_and_map_back() {
        let text = r#"first\u0041 \"x\" \d"#;
        let views = all(text);
        assert_eq!(views[0].text, "firstA \"x\" \\d\n");
        assert_eq!(views[0].to_parent(&(5..6)), 5..11);
        assert_eq!(&text[views[0].to_parent(&(8..9))], "x");
    }

    #[test]
    fn percent_runs_are_decoded_whole() {
        assert_eq!(texts("see a%3Db%20c end"), ["a=b c"]);
        assert!(texts("100%d of %s").is_empty());
    }

    #[test]
    fn base64_of_text_is_decoded_and_of_bytes_is_not() {
        let encoded = "aGVsbG8gd29ybGQsIHRoaXMgaXMgYSB0ZXN0IG9mIHRleHQ=";
        assert_eq!(texts(encoded), ["hello world, this is a test of text"]);
        assert_eq!(texts(&format!("x/{encoded}")).len(), 1);
        assert!(texts("3b2c9e8a7f6d5c4b3a2918f7e6d5c4b3a29187f6e5d4c3b2a190").is_empty());
        assert!(
            texts("integrity sha512-Yp2Qs4Ltxb0Z9EPqJtgnBUB1ss2JaAMTs76rFkhl1sDLXR2Wci2WbDPe")
                .is_empty()
        );
    }

    #[test]
    fn wrapped_base64_is_put_together() {
        use base64::Engine as _;
        let long = "the quick brown fox jumps over the lazy dog ".repeat(4);
        let encoded = super::STANDARD.encode(&long);
        let lines: Vec<&str> = (0..encoded.len())
            .step_by(76)
            .map(|at| &encoded[at..(at + 76).min(encoded.len())])
            .collect();
        assert_eq!(texts(&lines.join("\n  ")), [long]);
    }

    #[test]
    fn broken_values_are_put_together() {
        assert_eq!(rejoined("abc\" +\n  \"def").unwrap().text, "abcdef");
        assert_eq!(rejoined("abc\\\n   def").unwrap().text, "abcdef");
        assert!(rejoined("\"abc\", \"def\"").is_none());
    }
}
