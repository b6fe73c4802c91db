//! A holder's session, of a key or a person: begun before its first run, kept over restarts, ended by time alone. A client has
//! no say in it, so that no client lowers its own mark (docs/adr/0033-sessions-of-virtual-keys.md).

mod history;
mod live;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proofroom_canonical::{Digest, SessionId, Timestamp, json};
use proofroom_gateway::{Caller, CallerIdentity, Gateway, Standing};
use proofroom_record::{
    gateway::{
        AccountOccasion, GATEWAY_SESSION_PURPOSE, GatewayAttestation, GatewayPolicies,
        GatewaySession,
    },
    predicate::{Predicate as _, seal},
    statement::LogMode,
};

#[cfg(test)]
pub(crate) use history::Accounted;
pub(crate) use history::{Event, History, Intent, Past, Recorded, Resumed};
pub(crate) use live::{Counts, Live};

use crate::{
    gate::{Permission, SessionGate, account_of_session},
    held::{Held, HolderId},
    store::{Kind, StoreError},
};

/// Every session that goes on.
#[derive(Debug)]
pub(crate) struct Sessions {
    gateway: Gateway,
    permission: Arc<Permission>,
    facts: Facts,
    open: tokio::sync::Mutex<HashMap<HolderId, Arc<Live>>>,
    /// How each key's last session ended, if it did.
    ended: Mutex<HashMap<HolderId, Ended>>,
}

/// What is true of every session of this gateway.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) trust_domain: String,
    pub(crate) policies: GatewayPolicies,
    pub(crate) attestation: GatewayAttestation,
    pub(crate) idle: Option<Duration>,
}

/// The shortest time for which a holder has one session whatever changes about them: each end and beginning is written and
/// counts against no limit.
const CHANGE_PAUSE_MILLIS: i64 = 10_000;

fn is_just_opened(live: &Live, now: Timestamp) -> bool {
    let opened = live.statement.opened.unix_millis();
    (0..CHANGE_PAUSE_MILLIS).contains(&now.unix_millis().saturating_sub(opened))
}

/// A key's last session, and the place at which its next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) session: SessionId,
    /// The mark goes on: the session did not end by doing nothing.
    pub(crate) mark: Option<proofroom_classify::Label>,
}

impl Sessions {
    /// The sessions that `history` shows, and an account of each that was not stopped in order.
    pub(crate) async fn resume(
        gateway: Gateway,
        permission: Arc<Permission>,
        facts: Facts,
        history: Resumed,
    ) -> Result<Self, StoreError> {
        let sessions = Self {
            gateway,
            permission,
            facts,
            open: tokio::sync::Mutex::default(),
            ended: Mutex::new(history.ended),
        };
        let mut open = sessions.open.lock().await;
        for (key, past, high_water) in history.open {
            let (unfinished, last) = (past.unaccounted, past.last);
            let live = sessions.readmit(past, high_water);
            if unfinished {
                sessions.account(&live, AccountOccasion::Recovered).await?;
            }
            live.touch(last);
            open.insert(key, live);
        }
        for (past, high_water, latest) in history.superseded {
            let (from, to) = (past.statement.session, latest);
            let book = &sessions.permission.book;
            book.carry(&account_of_session(from), &account_of_session(to));
            let live = sessions.readmit(past, high_water);
            sessions.account(&live, AccountOccasion::KeyEnded).await?;
        }
        drop(open);
        Ok(sessions)
    }

    /// The session of `held`, begun now if it has none.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while the holder's earlier session, which is not theirs any more, has something under way.
    pub(crate) async fn of(self: &Arc<Self>, held: &Arc<Held>) -> Result<Arc<Caller>, StoreError> {
        let now = self.permission.now();
        if let Some(live) = self.open.lock().await.get(&held.holder)
            && self.goes_on(live, held, now)
        {
            live.touch(now);
            return Ok(live.behind(held));
        }
        // what ends and begins is done to its end, also where the client does not wait for it: half of it would lose the
        // mark
        let (this, held) = (Arc::clone(self), Arc::clone(held));
        let changed = tokio::spawn(async move { this.change(&held, now).await });
        changed.await.map_err(|_| StoreError::Failed)?
    }

    /// Ends the session that `held` had, if it has one that does not go on, and begins another.
    async fn change(&self, held: &Arc<Held>, now: Timestamp) -> Result<Arc<Caller>, StoreError> {
        let id = held.holder;
        let mut open = self.open.lock().await;
        if let Some(live) = open.get(&id).cloned() {
            if self.goes_on(&live, held, now) {
                live.touch(now);
                return Ok(live.behind(held));
            }
            let idle = self.is_idle(&live, now);
            // nobody else waits for the requests of one holder, or for what they write in changing their session
            if !idle && is_just_opened(&live, now) || !live.caller.settle_if_quiet() {
                return Err(StoreError::Busy);
            }
            let occasion = match idle {
                true => AccountOccasion::Idle,
                false => AccountOccasion::KeyEnded,
            };
            self.end(&mut open, id, &live, occasion).await?;
        }
        let live = self.begin(held, now).await?;
        live.touch(now);
        let caller = live.behind(held);
        open.insert(id, live);
        Ok(caller)
    }

    /// Ends sessions that did nothing for too long, and those of keys that ended. One after the other, so that requests wait
    /// for the end of one at most.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.permission.now();
        let ids: Vec<HolderId> = self.open.lock().await.keys().copied().collect();
        for id in ids {
            let mut open = self.open.lock().await;
            let Some(live) = open.get(&id).cloned() else {
                continue;
            };
            let occasion = if self.is_idle(&live, now) {
                AccountOccasion::Idle
            } else if self.permission.doorkeeper.is_usable(id, now) {
                continue;
            } else {
                AccountOccasion::KeyEnded
            };
            if live.caller.settle_if_quiet() {
                self.end(&mut open, id, &live, occasion).await?;
            }
        }
        Ok(())
    }

    /// Waits until every run has its record, and accounts for each session.
    pub(crate) async fn stop(&self) -> Result<(), StoreError> {
        let open = std::mem::take(&mut *self.open.lock().await);
        for live in open.values() {
            live.caller.settle().await;
            self.account(live, AccountOccasion::Stopped).await?;
        }
        Ok(())
    }

    /// How many sessions go on.
    pub(crate) async fn count(&self) -> u64 {
        self.open.lock().await.len() as u64
    }

    fn is_idle(&self, live: &Live, now: Timestamp) -> bool {
        let Some(idle) = self.facts.idle else {
            return false;
        };
        let quiet = now.unix_millis().saturating_sub(live.last().unix_millis());
        // a run that is under way is no idleness, however long it takes
        live.running() == 0 && u128::try_from(quiet).is_ok_and(|quiet| quiet >= idle.as_millis())
    }

    /// Whether `live` is the session of a request that was let in with `held`.
    fn goes_on(&self, live: &Live, held: &Held, now: Timestamp) -> bool {
        live.is_of(held) && !live.caller.is_settled() && !self.is_idle(live, now)
    }

    /// Ends a session that is settled. One that cannot be accounted for stays among `open`, and ends when somebody asks for
    /// it again.
    async fn end(
        &self,
        open: &mut HashMap<HolderId, Arc<Live>>,
        id: HolderId,
        live: &Live,
        occasion: AccountOccasion,
    ) -> Result<(), StoreError> {
        self.account(live, occasion).await?;
        let ended = Ended {
            session: live.statement.session,
            mark: (occasion != AccountOccasion::Idle).then(|| live.caller.high_water()),
        };
        if ended.mark.is_none() {
            let account = account_of_session(ended.session);
            self.permission.book.close(&account);
        }
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, ended);
        open.remove(&id);
        Ok(())
    }

    async fn begin(&self, held: &Held, now: Timestamp) -> Result<Arc<Live>, StoreError> {
        let before = {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.get(&held.holder).copied()
        };
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| StoreError::Failed)?;
        let statement = GatewaySession {
            purpose: GATEWAY_SESSION_PURPOSE.to_owned(),
            session: SessionId::from_random(random),
            client: held.client.of_session(),
            repository: held.grant.scope.repository.clone(),
            opened_for: held.grant.scope.purpose.clone(),
            client_key: held.session_client_key(),
            proof_key: held.session_proof_key(),
            previous: before.map(|before| before.session),
            policies: self.facts.policies.clone(),
            gateway: self.facts.attestation,
            opened: now,
        };
        let bytes = json::to_bytes(&statement).map_err(|_| StoreError::Failed)?;
        let binding = Digest::of(&bytes);
        let event = Event::Session(Box::new(statement.clone()));
        let (store, session) = (&self.permission.store, statement.session);
        store
            .note(Kind::Session, session, bytes, event, LogMode::Strict)
            .await?;
        let fresh = self.gateway.fresh();
        let carried = before.filter(|before| before.mark.is_some());
        if let Some(before) = carried {
            let (from, to) = (before.session, statement.session);
            let book = &self.permission.book;
            book.carry(&account_of_session(from), &account_of_session(to));
        }
        let standing = Standing {
            high_water: carried
                .and_then(|before| before.mark)
                .unwrap_or(fresh.high_water),
            ..fresh
        };
        let counts = Counts::default();
        Ok(self.admit(statement, binding, standing, counts))
    }

    fn readmit(&self, past: Past, high_water: proofroom_classify::Label) -> Arc<Live> {
        let standing = Standing {
            high_water,
            next: past.next,
        };
        self.admit(past.statement, past.binding, standing, past.counts)
    }

    fn admit(
        &self,
        statement: GatewaySession,
        binding: Digest,
        standing: Standing,
        counts: Counts,
    ) -> Arc<Live> {
        let counts = Arc::new(Mutex::new(counts));
        let gate = Arc::new(SessionGate::new(
            Arc::clone(&self.permission),
            &statement,
            Arc::clone(&counts),
        ));
        // a person's id says that it is one
        let kind = match statement.client.issuer {
            None => "key",
            Some(_) => "person",
        };
        let identity = CallerIdentity {
            session: statement.session,
            spiffe_id: format!(
                "spiffe://{}/gateway/{kind}/{}",
                self.facts.trust_domain, statement.client.key
            ),
            binding,
            repository: statement.repository.clone(),
            person: statement.client.user.clone(),
            purpose: statement.opened_for.clone(),
        };
        let caller = self
            .gateway
            .admit_behind(identity, Arc::clone(&gate) as _, standing);
        Arc::new(Live::new(statement, binding, caller, gate, counts))
    }

    async fn account(&self, live: &Live, occasion: AccountOccasion) -> Result<(), StoreError> {
        let mark = live.caller.high_water();
        let name = self.gateway.label_name(mark).to_owned();
        let account = live.account(occasion, name, self.permission.now());
        let (session, event) = (account.session, Event::of_account(&account));
        let sealed =
            seal(&account, &self.permission.signing_key).map_err(|_| StoreError::Failed)?;
        let kind = proofroom_record::gateway::GatewayAccount::LEAF;
        let store = &self.permission.store;
        let log = LogMode::Strict;
        store.record(kind, session, sealed, event, log).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
