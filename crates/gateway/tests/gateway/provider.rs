//! Providers in their own formats: prompts go to one only after its evidence was accepted, and an answer
//! counts only with a receipt over its exact bytes. Any defect closes the way with its own code.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proofroom_canonical::Digest;
use proofroom_evidence::{Collateral, Fmspc};
use proofroom_gateway::{Caller, CollateralStore, ProviderPolicy, Providers};
use proofroom_record::{
    event::RunStatus,
    statement::{Assurance, ModelRun},
};
use proofroom_testkit::{
    provider::{self, MODEL, ProviderKey, ProviderPlan, SimulatedProvider, receipt},
    tee::TcbAnswer,
};

use crate::{
    tee::identity,
    upstream::{FakeUpstream, JSON_ANSWER, Reply, Tls},
    world::{CHAT, Got, MESSAGES, NOW, Options, SECRET, World, chat, setup_codes, standard},
};

const POLICY: &str = "simulated-provider.toml";

fn upstreams(address: impl std::fmt::Display, kind: &str) -> String {
    upstream_of("provider", address, kind, POLICY)
}

/// A TEE upstream that proves itself in a format of its maker's.
pub(crate) fn upstream_of(
    name: &str,
    address: impl std::fmt::Display,
    kind: &str,
    policy: &str,
) -> String {
    format!(
        r#"
[[upstream]]
name = "{name}"
tier = "tee"
base_url = "https://{address}"
apis = ["chat"]
models = ["{MODEL}"]
aliases = {{ "both-model" = "{MODEL}" }}
region = "eu"
source = "cassette"
key = {{ from = "env", name = "KEY", header = "bearer" }}
retention = {{ mode = "in-memory" }}
attestation = {{ kind = "{kind}", provider_policy = "{policy}" }}
"#
    )
}

struct Store(Option<Collateral>);

impl CollateralStore for Store {
    fn of_platform(&self, platform: Fmspc) -> Option<Collateral> {
        assert_eq!(platform.to_string(), "514d00000000");
        self.0.clone()
    }
}

fn providers(policy: &str, collateral: Option<Collateral>) -> Providers {
    let siblings = provider::policies();
    let policy =
        ProviderPolicy::parse(policy, POLICY, &|name| siblings.get(name).cloned()).unwrap();
    Providers {
        policies: [(POLICY.into(), policy)].into(),
        collateral: Arc::new(Store(collateral)),
    }
}

/// How the provider signs answers.
type Signing = Box<dyn Fn(Digest, Digest) -> Option<String> + Send + Sync>;

struct Provider {
    upstream: FakeUpstream,
    spki: Digest,
    signing: Arc<Mutex<Signing>>,
    /// What was last sent and answered.
    exchange: Arc<Mutex<(Digest, Digest)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

fn by_model(request: Digest, answer: Digest) -> Option<String> {
    let key = ProviderKey::ethereum("model");
    Some(receipt(&key, Some(MODEL), request, answer).to_string())
}

impl Provider {
    async fn start() -> Self {
        let (config, spki) = identity();
        let tls: Tls = Arc::new(Mutex::new(config));
        let made = Self {
            upstream: FakeUpstream::start(Some(tls)).await,
            spki,
            signing: Arc::new(Mutex::new(Box::new(by_model))),
            exchange: Arc::new(Mutex::new((
                Digest::of(""),
                Digest::of(JSON_ANSWER.replace("std-model", MODEL)),
            ))),
            asked: Arc::default(),
        };
        made.attest(|_| ());
        made
    }

    /// Serves reports after `change`, and receipts.
    fn attest(&self, change: impl Fn(&mut ProviderPlan) + Send + Sync + 'static) {
        let (spki, asked) = (self.spki, Arc::clone(&self.asked));
        let (signing, exchange) = (Arc::clone(&self.signing), Arc::clone(&self.exchange));
        *self.upstream.gets.lock().unwrap() = Box::new(move |target, headers| {
            if let Some(query) = target.strip_prefix("/v1/attestation/report?") {
                // nothing of ours goes to whom nobody has verified
                assert!(!headers.contains_key("authorization"));
                asked.lock().unwrap().push(target.to_owned());
                let nonce = query
                    .split('&')
                    .find_map(|part| part.strip_prefix("nonce="))
                    .unwrap();
                let provider = SimulatedProvider::demo();
                let mut plan = provider.plan(nonce.parse().unwrap(), spki, NOW);
                change(&mut plan);
                return Some((200, provider.report(&plan)));
            }
            target.strip_prefix("/v1/signature/")?;
            asked.lock().unwrap().push(target.to_owned());
            assert_eq!(headers["authorization"], "Bearer gateway-own-key");
            let (request, answer) = *exchange.lock().unwrap();
            let signed = signing.lock().unwrap()(request, answer);
            Some(signed.map_or((404, Vec::new()), |receipt| (200, receipt.into_bytes())))
        });
    }

    fn sign(&self, how: impl Fn(Digest, Digest) -> Option<String> + Send + Sync + 'static) {
        *self.signing.lock().unwrap() = Box::new(how);
    }

    fn world(&self) -> World {
        self.world_under(&provider::policy("near-ai"))
    }

    fn world_under(&self, policy: &str) -> World {
        let mut options = Options::of(upstreams(self.upstream.address, "near-ai"));
        options.providers = providers(policy, Some(collateral()));
        World::with(&options)
    }

    /// Asks for a whole answer; what is sent is what the receipts are about.
    async fn ask(&self, world: &mut World, caller: &Arc<Caller>) -> (Got, ModelRun) {
        let body = chat(MODEL, SECRET);
        self.exchange.lock().unwrap().0 = Digest::of(&body);
        let got = Got::of(world.post(caller, CHAT, body).await).await;
        let (_, record) = world.record().await;
        (got, record)
    }
}

fn collateral() -> Collateral {
    let provider = SimulatedProvider::demo();
    let nonce = proofroom_canonical::Nonce::from_random([0; 32]);
    let plan = provider.plan(nonce, Digest::of(""), NOW);
    provider.collateral(&plan).into_values().next().unwrap()
}

fn is_refused(got: &Got, record: &ModelRun, code: &str) {
    assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
    assert_eq!(record.status, RunStatus::Refused);
    assert_eq!(record.failure.as_ref().unwrap().code, code);
    assert_eq!(record.request.forwarded, None);
    assert_eq!(record.upstream, None);
    let rejected = &record.routing.rejected;
    assert!(
        rejected
            .iter()
            .any(|r| r.upstream == "provider" && r.code == code),
        "{rejected:?}"
    );
}

#[tokio::test]
async fn a_verified_provider_gets_the_prompt_and_the_record_has_its_checks_and_its_receipt() {
    let mut provider = Provider::start().await;
    let mut world = provider.world();
    let caller = world.caller(1);
    let (got, record) = provider.ask(&mut world, &caller).await;
    assert_eq!(got.status, 200);
    assert_eq!(record.status, RunStatus::Complete);
    assert_eq!(
        provider.upstream.seen.recv().await.unwrap().body,
        chat(MODEL, SECRET)
    );
    let response = record.response.unwrap();
    let receipt = response.receipt.unwrap();
    assert_eq!(
        (receipt.signer.as_str(), receipt.algorithm.as_str()),
        ("model-0", "ecdsa")
    );
    let (request, answer) = (
        record.request.forwarded.unwrap().to_hex(),
        response.digest.to_hex(),
    );
    assert_eq!(receipt.text, format!("{MODEL}:{request}:{answer}"));
    let Assurance::Attested {
        evidence,
        appraisal_policy,
        tls_spki,
        provider: Some(facts),
        ..
    } = record.upstream.unwrap().assurance
    else {
        panic!("not attested by a provider");
    };
    assert!(appraisal_policy.contains("simulated"));
    assert_eq!(
        (tls_spki, facts.format.as_str()),
        (provider.spki, "near-ai")
    );
    assert!(facts.checks.iter().all(|check| check.outcome == "pass"));
    assert!(
        facts
            .checks
            .iter()
            .any(|check| check.check == "model-0: gpu")
    );
    // what was accepted is kept whole
    let document = world.gateway.evidence(evidence).unwrap();
    assert_eq!(Digest::of(&document), evidence);
    let asked = provider.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[0].contains("model=simulated%2Fmodel&nonce="),
        "{asked:?}"
    );
    assert_eq!(
        asked[1],
        "/v1/signature/x?model=simulated%2Fmodel&signing_algo=ecdsa"
    );
}

#[tokio::test]
async fn every_defect_of_evidence_closes_the_way_with_its_own_code_and_nothing_is_sent() {
    let mut provider = Provider::start().await;
    let mut world = provider.world();
    let caller = world.caller(1);
    type Defect = fn(&mut ProviderPlan);
    let defects: [(&str, Defect); 6] = [
        ("reference-mismatch", |plan| {
            plan.models[0].td.mr_td = plan.models[0].td.mr_seam
        }),
        ("nonce-mismatch", |plan| plan.models[0].nonce = [1; 32]),
        ("tls-key-other", |plan| {
            plan.gateway.as_mut().unwrap().tls_spki = Some(Digest::of("relay"))
        }),
        ("tls-key-not-offered", |plan| {
            plan.gateway.as_mut().unwrap().tls_spki = None
        }),
        ("gpu-not-supplied", |plan| plan.models[0].gpus.clear()),
        ("model-other", |plan| {
            plan.models[0].model = Some("cheaper".to_owned())
        }),
    ];
    for (code, defect) in defects {
        provider.attest(defect);
        let (got, record) = provider.ask(&mut world, &caller).await;
        is_refused(&got, &record, code);
        world.clock.advance_seconds(3);
    }
    *provider.upstream.gets.lock().unwrap() = Box::new(|_, _| Some((200, b"{}".to_vec())));
    let (got, record) = provider.ask(&mut world, &caller).await;
    is_refused(&got, &record, "report-malformed");
    provider.upstream.nothing_was_sent();
}

#[tokio::test]
async fn a_platform_of_which_nothing_is_known_or_nothing_good_is_refused() {
    let mut provider = Provider::start().await;
    let simulated = SimulatedProvider::demo();
    let nonce = proofroom_canonical::Nonce::from_random([0; 32]);
    let mut plan = simulated.plan(nonce, Digest::of(""), NOW);
    plan.platform.tcb = TcbAnswer::OutOfDate;
    let old = simulated.collateral(&plan).into_values().next().unwrap();
    for (collateral, code) in [
        (None, "collateral-missing"),
        (Some(old), "tcb-status-refused"),
    ] {
        let mut options = Options::of(upstreams(provider.upstream.address, "near-ai"));
        options.providers = providers(&provider::policy("near-ai"), collateral);
        let mut world = World::with(&options);
        let caller = world.caller(1);
        let (got, record) = provider.ask(&mut world, &caller).await;
        is_refused(&got, &record, code);
    }
    provider.upstream.nothing_was_sent();
}

#[tokio::test]
async fn an_outage_of_the_provider_never_falls_back_to_another_tier() {
    let mut other = FakeUpstream::plain().await;
    let provider = Provider::start().await;
    let mut options =
        Options::of(standard(other.address) + &upstreams(provider.upstream.address, "near-ai"));
    options.providers = providers(&provider::policy("near-ai"), Some(collateral()));
    let mut world = World::with(&options);
    let caller = world.caller(1);
    provider.upstream.stop().await;
    let got = Got::of(world.post(&caller, CHAT, chat("both-model", SECRET)).await).await;
    let (_, record) = world.record().await;
    is_refused(&got, &record, "upstream-unreachable");
    other.nothing_was_sent();
}

#[tokio::test]
async fn an_answer_without_its_receipt_is_withheld_and_closes_the_way() {
    let other = Digest::of("another");
    let key = || ProviderKey::ethereum("model");
    let signings: [(&str, Signing); 4] = [
        (
            "receipt-response-differs",
            Box::new(move |request, _| by_model(request, other)),
        ),
        (
            "receipt-request-differs",
            Box::new(move |_, answer| by_model(other, answer)),
        ),
        (
            "receipt-key-unknown",
            Box::new(|request, answer| {
                let relay = ProviderKey::ethereum("relay");
                Some(receipt(&relay, Some(MODEL), request, answer).to_string())
            }),
        ),
        (
            "receipt-model-differs",
            Box::new(move |request, answer| {
                Some(receipt(&key(), Some("cheaper"), request, answer).to_string())
            }),
        ),
    ];
    let provider = Provider::start().await;
    for (code, signing) in signings {
        let mut world = provider.world();
        let caller = world.caller(1);
        provider.sign(signing);
        let (got, record) = provider.ask(&mut world, &caller).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (502, code));
        assert_eq!(record.status, RunStatus::UpstreamError);
        assert_eq!(record.failure.as_ref().unwrap().code, code);
        assert_eq!(record.response.unwrap().receipt, None);
        assert_eq!(world.events.codes_closed(), [code]);
        // closed: the next request is not sent
        let (got, record) = provider.ask(&mut world, &caller).await;
        is_refused(&got, &record, code);
    }
}

#[tokio::test]
async fn a_long_answer_is_withheld_as_a_short_one_is_and_one_that_is_too_long_is_no_fault_of_the_signer()
 {
    let padded = |bytes: usize| {
        format!(
            "{}{}",
            JSON_ANSWER.replace("std-model", MODEL),
            " ".repeat(bytes)
        )
    };
    for (bytes, signing, code) in [
        (
            2 << 20,
            by_model as fn(Digest, Digest) -> Option<String>,
            None,
        ),
        (
            2 << 20,
            |request, _| by_model(request, Digest::of("another")),
            Some("receipt-response-differs"),
        ),
        (17 << 20, by_model, Some("upstream-answer-too-large")),
    ] {
        let provider = Provider::start().await;
        let mut world = provider.world();
        let caller = world.caller(1);
        let answer = padded(bytes);
        provider.exchange.lock().unwrap().1 = Digest::of(&answer);
        provider
            .upstream
            .reply(Reply::Whole(200, "application/json", answer.clone().into()));
        provider.sign(signing);
        let (got, record) = provider.ask(&mut world, &caller).await;
        match code {
            None => assert!(got.status == 200 && got.body == answer),
            Some(code) => assert_eq!((got.status.as_u16(), got.code().as_str()), (502, code)),
        }
        assert_eq!(record.response.unwrap().receipt.is_some(), code.is_none());
        let closed = code.filter(|code| code.starts_with("receipt"));
        assert_eq!(world.events.codes_closed(), Vec::from_iter(closed));
    }
}

#[tokio::test]
async fn a_receipt_that_is_never_served_is_waited_for_and_then_missed() {
    let provider = Provider::start().await;
    let mut world = provider.world();
    let caller = world.caller(1);
    provider.sign(|_, _| None);
    let (got, record) = provider.ask(&mut world, &caller).await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (502, "receipt-not-served")
    );
    assert_eq!(record.status, RunStatus::UpstreamError);
    let asked = provider.asked.lock().unwrap().len();
    assert_eq!(asked, 1 + 5, "one report, five times a receipt");
}

const EVENTS: &str = "data: {\"id\":\"chat-1\",\"object\":\"chat.completion.chunk\",\"model\":\"simulated/model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

#[tokio::test]
async fn a_stream_is_hashed_as_it_arrived_and_a_changed_delta_is_noticed() {
    for (arrives, status) in [
        (EVENTS.to_owned(), RunStatus::Complete),
        (EVENTS.replace("hi", "ho"), RunStatus::UpstreamError),
        // keep-alives count, as every byte does
        (format!(": ping\n\n{EVENTS}"), RunStatus::UpstreamError),
    ] {
        let provider = Provider::start().await;
        let mut world = provider.world();
        let caller = world.caller(1);
        let chunks = provider.upstream.stream("text/event-stream");
        let body = chat(MODEL, SECRET).replacen('{', "{\"stream\":true,", 1);
        *provider.exchange.lock().unwrap() = (Digest::of(&body), Digest::of(EVENTS));
        let (first, rest) = arrives.split_at(40);
        chunks
            .send(Ok(Bytes::from(first.to_owned())))
            .await
            .unwrap();
        chunks.send(Ok(Bytes::from(rest.to_owned()))).await.unwrap();
        drop(chunks);
        let got = Got::of(world.post(&caller, CHAT, body).await).await;
        let (_, record) = world.record().await;
        assert_eq!(record.status, status, "{arrives}");
        let text = String::from_utf8(got.body.to_vec()).unwrap();
        let complete = status == RunStatus::Complete;
        // a client that reads up to the end mark must not miss the error
        assert_eq!(text.contains("[DONE]"), complete, "{text}");
        assert_eq!(text == arrives, complete, "{text}");
        assert_eq!(record.response.unwrap().receipt.is_some(), complete);
        assert_eq!(
            text.contains("receipt-response-differs"),
            !complete,
            "{text}"
        );
        assert!(provider.asked.lock().unwrap()[1].starts_with("/v1/signature/chat-1?"));
    }
}

#[tokio::test]
async fn a_translated_answer_has_the_receipt_of_what_the_provider_sent() {
    let mut provider = Provider::start().await;
    let mut world = provider.world();
    let caller = world.caller(1);
    let body = format!(
        "{{\"model\":\"{MODEL}\",\"max_tokens\":9,\"messages\":[{{\"role\":\"user\",\"content\":\"{SECRET}\"}}]}}"
    );
    let exchange = Arc::clone(&provider.exchange);
    let key = ProviderKey::ethereum("gateway");
    // what was forwarded is known once it was seen; the gateway's receipt names no model
    let seen = Arc::new(Mutex::new(None::<Digest>));
    let forwarded = Arc::clone(&seen);
    provider.sign(move |_, _| {
        let answer = exchange.lock().unwrap().1;
        let request = (*forwarded.lock().unwrap())?;
        Some(receipt(&key, None, request, answer).to_string())
    });
    let posted = world.post(&caller, MESSAGES, body);
    let watch = async {
        let sent = provider.upstream.seen.recv().await.unwrap();
        *seen.lock().unwrap() = Some(Digest::of(&sent.body));
    };
    let (response, ()) = tokio::join!(posted, watch);
    let got = Got::of(response).await;
    let (_, record) = world.record().await;
    assert_eq!(got.status, 200, "{got:?}");
    let signed = record.response.unwrap().receipt.unwrap();
    assert_eq!(signed.signer, "gateway");
    let (request, answer) = (
        record.request.forwarded.unwrap().to_hex(),
        record.translated.unwrap().answer.unwrap().to_hex(),
    );
    assert_eq!(signed.text, format!("{request}:{answer}"));
}

#[tokio::test]
async fn without_a_bound_key_a_public_authority_must_name_the_provider() {
    let mut provider = Provider::start().await;
    provider.attest(|plan| plan.gateway.as_mut().unwrap().tls_spki = None);
    let tolerant = provider::policy("near-ai")
        + "\n[[tolerate]]\ncheck = \"tls-key\"\nreason = \"not offered\"\n";
    let mut world = provider.world_under(&tolerant);
    let caller = world.caller(1);
    let (got, record) = provider.ask(&mut world, &caller).await;
    // the evidence was accepted; the test's certificate is nobody's
    assert_eq!(world.events.verified(), 1);
    is_refused(&got, &record, "upstream-unreachable");
    provider.upstream.nothing_was_sent();
}

#[tokio::test]
async fn a_policy_that_is_missing_or_for_another_format_keeps_the_gateway_from_starting() {
    assert_eq!(
        setup_codes(&upstreams("127.0.0.1:1", "near-ai")),
        ["provider-policy-missing"]
    );
    let mut options = Options::of(upstreams("127.0.0.1:1", "dstack"));
    options.providers = providers(&provider::policy("near-ai"), None);
    assert_eq!(World::problems(&options), ["provider-policy-missing"]);
}
