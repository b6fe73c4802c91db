//! What people read: the transcript, `report.html`, `VERIFY.md`. Text from rooms is escaped; nothing
//! here decides anything.

mod report;
mod transcript;
mod verify_md;

pub use report::{REPORT_FORMAT, report_html};
pub use transcript::{json, transcript};
pub use verify_md::{VERIFY_MD_FORMAT, verify_md};

/// Text from a room, safe for a terminal and on one line: control and direction characters are shown
/// as escapes.
#[must_use]
pub fn printable(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hostile(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escapes_and_direction_marks_never_reach_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mb\u{202e}c\n"),
            "a\\u{1b}[31mb\\u{202e}c\\u{a}"
        );
        assert_eq!(printable("größe `x`"), "größe `x`");
    }
}
