//! Who is calling: one session, known by its channel and never by what its requests say.

use std::sync::{Arc, Mutex, PoisonError};

use proofroom_canonical::{Digest, SessionId};
use proofroom_classify::{HighWater, Label, SessionVerdicts};
use tokio::sync::{Semaphore, TryAcquireError};

use crate::{gate::Gate, redaction::Names};

/// What the channel's other end is known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The session.
    pub session: SessionId,
    /// The agent's SPIFFE ID.
    pub spiffe_id: String,
    /// Digest of the session's binding statement.
    pub binding: Digest,
    /// Name of the session's repository, as routing rules name it.
    pub repository: String,
    /// Name of the person for whom the session runs, as routing rules name persons.
    pub person: String,
    /// What the session was opened for, as routing rules name purposes; empty where nobody said. Never from a
    /// request.
    pub purpose: String,
}

/// One session at the gateway: its identity, its high-water mark, its run counter. Made by
/// [`crate::Gateway::admit`], one per channel.
#[derive(Debug)]
pub struct Caller {
    pub(crate) identity: Arc<CallerIdentity>,
    pub(crate) gate: Arc<dyn Gate>,
    state: Arc<Mutex<State>>,
    /// The session's placeholders.
    pub(crate) names: Arc<Names>,
    /// What its texts were found to be. Without it, every text is looked at each time.
    pub(crate) verdicts: Option<Arc<SessionVerdicts>>,
    pub(crate) slots: Arc<Semaphore>,
    runs_at_once: usize,
}

/// How far a session has come: its mark and the place of its next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The highest label so far.
    pub high_water: Label,
    /// The next run's place.
    pub next: u64,
}

#[derive(Debug)]
struct State {
    high_water: HighWater,
    /// The highest label of what may have been forwarded: below the mark where what raised it was
    /// replaced by placeholders.
    forwarded: HighWater,
    /// The mark under rules that decide beside the ones in force.
    shadow: HighWater,
    next: u64,
}

/// A run's place in its session: taken once, in one step, so that `after` of one run is `before` of
/// the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sequence: u64,
    pub(crate) before: Label,
    pub(crate) after: Label,
    /// The highest label of what the session has forwarded, with this request as it is to be
    /// forwarded.
    pub(crate) forwarded: Label,
}

impl Caller {
    pub(crate) fn new(
        identity: CallerIdentity,
        gate: Arc<dyn Gate>,
        standing: Standing,
        runs_at_once: usize,
        verdicts: Option<SessionVerdicts>,
    ) -> Self {
        Self {
            verdicts: verdicts.map(Arc::new),
            identity: Arc::new(identity),
            gate,
            state: Arc::new(Mutex::new(State {
                high_water: HighWater::new(standing.high_water),
                forwarded: HighWater::new(standing.high_water),
                shadow: HighWater::new(standing.high_water),
                next: standing.next,
            })),
            names: Arc::default(),
            slots: Arc::new(Semaphore::new(runs_at_once)),
            runs_at_once,
        }
    }

    /// The same session, mark, places and all, with another gate: for requests that come with what their session does
    /// not have, such as one of several tokens of a person.
    #[must_use]
    pub fn behind(&self, gate: Arc<dyn Gate>) -> Arc<Self> {
        Arc::new(Self {
            identity: Arc::clone(&self.identity),
            gate,
            state: Arc::clone(&self.state),
            names: Arc::clone(&self.names),
            verdicts: self.verdicts.clone(),
            slots: Arc::clone(&self.slots),
            runs_at_once: self.runs_at_once,
        })
    }

    /// Waits until every run of the session has its record. No run begins afterwards, and what the
    /// session's texts were found to be is wiped.
    pub async fn settle(&self) {
        for _ in 0..self.runs_at_once {
            match self.slots.acquire().await {
                Ok(permit) => permit.forget(),
                // Never: nobody closes it.
                Err(_) => return,
            }
        }
        self.wind_up();
    }

    /// Does what [`Self::settle`] does if nothing of the session is under way, a request that still arrives included, and
    /// nothing otherwise. Whether no run begins any more.
    #[must_use]
    pub fn settle_if_quiet(&self) -> bool {
        let all = u32::try_from(self.runs_at_once).unwrap_or(u32::MAX);
        match self.slots.try_acquire_many(all) {
            Ok(permits) => permits.forget(),
            Err(TryAcquireError::Closed) => return true,
            Err(TryAcquireError::NoPermits) => return false,
        }
        self.wind_up();
        true
    }

    /// Whether the session was settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.slots.is_closed()
    }

    fn wind_up(&self) {
        // Whoever still waits for a place is refused.
        self.slots.close();
        if let Some(verdicts) = &self.verdicts {
            verdicts.forget();
        }
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &CallerIdentity {
        &self.identity
    }

    /// The highest label that any of the session's requests had so far.
    #[must_use]
    pub fn high_water(&self) -> Label {
        self.lock().high_water.label()
    }

    /// How many runs the session has begun.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.lock().next
    }

    /// Takes the next place in the session for a request of `label`, of which nothing above `forwarded`
    /// is to be forwarded.
    pub(crate) fn begin(&self, label: Label, forwarded: Label) -> Position {
        let mut state = self.lock();
        let before = state.high_water.label();
        let after = state.high_water.raise(label);
        let forwarded = state.forwarded.raise(forwarded);
        let sequence = state.next;
        state.next = state.next.saturating_add(1);
        Position {
            sequence,
            before,
            after,
            forwarded,
        }
    }

    /// A request goes as it came after all. It is routed on the session's mark, which is never below
    /// what was forwarded.
    pub(crate) fn forwards_unchanged(&self, label: Label) {
        let _forwarded = self.lock().forwarded.raise(label);
    }

    /// The session's mark under other rules, with a request that has this label under them.
    pub(crate) fn raise_shadow(&self, label: Label) -> Label {
        self.lock().shadow.raise(label)
    }

    /// Takes the next place for a request that could not be read, and so has no label.
    pub(crate) fn begin_unclassified(&self) -> Position {
        let (mark, forwarded) = {
            let state = self.lock();
            (state.high_water.label(), state.forwarded.label())
        };
        self.begin(mark, forwarded)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
