//! Access tokens of Google for a service account: an assertion that its key signs is exchanged for a token (RFC 7523), which all
//! requests share and which is renewed before it ends. The token is in memory alone.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use proofroom_canonical::{Sensitive, Timestamp};
use ring::{rand::SystemRandom, rsa, signature::RSA_PKCS1_SHA256};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Access, KeyError, is_word, told, watched::Watched};
use crate::{
    config::{BaseUrl, SecretSource},
    gateway::Core,
    prompt::Prompt,
    transport::{self, HttpClient},
    waiting::{RETRY_MILLIS, is_closed, is_due, later, renewal},
};

/// What a token may be used for: Vertex AI takes no narrower scope.
/// <https://developers.google.com/identity/protocols/oauth2/scopes>
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion holds; it is exchanged at once.
const ASSERTION_SECONDS: i64 = 600;
/// The longest that a token is used, whatever its maker says.
const MOST_SECONDS: u32 = 3600;
/// How long the token's endpoint may take in all.
const ASKING: Duration = Duration::from_secs(20);
/// The most bytes of its answer.
const MAX_ANSWER: usize = 64 * 1024;
/// A service account, and the token that it was given last.
pub(crate) struct ServiceAccount {
    file: Watched<Account>,
    token_host: String,
    client: HttpClient,
    state: Mutex<State>,
    /// One exchange at a time; the others wait for its outcome.
    turn: tokio::sync::Mutex<()>,
    renewing: AtomicBool,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceAccount").field(&self.file).finish()
    }
}

/// What a service account's file holds.
pub(crate) struct Account {
    email: String,
    key_id: String,
    key: rsa::KeyPair,
    token_uri: String,
    endpoint: BaseUrl,
}

/// The members of the file that are used.
#[derive(Deserialize)]
struct Written {
    r#type: String,
    client_email: String,
    private_key_id: String,
    private_key: String,
    token_uri: String,
}

enum State {
    Unknown,
    Open {
        account: Arc<Account>,
        token: HeaderValue,
        asked: Timestamp,
        expires: Timestamp,
        renew_at: Timestamp,
    },
    Closed {
        account: Arc<Account>,
        error: KeyError,
        until: Timestamp,
    },
}

/// A token, and until when it holds.
struct Granted {
    token: HeaderValue,
    asked: Timestamp,
    expires: Timestamp,
    renew_at: Timestamp,
}

impl Account {
    fn read(text: &Sensitive<String>) -> Result<Self, KeyError> {
        // what serde says of an error quotes the file
        let written: Written = serde_json::from_str(text.expose()).map_err(|_| KeyError::Form)?;
        let pem = Zeroizing::new(written.private_key);
        let words = [&written.client_email, &written.private_key_id];
        if written.r#type != "service_account" || !words.into_iter().all(|word| is_word(word)) {
            return Err(KeyError::Form);
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Form)?;
        let key = rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| KeyError::Form)?;
        let endpoint = BaseUrl::parse(&written.token_uri).ok_or(KeyError::TokenHost)?;
        Ok(Self {
            email: written.client_email,
            key_id: written.private_key_id,
            key,
            token_uri: written.token_uri,
            endpoint,
        })
    }

    /// The assertion of `now` (RFC 7523 section 3, signed by RFC 7518 section 3.3).
    fn assertion(&self, now: Timestamp) -> Result<Zeroizing<String>, KeyError> {
        let issued = now.unix_seconds();
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": self.key_id});
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": issued,
            "exp": issued.saturating_add(ASSERTION_SECONDS),
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = SystemRandom::new();
        let done = self.key.sign(
            &RSA_PKCS1_SHA256,
            &random,
            signed.as_bytes(),
            &mut signature,
        );
        done.map_err(|_| KeyError::Unsignable)?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        Ok(Zeroizing::new(format!("{signed}.{signature}")))
    }
}

impl ServiceAccount {
    pub(crate) fn open(
        token_host: String,
        path: PathBuf,
        secrets: &Arc<dyn SecretSource>,
    ) -> Result<Self, KeyError> {
        let account = Self {
            file: Watched::open(path, secrets, Account::read)?,
            token_host,
            client: transport::standard_client(None).map_err(|_| KeyError::TokenUnreachable)?,
            state: Mutex::new(State::Unknown),
            turn: tokio::sync::Mutex::default(),
            renewing: AtomicBool::new(false),
        };
        account.account(&|_| {})?;
        Ok(account)
    }

    /// The account that the file holds now, whose tokens come from the host that the configuration names.
    fn account(&self, tell: super::watched::Tell<'_>) -> Result<Arc<Account>, KeyError> {
        let account = self.file.look(tell)?;
        if account.endpoint.host != self.token_host {
            return Err(KeyError::TokenHost);
        }
        Ok(account)
    }

    /// The token that is in force now, asking for one if there is none.
    pub(crate) async fn access(
        self: &Arc<Self>,
        core: &Arc<Core>,
        upstream: &str,
    ) -> Result<Access, KeyError> {
        let account = self.account(&|change| told(core, upstream, change))?;
        if let Some(known) = self.known(&account, core, upstream) {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(&account, core, upstream) {
            return known;
        }
        let outcome = self.exchange(&account, core.clock.now()).await;
        self.settle(core, upstream, account, outcome)
    }

    /// Asks for a token ahead of traffic, when one is due. Returns at once.
    pub(crate) fn keep(self: &Arc<Self>, core: &Arc<Core>, upstream: &str) {
        let Ok(account) = self.account(&|change| told(core, upstream, change)) else {
            return;
        };
        if self.is_due(&account, core.clock.now()) {
            self.renew_behind(core, upstream);
        }
    }

    fn is_due(&self, account: &Arc<Account>, now: Timestamp) -> bool {
        match &*self.state() {
            State::Open {
                account: of,
                asked,
                renew_at,
                ..
            } if Arc::ptr_eq(of, account) => now >= *renew_at || now < *asked,
            State::Closed {
                account: of, until, ..
            } if Arc::ptr_eq(of, account) => is_due(now, *until),
            State::Unknown | State::Open { .. } | State::Closed { .. } => true,
        }
    }

    /// What is known of `account` without asking, if that still holds.
    fn known(
        self: &Arc<Self>,
        account: &Arc<Account>,
        core: &Arc<Core>,
        upstream: &str,
    ) -> Option<Result<Access, KeyError>> {
        let now = core.clock.now();
        let (known, due) = match &*self.state() {
            State::Open {
                account: of,
                token,
                asked,
                expires,
                renew_at,
            } if Arc::ptr_eq(of, account) && *asked <= now && now < *expires => {
                let access = Access::Header(header::AUTHORIZATION, token.clone());
                (Ok(access), now >= *renew_at)
            }
            State::Closed {
                account: of,
                error,
                until,
            } if Arc::ptr_eq(of, account) && is_closed(now, *until) => (Err(error.clone()), false),
            State::Unknown | State::Open { .. } | State::Closed { .. } => return None,
        };
        if due {
            self.renew_behind(core, upstream);
        }
        Some(known)
    }

    /// Renews in the background, while the present token still holds. An endpoint that is away leaves that token until its end.
    fn renew_behind(self: &Arc<Self>, core: &Arc<Core>, upstream: &str) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, core, upstream) = (Arc::clone(self), Arc::clone(core), upstream.to_owned());
        tokio::spawn(async move {
            let _turn = this.turn.lock().await;
            if let Ok(account) = this.account(&|change| told(&core, &upstream, change)) {
                let outcome = this.exchange(&account, core.clock.now()).await;
                let away = matches!(outcome, Err(KeyError::TokenUnreachable));
                if !(away && this.put_off(&account, core.clock.now())) {
                    // what became of it was told to the observer
                    drop(this.settle(&core, &upstream, account, outcome));
                }
            }
            this.renewing.store(false, Ordering::Release);
        });
    }

    /// Whether the present token holds on; it is then renewed a little later.
    fn put_off(&self, account: &Arc<Account>, now: Timestamp) -> bool {
        match &mut *self.state() {
            State::Open {
                account: of,
                asked,
                expires,
                renew_at,
                ..
            } if Arc::ptr_eq(of, account) && *asked <= now && now < *expires => {
                *renew_at = later(now, RETRY_MILLIS);
                true
            }
            State::Unknown | State::Open { .. } | State::Closed { .. } => false,
        }
    }

    fn settle(
        &self,
        core: &Core,
        upstream: &str,
        account: Arc<Account>,
        outcome: Result<Granted, KeyError>,
    ) -> Result<Access, KeyError> {
        let now = core.clock.now();
        let mut state = self.state();
        let before = match &*state {
            State::Closed { error, .. } => Some(error.clone()),
            State::Unknown | State::Open { .. } => None,
        };
        match outcome {
            Ok(Granted {
                token,
                asked,
                expires,
                renew_at,
            }) => {
                if before.is_some() {
                    told(core, upstream, Ok(()));
                }
                let access = Access::Header(header::AUTHORIZATION, token.clone());
                *state = State::Open {
                    account,
                    token,
                    asked,
                    expires,
                    renew_at,
                };
                Ok(access)
            }
            Err(error) => {
                if before.as_ref() != Some(&error) {
                    told(core, upstream, Err(&error));
                }
                *state = State::Closed {
                    account,
                    error: error.clone(),
                    until: later(now, RETRY_MILLIS),
                };
                Err(error)
            }
        }
    }

    async fn exchange(&self, account: &Account, now: Timestamp) -> Result<Granted, KeyError> {
        let assertion = account.assertion(now)?;
        let form = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
            *assertion
        );
        let uri: Uri = account.token_uri.parse().map_err(|_| KeyError::TokenHost)?;
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Prompt::new(form.into_bytes()).to_bytes()))
            .map_err(|_| KeyError::TokenHost)?;
        let asked = tokio::time::timeout(ASKING, self.ask(request)).await;
        let answer = asked.map_err(|_| KeyError::TokenUnreachable)??;
        granted(&answer, now)
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Bytes, KeyError> {
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|_| KeyError::TokenUnreachable)?;
        match answer.status() {
            StatusCode::OK => {}
            busy if busy.is_server_error() || busy == StatusCode::TOO_MANY_REQUESTS => {
                return Err(KeyError::TokenUnreachable);
            }
            refused => return Err(KeyError::TokenRefused(refused.as_u16())),
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Ok(body.map_err(|_| KeyError::TokenMalformed)?.to_bytes())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The members of the endpoint's answer (RFC 6749 section 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: u32,
}

/// The token of an answer to what was asked at `asked`.
fn granted(answer: &[u8], asked: Timestamp) -> Result<Granted, KeyError> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| KeyError::TokenMalformed)?;
    let token = Zeroizing::new(answer.access_token);
    let bearer = answer.token_type.eq_ignore_ascii_case("bearer");
    if !bearer || !is_word(&token) || answer.expires_in == 0 {
        return Err(KeyError::TokenMalformed);
    }
    let value = Zeroizing::new(format!("Bearer {}", *token));
    let mut value = HeaderValue::from_str(&value).map_err(|_| KeyError::TokenMalformed)?;
    value.set_sensitive(true);
    let lifetime = i64::from(answer.expires_in.min(MOST_SECONDS)).saturating_mul(1000);
    let expires = later(asked, lifetime);
    Ok(Granted {
        token: value,
        asked,
        expires,
        renew_at: renewal(asked, expires),
    })
}
