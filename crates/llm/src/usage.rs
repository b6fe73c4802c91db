//! What an answer cost, in tokens, as the upstream reports it.

use serde::Deserialize;
use serde_json::Value;

/// Token counts as reported by the upstream; `None` is "not reported", never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request that were not read from a cache the API counts apart.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// Tokens read from the upstream's prompt cache. OpenAI counts them inside `input_tokens`,
    /// Anthropic beside.
    pub cache_read_tokens: Option<u64>,
    /// Tokens written to the upstream's prompt cache (Anthropic only).
    pub cache_write_tokens: Option<u64>,
}

impl Usage {
    /// Takes every count that `newer` reports. Counts are cumulative in both APIs, so a later one
    /// replaces; a later smaller one does not, because it is an upstream's placeholder.
    pub(crate) fn update(&mut self, newer: Self) {
        self.input_tokens = self.input_tokens.max(newer.input_tokens);
        self.output_tokens = self.output_tokens.max(newer.output_tokens);
        self.cache_read_tokens = self.cache_read_tokens.max(newer.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.max(newer.cache_write_tokens);
    }
}

/// The `usage` object of any API. A member of an unexpected type counts as absent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireUsage {
    prompt_tokens: Value,
    completion_tokens: Value,
    prompt_tokens_details: Value,
    input_tokens_details: Value,
    total_tokens: Value,
    input_tokens: Value,
    output_tokens: Value,
    cache_read_input_tokens: Value,
    cache_creation_input_tokens: Value,
}

impl WireUsage {
    pub(crate) fn usage(&self) -> Usage {
        let cached = [&self.prompt_tokens_details, &self.input_tokens_details]
            .into_iter()
            .find_map(|details| details.get("cached_tokens"));
        Usage {
            input_tokens: self.prompt_tokens.as_u64().or(self.input_tokens.as_u64()),
            output_tokens: self
                .completion_tokens
                .as_u64()
                .or(self.output_tokens.as_u64()),
            cache_read_tokens: cached
                .and_then(Value::as_u64)
                .or(self.cache_read_input_tokens.as_u64()),
            cache_write_tokens: self.cache_creation_input_tokens.as_u64(),
        }
    }
    /// What an API without a generated answer reports: all its tokens are those of the request.
    pub(crate) fn of_input(&self) -> Usage {
        let all = self.total_tokens.as_u64();
        Usage {
            input_tokens: self.usage().input_tokens.or(all),
            ..Usage::default()
        }
    }
}
