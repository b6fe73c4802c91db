//! An answer, in no API's words: what the readers tell and the writers say again, piece by piece.

use super::json::Text;
use crate::{Api, Usage};

/// One thing that an upstream says.
pub(super) enum Said {
    /// The first of all.
    Start(Start),
    Text(Text),
    Thinking(Text),
    Refusal(Text),
    /// A tool call begins; calls are counted from 0 in the order in which they begin.
    Call {
        id: Text,
        name: Text,
    },
    /// More of a call's arguments.
    Arguments {
        call: usize,
        text: Text,
    },
    Stop(Stop),
    Cost(Cost),
    /// The last of all, unless it failed.
    End,
    Failed(Failure),
}

#[derive(Clone, Default)]
pub(super) struct Start {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It had said everything, or came to a stop sequence.
    End,
    Sequence,
    Length,
    Calls,
    Filter,
}

/// Tokens, all of the request's in `input`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cached: u64,
    pub(super) written: u64,
}

/// An error inside an answer, in the upstream's words.
#[derive(Clone, Default)]
pub(super) struct Failure {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

impl Cost {
    /// Messages counts what came from its cache, and what went into it, apart.
    pub(super) fn of(api: Api, usage: Usage) -> Option<Self> {
        let (input, output) = (usage.input_tokens, usage.output_tokens);
        if input.is_none() && output.is_none() {
            return None;
        }
        let cached = usage.cache_read_tokens.unwrap_or(0);
        let written = usage.cache_write_tokens.unwrap_or(0);
        let apart = match api {
            Api::Messages => cached.saturating_add(written),
            _ => 0,
        };
        Some(Self {
            input: input.unwrap_or(0).saturating_add(apart),
            output: output.unwrap_or(0),
            cached,
            written,
        })
    }

    /// Counts grow; a later smaller one is a placeholder.
    pub(super) fn raise(&mut self, newer: Self) {
        self.input = self.input.max(newer.input);
        self.output = self.output.max(newer.output);
        self.cached = self.cached.max(newer.cached);
        self.written = self.written.max(newer.written);
    }
}

impl Stop {
    pub(super) fn of_chat(reason: &str) -> Self {
        match reason {
            "length" => Self::Length,
            "tool_calls" | "function_call" => Self::Calls,
            "content_filter" => Self::Filter,
            _ => Self::End,
        }
    }

    pub(super) const fn chat(self) -> &'static str {
        match self {
            Self::End | Self::Sequence => "stop",
            Self::Length => "length",
            Self::Calls => "tool_calls",
            Self::Filter => "content_filter",
        }
    }

    pub(super) fn of_messages(reason: &str) -> Self {
        match reason {
            "max_tokens" | "model_context_window_exceeded" => Self::Length,
            "tool_use" => Self::Calls,
            "stop_sequence" => Self::Sequence,
            "refusal" => Self::Filter,
            _ => Self::End,
        }
    }

    /// Only Messages tells a stop sequence from an end, and only from itself.
    pub(super) const fn messages(self) -> &'static str {
        match self {
            Self::End | Self::Sequence => "end_turn",
            Self::Length => "max_tokens",
            Self::Calls => "tool_use",
            Self::Filter => "refusal",
        }
    }

    /// What cut a response short, if something did.
    pub(super) const fn incomplete(self) -> Option<&'static str> {
        match self {
            Self::Length => Some("max_output_tokens"),
            Self::Filter => Some("content_filter"),
            Self::End | Self::Sequence | Self::Calls => None,
        }
    }
}
