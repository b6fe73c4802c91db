//! Receipts of providers for single answers: what passes of an answer is hashed as it arrived, the
//! provider is asked for its signature over it, and an answer without one that verifies is none.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, response::Parts};
use http_body_util::{BodyExt as _, Full, Limited};
use proofroom_canonical::{Digest, Hasher, Nonce, Timestamp, Wiped};
use proofroom_llm::{Framing, MAX_ANSWER_BYTES};
use proofroom_provider::{
    AciRun, Format, MAX_RECEIPT_BYTES, MAX_SESSION_BYTES, ServedRun, VerifiedProvider,
    VerifiedReceipt, verify_aci_receipt, verify_aci_session, verify_receipt,
    verify_serving_receipt,
};
use proofroom_record::statement::Receipt;
use proofroom_serving::{RECEIPT_HEADER, RECEIPT_PATH};
use serde::Deserialize;

use crate::{
    attested::{AttestedRoute, Verified},
    channel::ChannelError,
    config::is_segment,
    draft::Draft,
    gateway::Core,
    headers, provider,
    pump::{self, Arriving, Stop},
    refusal::UpstreamFault,
};

/// The most bytes of a stream in which the answer's id is looked for. Of a document it is all of it.
const HEAD_BYTES: usize = 1024 * 1024;
/// How often a receipt is asked for that is not there yet, and how long it is waited in between: providers
/// sign when an answer has ended.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(300);
/// How long one answer to that may take.
const ASKING: Duration = Duration::from_secs(10);

/// A verified provider whose answers need receipts.
pub(crate) struct Signed {
    route: Arc<AttestedRoute>,
    verified: Arc<Verified>,
    /// What the receipt must repeat, where it is found by that and not by the answer's id.
    challenge: Option<Nonce>,
    /// When the request was about to be sent.
    sent: Timestamp,
}

impl Signed {
    /// For one request; `None` where answers need no receipt.
    pub(crate) fn of(
        route: Arc<AttestedRoute>,
        verified: Arc<Verified>,
        core: &Core,
    ) -> Result<Option<Self>, ChannelError> {
        let Some(provider) = verified.signs_answers() else {
            return Ok(None);
        };
        let challenge = match provider.format() {
            Format::ProofroomEnclave => Some(core.random().ok_or(ChannelError::Internal)?),
            Format::NearAi | Format::Dstack | Format::Aci | Format::Tinfoil => None,
        };
        Ok(Some(Self {
            route,
            verified,
            challenge: challenge.map(Nonce::from_random),
            sent: core.clock.now(),
        }))
    }

    /// Puts the challenge into the request's headers.
    pub(crate) fn mark(&self, request: &mut HeaderMap) {
        let challenge = self.challenge.map(|challenge| challenge.to_string());
        let value = challenge.and_then(|text| HeaderValue::from_str(&text).ok());
        request.extend(value.map(|value| (HeaderName::from_static(RECEIPT_HEADER), value)));
    }
}

/// What arrived of an answer.
pub(crate) struct Tap {
    framing: Framing,
    hasher: Hasher,
    bytes: u64,
    head: Wiped<Vec<u8>>,
    /// The id of the receipt, where the answer's head names one.
    named: Option<String>,
}

/// Where services of ACI name the receipt of an answer. A hint: what it leads to is verified.
const ACI_RECEIPT_HEADER: &str = "x-receipt-id";

impl Tap {
    pub(crate) fn new(parts: &Parts) -> Self {
        let named = parts.headers.get(ACI_RECEIPT_HEADER);
        Self {
            framing: pump::framing(parts),
            named: named
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            hasher: Hasher::new(),
            bytes: 0,
            head: Wiped::new(Vec::new()),
        }
    }

    pub(crate) fn take(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);
        let most = match self.framing {
            Framing::Json => MAX_ANSWER_BYTES,
            Framing::EventStream => HEAD_BYTES,
        };
        let room = most.saturating_sub(self.head.len());
        self.head
            .extend_from_slice(chunk.get(..room).unwrap_or(chunk));
    }

    /// The id that the provider gave the answer.
    fn id(&self) -> Option<String> {
        let id = match self.framing {
            Framing::Json => id_in(&self.head),
            Framing::EventStream => {
                let mut lines = self.head.split(|byte| *byte == b'\n');
                lines.find_map(|line| id_in(line.strip_prefix(b"data:")?))
            }
        };
        id.filter(|id| is_segment(id))
    }

    /// The id of the receipt: the one that is named, or else the answer's own.
    fn receipt_id(&self) -> Option<String> {
        let named = self.named.clone().filter(|id| is_segment(id));
        named.or_else(|| self.id())
    }
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

fn id_in(json: &[u8]) -> Option<String> {
    serde_json::from_slice::<Named>(json)
        .ok()
        .map(|named| named.id)
}

/// Why the flow of an answer ended, once its receipt was asked for: a fault where that is not in order.
pub(crate) async fn settle(
    draft: &mut Draft,
    body: Arriving,
    status: StatusCode,
    stop: Stop,
) -> Stop {
    if stop != Stop::End {
        return stop;
    }
    match prove(draft, body, status).await {
        Ok(()) => Stop::End,
        Err(fault) => Stop::Fault(fault),
    }
}

/// Gets and verifies the receipt of an answer that came to its end, where one is required. An error of the
/// provider's needs none.
pub(crate) async fn prove(
    draft: &mut Draft,
    body: Arriving,
    status: StatusCode,
) -> Result<(), UpstreamFault> {
    let tap = body.into_tap();
    let (Some(signed), Some(tap)) = (&draft.signed, tap) else {
        return Ok(());
    };
    let (true, Some(request)) = (status.is_success(), draft.request.forwarded) else {
        return Ok(());
    };
    let proved = match signed.verified.signs_answers() {
        Some(provider) => Box::pin(ask(draft, signed, provider, (tap, request))).await,
        None => Err("receipt-not-served"),
    };
    match proved {
        Ok(receipt) => {
            draft.receipt = Some(Receipt::of(&receipt));
            Ok(())
        }
        Err(code) => {
            let refused = ChannelError::ReceiptRefused { code };
            signed.route.close(&draft.core, &signed.verified, refused);
            Err(UpstreamFault::Receipt(code))
        }
    }
}

async fn ask(
    draft: &Draft,
    signed: &Signed,
    provider: &VerifiedProvider,
    (tap, request): (Box<Tap>, Digest),
) -> Result<VerifiedReceipt, &'static str> {
    if provider.format() == Format::Aci {
        return ask_aci(draft, signed, provider, (tap, request)).await;
    }
    let verified = match signed.challenge {
        Some(challenge) => {
            let served = fetch(&draft.core, signed, &format!("{RECEIPT_PATH}{challenge}")).await?;
            let run = ServedRun {
                challenge,
                request,
                answer: tap.hasher.finish(),
                answer_bytes: tap.bytes,
            };
            verify_serving_receipt(&served, provider, &run)
        }
        None => {
            let id = tap.id().ok_or("receipt-no-id")?;
            let served = fetch(
                &draft.core,
                signed,
                &provider::receipt_path(provider.model(), &id),
            )
            .await?;
            verify_receipt(&served, provider, request, tap.hasher.finish())
        }
    };
    verified.map_err(|error| error.code())
}

/// The receipt of a service of ACI, and the session that it cites where the service passed the request on.
async fn ask_aci(
    draft: &Draft,
    signed: &Signed,
    provider: &VerifiedProvider,
    (tap, request): (Box<Tap>, Digest),
) -> Result<VerifiedReceipt, &'static str> {
    let id = tap.receipt_id().ok_or("receipt-no-id")?;
    let ended = draft.core.clock.now();
    let served = fetch(&draft.core, signed, &provider::aci_path("receipts", &id)).await?;
    let run = AciRun {
        endpoint: draft.spoken().path(),
        request,
        answer: tap.hasher.finish(),
        sent: signed.sent,
        ended,
    };
    let code = |error: proofroom_provider::ReceiptError| error.code();
    let (receipt, session) = verify_aci_receipt(&served, provider, &run).map_err(code)?;
    if let Some(cited) = session {
        let path = provider::aci_path("sessions", &cited.id());
        let session = get(
            &draft.core,
            signed,
            &path,
            MAX_SESSION_BYTES,
            "session-not-served",
        )
        .await?;
        verify_aci_session(&session, provider, cited).map_err(code)?;
    }
    Ok(receipt)
}

async fn fetch(core: &Arc<Core>, signed: &Signed, path: &str) -> Result<Bytes, &'static str> {
    get(core, signed, path, MAX_RECEIPT_BYTES, "receipt-not-served").await
}

async fn get(
    core: &Arc<Core>,
    signed: &Signed,
    path: &str,
    max: usize,
    missing: &'static str,
) -> Result<Bytes, &'static str> {
    for tried in 0..TRIES {
        if tried > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match tokio::time::timeout(ASKING, once(core, signed, path, max)).await {
            Ok(Some((StatusCode::OK, receipt))) => return Ok(receipt),
            Ok(Some((StatusCode::NOT_FOUND, _))) => {}
            Ok(Some(_) | None) | Err(_) => break,
        }
    }
    Err(missing)
}

/// Over a connection to the verified key, as the request was sent: sealed, if that was.
async fn once(
    core: &Arc<Core>,
    signed: &Signed,
    path: &str,
    max: usize,
) -> Option<(StatusCode, Bytes)> {
    let upstream = signed.route.upstream();
    let uri = upstream.base_url.join(path).ok()?;
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = uri;
    let access = upstream
        .credential
        .access(core, &upstream.name)
        .await
        .ok()?;
    *request.headers_mut() = headers::to_upstream(&HeaderMap::new(), &access);
    let base = &upstream.base_url;
    let answer = signed.verified.request(core, base, request).await.ok()?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), max);
    Some((status, body.collect().await.ok()?.to_bytes()))
}
