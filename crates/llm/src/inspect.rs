//! Reads a request body into [`RequestFacts`] in one pass. Tolerant about members it does not
//! know, strict where two readers could see two different requests.

use std::{fmt, ops::Range};

use proofroom_canonical::Wiped;
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    Api, Delivery, RequestError, RequestFacts, UsageReport, kept,
    node::{Budget, Node, Read, has_duplicate},
    place::{Begun, Name, place_in},
    texts,
};

/// The largest request body that is read: two base64 photographs and a long conversation fit.
pub const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// The deepest nesting that is read. RFC 8259 §9 lets a parser set limits.
pub const MAX_DEPTH: usize = 64;
/// The most JSON values in one request: at 40 bytes each in memory, some 40 MiB.
pub const MAX_VALUES: usize = 1 << 20;
/// The longest model name.
pub const MAX_MODEL_BYTES: usize = 256;

/// Members that decide what a request is.
const DECIDING: [&str; 9] = [
    "model",
    "messages",
    "stream",
    "system",
    "tools",
    "input",
    "instructions",
    "query",
    "documents",
];

/// Reads what `body` says. Nothing of it is kept except in the returned facts.
///
/// # Errors
/// [`RequestError`], each with a stable code; see there.
pub fn inspect(api: Api, body: &[u8]) -> Result<RequestFacts, RequestError> {
    let top = read_top(body)?;
    let (model, model_span) = top.model.ok_or(RequestError::Missing { name: "model" })?;
    let messages = asked(api, &top.members)?;
    kept::refuse_within(api, &top.members)?;
    let delivery = match member(&top.members, "stream") {
        None | Some(Node::Null | Node::Bool(false)) => Delivery::Whole,
        Some(Node::Bool(true)) => Delivery::Stream,
        Some(_) => {
            return Err(RequestError::WrongType {
                name: "stream",
                expected: "true or false",
            });
        }
    };
    Ok(RequestFacts {
        api,
        model: model_name(&model)?,
        model_span,
        delivery,
        usage: usage_report(api, delivery, &top.members),
        max_tokens: max_tokens(&top.members)?,
        messages,
        tools: member(&top.members, "tools").map_or(0, |tools| tools.items().len()),
        segments: texts::collect(api, &top.members, &top.begun),
    })
}

/// How many messages, inputs or documents the request holds in the members that its API requires.
fn asked(api: Api, members: &[(String, Node)]) -> Result<usize, RequestError> {
    match api {
        Api::ChatCompletions | Api::Messages | Api::CountTokens => array(members, "messages"),
        Api::Responses | Api::Embeddings => match member(members, "input") {
            Some(Node::Text(_)) => Ok(1),
            _ => array(members, "input"),
        },
        Api::Rerank => {
            let query = member(members, "query");
            query.ok_or(RequestError::Missing { name: "query" })?;
            array(members, "documents")
        }
    }
}

fn array(members: &[(String, Node)], name: &'static str) -> Result<usize, RequestError> {
    match member(members, name) {
        Some(Node::Array(items)) => Ok(items.len()),
        Some(_) => Err(RequestError::WrongType {
            name,
            expected: "an array",
        }),
        None => Err(RequestError::Missing { name }),
    }
}

/// The top level: the model with its place, and all other members.
pub(crate) struct Top {
    pub(crate) model: Option<(Wiped<String>, Range<usize>)>,
    pub(crate) members: Vec<(String, Node)>,
    /// Per member where its name lies.
    begun: Vec<Begun>,
}

/// Reads the top level of `body` in this module's limits.
pub(crate) fn read_top(body: &[u8]) -> Result<Top, RequestError> {
    if body.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLarge { have: body.len() });
    }
    let text = std::str::from_utf8(body).map_err(|error| RequestError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let budget = Budget::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let parts = reader
        .deserialize_map(ReadTop {
            budget: &budget,
            body: text,
        })
        .map_err(|error| budget.blame(error))?;
    reader.end().map_err(RequestError::NotJson)?;
    refuse_ambiguous(&parts)?;
    kept::refuse_members(&parts.members)?;
    let model = parts.model.map(|raw| locate(text, raw)).transpose()?;
    Ok(Top {
        model,
        members: parts.members,
        begun: parts.begun,
    })
}

/// The top level as it borrows from the body.
struct Parts<'de> {
    model: Option<&'de RawValue>,
    members: Vec<(String, Node)>,
    begun: Vec<Begun>,
}

struct ReadTop<'a> {
    budget: &'a Budget,
    body: &'a str,
}

impl<'de> Visitor<'de> for ReadTop<'_> {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a json object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
        let read = Read {
            budget: self.budget,
            depth: 1,
            body: Some(self.body),
        };
        let mut parts = Parts {
            model: None,
            members: Vec::new(),
            begun: Vec::new(),
        };
        while let Some(name) = map.next_key::<Name<'de>>()? {
            if name.text != "model" {
                parts.begun.push(Begun::at(&name, read.body));
                parts.members.push((name.text, map.next_value_seed(read)?));
            } else if parts.model.replace(map.next_value()?).is_some() {
                return Err(self.budget.duplicate());
            }
        }
        if has_duplicate(parts.members.iter().map(|(name, _)| name.as_str())) {
            return Err(self.budget.duplicate());
        }
        Ok(parts)
    }
}

/// Upstreams whose JSON reader folds case would take `Model` for `model`.
fn refuse_ambiguous(parts: &Parts<'_>) -> Result<(), RequestError> {
    for (name, _) in &parts.members {
        let folded = DECIDING
            .into_iter()
            .find(|deciding| name.eq_ignore_ascii_case(deciding));
        if let Some(expected) = folded.filter(|deciding| deciding != name) {
            return Err(RequestError::AmbiguousMember { expected });
        }
    }
    Ok(())
}

/// The model's text, and the place of its JSON string in `text`, from which `raw` borrows.
fn locate(text: &str, raw: &RawValue) -> Result<(Wiped<String>, Range<usize>), RequestError> {
    const WRONG: RequestError = RequestError::WrongType {
        name: "model",
        expected: "a string",
    };
    let name: String = serde_json::from_str(raw.get()).map_err(|_| WRONG)?;
    let span = place_in(text, raw.get()).ok_or(WRONG)?;
    Ok((Wiped::new(name), span))
}

fn model_name(name: &str) -> Result<String, RequestError> {
    let fits = !name.is_empty() && name.len() <= MAX_MODEL_BYTES;
    if fits && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(name.to_owned())
    } else {
        Err(RequestError::ModelName)
    }
}

fn usage_report(api: Api, delivery: Delivery, members: &[(String, Node)]) -> UsageReport {
    let asked = member(members, "stream_options")
        .and_then(|options| options.member("include_usage"))
        .is_some_and(|asked| matches!(asked, Node::Bool(true)));
    match (api, delivery) {
        (Api::ChatCompletions, Delivery::Stream) if !asked => UsageReport::NotRequested,
        _ => UsageReport::Expected,
    }
}

/// The largest limit that the client set: upstreams differ in which name they honour.
fn max_tokens(members: &[(String, Node)]) -> Result<Option<u64>, RequestError> {
    let mut most = None;
    for name in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
        match member(members, name) {
            None | Some(Node::Null) => {}
            Some(Node::Unsigned(tokens)) => most = most.max(Some(*tokens)),
            Some(_) => {
                return Err(RequestError::WrongType {
                    name,
                    expected: "a whole number",
                });
            }
        }
    }
    Ok(most)
}

pub(crate) fn member<'a>(members: &'a [(String, Node)], name: &str) -> Option<&'a Node> {
    members
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
