//! What a caller is permitted beyond routing: asked once before anything of a run is sent, told once
//! how it ended. The gateway carries the answers out and records them; who may do how much is
//! decided by whoever admits callers.

use std::{any::Any, borrow::Cow, fmt, time::Duration};

use http::StatusCode;
use proofroom_canonical::{Digest, RunId, Timestamp};
use proofroom_classify::{Label, UpstreamOffer};
use proofroom_record::{
    event::RunStatus,
    statement::{ClientIdentity, LogMode, RejectedUpstream, TokenCount},
};

use crate::{draft::Draft, refusal::Refusal, sink::BoxFuture};

/// A run that was read and classified, and of which nothing was sent.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The run.
    pub run: RunId,
    /// Its place in the session.
    pub sequence: u64,
    /// The model as the client wrote it.
    pub model: String,
    /// The session's label before the run.
    pub before: Label,
    /// The session's label with the run: what routing goes by.
    pub label: Label,
    /// Its name.
    pub label_name: String,
    /// Digest of the body as it arrived.
    pub received: Digest,
    /// Size of the body as it arrived.
    pub received_bytes: u64,
    /// When the request arrived.
    pub started: Timestamp,
}

/// A run that ended, before its record is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The run.
    pub run: RunId,
    /// The model as the client wrote it; empty where the request could not be read.
    pub model: String,
    /// Tier that it was sent to, if it was.
    pub tier: Option<String>,
    /// Upstream that it was sent to, if it was.
    pub upstream: Option<String>,
    /// How it ended.
    pub status: RunStatus,
    /// Code of the refusal or failure; empty when there was none.
    pub code: String,
    /// Size of the body as it arrived.
    pub received_bytes: u64,
    /// Size of the answer.
    pub answered_bytes: u64,
    /// Tokens as the upstream counted them, if it did.
    pub tokens: Option<TokenCount>,
    /// When the request arrived.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// Why a run may not be. Becomes the client's answer and the record's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Status of the answer.
    pub status: StatusCode,
    /// Stable kebab-case code.
    pub code: &'static str,
    /// For a person. Never quotes a prompt.
    pub message: String,
    /// When it may be tried again, if that helps.
    pub retry_after: Option<Duration>,
    /// When its own record has to be on disk.
    pub log: LogMode,
}

/// What is held for as long as a run lasts, such as a place among concurrent runs, and when what is
/// written of the run has to be on disk.
pub struct Admission {
    place: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) log: LogMode,
}

impl Admission {
    /// Holds nothing.
    #[must_use]
    pub const fn free() -> Self {
        Self {
            place: None,
            log: LogMode::Strict,
        }
    }

    /// Holds `place` until the run has ended.
    #[must_use]
    pub fn holding(place: impl Any + Send + Sync) -> Self {
        Self {
            place: Some(Box::new(place)),
            ..Self::free()
        }
    }

    /// What it holds, which it then does not hold any more.
    pub(crate) const fn hand_over(&mut self) -> Self {
        Self {
            place: self.place.take(),
            log: self.log,
        }
    }

    /// The same, for a run that is written down in this mode.
    #[must_use]
    pub fn logged(self, log: LogMode) -> Self {
        Self { log, ..self }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("place", &self.place.is_some())
            .field("log", &self.log)
            .finish()
    }
}

/// Permits and accounts for the runs of one caller.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Who calls, for the record: nothing where the session's own identity says it all.
    fn client(&self) -> Option<ClientIdentity>;

    /// Whether the caller may use `offer` for `model`.
    ///
    /// # Errors
    /// A stable code of why not, for the record.
    fn permits(&self, offer: &UpstreamOffer, model: &str) -> Result<(), &'static str>;

    /// Asked once for every run that was read, before anything is sent. What must be on disk before
    /// a prompt leaves is written here.
    fn admit(&self, asked: Asked) -> BoxFuture<'_, Result<Admission, Denial>>;

    /// Told once how a run ended, permitted or not.
    fn ended(&self, finished: &Finished);
}

/// Permits what routing permits: for sessions whose channel says who they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn client(&self) -> Option<ClientIdentity> {
        None
    }

    fn permits(&self, _: &UpstreamOffer, _: &str) -> Result<(), &'static str> {
        Ok(())
    }

    fn admit(&self, _: Asked) -> BoxFuture<'_, Result<Admission, Denial>> {
        Box::pin(std::future::ready(Ok(Admission::free())))
    }

    fn ended(&self, _: &Finished) {}
}

impl Denial {
    fn refusal(self) -> Refusal {
        Refusal::new(self.status, self.code, self.message).after(self.retry_after)
    }
}

/// Asks the caller's gate about a run, and keeps what it holds for the run.
pub(crate) async fn admit(draft: &mut Draft) -> Result<(), Refusal> {
    let asked = Asked {
        run: draft.opening.run,
        sequence: draft.position.sequence,
        model: draft.request.model.clone(),
        before: draft.position.before,
        label: draft.position.after,
        label_name: draft.high_water().to_owned(),
        received: draft.request.received,
        received_bytes: draft.request.received_bytes,
        started: draft.opening.started,
    };
    let admission = draft.caller.gate.admit(asked).await;
    match admission {
        Ok(admission) => {
            draft.admission = admission;
            Ok(())
        }
        Err(denial) => {
            draft.admission = Admission::free().logged(denial.log);
            Err(denial.refusal())
        }
    }
}

/// The offers that `gate` permits for `model`, and the others with its reasons.
pub(crate) fn permitted<'a>(
    gate: &dyn Gate,
    mut offers: Cow<'a, [UpstreamOffer]>,
    model: &str,
) -> (Cow<'a, [UpstreamOffer]>, Vec<RejectedUpstream>) {
    let rejection = |offer: &UpstreamOffer| {
        let code = gate.permits(offer, model).err()?;
        Some(RejectedUpstream {
            upstream: offer.name.clone(),
            code: code.to_owned(),
        })
    };
    let rejected: Vec<RejectedUpstream> = offers.iter().filter_map(rejection).collect();
    if !rejected.is_empty() {
        let refused = |offer: &UpstreamOffer| rejected.iter().any(|one| one.upstream == offer.name);
        offers.to_mut().retain(|offer| !refused(offer));
    }
    (offers, rejected)
}
