//! The canonical form of a document (RFC 8785) within what ACI's documents have: ASCII names and integers.
//! Anything else is refused, so that nobody's idea of it can differ.

use proofroom_canonical::Digest;
use serde_json::{Map, Value};

/// The largest integer that RFC 8785 writes as it is (2^53 - 1).
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The canonical text; `None` for a document with a number that is no such integer, or a name that is not ASCII.
pub(super) fn canonical(value: &Value) -> Option<String> {
    let mut out = String::new();
    write(value, &mut out)?;
    Some(out)
}

/// SHA-256 of the canonical text.
pub(super) fn digest(value: &Value) -> Option<Digest> {
    canonical(value).map(Digest::of)
}

fn write(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
        Value::String(text) => quoted(text, out)?,
        Value::Number(number) => {
            let size = number.as_i64().map(i64::unsigned_abs);
            size.filter(|size| *size <= MAX_INTEGER)?;
            out.push_str(&number.to_string());
        }
        Value::Array(items) => list(items, out)?,
        Value::Object(members) => object(members, out)?,
    }
    Some(())
}

/// JSON's own escapes, which are those of RFC 8785 section 3.2.2.2.
fn quoted(text: &str, out: &mut String) -> Option<()> {
    out.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

fn list(items: &[Value], out: &mut String) -> Option<()> {
    out.push('[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write(item, out)?;
    }
    out.push(']');
    Some(())
}

fn object(members: &Map<String, Value>, out: &mut String) -> Option<()> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    out.push('{');
    for (place, (name, member)) in sorted.into_iter().enumerate() {
        if !name.is_ascii() {
            return None;
        }
        if place > 0 {
            out.push(',');
        }
        quoted(name, out)?;
        out.push(':');
        write(member, out)?;
    }
    out.push('}');
    Some(())
}
