//! Answers that are no words: vectors, ranks, a count. Complete when they hold what was asked for.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{Kind, Step, error_kind, read, step, word};
use crate::{Api, Usage, usage::WireUsage};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    /// Embeddings.
    data: Option<Vec<IgnoredAny>>,
    /// Rerank.
    results: Option<Vec<IgnoredAny>>,
    /// Count of tokens.
    input_tokens: Value,
    model: Value,
    usage: Option<WireUsage>,
    meta: Option<Meta>,
    error: Value,
}

/// Where Cohere reports what a rerank cost.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    tokens: Option<WireUsage>,
}

impl Wire {
    fn holds(&self, api: Api) -> bool {
        match api {
            Api::Embeddings => self.data.is_some(),
            Api::Rerank => self.results.is_some(),
            _ => self.input_tokens.is_u64(),
        }
    }

    fn usage(&self, api: Api) -> Usage {
        let reported = self.usage.as_ref();
        let reported = reported.or(self.meta.as_ref().and_then(|meta| meta.tokens.as_ref()));
        match api {
            // what was counted is what another request would cost; counting costs no tokens
            Api::CountTokens => Usage::default(),
            _ => reported.map(WireUsage::of_input).unwrap_or_default(),
        }
    }
}

/// Reads a whole answer of `api`.
pub(super) fn read_whole(api: Api, bytes: &[u8]) -> Step {
    let wire: Wire = match read(bytes) {
        Ok(wire) => wire,
        Err(code) => return step(Kind::Unreadable(code)),
    };
    let kind = if !wire.error.is_null() {
        Kind::Failed(error_kind(&wire.error))
    } else if wire.holds(api) {
        Kind::Complete
    } else {
        Kind::Unreadable("answer-shape")
    };
    Step {
        usage: wire.usage(api),
        model: word(&wire.model),
        stop: None,
        kind,
    }
}
