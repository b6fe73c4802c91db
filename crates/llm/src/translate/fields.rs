//! Objects read member by member, so that what nobody took can be named and refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{TranslateError, json::Text};

type Result<T> = std::result::Result<T, TranslateError>;

/// Members of the three APIs that a translation refuses, by the names that may be repeated. The name
/// of any other member could be text.
const NAMED: [&str; 31] = [
    "annotations",
    "audio",
    "caller",
    "citations",
    "context",
    "defer_loading",
    "file_id",
    "frequency_penalty",
    "function_call",
    "functions",
    "include",
    "input_examples",
    "logit_bias",
    "logprobs",
    "max_tool_calls",
    "mcp_servers",
    "modalities",
    "moderation",
    "n",
    "name",
    "output_format",
    "presence_penalty",
    "seed",
    "stop",
    "stop_sequences",
    "speed",
    "top_k",
    "top_logprobs",
    "truncation",
    "type",
    "web_search_options",
];

/// The members of an object that were not taken yet. A null counts as absent.
pub(super) struct Fields<'a> {
    at: String,
    members: BTreeMap<String, &'a RawValue>,
}

/// A place and what stands there.
pub(super) type Placed<'a> = (String, &'a RawValue);

impl<'a> Fields<'a> {
    pub(super) fn read(at: impl Into<String>, raw: &'a RawValue) -> Result<Self> {
        let at = at.into();
        match serde_json::from_str(raw.get()) {
            Ok(members) => Ok(Self { at, members }),
            Err(_) => Err(TranslateError::shape(at)),
        }
    }

    /// The place of a member.
    pub(super) fn at(&self, name: &str) -> String {
        if self.at.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.at)
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.members.remove(name).filter(|raw| raw.get() != "null")
    }

    /// Leaves out members that are documented hints.
    pub(super) fn hints(&mut self, names: &[&str]) {
        for name in names {
            self.members.remove(*name);
        }
    }

    /// Leaves a member out when it has one of the values that say nothing.
    pub(super) fn neutral(&mut self, name: &'static str, values: &[&str]) {
        let says_nothing = |raw: &&RawValue| values.contains(&raw.get());
        if self.members.get(name).is_some_and(says_nothing) {
            self.members.remove(name);
        }
    }

    fn as_type<T: Deserialize<'a>>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(raw) = self.take(name) else {
            return Ok(None);
        };
        let value = serde_json::from_str(raw.get());
        value
            .map(Some)
            .map_err(|_| TranslateError::shape(self.at(name)))
    }

    /// A JSON string as it stands.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<&'a RawValue>> {
        match self.take(name) {
            Some(raw) if !is_text(raw) => Err(TranslateError::shape(self.at(name))),
            found => Ok(found),
        }
    }

    pub(super) fn needed_text(&mut self, name: &str) -> Result<&'a RawValue> {
        let found = self.text(name)?;
        found.ok_or_else(|| TranslateError::shape(self.at(name)))
    }

    /// A string's characters.
    pub(super) fn word(&mut self, name: &str) -> Result<Option<Text>> {
        self.as_type::<String>(name)
            .map(|word| word.map(Text::from))
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.as_type(name)
    }

    pub(super) fn whole(&mut self, name: &str) -> Result<Option<u64>> {
        self.as_type(name)
    }

    /// A number as it stands.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<&'a RawValue>> {
        match self.take(name) {
            Some(raw) if serde_json::from_str::<f64>(raw.get()).is_err() => {
                Err(TranslateError::shape(self.at(name)))
            }
            found => Ok(found),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>> {
        let at = self.at(name);
        self.take(name).map(|raw| Self::read(at, raw)).transpose()
    }

    pub(super) fn items(&mut self, name: &str) -> Result<Vec<Placed<'a>>> {
        let at = self.at(name);
        match self.take(name) {
            Some(raw) => items_of(at, raw),
            None => Ok(Vec::new()),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn done(self) -> Result<()> {
        let mut left = self.members.iter().filter(|(_, raw)| raw.get() != "null");
        match left.next() {
            None => Ok(()),
            Some((name, _)) => Err(match NAMED.iter().find(|known| *known == name) {
                Some(known) => TranslateError::not_sayable(self.at(known)),
                None if self.at.is_empty() => {
                    TranslateError::not_sayable("an unknown member".to_owned())
                }
                None => TranslateError::not_sayable(format!("an unknown member of {}", self.at)),
            }),
        }
    }
}

pub(super) fn items_of(at: String, raw: &RawValue) -> Result<Vec<Placed<'_>>> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        return Err(TranslateError::shape(at));
    };
    let placed = items.into_iter().enumerate();
    Ok(placed
        .map(|(index, item)| (format!("{at}[{index}]"), item))
        .collect())
}

pub(super) fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

/// The characters of a JSON string.
pub(super) fn unescaped(at: &str, raw: &RawValue) -> Result<Text> {
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Ok(Text::from(text)),
        Err(_) => Err(TranslateError::shape(at.to_owned())),
    }
}
