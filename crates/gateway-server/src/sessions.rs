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
pub(crate) use history::{Event, History, Intent, Recorded, Resumed};
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
            let unfinished = past.unaccounted;
            let standing = Standing {
                high_water,
                next: past.next,
            };
            let live = sessions.admit(past.statement, past.binding, standing, past.counts);
            if unfinished {
                sessions.account(&live, AccountOccasion::Recovered).await?;
            }
            live.touch(past.last);
            open.insert(key, live);
        }
        drop(open);
        Ok(sessions)
    }

    /// The session of `held`, begun now if it has none.
    pub(crate) async fn of(&self, held: &Arc<Held>) -> Result<Arc<Caller>, StoreError> {
        let now = self.permission.now();
        let id = held.holder;
        let mut open = self.open.lock().await;
        if let Some(live) = open.get(&id).cloned() {
            let idle = self.is_idle(&live, now);
            if live.is_of(held) && !idle {
                live.touch(now);
                return Ok(live.behind(held));
            }
            // nobody else waits for the runs of one key
            if live.running() > 0 {
                return Err(StoreError::Busy);
            }
            open.remove(&id);
            let occasion = if idle {
                AccountOccasion::Idle
            } else {
                AccountOccasion::KeyEnded
            };
            self.end(id, &live, occasion).await?;
        }
        let live = self.begin(held, now).await?;
        live.touch(now);
        let caller = live.behind(held);
        open.insert(id, live);
        Ok(caller)
    }

    /// Ends sessions that did nothing for too long, and those of keys that ended.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.permission.now();
        let mut open = self.open.lock().await;
        let over: Vec<(HolderId, Arc<Live>, AccountOccasion)> = open
            .iter()
            .filter(|(_, live)| live.running() == 0)
            .filter_map(|(id, live)| {
                let occasion = if self.is_idle(live, now) {
                    AccountOccasion::Idle
                } else if self.permission.doorkeeper.is_usable(*id, now) {
                    return None;
                } else {
                    AccountOccasion::KeyEnded
                };
                Some((*id, Arc::clone(live), occasion))
            })
            .collect();
        for (id, live, occasion) in over {
            open.remove(&id);
            self.end(id, &live, occasion).await?;
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

    async fn end(
        &self,
        id: HolderId,
        live: &Arc<Live>,
        occasion: AccountOccasion,
    ) -> Result<(), StoreError> {
        live.caller.settle().await;
        self.account(live, occasion).await?;
        let ended = Ended {
            session: live.statement.session,
            mark: (occasion != AccountOccasion::Idle).then(|| live.caller.high_water()),
        };
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, ended);
        let account = account_of_session(ended.session);
        self.permission.book.close(&account);
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
        let standing = Standing {
            high_water: before
                .and_then(|before| before.mark)
                .unwrap_or(fresh.high_water),
            ..fresh
        };
        let counts = Counts::default();
        Ok(self.admit(statement, binding, standing, counts))
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
        let sealed = seal(account, &self.permission.signing_key).map_err(|_| StoreError::Failed)?;
        let kind = proofroom_record::gateway::GatewayAccount::LEAF;
        let store = &self.permission.store;
        let log = LogMode::Strict;
        store
            .record(kind, session, sealed.bytes, event, log)
            .await?;
        Ok(())
    }
}
