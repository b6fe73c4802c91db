//! The proxy's way to its gateway: one whose certificate authorities vouch for, or one that besides has to show, before
//! the first request and ever again, which machine it is.

use std::{
    io::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hyper::body::Incoming;
use proofroom_authn::Origin;
use proofroom_canonical::{Digest, Timestamp};
use proofroom_clock::steady;
use proofroom_gateway::{HttpClient, client_of_key, renewal, standard_client};
use rustls::RootCertStore;
use serde_json::json;
use tokio::sync::Notify;

use super::{Body, ProxyError};
use crate::verified_gateway::{GatewayPolicy, VerifiedGateway};

/// A gateway that is not verified is asked again after so long.
const AGAIN: Duration = Duration::from_secs(30);
/// And at once when a request could not be sent, but not more often than this.
const AT_MOST_EVERY: Duration = Duration::from_secs(2);

/// Takes requests to the gateway.
#[derive(Debug)]
pub(super) enum Way {
    /// To whoever the authorities certify.
    Certified(Box<HttpClient<Body>>),
    /// To them alone if their evidence was accepted, by the TLS key that is in it.
    Verified(Box<VerifiedWay>),
}

/// Why a request did not get to the gateway.
pub(super) enum NotSent {
    /// No verification holds.
    NotVerified,
    /// No answer.
    Unreachable,
}

#[derive(Debug)]
pub(super) struct VerifiedWay {
    gateway: Origin,
    policy: GatewayPolicy,
    authorities: Option<RootCertStore>,
    open: Mutex<Option<Open>>,
    /// A request was not sent.
    missed: Notify,
}

/// A verification, and the connections that go by it.
#[derive(Debug)]
struct Open {
    client: HttpClient<Body>,
    verified: VerifiedGateway,
    since: Timestamp,
}

impl Way {
    pub(super) fn certified(authorities: Option<RootCertStore>) -> Result<Self, ProxyError> {
        let client = standard_client(authorities);
        let client = client.map_err(no_tls)?;
        Ok(Self::Certified(Box::new(client)))
    }

    /// Verifies the gateway for the first time.
    pub(super) async fn verified(
        gateway: Origin,
        policy: GatewayPolicy,
        authorities: Option<RootCertStore>,
    ) -> Result<Self, ProxyError> {
        let way = VerifiedWay {
            gateway,
            policy,
            authorities,
            open: Mutex::default(),
            missed: Notify::new(),
        };
        way.verify().await?;
        Ok(Self::Verified(Box::new(way)))
    }

    /// What was verified, for whoever started the proxy.
    pub(super) fn told(&self) -> Option<serde_json::Value> {
        let Self::Verified(way) = self else {
            return None;
        };
        way.lock().as_ref().map(Open::told)
    }

    /// Sends a request on a connection to nobody else.
    pub(super) async fn send(
        &self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Incoming>, NotSent> {
        let client = match self {
            Self::Certified(client) => HttpClient::clone(client),
            Self::Verified(way) => way
                .client()
                .ok_or_else(|| self.missed(NotSent::NotVerified))?,
        };
        let answer = client.request(request).await;
        answer.map_err(|_| self.missed(NotSent::Unreachable))
    }

    /// The gateway may be another by now, or itself again.
    fn missed(&self, why: NotSent) -> NotSent {
        if let Self::Verified(way) = self {
            way.missed.notify_one();
        }
        why
    }

    /// Keeps the gateway verified ahead of its requests. Does not end.
    pub(super) async fn keep(&self) {
        match self {
            Self::Certified(_) => std::future::pending().await,
            Self::Verified(way) => way.keep().await,
        }
    }
}

impl VerifiedWay {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that go by a verification that still holds.
    fn client(&self) -> Option<HttpClient<Body>> {
        let open = self.lock();
        let open = open.as_ref()?;
        (steady() < open.until()).then(|| open.client.clone())
    }

    /// Verifies the gateway anew. A gateway of another key has connections of its own.
    async fn verify(&self) -> Result<(), ProxyError> {
        let now = steady();
        let verified = self.policy.verify(&self.gateway, now).await?;
        let client = self.client_of(verified.tls_key())?;
        *self.lock() = Some(Open {
            client,
            verified,
            since: now,
        });
        Ok(())
    }

    fn client_of(&self, key: Digest) -> Result<HttpClient<Body>, ProxyError> {
        let open = self.lock();
        let same = open.as_ref().filter(|open| open.verified.tls_key() == key);
        match same {
            Some(open) => Ok(open.client.clone()),
            None => client_of_key(key, self.authorities.clone()).map_err(no_tls),
        }
    }

    async fn keep(&self) {
        let mut again = None;
        loop {
            let renewal = again.unwrap_or_else(|| self.until_renewal());
            tokio::select! {
                () = tokio::time::sleep(renewal) => {}
                () = self.missed.notified() => {}
            }
            again = match self.verify().await {
                Ok(()) => None,
                Err(error) => {
                    self.fail(&error);
                    Some(AGAIN)
                }
            };
            // who cannot connect asks again and again
            tokio::time::sleep(AT_MOST_EVERY).await;
        }
    }

    /// A verification is renewed ahead of its end.
    fn until_renewal(&self) -> Duration {
        let open = self.lock();
        open.as_ref().map_or(Duration::ZERO, |open| {
            let left = renewal(open.since, open.until()).unix_millis() - steady().unix_millis();
            Duration::from_millis(u64::try_from(left).unwrap_or_default())
        })
    }

    /// A gateway that answers and is not accepted is asked nothing any more; one that does not answer is what it was
    /// until that ends.
    fn fail(&self, error: &ProxyError) {
        let outage = matches!(error, ProxyError::Gateway(error) if error.is_outage());
        let mut open = self.lock();
        if !outage {
            *open = None;
        }
        let until = open.as_ref().map(|open| open.until().to_string());
        let line = json!({
            "event": "gateway-not-verified",
            "code": error.code(),
            "message": error.to_string(),
            "verified_until": until,
        });
        // where even standard error is gone, requests are still refused
        drop(writeln!(std::io::stderr(), "{line}"));
    }
}

impl Open {
    fn until(&self) -> Timestamp {
        self.verified.quote().expires()
    }

    fn told(&self) -> serde_json::Value {
        let (identity, quote) = (self.verified.identity(), self.verified.quote());
        json!({
            "assurance": quote.assurance(),
            "evidence": quote.quote(),
            "policy": {"name": quote.policy_name(), "digest": quote.policy_digest()},
            "tls_key": self.verified.tls_key(),
            "record_key": identity.record_key,
            "policies": identity.policies,
            "verified_until": self.until(),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn no_tls(error: rustls::Error) -> ProxyError {
    ProxyError::Tls(error.to_string())
}
