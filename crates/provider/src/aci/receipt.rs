//! The receipt of a service of ACI for one answer: which bytes it got, which it passed on, who it says answered, and
//! which bytes it gave out, signed by a key of the keyset that was attested.

use proofroom_canonical::{Digest, Timestamp, json, lower_hex};
use serde::Deserialize;
use serde_json::Value;

use super::{API_VERSION, Keyset, ReceiptKey, Serving, canonical};
use crate::{
    Component, KeptAnswer, KeptReceipt, KeptRun, MAX_RECEIPT_BYTES, ReceiptError, SigningKey,
    VerifiedProvider, VerifiedReceipt,
    policy::{KeysetRule, SessionRule},
    receipt::is_signed,
};

/// By how much a service's clock may differ from ours. It alone says when it served, so that an old receipt for the
/// same bytes is told from this run's no better than that.
const CLOCKS_DIFFER_SECONDS: i64 = 300;

/// What an accepted keyset leaves for receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttestedKeys {
    keyset: Digest,
    keys: Vec<ReceiptKey>,
    rewrites: bool,
    pub(crate) sessions: Option<SessionRule>,
}

impl AttestedKeys {
    pub(crate) fn of(keyset: &Keyset, rule: &KeysetRule) -> Self {
        Self {
            keyset: keyset.digest,
            keys: keyset.receipt_keys.clone(),
            rewrites: rule.rewrites,
            sessions: match &rule.serving {
                Serving::Direct => None,
                Serving::Aggregator => rule.sessions.clone(),
            },
        }
    }
}

/// What was sent and what arrived in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AciRun<'a> {
    /// The path that was asked, such as `/v1/chat/completions`.
    pub endpoint: &'a str,
    /// SHA-256 of the request's body.
    pub request: Digest,
    /// SHA-256 of the answer's body, to its end.
    pub answer: Digest,
    /// When the request was sent, or earlier.
    pub sent: Timestamp,
    /// When the answer had ended, or later.
    pub ended: Timestamp,
}

/// The session that a receipt says was used: what the service verified of who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CitedSession {
    /// SHA-256 of the session's canonical form.
    pub(crate) id: Digest,
    /// When the service says that it served.
    pub(crate) served: Timestamp,
}

impl CitedSession {
    /// As the path to the session spells it.
    #[must_use]
    pub fn id(&self) -> String {
        self.id.to_hex()
    }
}

/// What is read of a receipt. All of it is signed; members that are not here say nothing here.
#[derive(Deserialize)]
struct Raw {
    api_version: String,
    model: Option<String>,
    workload_keyset_digest: String,
    endpoint: String,
    method: String,
    served_at: u32,
    event_log: Vec<Event>,
    key_id: String,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    body_hash: Option<String>,
    result: Option<String>,
    required: Option<bool>,
    model_id: Option<String>,
    session_id: Option<String>,
}

/// Verifies that the service which `provider` proves signed the exact bytes of `run`, and says who answered as its
/// policy demands. A session that is returned must be verified too, by
/// [`verify_aci_session`](crate::verify_aci_session).
///
/// # Errors
/// [`ReceiptError`]. The key and its signature come first, so that what a code says of the receipt is the service's
/// word.
pub fn verify_aci_receipt(
    receipt: &[u8],
    provider: &VerifiedProvider,
    run: &AciRun<'_>,
) -> Result<(VerifiedReceipt, Option<CitedSession>), ReceiptError> {
    let mut document =
        json::parse_value(receipt, MAX_RECEIPT_BYTES).map_err(ReceiptError::Malformed)?;
    let raw = read(&document)?;
    let signature = document
        .as_object_mut()
        .and_then(|it| it.remove("signature"));
    let Some(Value::String(signature)) = signature else {
        return Err(ReceiptError::Signature);
    };
    let text = canonical::canonical(&document).ok_or(ReceiptError::Text)?;
    let run = KeptRun {
        endpoint: run.endpoint,
        request: run.request,
        answer: KeptAnswer::Whole(run.answer),
        sent: run.sent,
        ended: run.ended,
    };
    judge(&raw, (text, signature), provider, &run)
}

/// The same of what a record keeps: the signed text. The session that it cites is not kept with it.
pub(crate) fn judge_kept(
    receipt: KeptReceipt<'_>,
    provider: &VerifiedProvider,
    run: &KeptRun<'_>,
) -> Result<(VerifiedReceipt, Option<CitedSession>), ReceiptError> {
    let document = json::parse_value(receipt.text.as_bytes(), MAX_RECEIPT_BYTES);
    let raw = read(&document.map_err(ReceiptError::Malformed)?)?;
    let signed = (receipt.text.to_owned(), receipt.signature.to_owned());
    judge(&raw, signed, provider, run)
}

fn read(document: &Value) -> Result<Raw, ReceiptError> {
    Raw::deserialize(document)
        .map_err(|error| ReceiptError::Malformed(json::JsonError::Shape(error)))
}

/// Judges what `raw` says, which was read of the text that is signed.
fn judge(
    raw: &Raw,
    (text, signature): (String, String),
    provider: &VerifiedProvider,
    run: &KeptRun<'_>,
) -> Result<(VerifiedReceipt, Option<CitedSession>), ReceiptError> {
    let attested = provider.keyset.as_ref().ok_or(ReceiptError::KeyUnknown)?;
    let key = attested.keys.iter().find(|key| key.id == raw.key_id);
    let key = key.ok_or(ReceiptError::KeyUnknown)?;
    let bytes: Option<[u8; 64]> = lower_hex(&signature);
    let bytes = bytes.ok_or(ReceiptError::Signature)?;
    if !is_signed(&text, &key.key, &bytes) {
        return Err(ReceiptError::Signature);
    }
    is_about(raw, provider, attested, run)?;
    let session = upstream(raw, attested)?;
    let signer = match attested.sessions {
        Some(_) => Component::Gateway,
        None => Component::Model(0),
    };
    let verified = VerifiedReceipt {
        signer,
        key: SigningKey::Ed25519(key.key),
        text,
        signature,
    };
    Ok((verified, session))
}

fn is_about(
    raw: &Raw,
    provider: &VerifiedProvider,
    attested: &AttestedKeys,
    run: &KeptRun<'_>,
) -> Result<(), ReceiptError> {
    if raw.api_version != API_VERSION {
        return Err(ReceiptError::Text);
    }
    if hashed(Some(&raw.workload_keyset_digest)) != Some(attested.keyset) {
        return Err(ReceiptError::KeysetDiffers);
    }
    if (raw.method.as_str(), raw.endpoint.as_str()) != ("POST", run.endpoint) {
        return Err(ReceiptError::EndpointDiffers);
    }
    if raw.model.as_deref() != Some(provider.model()) {
        return Err(ReceiptError::ModelDiffers);
    }
    let received = one(raw, "request.received")?;
    if raw
        .event_log
        .first()
        .is_none_or(|first| first.r#type != "request.received")
    {
        return Err(ReceiptError::Events);
    }
    if received != run.request {
        return Err(ReceiptError::RequestDiffers);
    }
    // a refusal has no such event: its bytes answered nothing
    let forwarded = one(raw, "request.forwarded")?;
    if forwarded != received && !attested.rewrites {
        return Err(ReceiptError::Rewritten);
    }
    let returned = one(raw, "response.returned")?;
    if run.answer.differs(|whole| returned == whole) {
        return Err(ReceiptError::ResponseDiffers);
    }
    is_of_this_run(raw, run)
}

fn is_of_this_run(raw: &Raw, run: &KeptRun<'_>) -> Result<(), ReceiptError> {
    let served = i64::from(raw.served_at);
    let earliest = run
        .sent
        .unix_seconds()
        .saturating_sub(CLOCKS_DIFFER_SECONDS);
    let latest = run
        .ended
        .unix_seconds()
        .saturating_add(CLOCKS_DIFFER_SECONDS);
    if (earliest..=latest).contains(&served) {
        return Ok(());
    }
    Err(ReceiptError::Replayed)
}

/// The digest of the one event of this type. Two would leave open which is meant.
fn one(raw: &Raw, kind: &str) -> Result<Digest, ReceiptError> {
    let mut found = raw.event_log.iter().filter(|event| event.r#type == kind);
    match (found.next(), found.next()) {
        (Some(event), None) => hashed(event.body_hash.as_ref()).ok_or(ReceiptError::Events),
        _ => Err(ReceiptError::Events),
    }
}

fn hashed(text: Option<&String>) -> Option<Digest> {
    let hex = text?.strip_prefix("sha256:")?;
    lower_hex(hex).map(Digest::from_bytes)
}

/// Who the service says answered, against what the policy allows.
fn upstream(raw: &Raw, attested: &AttestedKeys) -> Result<Option<CitedSession>, ReceiptError> {
    let mut said = raw
        .event_log
        .iter()
        .filter(|event| event.r#type == "upstream.verified");
    let Some(rule) = &attested.sessions else {
        let none = said.next().is_none();
        return none.then_some(None).ok_or(ReceiptError::UpstreamUnexpected);
    };
    // attempts that failed may stand beside the one that served
    let mut verified = said.filter(|event| event.result.as_deref() == Some("verified"));
    let (Some(served), None) = (verified.next(), verified.next()) else {
        return Err(ReceiptError::UpstreamUnverified);
    };
    if served.required != Some(true) {
        return Err(ReceiptError::UpstreamOptional);
    }
    if !served
        .model_id
        .as_ref()
        .is_some_and(|model| rule.models.contains(model))
    {
        return Err(ReceiptError::UpstreamModel);
    }
    let id = served.session_id.as_deref().and_then(lower_hex);
    let id = id
        .map(Digest::from_bytes)
        .ok_or(ReceiptError::UpstreamUnverified)?;
    Ok(Some(CitedSession {
        id,
        served: Timestamp::from_unix_seconds(raw.served_at.into()),
    }))
}
