//! An issuer's keys: asked for over TLS, used for as long as they may be, renewed ahead, and asked for again where a token
//! names one that is not there, once a minute at most, because anybody can write such a token.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use proofroom_authn::{IssuerPolicy, KeySet, KeySetError};
use tokio::sync::Mutex;

use super::IssuerConfig;
use crate::issuer_client::{IssuerClient, IssuerClientError};

/// The shortest time from one attempt for a key that is not there to the next.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(60);
/// The shortest time from one attempt to the next where there are no keys, or they get old.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// There are no keys of the issuer that may be used now.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the issuer's keys are not there, or too old")]
pub(crate) struct KeysUnavailable;

/// An issuer and its keys.
pub(crate) struct Issuer {
    policy: IssuerPolicy,
    client: IssuerClient,
    life: Duration,
    cached: RwLock<Option<Cached>>,
    /// When it answered last, or did not. Held while it is asked, so that requests wait for one answer.
    asked: Mutex<Option<Duration>>,
}

#[derive(Clone)]
struct Cached {
    keys: Arc<KeySet>,
    since: Duration,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Issuer").field(&self.policy.issuer).finish()
    }
}

impl Issuer {
    pub(super) fn new(config: &IssuerConfig) -> Result<Self, IssuerClientError> {
        let issuer = &config.policy.issuer;
        Ok(Self {
            client: IssuerClient::new(issuer, config.authorities.as_deref())?,
            policy: config.policy.clone(),
            life: config.keys_life,
            cached: RwLock::default(),
            asked: Mutex::default(),
        })
    }

    pub(super) const fn policy(&self) -> &IssuerPolicy {
        &self.policy
    }

    /// Its keys, with the one of this name if it can be had. Time is counted from the process's start, by a clock that
    /// nobody sets.
    pub(super) async fn keys(
        this: &Arc<Self>,
        id: &str,
        uptime: Duration,
    ) -> Result<Arc<KeySet>, KeysUnavailable> {
        if let Some(keys) = this.fresh(uptime).filter(|keys| keys.has(id)) {
            return Ok(keys);
        }
        // a task of its own: a stranger who hangs up must not break off what others wait for
        let (this, id) = (Arc::clone(this), id.to_owned());
        let found = tokio::spawn(async move { this.asked_for(&id, uptime).await });
        found.await.unwrap_or(Err(KeysUnavailable))
    }

    async fn asked_for(&self, id: &str, uptime: Duration) -> Result<Arc<KeySet>, KeysUnavailable> {
        let mut asked = self.asked.lock().await;
        // another request may have asked meanwhile
        let (keys, pause) = match self.fresh(uptime) {
            Some(keys) if keys.has(id) => return Ok(keys),
            Some(keys) => (Some(keys), UNKNOWN_KEY_PAUSE),
            None => (None, RETRY_PAUSE),
        };
        if is_within(*asked, pause, uptime) {
            return keys.ok_or(KeysUnavailable);
        }
        *asked = Some(self.ask(uptime).await);
        self.fresh(uptime).ok_or(KeysUnavailable)
    }

    /// Asks for the keys, in a task of its own, if a quarter of their life is over.
    pub(super) fn renew_ahead(this: &Arc<Self>, uptime: Duration) {
        let since = this.cached().map(|cached| cached.since);
        if is_within(since, this.life / 4, uptime) {
            return;
        }
        let this = Arc::clone(this);
        tokio::spawn(async move { this.renew(uptime).await });
    }

    async fn renew(&self, uptime: Duration) {
        // whoever asks now renews them too
        let Ok(mut asked) = self.asked.try_lock() else {
            return;
        };
        if !is_within(*asked, RETRY_PAUSE, uptime) {
            *asked = Some(self.ask(uptime).await);
        }
    }

    /// Asks, and says when that was over. Without an answer that can be read, the keys that are there may be used until
    /// their life is over; an issuer that publishes no key has withdrawn them.
    async fn ask(&self, since: Duration) -> Duration {
        let begun = Instant::now();
        if let Ok(bytes) = self.client.key_set().await {
            match KeySet::parse(&bytes, &self.policy.algorithms) {
                Ok(keys) => self.keep(Some(Cached {
                    keys: Arc::new(keys),
                    since,
                })),
                Err(KeySetError::Empty) => self.keep(None),
                Err(_) => {}
            }
        }
        since.saturating_add(begun.elapsed())
    }

    fn keep(&self, cached: Option<Cached>) {
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = cached;
    }

    fn cached(&self) -> Option<Cached> {
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        cached.clone()
    }

    fn fresh(&self, uptime: Duration) -> Option<Arc<KeySet>> {
        let cached = self.cached()?;
        is_within(Some(cached.since), self.life, uptime).then_some(cached.keys)
    }
}

/// Whether less than `span` went by since then.
fn is_within(since: Option<Duration>, span: Duration, uptime: Duration) -> bool {
    since.is_some_and(|since| uptime.saturating_sub(since) < span)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use proofroom_testkit::issuer::{IssuerServer, KEY_ID, SimulatedIssuer};
    use serde_json::json;

    use super::{Issuer, KeysUnavailable};
    use crate::people::tests::issuer_at;

    struct Asked {
        server: IssuerServer,
        issuer: Arc<Issuer>,
        runtime: tokio::runtime::Runtime,
    }

    impl Asked {
        /// Keys of this issuer may be used for 4 hours.
        fn new() -> Self {
            let server = IssuerServer::start();
            Self {
                issuer: Arc::new(Issuer::new(&issuer_at(&server.issuer.url)).unwrap()),
                server,
                runtime: tokio::runtime::Runtime::new().unwrap(),
            }
        }

        /// Whether there is a key of this name after so many seconds, and how often the issuer was asked by then.
        fn has(&self, id: &str, seconds: u64) -> (Result<bool, KeysUnavailable>, usize) {
            let keys = Issuer::keys(&self.issuer, id, Duration::from_secs(seconds));
            let found = self.runtime.block_on(keys).map(|keys| keys.has(id));
            (found, self.server.asked("/keys").len())
        }

        fn renew(&self, seconds: u64) -> usize {
            let renewed = self.issuer.renew(Duration::from_secs(seconds));
            self.runtime.block_on(renewed);
            self.server.asked("/keys").len()
        }
    }

    #[test]
    fn a_key_that_is_not_there_is_asked_for_once_a_minute_and_found_when_it_is() {
        let one = Asked::new();
        assert_eq!(one.has(KEY_ID, 0), (Ok(true), 1));
        assert_eq!(one.has("next", 59), (Ok(false), 1));
        assert_eq!(one.has("next", 61), (Ok(false), 2));
        assert_eq!(one.has("next", 120), (Ok(false), 2));
        let mut next = one.server.issuer.jwk();
        next["kid"] = json!("next");
        one.server.answer("/keys", 200, &json!({"keys": [next]}));
        assert_eq!(one.has("next", 122), (Ok(true), 3));
        // and the one that is not there any more is not used any more
        assert_eq!(one.has(KEY_ID, 123), (Ok(false), 3));
    }

    #[test]
    fn keys_outlive_their_issuers_absence_until_their_life_is_over() {
        let one = Asked::new();
        assert_eq!(one.has(KEY_ID, 0), (Ok(true), 1));
        one.server.answer("/keys", 503, &json!({}));
        let life = 4 * 3600;
        assert_eq!(one.renew(life / 4), 2);
        assert_eq!(one.renew(life / 4 + 9), 2, "not more often than every 10 s");
        assert_eq!(one.renew(life / 4 + 11), 3);
        assert_eq!(one.has(KEY_ID, life - 1), (Ok(true), 3));
        assert_eq!(one.has(KEY_ID, life), (Err(KeysUnavailable), 4));
        assert_eq!(one.has(KEY_ID, life + 9), (Err(KeysUnavailable), 4));
        one.server
            .answer("/keys", 200, &one.server.issuer.key_set());
        assert_eq!(one.has(KEY_ID, life + 11), (Ok(true), 5));
    }
    #[test]
    fn an_issuer_that_publishes_no_key_has_withdrawn_its_keys() {
        let one = Asked::new();
        assert_eq!(one.has(KEY_ID, 0), (Ok(true), 1));
        one.server.answer("/keys", 200, &json!({"keys": []}));
        assert_eq!(one.renew(4 * 900), 2);
        assert_eq!(one.has(KEY_ID, 4 * 900), (Err(KeysUnavailable), 2));
    }

    /// An issuer that takes this long for each answer, and how often it was asked.
    fn slow_issuer(patience: Duration) -> (Arc<Issuer>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = SimulatedIssuer::new(&url);
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut bytes = [0; 4096];
                let read = stream.read(&mut bytes).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(patience);
                let asked = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let body = match asked.starts_with("GET /keys ") {
                    true => issuer.key_set().to_string(),
                    false => issuer.discovery().to_string(),
                };
                let length = body.len();
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
                let answer = format!("{head}content-length: {length}\r\n\r\n{body}");
                // whoever asked may have hung up
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        (Arc::new(Issuer::new(&issuer_at(&url)).unwrap()), asked)
    }

    #[test]
    fn a_stranger_who_hangs_up_breaks_off_nobodys_asking() {
        let (issuer, asked) = slow_issuer(Duration::from_millis(150));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let found = runtime.block_on(async {
            let asked = Issuer::keys(&issuer, "invented", Duration::ZERO);
            let hung_up = tokio::time::timeout(Duration::from_millis(50), asked).await;
            assert!(hung_up.is_err(), "the issuer is slower");
            Issuer::keys(&issuer, KEY_ID, Duration::ZERO).await
        });
        assert!(found.unwrap().has(KEY_ID));
        // discovery and keys, once: the second request had the answer to the first one's question
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        // the pause to the next attempt is counted from the end of this one
        let asked = *issuer.asked.blocking_lock();
        assert!(asked >= Some(Duration::from_millis(300)), "{asked:?}");
    }
}
