//! What an operator's tracing may know of a run. Every type here is an enumeration, a number, a digest or a name
//! that the configuration gives ([`Named`]): nothing that a request, an answer or an upstream says can be put
//! into one. Not here: where traces go.

mod tracked;
mod vocabulary;

use std::{fmt, sync::Arc};

use proofroom_canonical::{Digest, RunId, SessionId};
use proofroom_llm::Api;
use proofroom_record::{
    event::RunStatus,
    statement::{AnsweredBy, LogMode, TokenCount},
};

pub use self::{
    tracked::{RunFacts, Tracked, Unkept},
    vocabulary::{Named, NamedUpstream, Vocabulary},
};

/// Takes traces. Called on the request path, after a run's record: must return at once.
pub trait TraceSink: Send + Sync {
    /// A run ended, and its record was kept or lost.
    fn take(&self, trace: Box<RunTrace>);
}

/// How runs are traced.
#[derive(Clone)]
pub struct Tracing {
    /// Takes the traces.
    pub sink: Arc<dyn TraceSink>,
    /// Which share of runs is traced.
    pub ratio: Ratio,
    /// What a client's `traceparent` is worth.
    pub incoming: IncomingTrace,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("ratio", &self.ratio)
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}

/// What a client's `traceparent` is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncomingTrace {
    /// It is not read: every run is a trace of its own.
    Ignored,
    /// A run belongs to the trace that its client names. Whether it is traced is the ratio's to say all the same.
    Continued,
}

/// The share of traces that is kept, decided by the trace's id alone, so that whoever decides for the same trace
/// by the same share decides alike (OpenTelemetry's consistent probability sampling: the last 56 bits of the id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Ids whose last 56 bits are below this are left out; from 0 to 2^56.
    threshold: u64,
}

impl Ratio {
    /// Keeps every trace.
    pub const ALL: Self = Self { threshold: 0 };
    const BITS: u64 = 1 << 56;

    /// Keeps `millionths` of a million traces; `None` for more than a million.
    #[must_use]
    pub fn of_millionths(millionths: u32) -> Option<Self> {
        let left_out = 1_000_000_u64.checked_sub(millionths.into())?;
        // 2^56 = 68,719,476,736 times 2^20, so the product is formed in 128 bits
        let threshold = u128::from(Self::BITS) * u128::from(left_out) / 1_000_000;
        let threshold = u64::try_from(threshold).ok()?;
        Some(Self { threshold })
    }

    fn keeps(self, trace: [u8; 16]) -> bool {
        let last = trace
            .last_chunk()
            .map_or(0, |last| u64::from_be_bytes(*last));
        last & (Self::BITS - 1) >= self.threshold
    }
}

/// Where a span stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The trace.
    pub trace: [u8; 16],
    /// The span.
    pub span: [u8; 8],
    /// The span above it.
    pub parent: Parent,
}

/// The span above another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// There is none.
    None,
    /// One of the client's.
    Remote([u8; 8]),
    /// One of the same run.
    Own([u8; 8]),
}

/// From when to when, in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTrace {
    /// Where it stands.
    pub place: Place,
    /// From the arrival of its head to its record.
    pub span: Span,
    /// Its session.
    pub session: SessionId,
    /// The run.
    pub run: RunId,
    /// Digest of its record; nothing where that was lost.
    pub record: Option<Digest>,
    /// The API that the client spoke.
    pub api: Api,
    /// The model asked for.
    pub model: Named,
    /// The session's label, by which it was routed.
    pub label: Named,
    /// The deciding rule.
    pub rule: Named,
    /// Tier that it was sent to, if it was.
    pub tier: Option<Named>,
    /// Upstream that it was sent to, if it was.
    pub upstream: Option<Named>,
    /// How it ended.
    pub outcome: Outcome,
    /// Verifications that it waited for, in order.
    pub verifications: Vec<Verification>,
    /// What was sent to upstreams, in order.
    pub sendings: Vec<Sending>,
}

/// How a run ended: nothing of it is a text that somebody else chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub status: RunStatus,
    /// Code of the refusal or failure.
    pub code: Option<&'static str>,
    /// Status of the answer that the client got, as far as it got one.
    pub http_status: Option<u16>,
    /// Tokens as the upstream counted them.
    pub tokens: Option<TokenCount>,
    /// Whether the model that answered says that it is the one asked for.
    pub answered_by: Option<AnsweredBy>,
    /// Why the model stopped.
    pub finish: Option<FinishReason>,
    /// When its record had to be on disk.
    pub log: LogMode,
    /// Digest of the evidence by which the upstream was verified.
    pub evidence: Option<Digest>,
    /// How many values were replaced by placeholders in what was sent.
    pub redacted: u64,
    /// How many placeholders were put back in the answer.
    pub restored: u64,
}

/// A verification of an upstream that a run waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Where it stands.
    pub place: Place,
    /// How long the run waited.
    pub span: Span,
    /// The upstream.
    pub upstream: NamedUpstream,
    /// Why nothing may be sent there; nothing where it was verified.
    pub code: Option<&'static str>,
    /// Digest of the evidence that was accepted.
    pub evidence: Option<Digest>,
}

/// A request on its way to an upstream, until its answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Where it stands.
    pub place: Place,
    /// From the first byte sent to the end of the answer.
    pub span: Span,
    /// The upstream.
    pub upstream: NamedUpstream,
    /// The API that it was asked in.
    pub api: Api,
    /// Nanoseconds until the head of the answer was there.
    pub head_after: Option<u64>,
    /// Status of its answer.
    pub http_status: Option<u16>,
    /// Why there was no usable answer.
    pub code: Option<&'static str>,
}

/// Why a model stopped: the words of the APIs, and one for any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// One of the words of the APIs.
    Known(&'static str),
    /// Another.
    Other,
}

impl FinishReason {
    const KNOWN: [&'static str; 14] = [
        "completed",
        "content_filter",
        "end_turn",
        "function_call",
        "incomplete",
        "length",
        "max_output_tokens",
        "max_tokens",
        "pause_turn",
        "refusal",
        "stop",
        "stop_sequence",
        "tool_calls",
        "tool_use",
    ];

    /// What an upstream's word stands for.
    #[must_use]
    pub fn of(word: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|known| *known == word);
        known.map_or(Self::Other, Self::Known)
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Known(word) => word,
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests;
