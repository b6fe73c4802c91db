//! Which model API a request speaks. Not: who serves it.

use std::fmt;

/// A model API that the gateway passes through unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI Chat Completions, `POST /v1/chat/completions`.
    ChatCompletions,
    /// Anthropic Messages, `POST /v1/messages`.
    Messages,
    /// OpenAI Responses, `POST /v1/responses`.
    Responses,
    /// OpenAI Embeddings, `POST /v1/embeddings`.
    Embeddings,
    /// Rerank as Cohere, Jina and vLLM serve it, `POST /v1/rerank`.
    Rerank,
    /// Anthropic's count of a request's tokens, `POST /v1/messages/count_tokens`.
    CountTokens,
}

/// Which vendor's words an API's errors are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    OpenAi,
    Anthropic,
}

impl Api {
    /// Every API that is passed through.
    pub const ALL: [Self; 6] = [
        Self::ChatCompletions,
        Self::Messages,
        Self::Responses,
        Self::Embeddings,
        Self::Rerank,
        Self::CountTokens,
    ];

    /// The API that is served at `path` (without a query), or `None` for any other path.
    #[must_use]
    pub fn at_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.path() == path)
    }

    /// The path that clients post to.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Rerank => "/v1/rerank",
            Self::CountTokens => "/v1/messages/count_tokens",
        }
    }

    /// The name as records spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat-completions",
            Self::Messages => "messages",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::CountTokens => "count-tokens",
        }
    }

    /// Whether an answer is words of a model, which may come as a stream.
    #[must_use]
    pub const fn generates(self) -> bool {
        matches!(
            self,
            Self::ChatCompletions | Self::Messages | Self::Responses
        )
    }

    pub(crate) const fn family(self) -> Family {
        match self {
            Self::Messages | Self::CountTokens => Family::Anthropic,
            Self::ChatCompletions | Self::Responses | Self::Embeddings | Self::Rerank => {
                Family::OpenAi
            }
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
    fn only_its_own_path_names_an_api() {
        for api in Api::ALL {
            assert_eq!(Api::at_path(api.path()), Some(api));
            assert_eq!(Api::at_path(&format!("{}/", api.path())), None);
        }
        for other in ["/v1/messages/batches", "/v1/models", "/v1/Responses", ""] {
            assert_eq!(Api::at_path(other), None, "{other}");
        }
    }
}
