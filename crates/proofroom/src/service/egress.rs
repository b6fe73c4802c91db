//! A room wants to go outside: what it wants must have been announced by a durable event, once, and
//! the broker decides whatever the room decided.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use proofroom_canonical::json as strict;
use proofroom_egress_broker::{Refusal as BrokerRefusal, Wanted, account_header};
use proofroom_record::{
    event::{Action, Event, EventBody},
    room_api::{EGRESS_HEADER, EgressAccount, EgressAccounted, EgressAsk, ErrorAnswer},
};
use tokio::sync::oneshot;

use super::{
    SessionService,
    body::{Body, Refusal, json},
};
use crate::causes::chain;

/// The most bytes that an ask may have.
const MAX_ASK_BYTES: usize = 12 * 1024;

/// Egress intents that are durable and have no outcome.
#[derive(Debug, Default)]
pub(super) struct Announced {
    unused: BTreeMap<u64, Action>,
    accounts: BTreeMap<u64, EgressAccount>,
}

impl Announced {
    /// Takes note of what became durable.
    pub(super) fn see(&mut self, event: &Event) {
        match &event.body {
            EventBody::Intent {
                action: action @ Action::Egress { .. },
            } => {
                self.unused.insert(event.seq, action.clone());
            }
            EventBody::Outcome { of, .. } => {
                self.unused.remove(of);
                self.accounts.remove(of);
            }
            _ => {}
        }
    }

    /// Uses an announcement up, when it is the one of what is wanted.
    fn take(&mut self, intent: u64, wanted: &Wanted) -> bool {
        let (endpoint, asked_method) = match wanted {
            Wanted::Connection(endpoint) => (endpoint, "CONNECT"),
            Wanted::Request { method, target } => (&target.endpoint, method.as_str()),
        };
        let fits = |action: &Action| {
            matches!(action, Action::Egress { host, port, method, .. }
                if host == endpoint.host.as_str() && *port == endpoint.port && method == asked_method)
        };
        self.unused.get(&intent).is_some_and(fits) && self.unused.remove(&intent).is_some()
    }
}

impl SessionService {
    pub(super) async fn egress(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let announced = self
            .identified(|found| Arc::clone(&found.announced))
            .await?;
        let (parts, body) = request.into_parts();
        let ask = parts
            .headers
            .get(EGRESS_HEADER)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let ask: EgressAsk = strict::parse(ask, MAX_ASK_BYTES)
            .map_err(|error| Refusal::bad("egress-malformed", chain(&error)))?;
        let wanted = match Wanted::parse(&ask.method, &ask.target) {
            Ok(wanted) => wanted,
            Err(denial) => return Ok(refused(&denial.into())),
        };
        let fits = announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(ask.intent, &wanted);
        if !fits {
            let message = "no durable intent announces this, or it was used up";
            return Err(Refusal::bad("egress-unannounced", message));
        }
        let broker = &self.services.egress;
        let (report, reported) = oneshot::channel();
        let answer = match wanted {
            Wanted::Connection(endpoint) => broker.tunnel(endpoint, body, report).await,
            Wanted::Request { method, target } => {
                let headers = &parts.headers;
                broker
                    .request(&method, &target, headers, body, report)
                    .await
            }
        };
        match answer {
            Ok(answer) => {
                drop(tokio::spawn(keep(announced, ask.intent, reported)));
                Ok(answer)
            }
            Err(refusal) => {
                let mut announced = announced.lock().unwrap_or_else(PoisonError::into_inner);
                announced.accounts.insert(ask.intent, refusal.account());
                Ok(refused(&refusal))
            }
        }
    }

    pub(super) async fn egress_account(&self, intent: &str) -> Result<Response<Body>, Refusal> {
        let announced = self
            .identified(|found| Arc::clone(&found.announced))
            .await?;
        let intent: u64 = intent
            .parse()
            .map_err(|_| Refusal::bad("egress-malformed", "the path ends with no number"))?;
        let account = announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .accounts
            .get(&intent)
            .cloned();
        Ok(json(StatusCode::OK, &EgressAccounted { account }))
    }
}

/// Keeps an account until its outcome is durable.
async fn keep(
    announced: Arc<Mutex<Announced>>,
    intent: u64,
    reported: oneshot::Receiver<EgressAccount>,
) {
    if let Ok(account) = reported.await {
        let mut announced = announced.lock().unwrap_or_else(PoisonError::into_inner);
        announced.accounts.insert(intent, account);
    }
}

/// A refusal with its account: the room writes it down and hands it on.
fn refused(refusal: &BrokerRefusal) -> Response<Body> {
    let answer = ErrorAnswer::new(refusal.code(), refusal.to_string());
    let body = serde_json::to_vec(&answer).unwrap_or_default();
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.extend(account_header(&refusal.account()));
    response
}
