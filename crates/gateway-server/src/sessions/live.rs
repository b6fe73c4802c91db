//! One session that goes on, and the count of its runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use proofroom_canonical::{Digest, Timestamp};
use proofroom_gateway::Caller;
use proofroom_record::gateway::{AccountOccasion, GatewayAccount, GatewaySession};
use serde::{Deserialize, Serialize};

use crate::{gate::SessionGate, held::Held};

/// A session's runs, counted from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) recorded: u64,
    pub(crate) missing: BTreeSet<u64>,
    pub(crate) by_tier: BTreeMap<String, u64>,
    pub(crate) not_sent: u64,
}

impl Counts {
    /// Counts one recorded run.
    pub(crate) fn record(&mut self, tier: Option<&str>) {
        self.recorded = self.recorded.saturating_add(1);
        let count = match tier {
            Some(tier) => self.by_tier.entry(tier.to_owned()).or_default(),
            None => &mut self.not_sent,
        };
        *count = count.saturating_add(1);
    }
}

/// One session that goes on.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) statement: GatewaySession,
    binding: Digest,
    pub(crate) caller: Arc<Caller>,
    gate: Arc<SessionGate>,
    counts: Arc<Mutex<Counts>>,
    last: AtomicI64,
}

impl Live {
    pub(crate) fn new(
        statement: GatewaySession,
        binding: Digest,
        caller: Arc<Caller>,
        gate: Arc<SessionGate>,
        counts: Arc<Mutex<Counts>>,
    ) -> Self {
        Self {
            statement,
            binding,
            caller,
            gate,
            counts,
            last: AtomicI64::new(0),
        }
    }

    /// Whether the session is of the holder as they are now. A key that was changed by hand in what its session is bound
    /// to, or a person whose name or team changed, has another session.
    pub(crate) fn is_of(&self, held: &Held) -> bool {
        let bound = &self.statement;
        bound.client == held.client.of_session()
            && bound.repository == held.grant.scope.repository
            && bound.opened_for == held.grant.scope.purpose
            && bound.client_key == held.session_client_key()
            && bound.proof_key == held.session_proof_key()
    }

    /// The session's caller, for a request that was let in with `held`.
    pub(crate) fn behind(&self, held: &Arc<Held>) -> Arc<Caller> {
        self.caller.behind(self.gate.of_request(held))
    }

    pub(crate) fn touch(&self, now: Timestamp) {
        self.last.fetch_max(now.unix_millis(), Ordering::AcqRel);
    }

    pub(crate) fn last(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.last.load(Ordering::Acquire))
    }

    /// Runs that have begun and have no record yet.
    pub(crate) fn running(&self) -> u64 {
        let counts = self.counts();
        let over = counts.recorded.saturating_add(counts.missing.len() as u64);
        self.caller.runs().saturating_sub(over)
    }

    /// The session's runs so far. Call it when none is under way.
    pub(crate) fn account(
        &self,
        occasion: AccountOccasion,
        high_water: String,
        at: Timestamp,
    ) -> GatewayAccount {
        let counts = self.counts();
        GatewayAccount {
            session: self.statement.session,
            session_binding: self.binding,
            client: self.statement.client.clone(),
            occasion,
            runs: self.caller.runs(),
            recorded: counts.recorded,
            missing: counts.missing.iter().copied().collect(),
            by_tier: counts.by_tier.clone(),
            not_sent: counts.not_sent,
            high_water,
            at,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
