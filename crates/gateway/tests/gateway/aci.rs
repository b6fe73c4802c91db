//! Services of Attested Confidential Inference: prompts go to one only after its evidence was accepted, and an answer
//! counts only with a receipt over its exact bytes and, behind one that passes requests on, with the session that the
//! receipt cites.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proofroom_canonical::{Digest, Nonce};
use proofroom_evidence::{Collateral, Fmspc};
use proofroom_gateway::{Caller, CollateralStore, ProviderPolicy, Providers};
use proofroom_record::{
    event::RunStatus,
    statement::{Assurance, ModelRun},
};
use proofroom_testkit::provider::{
    self, MODEL, ProviderKey,
    aci::{self, AciPlan, receipt_key},
};
use serde_json::{Value, json};

use crate::{
    provider::upstream_of,
    tee::identity,
    upstream::{FakeUpstream, JSON_ANSWER, Reply, Tls},
    world::{CHAT, Got, NOW, Options, SECRET, World, chat, standard},
};

const POLICY: &str = "simulated-aci.toml";
const REPORT: &str = "/v1/aci/attestation?nonce=";
const EVENTS: &str = "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"simulated/model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

struct Store;

impl CollateralStore for Store {
    fn of_platform(&self, _: Fmspc) -> Option<Collateral> {
        let plan = aci::plan(Nonce::from_random([0; 32]), Digest::of(""), NOW);
        aci::collateral(&plan).into_values().next()
    }
}

/// What the service serves beside its report.
#[derive(Clone)]
struct Served {
    request: Digest,
    answer: Digest,
    relays: bool,
    key: ProviderKey,
    session: Value,
    shown_session: Option<Value>,
    change: fn(&mut Value),
}

struct Service {
    upstream: FakeUpstream,
    spki: Digest,
    served: Arc<Mutex<Served>>,
    plan: Arc<Mutex<Option<AciPlan>>>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: &'static str,
}

impl Service {
    async fn start(serving: &'static str) -> Self {
        let (config, spki) = identity();
        let tls: Tls = Arc::new(Mutex::new(config));
        let made = Self {
            upstream: FakeUpstream::start(Some(tls)).await,
            spki,
            served: Arc::new(Mutex::new(Served {
                request: Digest::of(""),
                answer: Digest::of(JSON_ANSWER.replace("std-model", MODEL)),
                relays: serving == "aggregator",
                key: receipt_key(),
                session: aci::session(NOW),
                shown_session: None,
                change: |_| (),
            })),
            plan: Arc::default(),
            asked: Arc::default(),
            serving,
        };
        made.attest(|_| ());
        made
    }

    /// Serves reports after `change`, receipts and sessions.
    fn attest(&self, change: impl Fn(&mut AciPlan) + Send + Sync + 'static) {
        let (spki, served) = (self.spki, Arc::clone(&self.served));
        let (plan, asked) = (Arc::clone(&self.plan), Arc::clone(&self.asked));
        *self.upstream.gets.lock().unwrap() = Box::new(move |target, headers| {
            if !target.starts_with("/v1/aci/") {
                return None;
            }
            asked.lock().unwrap().push(target.to_owned());
            if let Some(nonce) = target.strip_prefix(REPORT) {
                // nothing of ours goes to whom nobody has verified
                assert!(!headers.contains_key("authorization"));
                let mut made = aci::plan(nonce.parse().unwrap(), spki, NOW);
                change(&mut made);
                let report = aci::report(&made);
                *plan.lock().unwrap() = Some(made);
                return Some((200, report));
            }
            assert_eq!(headers["authorization"], "Bearer gateway-own-key");
            let served = served.lock().unwrap();
            if target.starts_with("/v1/aci/receipts/") {
                let plan = plan.lock().unwrap();
                return Some((200, served.receipt(plan.as_ref().unwrap())));
            }
            let session = served.shown_session.as_ref().unwrap_or(&served.session);
            Some((200, session.to_string().into_bytes()))
        });
    }

    fn world(&self) -> World {
        self.world_beside("")
    }

    /// A world with other upstreams beside the service.
    fn world_beside(&self, others: &str) -> World {
        let siblings = provider::policies();
        let sibling = |name: &str| siblings.get(name).cloned();
        let policy = ProviderPolicy::parse(&aci::policy(self.serving), POLICY, &sibling).unwrap();
        let mut options = Options::of(others.to_owned() + &upstreams(self.upstream.address));
        options.providers = Providers {
            policies: [(POLICY.into(), policy)].into(),
            collateral: Arc::new(Store),
        };
        World::with(&options)
    }

    /// Asks for an answer; what is sent is what the receipts are about.
    async fn ask(&self, world: &mut World, caller: &Arc<Caller>) -> (Got, ModelRun) {
        let body = chat(MODEL, SECRET);
        self.served.lock().unwrap().request = Digest::of(&body);
        let got = Got::of(world.post(caller, CHAT, body).await).await;
        let (_, record) = world.record().await;
        (got, record)
    }
}

impl Served {
    fn receipt(&self, plan: &AciPlan) -> Vec<u8> {
        let mut events = aci::events(self.request, self.answer);
        if self.relays {
            events.insert(2, aci::verified(&self.session));
        }
        let mut receipt = aci::receipt(plan, &events, NOW);
        (self.change)(&mut receipt);
        aci::signed(&self.key, receipt).to_string().into_bytes()
    }
}

fn upstreams(address: impl std::fmt::Display) -> String {
    upstream_of("service", address, "aci", POLICY)
}

#[tokio::test]
async fn a_verified_service_gets_the_prompt_and_its_receipt_is_in_the_record() {
    let mut service = Service::start("direct").await;
    let mut world = service.world();
    let caller = world.caller(1);
    service.upstream.reply(Reply::Receipt("rcpt-1"));
    let (got, record) = service.ask(&mut world, &caller).await;
    assert_eq!(
        (got.status.as_u16(), record.status),
        (200, RunStatus::Complete)
    );
    let sent = service.upstream.seen.recv().await.unwrap();
    assert_eq!(sent.body, chat(MODEL, SECRET));
    let receipt = record.response.unwrap().receipt.unwrap();
    assert_eq!(
        (receipt.signer.as_str(), receipt.algorithm.as_str()),
        ("model-0", "ed25519")
    );
    let signed: Value = serde_json::from_str(&receipt.text).unwrap();
    let forwarded = format!("sha256:{}", record.request.forwarded.unwrap().to_hex());
    assert_eq!(signed["event_log"][0]["body_hash"], json!(forwarded));
    let Assurance::Attested {
        evidence,
        provider: Some(facts),
        ..
    } = record.upstream.unwrap().assurance
    else {
        panic!("not attested by a provider");
    };
    assert_eq!(facts.format, "aci");
    let open: Vec<_> = facts
        .checks
        .iter()
        .filter(|check| check.outcome != "pass")
        .collect();
    assert_eq!(open.len(), 2, "{open:?}");
    assert!(open.iter().all(|check| check.outcome == "not-evaluated"));
    // what was accepted is kept whole, and can be appraised again
    assert!(world.gateway.evidence(evidence).is_some());
    let asked = service.asked.lock().unwrap().clone();
    assert_eq!(asked[1..], ["/v1/aci/receipts/rcpt-1"]);
}

#[tokio::test]
async fn an_answer_without_the_name_of_its_receipt_has_it_by_its_id() {
    let service = Service::start("direct").await;
    let mut world = service.world();
    let caller = world.caller(1);
    let (got, _) = service.ask(&mut world, &caller).await;
    assert_eq!(got.status, 200);
    // a name that is no segment of a path is none
    service.upstream.reply(Reply::Receipt("../../v1/models"));
    let (got, _) = service.ask(&mut world, &caller).await;
    assert_eq!(got.status, 200);
    let asked = service.asked.lock().unwrap().clone();
    assert_eq!(asked[1..], ["/v1/aci/receipts/x", "/v1/aci/receipts/x"]);
}

#[tokio::test]
async fn every_defect_of_evidence_closes_the_way_with_its_own_code_and_nothing_is_sent() {
    type Defect = fn(&mut AciPlan);
    let defects: [(&str, Defect); 7] = [
        ("reference-mismatch", |p| {
            p.machine.td.mr_td = p.machine.td.mr_seam
        }),
        ("nonce-absent", |p| p.challenge = None),
        ("keyset-not-in-quote", |p| {
            p.challenge = Some(Nonce::from_random([1; 32]))
        }),
        ("keyset-expired", |p| {
            p.keyset["not_after"] = json!(NOW.unix_seconds() - 1)
        }),
        ("tls-key-other", |p| {
            p.keyset["tls_public_keys"][0]["spki_sha256"] = json!(Digest::of("relay").to_hex());
        }),
        ("custody-not-supplied", |p| p.custody = None),
        ("report-malformed", |p| p.tee_type = "sev_snp".to_owned()),
    ];
    let mut service = Service::start("direct").await;
    let mut world = service.world();
    let caller = world.caller(1);
    for (code, defect) in defects {
        service.attest(defect);
        let (got, record) = service.ask(&mut world, &caller).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
        assert_eq!(record.status, RunStatus::Refused);
        assert_eq!((record.request.forwarded, &record.upstream), (None, &None));
        world.clock.advance_seconds(3);
    }
    service.upstream.nothing_was_sent();
}

#[tokio::test]
async fn an_answer_whose_receipt_does_not_hold_is_withheld_and_closes_the_way() {
    type Change = fn(&mut Served);
    let changes: [(&str, Change); 5] = [
        ("receipt-signature", |s| {
            s.key = ProviderKey::ed25519("relay")
        }),
        ("receipt-response-differs", |s| {
            s.answer = Digest::of("another")
        }),
        ("receipt-keyset-differs", |s| {
            s.change = |r| {
                r["workload_keyset_digest"] = json!(format!("sha256:{}", Digest::of("").to_hex()))
            };
        }),
        ("receipt-endpoint-differs", |s| {
            s.change = |r| r["endpoint"] = json!("/v1/embeddings")
        }),
        ("receipt-replayed", |s| {
            s.change = |r| r["served_at"] = json!(NOW.unix_seconds() - 1000);
        }),
    ];
    let service = Service::start("direct").await;
    let honest = service.served.lock().unwrap().clone();
    for (code, change) in changes {
        let mut world = service.world();
        let caller = world.caller(1);
        let mut served = honest.clone();
        change(&mut served);
        *service.served.lock().unwrap() = served;
        let (got, record) = service.ask(&mut world, &caller).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (502, code));
        assert_eq!(record.status, RunStatus::UpstreamError);
        assert_eq!(record.response.unwrap().receipt, None);
        assert_eq!(world.events.codes_closed(), [code]);
        let (got, _) = service.ask(&mut world, &caller).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
    }
}

#[tokio::test]
async fn behind_an_aggregator_an_answer_counts_with_the_session_that_is_cited() {
    type Change = fn(&mut Served);
    let changes: [(Option<&str>, Change); 4] = [
        (None, |_| ()),
        (Some("session-other"), |s| {
            let mut other = s.session.clone();
            other["upstream_name"] = json!("another");
            s.shown_session = Some(other);
        }),
        (Some("session-claim"), |s| {
            s.session["claims"]["tee_attested"] = json!({ "status": "unknown" });
        }),
        (Some("receipt-upstream-unverified"), |s| s.relays = false),
    ];
    let service = Service::start("aggregator").await;
    let honest = service.served.lock().unwrap().clone();
    for (code, change) in changes {
        let mut world = service.world();
        let caller = world.caller(1);
        let mut served = honest.clone();
        change(&mut served);
        *service.served.lock().unwrap() = served;
        let (got, record) = service.ask(&mut world, &caller).await;
        let receipt = record.response.unwrap().receipt;
        match code {
            None => {
                assert_eq!(got.status, 200);
                assert_eq!(receipt.unwrap().signer, "gateway");
                let session = format!("/v1/aci/sessions/{}", aci::digest(&honest.session).to_hex());
                assert_eq!(service.asked.lock().unwrap().last(), Some(&session));
            }
            Some(code) => {
                assert_eq!((got.status.as_u16(), got.code().as_str()), (502, code));
                assert_eq!(receipt, None);
            }
        }
    }
}

#[tokio::test]
async fn a_stream_is_hashed_as_it_arrived_and_a_changed_delta_is_noticed() {
    for (arrives, complete) in [
        (EVENTS.to_owned(), true),
        (EVENTS.replace("hi", "ho"), false),
    ] {
        let service = Service::start("direct").await;
        let mut world = service.world();
        let caller = world.caller(1);
        let chunks = service.upstream.stream("text/event-stream");
        let body = chat(MODEL, SECRET).replacen('{', "{\"stream\":true,", 1);
        {
            let mut served = service.served.lock().unwrap();
            (served.request, served.answer) = (Digest::of(&body), Digest::of(EVENTS));
        }
        chunks.send(Ok(Bytes::from(arrives.clone()))).await.unwrap();
        drop(chunks);
        let got = Got::of(world.post(&caller, CHAT, body).await).await;
        let (_, record) = world.record().await;
        let text = String::from_utf8(got.body.to_vec()).unwrap();
        assert_eq!(text.contains("[DONE]"), complete, "{text}");
        assert_eq!(record.response.unwrap().receipt.is_some(), complete);
        assert_eq!(
            text.contains("receipt-response-differs"),
            !complete,
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_outage_of_the_service_never_falls_back_to_another_tier() {
    let mut other = FakeUpstream::plain().await;
    let service = Service::start("direct").await;
    let mut world = service.world_beside(&standard(other.address));
    let caller = world.caller(1);
    service.upstream.stop().await;
    let got = Got::of(world.post(&caller, CHAT, chat("both-model", SECRET)).await).await;
    let (_, record) = world.record().await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "upstream-unreachable")
    );
    assert_eq!((record.status, record.upstream), (RunStatus::Refused, None));
    other.nothing_was_sent();
}

#[tokio::test]
async fn a_keyset_is_used_until_its_end_and_not_longer() {
    let service = Service::start("direct").await;
    let mut world = service.world();
    let caller = world.caller(1);
    assert_eq!(service.ask(&mut world, &caller).await.0.status, 200);
    // the simulated service never makes a newer one
    world.clock.advance_seconds(300);
    let (got, record) = service.ask(&mut world, &caller).await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "keyset-expired")
    );
    assert_eq!(record.request.forwarded, None);
}
