//! A model upstream that plays recorded answers over the real wire protocols, so that everything
//! between an agent and a model can be exercised without one. It can never pass for a live model:
//! every model name contains `cassette`, and every response carries [`HEADER`].
//!
//! A cassette is stateless: the turn to play is the number of answers that the conversation already
//! holds, so two upstreams with the same cassette can answer one conversation in turns.

mod anthropic;
mod attested;
mod fault;
mod lists;
mod openai;
mod player;
mod responses;
mod server;

use serde::Deserialize;
use serde_json::Value;

pub use attested::{Attested, AttestedError};
pub use fault::Fault;
pub use player::{Body, MAX_REQUEST_BYTES, Player};
pub use server::{Options, Running, ServerError, Transport, start};

/// The header that every response carries, with the value `1`.
pub const HEADER: &str = "x-proofroom-cassette";
/// The word that every model name contains.
pub const MODEL_WORD: &str = "cassette";
/// The models that play cassettes, all alike; [`Fault::ALL`] adds more.
pub const MODELS: [&str; 2] = ["cassette-standard", "cassette-tee"];

/// The demonstration's recording: the repair of `demo/repo`, whatever the task's words.
pub const DEMO: &str = include_str!("../cassettes/demo.json");

/// A recorded session.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cassette {
    /// Name, for messages.
    pub name: String,
    /// What the recording shows, for its reader.
    #[serde(default)]
    pub about: String,
    /// Text that the user's messages before the first answer must contain for this cassette to be
    /// chosen; empty fits all.
    #[serde(default)]
    pub when: String,
    /// Answers that the client itself puts before the conversation, as examples.
    #[serde(default)]
    pub examples: usize,
    /// The answers, in order.
    pub turns: Vec<Turn>,
}

/// One recorded answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Texts that must all stand in what came after the previous answer (tool results, or the task).
    #[serde(default)]
    pub expect: Vec<String>,
    /// Texts of which at least one must stand there, if there are any.
    #[serde(default)]
    pub expect_any: Vec<String>,
    /// Texts of which none may stand there.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Why the recording does this, for its reader.
    #[serde(default)]
    pub note: String,
    /// Text of the answer; empty for none.
    #[serde(default)]
    pub text: String,
    /// Tool calls of the answer, made at once.
    #[serde(default)]
    pub tool_calls: Vec<Call>,
}

/// One recorded tool call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// Its arguments: an object.
    pub arguments: Value,
}

/// Why a cassette cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CassetteError {
    /// The file is not a cassette.
    #[error("not a cassette")]
    Syntax(#[source] serde_json::Error),
    /// No cassette is for this conversation.
    #[error("no cassette fits the user's first messages; correct `when` or the task")]
    NoneFits,
    /// The conversation has more answers than the cassette.
    #[error("cassette `{name}` has only {turns} turns; record more")]
    Ended {
        /// The cassette.
        name: String,
        /// How many turns it has.
        turns: usize,
    },
    /// What happened is not what was recorded.
    #[error(
        "cassette `{name}`, turn {turn}: expected `{expected}` in what followed the previous answer; the session took another course than the recording"
    )]
    Mismatch {
        /// The cassette.
        name: String,
        /// The turn, counted from 0.
        turn: usize,
        /// The text that is missing.
        expected: String,
    },
    /// Something happened that the recording says must not.
    #[error(
        "cassette `{name}`, turn {turn}: found `{forbidden}` in what followed the previous answer; something was let through that must be refused"
    )]
    Forbidden {
        /// The cassette.
        name: String,
        /// The turn, counted from 0.
        turn: usize,
        /// The text that must not be there.
        forbidden: String,
    },
}

impl CassetteError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "cassette-syntax",
            Self::NoneFits => "cassette-none-fits",
            Self::Ended { .. } => "cassette-ended",
            Self::Mismatch { .. } => "cassette-mismatch",
            Self::Forbidden { .. } => "cassette-forbidden",
        }
    }
}

impl Cassette {
    /// Reads a cassette file.
    ///
    /// # Errors
    /// [`CassetteError::Syntax`].
    pub fn parse(text: &str) -> Result<Self, CassetteError> {
        serde_json::from_str(text).map_err(CassetteError::Syntax)
    }

    /// The answer to `messages`, with its number.
    ///
    /// # Errors
    /// [`CassetteError::Ended`], [`CassetteError::Mismatch`] or [`CassetteError::Forbidden`].
    pub fn turn(&self, messages: &[Value]) -> Result<(usize, &Turn), CassetteError> {
        let answers = messages.iter().filter(|m| has_role(m, "assistant")).count();
        let number = answers.saturating_sub(self.examples);
        let turn = self.turns.get(number).ok_or_else(|| CassetteError::Ended {
            name: self.name.clone(),
            turns: self.turns.len(),
        })?;
        self.check(number, turn, &since_last_answer(messages))?;
        Ok((number, turn))
    }

    fn check(&self, number: usize, turn: &Turn, news: &str) -> Result<(), CassetteError> {
        let missing = |expected: &str| CassetteError::Mismatch {
            name: self.name.clone(),
            turn: number,
            expected: expected.to_owned(),
        };
        if let Some(expected) = turn.expect.iter().find(|text| !news.contains(*text)) {
            return Err(missing(expected));
        }
        if !turn.expect_any.is_empty() && !turn.expect_any.iter().any(|text| news.contains(text)) {
            return Err(missing(&turn.expect_any.join("` or `")));
        }
        match turn.absent.iter().find(|text| news.contains(*text)) {
            None => Ok(()),
            Some(forbidden) => Err(CassetteError::Forbidden {
                name: self.name.clone(),
                turn: number,
                forbidden: forbidden.clone(),
            }),
        }
    }
}

/// The first of `cassettes` that is for this conversation.
///
/// # Errors
/// [`CassetteError::NoneFits`].
pub fn choose<'a>(
    cassettes: &'a [Cassette],
    messages: &[Value],
) -> Result<&'a Cassette, CassetteError> {
    cassettes
        .iter()
        .find(|cassette| task(messages, cassette.examples).contains(&cassette.when))
        .ok_or(CassetteError::NoneFits)
}

/// The user's messages up to the first answer that is no example.
fn task(messages: &[Value], examples: usize) -> String {
    let mut task = String::new();
    let mut answers = 0;
    for message in messages {
        if has_role(message, "assistant") {
            answers += 1;
        }
        if answers > examples {
            break;
        }
        if has_role(message, "user") {
            texts(message, &mut task);
        }
    }
    task
}

fn has_role(message: &Value, role: &str) -> bool {
    message.get("role").and_then(Value::as_str) == Some(role)
}

/// All texts after the last answer. Tool results are JSON in a string; both forms are searched.
fn since_last_answer(messages: &[Value]) -> String {
    let mut news = String::new();
    for message in messages.iter().rev() {
        if has_role(message, "assistant") {
            break;
        }
        texts(message, &mut news);
    }
    news
}

fn texts(value: &Value, into: &mut String) {
    match value {
        Value::String(text) => {
            into.push_str(text);
            into.push('\n');
            if let Ok(nested @ Value::Object(_)) = serde_json::from_str(text) {
                texts(&nested, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(members) => members.values().for_each(|member| texts(member, into)),
        Value::Number(number) => {
            into.push_str(&number.to_string());
            into.push('\n');
        }
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests;
