//! The gate of one key's session: scope, limits, and the intent that is durable before a prompt leaves.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use http::StatusCode;
use p256::ecdsa::SigningKey;
use proofroom_canonical::{SessionId, Timestamp, json};
use proofroom_classify::{Label, UpstreamOffer};
use proofroom_gateway::{Admission, Asked, BoxFuture, Denial, Finished, Gate};
use proofroom_record::{
    gateway::GatewaySession,
    statement::{ClientIdentity, LogMode},
};

use crate::{
    config::{SharedLimits, Whose},
    limits::{Book, Limits},
    metrics::Metrics,
    prices::{BYTES_PER_TOKEN, Prices},
    ring::{HeldKey, KeyRing},
    sessions::{Counts, Event, Intent},
    store::{Kind, RecordStore},
};

/// A run whose intent the disk has not taken after this long is refused.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// What every gate shares.
pub(crate) struct Permission {
    pub(crate) store: Arc<RecordStore>,
    pub(crate) signing_key: SigningKey,
    pub(crate) book: Arc<Book>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) prices: Arc<Prices>,
    pub(crate) shared: Vec<SharedLimits>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) logging: Logging,
    pub(crate) clock: fn() -> Timestamp,
}

/// When what is written of runs has to be on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logging {
    pub(crate) mode: LogMode,
    /// Sessions at this level are strict whatever the mode is.
    pub(crate) highest: Label,
}

impl Logging {
    /// A mark is on disk before anything is sent under it, or a power cut could lower it: `durable` is what
    /// is there of the session's.
    fn of(self, asked: &Asked, durable: Option<Label>, store: &RecordStore) -> LogMode {
        let rises = durable.is_none_or(|durable| asked.label > durable);
        if rises || asked.label >= self.highest || store.lags() {
            return LogMode::Strict;
        }
        self.mode
    }
}

impl std::fmt::Debug for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permission").finish_non_exhaustive()
    }
}

impl Permission {
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// The gate of one key's session.
#[derive(Debug)]
pub(crate) struct KeyGate {
    permission: Arc<Permission>,
    session: SessionId,
    client: ClientIdentity,
    names: Vec<String>,
    counts: Arc<Mutex<Counts>>,
    held: RwLock<Option<Arc<HeldKey>>>,
    /// The highest mark of this process that an intent on disk tells of.
    durable_mark: Mutex<Option<Label>>,
}

impl KeyGate {
    pub(crate) fn new(
        permission: Arc<Permission>,
        statement: &GatewaySession,
        counts: Arc<Mutex<Counts>>,
        held: Option<&Arc<HeldKey>>,
    ) -> Self {
        Self {
            permission,
            session: statement.session,
            client: statement.client.clone(),
            names: names(&statement.client, statement.session),
            counts,
            held: RwLock::new(held.map(Arc::clone)),
            durable_mark: Mutex::default(),
        }
    }

    /// From now on the key's present entry in the file counts.
    pub(crate) fn hold(&self, held: &Arc<HeldKey>) {
        let mut current = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_none_or(|known| !Arc::ptr_eq(known, held))
        {
            *current = Some(Arc::clone(held));
        }
    }

    /// The key as it was when it was used last; nothing when it was not since the start.
    pub(crate) fn held(&self) -> Option<Arc<HeldKey>> {
        self.held
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn durable_mark(&self) -> MutexGuard<'_, Option<Label>> {
        self.durable_mark
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn scoped(&self, held: &HeldKey, asked: &Asked) -> Result<(), Denial> {
        let refuse = |code, message: &str| Denial {
            status: StatusCode::FORBIDDEN,
            code,
            message: message.to_owned(),
            retry_after: None,
            log: LogMode::Strict,
        };
        if !held.permits.model(&asked.model) {
            return Err(refuse("key-scope-model", "the key is not for this model"));
        }
        if !held.permits.label(&asked.label_name) {
            let words = "the key's session has a label that the key is not for; use another key";
            return Err(refuse("key-scope-label", words));
        }
        Ok(())
    }

    /// Returns once the intent is kept as `log` demands.
    async fn write_intent(&self, asked: &Asked, log: LogMode) -> Result<(), Denial> {
        let intent = Intent {
            run: asked.run,
            sequence: asked.sequence,
            label: asked.label_name.clone(),
            received: asked.received,
            at: asked.started,
        };
        let bytes = json::to_bytes(&intent).map_err(|_| not_kept())?;
        let store = &self.permission.store;
        let event = Event::Intent(intent);
        let kept = store.note(Kind::Intent, self.session, bytes, event, log);
        match tokio::time::timeout(DISK_PATIENCE, kept).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(not_kept()),
            Err(_) => Err(disk_too_slow()),
        }
    }

    async fn permit(&self, asked: Asked) -> Result<Admission, Denial> {
        let held = self.held().ok_or_else(key_ended)?;
        let now = self.permission.now();
        if held.has_ended() || held.key.usable_at(now).is_err() {
            return Err(key_ended());
        }
        self.scoped(&held, &asked)?;
        let place = {
            let limits = self.limits(&held);
            let estimate = asked.received_bytes / BYTES_PER_TOKEN;
            self.permission.book.take(&limits, estimate, now)?
        };
        let durable = *self.durable_mark();
        let log = self
            .permission
            .logging
            .of(&asked, durable, &self.permission.store);
        self.write_intent(&asked, log).await?;
        if log == LogMode::Strict {
            let mut durable = self.durable_mark();
            *durable = (*durable).max(Some(asked.label));
        }
        Ok(Admission::holding(place).logged(log))
    }

    /// Every limit that the session is under, by the name of its account.
    fn limits<'a>(&'a self, held: &'a HeldKey) -> Vec<(String, &'a Limits)> {
        let mut limits = vec![
            (account_of_key(&self.client), &held.key.limits),
            (account_of_session(self.session), &held.key.session_limits),
        ];
        for shared in &self.permission.shared {
            let name = match &shared.whose {
                Whose::User(user) if *user == self.client.user => account_of_user(&self.client),
                Whose::Team(team) if *team == self.client.team => account_of_team(&self.client),
                Whose::User(_) | Whose::Team(_) => continue,
            };
            limits.push((name, &shared.limits));
        }
        limits
    }

    fn needs_price(&self, held: &HeldKey) -> bool {
        self.limits(held)
            .iter()
            .any(|(_, limits)| limits.need_prices())
    }
}

impl Gate for KeyGate {
    fn client(&self) -> Option<ClientIdentity> {
        Some(self.client.clone())
    }

    fn permits(&self, offer: &UpstreamOffer, model: &str) -> Result<(), &'static str> {
        let held = self.held().ok_or("key-ended")?;
        if !held.permits.model(model) {
            return Err("key-scope-model");
        }
        if !held.permits.tier(&offer.tier) {
            return Err("key-scope-tier");
        }
        if !held.permits.region(&offer.region) {
            return Err("key-scope-region");
        }
        // a budget that cannot be counted is no budget
        if self.needs_price(&held) && !self.permission.prices.know(&offer.name, model) {
            return Err("price-unknown");
        }
        Ok(())
    }

    fn admit(&self, asked: Asked) -> BoxFuture<'_, Result<Admission, Denial>> {
        Box::pin(self.permit(asked))
    }

    fn ended(&self, run: &Finished) {
        self.permission.metrics.ended(run);
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(run.tier.as_deref());
        if let Some(spending) = self.permission.prices.of_ended(run) {
            self.permission
                .book
                .spend(&self.names, spending, run.finished);
        }
    }
}

fn key_ended() -> Denial {
    Denial {
        status: StatusCode::FORBIDDEN,
        code: "key-ended",
        message: "the key expired or was revoked while the request arrived".to_owned(),
        retry_after: None,
        log: LogMode::Strict,
    }
}

fn not_kept() -> Denial {
    Denial {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "record-not-durable",
        message: "the gateway cannot keep records, so it takes no requests; ask its operator to see to its disk".to_owned(),
        retry_after: None,
        log: LogMode::Strict,
    }
}

fn disk_too_slow() -> Denial {
    Denial {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "disk-too-slow",
        message: "the gateway's disk is too far behind with its records; try again in a moment"
            .to_owned(),
        retry_after: Some(Duration::from_secs(1)),
        // nothing was sent, and the disk is what this is about
        log: LogMode::Prompt,
    }
}

fn account_of_key(client: &ClientIdentity) -> String {
    format!("key `{}`", client.key)
}

fn account_of_user(client: &ClientIdentity) -> String {
    format!("user `{}`", client.user)
}

fn account_of_team(client: &ClientIdentity) -> String {
    format!("team `{}`", client.team)
}

pub(crate) fn account_of_session(session: SessionId) -> String {
    format!("session `{session}`")
}

/// Everybody who pays for a session's runs.
pub(crate) fn names(client: &ClientIdentity, session: SessionId) -> Vec<String> {
    vec![
        account_of_key(client),
        account_of_session(session),
        account_of_user(client),
        account_of_team(client),
    ]
}
