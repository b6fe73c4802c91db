//! Who is calling: one session, known by its channel and never by what its requests say.

use std::sync::{Arc, Mutex, PoisonError};

use proofroom_canonical::{Digest, SessionId};
use proofroom_classify::{HighWater, Label};
use tokio::sync::Semaphore;

use crate::gate::Gate;

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
}

/// One session at the gateway: its identity, its high-water mark, its run counter. Made by
/// [`crate::Gateway::admit`], one per channel.
#[derive(Debug)]
pub struct Caller {
    pub(crate) identity: CallerIdentity,
    pub(crate) gate: Arc<dyn Gate>,
    state: Mutex<State>,
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
    next: u64,
}

/// A run's place in its session: taken once, in one step, so that `after` of one run is `before` of
/// the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sequence: u64,
    pub(crate) before: Label,
    pub(crate) after: Label,
}

impl Caller {
    pub(crate) fn new(
        identity: CallerIdentity,
        gate: Arc<dyn Gate>,
        standing: Standing,
        runs_at_once: usize,
    ) -> Self {
        Self {
            identity,
            gate,
            state: Mutex::new(State {
                high_water: HighWater::new(standing.high_water),
                next: standing.next,
            }),
            slots: Arc::new(Semaphore::new(runs_at_once)),
            runs_at_once,
        }
    }

    /// Waits until every run of the session has its record. No run begins afterwards.
    pub async fn settle(&self) {
        for _ in 0..self.runs_at_once {
            match self.slots.acquire().await {
                Ok(permit) => permit.forget(),
                // Never: nobody closes it.
                Err(_) => return,
            }
        }
        // Whoever still waits for a place is refused.
        self.slots.close();
    }

    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &CallerIdentity {
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

    /// Takes the next place in the session for a request of `label`.
    pub(crate) fn begin(&self, label: Label) -> Position {
        let mut state = self.lock();
        let before = state.high_water.label();
        let after = state.high_water.raise(label);
        let sequence = state.next;
        state.next = state.next.saturating_add(1);
        Position {
            sequence,
            before,
            after,
        }
    }

    /// Takes the next place for a request that could not be read, and so has no label.
    pub(crate) fn begin_unclassified(&self) -> Position {
        let mark = self.high_water();
        self.begin(mark)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
