//! Strict JSON (RFC 8259) for everything that is signed or decides something: one value, UTF-8, no
//! duplicate member names, integers only, bounded size and depth. What this module accepts, two
//! different JSON parsers cannot read differently.

use std::{collections::BTreeMap, fmt};

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The deepest nesting that is read. RFC 8259 §9 lets a parser set limits.
pub const MAX_DEPTH: usize = 64;

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The document is larger than its reader allows.
    #[error("document of {have} bytes is larger than the {max} allowed")]
    TooLarge {
        /// The document's size in bytes.
        have: usize,
        /// The most bytes that this kind of document may have.
        max: usize,
    },
    /// Not one strict JSON value: a syntax error, a duplicate name, a fraction, or too deep.
    #[error("not strict JSON")]
    Syntax(#[source] serde_json::Error),
    /// Well-formed, but not the fields or types that this document must have.
    #[error("not the expected document")]
    Shape(#[source] serde_json::Error),
}

impl JsonError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "json-too-large",
            Self::Syntax(_) => "json-syntax",
            Self::Shape(_) => "json-shape",
        }
    }
}

/// Reads one strict JSON document of at most `max` bytes as a `T`.
///
/// # Errors
/// See [`JsonError`]. Give `T` `#[serde(deny_unknown_fields)]` where unknown members must be
/// refused: strictness about names belongs to the type.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, JsonError> {
    let value = parse_value(bytes, max)?;
    T::deserialize(value).map_err(JsonError::Shape)
}

/// Reads one strict JSON document of at most `max` bytes as a tree.
///
/// # Errors
/// [`JsonError::TooLarge`] or [`JsonError::Syntax`].
pub fn parse_value(bytes: &[u8], max: usize) -> Result<Value, JsonError> {
    if bytes.len() > max {
        return Err(JsonError::TooLarge {
            have: bytes.len(),
            max,
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }
        .deserialize(&mut reader)
        .map_err(JsonError::Syntax)?;
    reader.end().map_err(JsonError::Syntax)?;
    Ok(value)
}

/// Writes `value` compactly, in the order of its fields: the bytes that get signed or hashed.
///
/// # Errors
/// A value that JSON cannot hold, such as a map with keys that are not strings.
pub fn to_bytes<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    serde_json::to_vec(value).map_err(JsonError::Shape)
}

/// The same as [`to_bytes`], for what will have some `expected` bytes: memory for them is taken once.
///
/// # Errors
/// As [`to_bytes`].
pub fn to_bytes_of<T: serde::Serialize>(value: &T, expected: usize) -> Result<Vec<u8>, JsonError> {
    let mut bytes = Vec::with_capacity(expected);
    serde_json::to_writer(&mut bytes, value).map_err(JsonError::Shape)?;
    Ok(bytes)
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a strict JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format_args!(
            "`{value}` is not an integer of 64 bits"
        )))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if members.contains_key(&name) {
                return Err(serde::de::Error::custom(format_args!(
                    "duplicate member `{name}`"
                )));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::{JsonError, MAX_DEPTH, parse_value};

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            "1.5",
            "1e3",
            "18446744073709551616",
            "{} {}",
            "\u{feff}{}",
            "[1,]",
            "NaN",
            "",
        ] {
            let refused = parse_value(bad.as_bytes(), 1000);
            assert!(matches!(refused, Err(JsonError::Syntax(_))), "{bad}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse_value(nested(MAX_DEPTH).as_bytes(), 1000).is_ok());
        assert!(parse_value(nested(MAX_DEPTH + 1).as_bytes(), 1000).is_err());
        let refused = parse_value(b"[1,2,3]", 6);
        assert!(matches!(
            refused,
            Err(JsonError::TooLarge { have: 7, max: 6 })
        ));
    }
}
