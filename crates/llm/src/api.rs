//! Which model API a request speaks. Not: who serves it.

use std::fmt;

/// A model API that the gateway passes through unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI Chat Completions, `POST /v1/chat/completions`.
    ChatCompletions,
    /// Anthropic Messages, `POST /v1/messages`.
    Messages,
}

impl Api {
    /// The API that is served at `path` (without a query), or `None` for any other path.
    #[must_use]
    pub fn at_path(path: &str) -> Option<Self> {
        [Self::ChatCompletions, Self::Messages]
            .into_iter()
            .find(|api| api.path() == path)
    }

    /// The path that clients post to.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
        }
    }

    /// The name as records spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat-completions",
            Self::Messages => "messages",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Api;

    #[test]
    fn only_the_two_paths_name_an_api() {
        assert_eq!(Api::at_path("/v1/messages"), Some(Api::Messages));
        assert_eq!(
            Api::at_path("/v1/chat/completions"),
            Some(Api::ChatCompletions)
        );
        for other in [
            "/v1/messages/",
            "/v1/messages/count_tokens",
            "/v1/models",
            "",
        ] {
            assert_eq!(Api::at_path(other), None, "{other}");
        }
    }
}
