//! Turns a JSON subtree into one plain text, so that a rule about `password: ...` sees the member's
//! name beside its value, unescaped.

use crate::node::Node;

/// A base64 run of at least this length is data, not words.
const MIN_BLOB_BYTES: usize = 256;

/// Numbers from here on have nine digits, as the shortest that name a person have.
const SHORT: u64 = 100_000_000;

/// Which values count as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// Everything: card and account numbers can stand in arguments and results.
    All,
    /// No short numbers: sampling settings and schema bounds say nothing.
    Words,
    /// No base64 data: it is already reported as unreadable.
    BesideData,
}

/// All texts below `node`: a lone string as it is, members as `name: value` lines. Member names
/// are texts too.
pub(crate) fn flatten(node: &Node, take: Take) -> String {
    let mut text = String::with_capacity(node.text().map_or(0, str::len));
    write(node, None, take, &mut text);
    text
}

/// The same for a member: its name is a text too, whatever its value.
pub(crate) fn flatten_member(name: &str, value: &Node, take: Take) -> String {
    let mut text = String::new();
    write(value, Some(name), take, &mut text);
    text
}

fn write(node: &Node, name: Option<&str>, take: Take, text: &mut String) {
    match node {
        Node::Null | Node::Bool(_) => line(name, "", text),
        Node::Unsigned(number) if take == Take::Words && *number < SHORT => line(name, "", text),
        Node::Number(number) if take == Take::Words && is_short(number) => line(name, "", text),
        Node::Unsigned(number) => line(name, &number.to_string(), text),
        Node::Number(number) => line(name, number, text),
        Node::Text(value) if take == Take::BesideData && is_blob(value) => line(name, "", text),
        Node::Text(value) => line(name, value, text),
        Node::Array(items) => {
            if items.is_empty() {
                line(name, "", text);
            }
            for item in items {
                write(item, name, take, text);
            }
        }
        Node::Object(members, _) => {
            line(name, "", text);
            for (name, value) in members {
                write(value, Some(name), take, text);
            }
        }
    }
}

fn line(name: Option<&str>, value: &str, text: &mut String) {
    if name.is_none() && value.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    if let Some(name) = name {
        text.push_str(name);
        text.push_str(if value.is_empty() { ":" } else { ": " });
    }
    text.push_str(value);
}

/// Whether the whole part of `number` has fewer than nine digits.
fn is_short(number: &str) -> bool {
    let whole = number.split(['.', 'e']).next().unwrap_or_default();
    whole.trim_start_matches('-').len() < 9 && !number.contains('e')
}

/// Whether `text` is base64 data, bare or in a `data:` URL (RFC 2397).
fn is_blob(text: &str) -> bool {
    let bare = match text.strip_prefix("data:") {
        Some(url) => url.split_once(";base64,").map_or(url, |(_, data)| data),
        None => text,
    };
    bare.len() >= MIN_BLOB_BYTES
        && bare.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\n' | b'\r')
        })
}
