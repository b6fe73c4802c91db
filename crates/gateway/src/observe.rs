//! What the gateway tells whoever watches: progress for a screen. Never content, and nothing that a
//! relying party needs; that is in the records.

use proofroom_canonical::{Digest, RunId, SessionId, Timestamp};

/// Watches upstreams. Called on the request path: must return at once.
pub trait RunObserver: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &RunEvent);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl RunObserver for NoObserver {
    fn observe(&self, _: &RunEvent) {}
}

/// What can be seen of the gateway's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// An attested upstream was appraised and accepted.
    UpstreamVerified {
        /// The upstream.
        upstream: String,
        /// Appraisal policy.
        policy: String,
        /// Digest of the evidence document.
        evidence: Digest,
    },
    /// An attested upstream could not be verified, or ceased to be what was verified; or there is no key for an
    /// upstream any more.
    UpstreamClosed {
        /// The upstream.
        upstream: String,
        /// Why.
        code: &'static str,
    },
    /// The file of an upstream's key changed and was read: what it holds is used from now on.
    UpstreamKeyRead {
        /// The upstream.
        upstream: String,
    },
    /// An upstream was busy, and the run's request is sent again.
    SentAgain {
        /// Its session.
        session: SessionId,
        /// The run.
        run: RunId,
        /// The upstream that was busy.
        upstream: String,
        /// The status of its answer.
        status: u16,
    },
    /// An upstream failed so often in a row that it is not asked for a while.
    UpstreamRests {
        /// The upstream.
        upstream: String,
        /// Until when.
        until: Timestamp,
    },
    /// An upstream that rested has answered.
    UpstreamBack {
        /// The upstream.
        upstream: String,
    },
    /// A record could not be kept: the gateway takes no more requests.
    GatewayClosed,
}
