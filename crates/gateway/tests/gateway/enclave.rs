//! Enclaves of ours: prompts go to one only after its evidence was accepted, and an answer counts only with the receipt
//! of this very run. Any defect has its own code.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proofroom_canonical::{Digest, Nonce};
use proofroom_evidence::{Collateral, Fmspc};
use proofroom_gateway::{Caller, CollateralStore, ProviderPolicy, Providers};
use proofroom_record::{
    event::RunStatus,
    statement::{Assurance, ModelRun},
};
use proofroom_serving::{ReceiptText, SignedReceipt};
use proofroom_testkit::{
    enclave::{self, EnclavePlan},
    provider::{MODEL, ProviderKey},
};

use crate::{
    tee::identity,
    upstream::{FakeUpstream, JSON_ANSWER, Reply, Seen, Tls},
    world::{CHAT, Got, NOW, Options, SECRET, World, chat},
};

const POLICY: &str = "simulated-enclave.toml";
const REPORT: &str = "/.well-known/proofroom/attestation?nonce=";
const RECEIPT: &str = "/.well-known/proofroom/receipt/";
const EVENTS: &str = "data: {\"object\":\"chat.completion.chunk\",\"model\":\"simulated/model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

struct Store;

impl CollateralStore for Store {
    fn of_platform(&self, _: Fmspc) -> Option<Collateral> {
        let plan = enclave::plan(Nonce::from_random([0; 32]), Digest::of(""), NOW);
        enclave::collateral(&plan).into_values().next()
    }
}

/// What a receipt is about, and how it is signed.
type Signing = Box<dyn Fn(&ReceiptText) -> Option<SignedReceipt> + Send + Sync>;

struct Enclave {
    upstream: FakeUpstream,
    spki: Digest,
    signing: Arc<Mutex<Signing>>,
    /// What is sent, and the bytes that the enclave gives out.
    exchange: Arc<Mutex<(Digest, Vec<u8>)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

fn honest(text: &ReceiptText) -> Option<SignedReceipt> {
    Some(enclave::receipt(&enclave::receipt_key(), text))
}

fn json_answer() -> String {
    JSON_ANSWER.replace("std-model", MODEL)
}

impl Enclave {
    async fn start() -> Self {
        let (config, spki) = identity();
        let tls: Tls = Arc::new(Mutex::new(config));
        let made = Self {
            upstream: FakeUpstream::start(Some(tls)).await,
            spki,
            signing: Arc::new(Mutex::new(Box::new(honest))),
            exchange: Arc::new(Mutex::new((Digest::of(""), json_answer().into_bytes()))),
            asked: Arc::default(),
        };
        made.attest(|_| ());
        made
    }

    /// Serves reports after `change`, and receipts.
    fn attest(&self, change: impl Fn(&mut EnclavePlan) + Send + Sync + 'static) {
        let (spki, asked) = (self.spki, Arc::clone(&self.asked));
        let (signing, exchange) = (Arc::clone(&self.signing), Arc::clone(&self.exchange));
        *self.upstream.gets.lock().unwrap() = Box::new(move |target, headers| {
            if !target.starts_with("/.well-known/") {
                return None;
            }
            asked.lock().unwrap().push(target.to_owned());
            if let Some(nonce) = target.strip_prefix(REPORT) {
                // nothing of ours goes to whom nobody has verified
                assert!(!headers.contains_key("authorization"));
                let mut plan = enclave::plan(nonce.parse().unwrap(), spki, NOW);
                change(&mut plan);
                return Some((200, enclave::report(&plan)));
            }
            let challenge = target.strip_prefix(RECEIPT)?.parse().unwrap();
            let (request, answer) = exchange.lock().unwrap().clone();
            let text = enclave::receipt_text(challenge, request, &answer);
            let signed = signing.lock().unwrap()(&text);
            Some(signed.map_or((404, Vec::new()), |signed| {
                (200, signed.to_bytes().unwrap())
            }))
        });
    }

    fn sign(&self, how: Signing) {
        *self.signing.lock().unwrap() = how;
    }

    fn world(&self) -> World {
        self.world_of(&upstreams(self.upstream.address, "\"chat\""))
    }

    fn world_of(&self, upstreams: &str) -> World {
        let siblings = enclave::policies();
        let text = enclave::policy(enclave::weights(), enclave::image());
        let sibling = |name: &str| siblings.get(name).cloned();
        let policy = ProviderPolicy::parse(&text, POLICY, &sibling).unwrap();
        let mut options = Options::of(upstreams.to_owned());
        options.providers = Providers {
            policies: [(POLICY.into(), policy)].into(),
            collateral: Arc::new(Store),
        };
        World::with(&options)
    }

    /// Asks for an answer; what is sent is what the receipts are about.
    async fn ask(&self, world: &mut World, caller: &Arc<Caller>, body: String) -> (Got, ModelRun) {
        self.exchange.lock().unwrap().0 = Digest::of(&body);
        let got = Got::of(world.post(caller, CHAT, body).await).await;
        let (_, record) = world.record().await;
        (got, record)
    }

    async fn whole(&self, world: &mut World, caller: &Arc<Caller>) -> (Got, ModelRun) {
        self.ask(world, caller, chat(MODEL, SECRET)).await
    }

    async fn seen(&mut self) -> Seen {
        self.upstream.seen.recv().await.unwrap()
    }
}

fn upstreams(address: impl std::fmt::Display, apis: &str) -> String {
    format!(
        r#"
[[upstream]]
name = "enclave"
tier = "tee"
base_url = "https://{address}"
apis = [{apis}]
models = ["{MODEL}"]
region = "eu"
source = "cassette"
key = {{ from = "env", name = "KEY", header = "bearer" }}
retention = {{ mode = "in-memory" }}
attestation = {{ kind = "proofroom-enclave", provider_policy = "{POLICY}" }}
"#
    )
}

fn is_refused(got: &Got, record: &ModelRun, code: &str) {
    assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
    assert_eq!(record.status, RunStatus::Refused);
    assert_eq!(record.failure.as_ref().unwrap().code, code);
    assert_eq!((record.request.forwarded, &record.upstream), (None, &None));
}

#[tokio::test]
async fn a_verified_enclave_gets_the_prompt_and_each_run_has_a_receipt_of_its_own() {
    let mut enclave = Enclave::start().await;
    let mut world = enclave.world();
    let caller = world.caller(1);
    let mut challenges = Vec::new();
    for _ in 0..2 {
        let (got, record) = enclave.whole(&mut world, &caller).await;
        assert_eq!(
            (got.status.as_u16(), record.status),
            (200, RunStatus::Complete)
        );
        let seen = enclave.seen().await;
        assert_eq!(seen.body, chat(MODEL, SECRET));
        let response = record.response.unwrap();
        let receipt = response.receipt.unwrap();
        assert_eq!(
            (receipt.signer.as_str(), receipt.algorithm.as_str()),
            ("model-0", "ed25519")
        );
        let text = ReceiptText::parse(receipt.text.as_bytes()).unwrap();
        assert_eq!(Some(text.request_sha256), record.request.forwarded);
        assert_eq!(
            (text.answer_sha256, text.answer_bytes),
            (response.digest, response.bytes)
        );
        assert_eq!(
            seen.headers["proofroom-receipt"],
            text.challenge.to_string().as_str()
        );
        challenges.push(text.challenge);
        let Assurance::Attested {
            evidence,
            provider: Some(facts),
            ..
        } = record.upstream.unwrap().assurance
        else {
            panic!("not attested");
        };
        assert_eq!(facts.format, "proofroom-enclave");
        assert!(facts.checks.iter().all(|check| check.outcome == "pass"));
        for check in ["model-0: weights", "model-0: image", "model-0: gpu"] {
            assert!(
                facts.checks.iter().any(|made| made.check == check),
                "{check}"
            );
        }
        let document = world.gateway.evidence(evidence).unwrap();
        assert_eq!(Digest::of(&document), evidence);
    }
    assert_ne!(challenges[0], challenges[1]);
    let asked = enclave.asked.lock().unwrap().clone();
    let receipts = challenges
        .iter()
        .map(|challenge| format!("{RECEIPT}{challenge}"));
    assert!(asked[0].starts_with(REPORT), "{asked:?}");
    assert_eq!(asked[1..], receipts.collect::<Vec<_>>());
}

#[tokio::test]
async fn every_defect_of_an_enclaves_evidence_closes_the_way_with_its_own_code() {
    let mut enclave = Enclave::start().await;
    let mut world = enclave.world();
    let caller = world.caller(1);
    type Defect = fn(&mut EnclavePlan);
    let defects: [(&str, Defect); 8] = [
        ("reference-mismatch", |plan| plan.td.mr_td = plan.td.mr_seam),
        ("report-data-mismatch", |plan| {
            plan.report_data = Some([1; 64])
        }),
        ("nonce-mismatch", |plan| {
            plan.statement.nonce = Nonce::from_random([1; 32])
        }),
        ("tls-key-other", |plan| {
            plan.statement.tls_spki_sha256 = Digest::of("relay")
        }),
        ("weights-not-allowed", |plan| {
            plan.statement.weights = Digest::of("quantised")
        }),
        ("image-not-allowed", |plan| {
            plan.statement.image = Digest::of("debug")
        }),
        ("gpu-not-supplied", |plan| plan.gpus.clear()),
        ("model-other", |plan| {
            plan.statement.model = "cheaper".to_owned()
        }),
    ];
    for (code, defect) in defects {
        enclave.attest(defect);
        let (got, record) = enclave.whole(&mut world, &caller).await;
        is_refused(&got, &record, code);
        world.clock.advance_seconds(3);
    }
    // a document of the first protocol
    *enclave.upstream.gets.lock().unwrap() = Box::new(|_, _| {
        let tee = proofroom_testkit::tee::SimulatedTee::demo();
        let nonce = Nonce::from_random([0; 32]);
        Some((
            200,
            tee.evidence_document(nonce, Digest::of(""), MODEL, NOW),
        ))
    });
    let (got, record) = enclave.whole(&mut world, &caller).await;
    is_refused(&got, &record, "report-malformed");
    enclave.upstream.nothing_was_sent();
}

type Refused = (&'static str, Signing);

/// Receipts that are signed as they should be, about something else.
fn about_something_else() -> Vec<Refused> {
    let changed = |change: fn(&mut ReceiptText)| -> Signing {
        Box::new(move |text| {
            let mut text = text.clone();
            change(&mut text);
            honest(&text)
        })
    };
    let old = Mutex::new(None::<SignedReceipt>);
    vec![
        (
            "receipt-replayed",
            // the one that was first asked for, of the same bytes
            Box::new(move |text| {
                let mut old = old.lock().unwrap();
                Some(old.get_or_insert_with(|| honest(text).unwrap()).clone())
            }),
        ),
        (
            "receipt-request-differs",
            changed(|text| text.request_sha256 = Digest::of("another")),
        ),
        (
            "receipt-response-differs",
            changed(|text| text.answer_sha256 = Digest::of("another")),
        ),
        (
            "receipt-response-truncated",
            changed(|text| text.answer_bytes += 1),
        ),
        (
            "receipt-model-differs",
            changed(|text| text.model = "cheaper".to_owned()),
        ),
    ]
}

/// What is no receipt of the enclave's.
fn not_signed() -> Vec<Refused> {
    vec![
        ("receipt-not-served", Box::new(|_| None)),
        (
            "receipt-key-unknown",
            Box::new(|text| Some(enclave::receipt(&ProviderKey::ed25519("relay"), text))),
        ),
        (
            "receipt-signature",
            Box::new(|text| {
                let mut good = honest(text)?;
                good.signature = enclave::receipt(&ProviderKey::ed25519("relay"), text).signature;
                Some(good)
            }),
        ),
        (
            "receipt-text",
            Box::new(|text| {
                let mut good = honest(text)?;
                good.text = good.text.replace(',', ", ");
                Some(good)
            }),
        ),
    ]
}

#[tokio::test]
async fn an_answer_without_the_receipt_of_this_run_is_withheld_and_closes_the_way() {
    for (code, signing) in about_something_else().into_iter().chain(not_signed()) {
        let enclave = Enclave::start().await;
        let mut world = enclave.world();
        let caller = world.caller(1);
        enclave.sign(signing);
        if code == "receipt-replayed" {
            assert_eq!(enclave.whole(&mut world, &caller).await.0.status, 200);
        }
        let (got, record) = enclave.whole(&mut world, &caller).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (502, code));
        assert_eq!(record.status, RunStatus::UpstreamError);
        assert_eq!(record.failure.as_ref().unwrap().code, code);
        assert_eq!(record.response.unwrap().receipt, None);
        assert_eq!(world.events.codes_closed(), [code]);
        let (got, record) = enclave.whole(&mut world, &caller).await;
        is_refused(&got, &record, code);
    }
}

#[tokio::test]
async fn a_stream_gets_its_end_mark_only_with_its_receipt() {
    for (arrives, code) in [
        (EVENTS.to_owned(), None),
        (EVENTS.replace("hi", "ho"), Some("receipt-response-differs")),
        // a keep-alive more, and one event less
        (
            format!(": ping\n\n{EVENTS}"),
            Some("receipt-response-differs"),
        ),
        (
            "data: [DONE]\n\n".to_owned(),
            Some("receipt-response-truncated"),
        ),
    ] {
        let enclave = Enclave::start().await;
        let mut world = enclave.world();
        let caller = world.caller(1);
        enclave.exchange.lock().unwrap().1 = EVENTS.as_bytes().to_vec();
        let chunks = enclave.upstream.stream("text/event-stream");
        chunks.send(Ok(Bytes::from(arrives.clone()))).await.unwrap();
        drop(chunks);
        let body = chat(MODEL, SECRET).replacen('{', "{\"stream\":true,", 1);
        let (got, record) = enclave.ask(&mut world, &caller, body).await;
        let text = String::from_utf8(got.body.to_vec()).unwrap();
        assert_eq!(text.contains("[DONE]"), code.is_none(), "{text}");
        assert_eq!(text == arrives, code.is_none(), "{text}");
        let status = if code.is_none() {
            RunStatus::Complete
        } else {
            RunStatus::UpstreamError
        };
        assert_eq!(record.status, status, "{arrives}");
        assert_eq!(record.failure.map(|failure| failure.code).as_deref(), code);
        assert_eq!(record.response.unwrap().receipt.is_some(), code.is_none());
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_a_fault_without_a_receipt() {
    let enclave = Enclave::start().await;
    let mut world = enclave.world();
    let caller = world.caller(1);
    let chunks = enclave.upstream.stream("text/event-stream");
    let (first, _) = EVENTS.split_at(40);
    chunks
        .send(Ok(Bytes::from(first.to_owned())))
        .await
        .unwrap();
    let broken = std::io::Error::other("cut");
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        chunks.send(Err(broken)).await.unwrap();
    });
    let body = chat(MODEL, SECRET).replacen('{', "{\"stream\":true,", 1);
    let (got, record) = enclave.ask(&mut world, &caller, body).await;
    assert!(!String::from_utf8_lossy(&got.body).contains("[DONE]"));
    assert_eq!(record.status, RunStatus::UpstreamError);
    assert!(
        record
            .response
            .is_none_or(|response| response.receipt.is_none())
    );
    assert!(
        enclave
            .asked
            .lock()
            .unwrap()
            .iter()
            .all(|target| !target.starts_with(RECEIPT))
    );
}

#[tokio::test]
async fn a_busy_enclave_is_asked_again_under_another_challenge() {
    let mut enclave = Enclave::start().await;
    let control = "[control]\nattempts = 2\nlongest_wait_seconds = 1\n";
    let upstreams = upstreams(enclave.upstream.address, "\"chat\"");
    let mut world = enclave.world_of(&format!("{control}{upstreams}"));
    let caller = world.caller(1);
    enclave.upstream.reply(Reply::Busy(503, "0"));
    let (got, record) = enclave.whole(&mut world, &caller).await;
    assert_eq!((got.status.as_u16(), record.earlier.len()), (200, 1));
    let first = enclave.seen().await.headers["proofroom-receipt"].clone();
    let second = enclave.seen().await.headers["proofroom-receipt"].clone();
    assert_ne!(first, second);
    let receipt = record.response.unwrap().receipt.unwrap();
    assert!(receipt.text.contains(second.to_str().unwrap()));
}

#[tokio::test]
async fn answers_without_an_id_have_receipts_too() {
    let enclave = Enclave::start().await;
    let apis = "\"chat\", \"embeddings\"";
    let mut world = enclave.world_of(&upstreams(enclave.upstream.address, apis));
    let caller = world.caller(1);
    let answer = format!(
        "{{\"object\":\"list\",\"data\":[{{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5]}}],\"model\":\"{MODEL}\",\"usage\":{{\"prompt_tokens\":1,\"total_tokens\":1}}}}"
    );
    enclave
        .upstream
        .reply(Reply::Whole(200, "application/json", answer.clone().into()));
    enclave.exchange.lock().unwrap().1 = answer.clone().into_bytes();
    let body = format!("{{\"model\":\"{MODEL}\",\"input\":\"{SECRET}\"}}");
    enclave.exchange.lock().unwrap().0 = Digest::of(&body);
    let got = Got::of(world.post(&caller, "/v1/embeddings", body).await).await;
    assert_eq!(
        (got.status.as_u16(), &got.body[..]),
        (200, answer.as_bytes())
    );
    let (_, record) = world.record().await;
    assert!(record.response.unwrap().receipt.is_some());
}
