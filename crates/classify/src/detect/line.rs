//! What stands around a match on its own line. Words of other lines neither help nor excuse, so
//! that a line more never lowers a label.

use std::ops::Range;

use super::{ceil_boundary, floor_boundary};

/// Up to `reach` bytes before and after `span` on its line, in lower case, a blank between.
pub(super) fn around(text: &str, span: &Range<usize>, reach: usize) -> String {
    let before = text.get(..span.start).unwrap_or_default();
    let end = ceil_boundary(text, span.end.saturating_add(reach));
    let after = text.get(span.end..end).unwrap_or_default();
    let mut near = before_on_line(before, reach).to_owned();
    near.push(' ');
    near.push_str(after.split('\n').next().unwrap_or_default());
    near.make_ascii_lowercase();
    near
}

/// The last `reach` bytes of `before` that are on its last line.
pub(super) fn before_on_line(before: &str, reach: usize) -> &str {
    let from = floor_boundary(before, before.len().saturating_sub(reach));
    let near = before.get(from..).unwrap_or_default();
    near.rsplit('\n').next().unwrap_or_default()
}
