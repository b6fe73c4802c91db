//! JSON on its way out: trees whose texts are borrowed from what was read, written in the order in
//! which they were put together, into memory that is wiped.

use std::{
    io,
    ops::{Deref, DerefMut},
};

use proofroom_canonical::{Wipe as _, Wiped};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

/// Characters that are wiped when dropped.
#[derive(Clone, Default)]
pub(super) struct Text(Wiped<String>);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Wiped::new(text))
    }
}

impl Deref for Text {
    type Target = String;

    fn deref(&self) -> &String {
        &self.0
    }
}

impl DerefMut for Text {
    fn deref_mut(&mut self) -> &mut String {
        &mut self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// A value to write.
pub(super) enum Json<'a> {
    Bool(bool),
    Int(u64),
    Word(&'static str),
    /// As it stood in what was read.
    Raw(&'a RawValue),
    Text(Text),
    /// A number, verbatim, or JSON that was checked when it was read.
    Verbatim(Box<RawValue>),
    Null,
    Array(Vec<Self>),
    Object(Vec<(&'static str, Self)>),
}

impl Json<'_> {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Text::from(text.into()))
    }

    /// The document's bytes.
    pub(super) fn to_bytes(&self) -> Wiped<Vec<u8>> {
        written(self)
    }
}

/// The bytes of a value that JSON can say.
pub(super) fn written(value: &impl Serialize) -> Wiped<Vec<u8>> {
    let mut out = Wiping(Wiped::new(Vec::with_capacity(1024)));
    // writing to memory fails for no value that JSON can say
    match serde_json::to_writer(&mut out, value) {
        Ok(()) => out.0,
        Err(_) => Wiped::new(Vec::new()),
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_u64(*value),
            Self::Word(text) => serializer.serialize_str(text),
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Verbatim(raw) => raw.serialize(serializer),
            Self::Null => serializer.serialize_unit(),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Members put together one by one; those without a value are left out.
#[derive(Default)]
pub(super) struct Object<'a>(Vec<(&'static str, Json<'a>)>);

impl<'a> Object<'a> {
    pub(super) fn with(mut self, name: &'static str, value: Json<'a>) -> Self {
        self.0.push((name, value));
        self
    }

    pub(super) fn maybe(mut self, name: &'static str, value: Option<Json<'a>>) -> Self {
        self.0.extend(value.map(|value| (name, value)));
        self
    }

    pub(super) fn json(self) -> Json<'a> {
        Json::Object(self.0)
    }
}

/// An object whose first member is its `type`.
pub(super) fn typed<'a>(kind: &'static str) -> Object<'a> {
    Object::default().with("type", Json::Word(kind))
}

/// Grows by hand, so that the smaller buffer is wiped.
struct Wiping(Wiped<Vec<u8>>);

impl io::Write for Wiping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let needed = self.0.len().saturating_add(bytes.len());
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.saturating_mul(2));
            larger.extend_from_slice(&self.0);
            self.0.wipe();
            self.0 = Wiped::new(larger);
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
