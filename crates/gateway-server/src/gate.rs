//! The gate of one holder's session: scope, limits, and the intent that is durable before a prompt leaves.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    doorkeeper::Doorkeeper,
    held::Held,
    limits::{Book, Limits},
    metrics::Metrics,
    prices::{BYTES_PER_TOKEN, Prices},
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
    pub(crate) doorkeeper: Doorkeeper,
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

/// What every run of one session shares.
#[derive(Debug)]
pub(crate) struct SessionGate {
    permission: Arc<Permission>,
    session: SessionId,
    client: ClientIdentity,
    names: Vec<String>,
    counts: Arc<Mutex<Counts>>,
    /// The highest mark of this process that an intent on disk tells of.
    durable_mark: Mutex<Option<Label>>,
}

/// The gate of one request: its session, and what it was let in with.
#[derive(Debug)]
pub(crate) struct RequestGate {
    session: Arc<SessionGate>,
    held: Arc<Held>,
}

impl SessionGate {
    pub(crate) fn new(
        permission: Arc<Permission>,
        statement: &GatewaySession,
        counts: Arc<Mutex<Counts>>,
    ) -> Self {
        Self {
            permission,
            session: statement.session,
            client: statement.client.clone(),
            names: names(&statement.client, statement.session),
            counts,
            durable_mark: Mutex::default(),
        }
    }

    /// For a request that was let in with `held`.
    pub(crate) fn of_request(self: &Arc<Self>, held: &Arc<Held>) -> Arc<RequestGate> {
        Arc::new(RequestGate {
            session: Arc::clone(self),
            held: Arc::clone(held),
        })
    }

    fn durable_mark(&self) -> MutexGuard<'_, Option<Label>> {
        self.durable_mark
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

/// Requests come with what they were let in with; a session by itself permits nothing.
impl Gate for SessionGate {
    fn client(&self) -> Option<ClientIdentity> {
        Some(self.client.clone())
    }

    fn permits(&self, _: &UpstreamOffer, _: &str) -> Result<(), &'static str> {
        Err("key-ended")
    }

    fn admit(&self, _: Asked) -> BoxFuture<'_, Result<Admission, Denial>> {
        Box::pin(std::future::ready(Err(key_ended())))
    }

    fn ended(&self, run: &Finished) {
        Self::ended(self, run);
    }
}

impl RequestGate {
    fn scoped(&self, asked: &Asked) -> Result<(), Denial> {
        let refuse = |code, message: &str| Denial {
            status: StatusCode::FORBIDDEN,
            code,
            message: message.to_owned(),
            retry_after: None,
            log: LogMode::Strict,
        };
        if !self.held.grant.permits.model(&asked.model) {
            return Err(refuse("key-scope-model", "the key is not for this model"));
        }
        if !self.held.grant.permits.label(&asked.label_name) {
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
        let store = &self.session.permission.store;
        let event = Event::Intent(intent);
        let kept = store.note(Kind::Intent, self.session.session, bytes, event, log);
        match tokio::time::timeout(DISK_PATIENCE, kept).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(not_kept()),
            Err(_) => Err(disk_too_slow()),
        }
    }

    async fn permit(&self, asked: Asked) -> Result<Admission, Denial> {
        let SessionGate { permission, .. } = &*self.session;
        let now = permission.now();
        if !self.held.is_usable(now) {
            return Err(key_ended());
        }
        self.scoped(&asked)?;
        let place = {
            let estimate = asked.received_bytes / BYTES_PER_TOKEN;
            permission.book.take(&self.limits(), estimate, now)?
        };
        let durable = *self.session.durable_mark();
        let log = permission.logging.of(&asked, durable, &permission.store);
        self.write_intent(&asked, log).await?;
        if log == LogMode::Strict {
            let mut durable = self.session.durable_mark();
            *durable = (*durable).max(Some(asked.label));
        }
        Ok(Admission::holding(place).logged(log))
    }

    /// Every limit that the session is under, by the name of its account.
    fn limits(&self) -> Vec<(String, &Limits)> {
        let (client, grant) = (&self.session.client, &self.held.grant);
        let mut limits = vec![
            (account_of_key(client), &grant.limits),
            (
                account_of_session(self.session.session),
                &grant.session_limits,
            ),
        ];
        for shared in &self.session.permission.shared {
            let name = match &shared.whose {
                Whose::User(user) if *user == client.user => account_of_user(client),
                Whose::Team(team) if *team == client.team => account_of_team(client),
                Whose::User(_) | Whose::Team(_) => continue,
            };
            limits.push((name, &shared.limits));
        }
        limits
    }

    fn needs_price(&self) -> bool {
        self.limits().iter().any(|(_, limits)| limits.need_prices())
    }
}

impl Gate for RequestGate {
    fn client(&self) -> Option<ClientIdentity> {
        Some(self.held.client.clone())
    }

    fn permits(&self, offer: &UpstreamOffer, model: &str) -> Result<(), &'static str> {
        let permits = &self.held.grant.permits;
        if !permits.model(model) {
            return Err("key-scope-model");
        }
        if !permits.tier(&offer.tier) {
            return Err("key-scope-tier");
        }
        if !permits.region(&offer.region) {
            return Err("key-scope-region");
        }
        // a budget that cannot be counted is no budget
        if self.needs_price() && !self.session.permission.prices.know(&offer.name, model) {
            return Err("price-unknown");
        }
        Ok(())
    }

    fn admit(&self, asked: Asked) -> BoxFuture<'_, Result<Admission, Denial>> {
        Box::pin(self.permit(asked))
    }

    fn ended(&self, run: &Finished) {
        self.session.ended(run);
    }
}

fn key_ended() -> Denial {
    Denial {
        status: StatusCode::FORBIDDEN,
        code: "key-ended",
        message: "the key or token expired or was revoked while the request arrived".to_owned(),
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
    // a person's id says that it is one
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
