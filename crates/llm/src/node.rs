//! A JSON tree whose texts are wiped when dropped, and its reader: bounded, duplicate-free. Unlike
//! `canonical::json` it tolerates fractions, because requests are passed on and never signed.

use std::{cell::Cell, fmt};

use proofroom_canonical::Wiped;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::{
    RequestError,
    inspect::{MAX_DEPTH, MAX_VALUES},
    place::{Begun, Name},
};

pub(crate) enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Number(String),
    Text(Wiped<String>),
    Array(Vec<Node>),
    Object(Vec<(Wiped<String>, Node)>, Begun),
}

impl Node {
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members, _) => members
                .iter()
                .find(|(key, _)| key.as_str() == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn member_text(&self, name: &str) -> Option<&str> {
        self.member(name).and_then(Self::text)
    }

    /// Where an object begins.
    pub(crate) const fn begun(&self) -> Begun {
        match self {
            Self::Object(_, begun) => *begun,
            _ => Begun::UNKNOWN,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }
}

#[derive(Clone, Copy)]
enum Fault {
    Depth,
    Duplicate,
    Values,
}

/// The limits of one document, shared by all readers of its parts.
pub(crate) struct Budget {
    values_left: Cell<usize>,
    fault: Cell<Option<Fault>>,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self {
            values_left: Cell::new(MAX_VALUES),
            fault: Cell::new(None),
        }
    }

    pub(crate) fn spend<E: serde::de::Error>(&self) -> Result<(), E> {
        match self.values_left.get().checked_sub(1) {
            Some(left) => {
                self.values_left.set(left);
                Ok(())
            }
            None => Err(self.fail(Fault::Values)),
        }
    }

    fn fail<E: serde::de::Error>(&self, fault: Fault) -> E {
        self.fault.set(Some(fault));
        E::custom("over a limit")
    }

    pub(crate) fn duplicate<E: serde::de::Error>(&self) -> E {
        self.fail(Fault::Duplicate)
    }

    /// The error behind `error`, which a reader with this budget returned.
    pub(crate) fn blame(&self, error: serde_json::Error) -> RequestError {
        match self.fault.get() {
            Some(Fault::Depth) => RequestError::TooDeep,
            Some(Fault::Duplicate) => RequestError::DuplicateMember,
            Some(Fault::Values) => RequestError::TooManyValues,
            None if error.is_data() => RequestError::NotAnObject,
            None => RequestError::NotJson(error),
        }
    }
}

/// Reads one value as a [`Node`].
#[derive(Clone, Copy)]
pub(crate) struct Read<'a> {
    pub(crate) budget: &'a Budget,
    pub(crate) depth: usize,
    /// The request's body, where that is what is read.
    pub(crate) body: Option<&'a str>,
}

impl Read<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.budget.fail(Fault::Depth));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

/// Reads `text` as a JSON value in the limits of `budget`; `None` if it is no such value.
pub(crate) fn read_nested(text: &str, budget: &Budget) -> Option<Node> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Read {
        budget,
        depth: 0,
        body: None,
    };
    let node = read.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(node)
}

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Node, D::Error> {
        self.budget.spend()?;
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a json value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(Wiped::new(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(Wiped::new(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let inner = self.deeper()?;
        let mut members = Vec::new();
        let mut begun = Begun::UNKNOWN;
        while let Some(name) = map.next_key::<Name<'de>>()? {
            if members.is_empty() {
                begun = Begun::at(&name, self.body);
            }
            members.push((Wiped::new(name.text), map.next_value_seed(inner)?));
        }
        if has_duplicate(members.iter().map(|(name, _)| name.as_str())) {
            return Err(self.budget.duplicate());
        }
        Ok(Node::Object(members, begun))
    }
}

/// So few names are compared each with each, which takes no memory.
const FEW: usize = 8;

/// Whether a name occurs twice; n log n, so that a huge object costs no square.
pub(crate) fn has_duplicate<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> bool {
    let (least, _) = names.size_hint();
    if least <= FEW {
        return std::iter::from_fn(|| Some((names.next()?, names.clone())))
            .any(|(name, mut later)| later.any(|other| other == name));
    }
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair.first() == pair.get(1))
}

#[cfg(test)]
mod tests {
    use super::{FEW, has_duplicate};

    #[test]
    fn a_name_that_occurs_twice_is_found_among_few_and_many() {
        for count in [0, 1, 2, FEW, FEW + 1, 40] {
            let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            let named = || names.iter().map(String::as_str);
            assert!(!has_duplicate(named()), "{count}");
            for name in named() {
                let twice: Vec<&str> = named().chain([name]).collect();
                assert!(has_duplicate(twice.into_iter()), "{count} {name}");
            }
        }
    }
}
