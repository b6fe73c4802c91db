//! Enclaves of Tinfoil: prompts go to one only after the report of its processor, AMD's or Intel's, was accepted for
//! this challenge and this connection. Their answers are not signed, and nothing is asked for.

use std::sync::{Arc, Mutex};

use proofroom_canonical::{Digest, Nonce};
use proofroom_evidence::{Collateral, Fmspc};
use proofroom_gateway::{Caller, CollateralStore, ProviderPolicy, Providers};
use proofroom_record::{
    event::RunStatus,
    statement::{Assurance, ModelRun},
};
use proofroom_testkit::provider::{
    MODEL,
    tinfoil::{self, TinfoilPlan, key},
};

use crate::{
    tee::identity,
    upstream::{FakeUpstream, Tls},
    world::{CHAT, Got, NOW, Options, SECRET, World, chat},
};

const POLICY: &str = "simulated-tinfoil.toml";
const REPORT: &str = "/.well-known/tinfoil-attestation?nonce=";

struct Store;

impl CollateralStore for Store {
    fn of_platform(&self, _: Fmspc) -> Option<Collateral> {
        let plan = tinfoil::plan(Nonce::from_random([0; 32]), Digest::of(""), NOW);
        tinfoil::collateral(&plan).into_values().next()
    }
}

struct Enclave {
    upstream: FakeUpstream,
    tls: Tls,
    spki: Digest,
}

impl Enclave {
    async fn start() -> Self {
        let (config, spki) = identity();
        let tls: Tls = Arc::new(Mutex::new(config));
        let made = Self {
            upstream: FakeUpstream::start(Some(Arc::clone(&tls))).await,
            tls,
            spki,
        };
        made.attest(|_| ());
        made
    }

    /// Serves documents after `change`, and nothing else.
    fn attest(&self, change: impl Fn(&mut TinfoilPlan) + Send + Sync + 'static) {
        let spki = self.spki;
        *self.upstream.gets.lock().unwrap() = Box::new(move |target, headers| {
            let nonce = target.strip_prefix(REPORT)?;
            // nothing of ours goes to whom nobody has verified
            assert!(!headers.contains_key("authorization"));
            let mut plan = tinfoil::plan(nonce.parse().unwrap(), spki, NOW);
            change(&mut plan);
            Some((200, tinfoil::report(&plan)))
        });
    }

    fn world(&self) -> World {
        let siblings = tinfoil::policies();
        let sibling = |name: &str| siblings.get(name).cloned();
        let policy = ProviderPolicy::parse(&tinfoil::policy("direct"), POLICY, &sibling).unwrap();
        let mut options = Options::of(upstreams(self.upstream.address));
        options.providers = Providers {
            policies: [(POLICY.into(), policy)].into(),
            collateral: Arc::new(Store),
        };
        World::with(&options)
    }

    async fn ask(&self, world: &mut World, caller: &Arc<Caller>) -> (Got, ModelRun) {
        let got = Got::of(world.post(caller, CHAT, chat(MODEL, SECRET)).await).await;
        let (_, record) = world.record().await;
        (got, record)
    }
}

fn upstreams(address: impl std::fmt::Display) -> String {
    format!(
        r#"
[[upstream]]
name = "enclave"
tier = "tee"
base_url = "https://{address}"
apis = ["chat"]
models = ["{MODEL}"]
region = "eu"
source = "cassette"
key = {{ from = "env", name = "KEY", header = "bearer" }}
retention = {{ mode = "in-memory" }}
attestation = {{ kind = "tinfoil", provider_policy = "{POLICY}" }}
"#
    )
}

#[tokio::test]
async fn an_enclave_of_either_processor_gets_the_prompt_and_the_record_says_what_was_not_looked_at()
{
    for tdx in [false, true] {
        let mut enclave = Enclave::start().await;
        enclave.attest(move |plan| plan.tdx = tdx);
        let mut world = enclave.world();
        let caller = world.caller(1);
        let (got, record) = enclave.ask(&mut world, &caller).await;
        assert_eq!(
            (got.status.as_u16(), record.status),
            (200, RunStatus::Complete)
        );
        let sent = enclave.upstream.seen.recv().await.unwrap();
        assert_eq!(sent.body, chat(MODEL, SECRET));
        assert_eq!(record.response.unwrap().receipt, None);
        let Assurance::Attested {
            tls_spki,
            provider: Some(facts),
            ..
        } = record.upstream.unwrap().assurance
        else {
            panic!("not attested by a provider");
        };
        assert_eq!((tls_spki, facts.format.as_str()), (enclave.spki, "tinfoil"));
        let open = facts.checks.iter().filter(|check| check.outcome != "pass");
        let open: Vec<_> = open
            .map(|check| (check.check.as_str(), check.outcome.as_str()))
            .collect();
        assert_eq!(
            open,
            [
                ("provider: model", "not-evaluated"),
                ("model-0: release-provenance", "not-evaluated"),
            ]
        );
    }
}

#[tokio::test]
async fn every_defect_of_an_enclaves_document_closes_the_way_with_its_own_code() {
    type Defect = fn(&mut TinfoilPlan);
    let defects: [(&str, Defect); 8] = [
        ("report-superseded", |p| {
            p.format = "https://tinfoil.sh/predicate/tdx-guest/v2".to_owned();
        }),
        ("report-malformed", |p| p.format.clear()),
        ("guest-debug", |p| p.snp.report.policy |= 1 << 19),
        ("no-revocation-list", |p| p.crl = false),
        ("report-data-mismatch", |p| {
            p.signed_nonce = Some(Nonce::from_random([1; 32]))
        }),
        ("nonce-mismatch", |p| p.nonce = Nonce::from_random([1; 32])),
        ("tls-key-other", |p| {
            p.keys[0] = key("tls", "spki-fp-sha256", &Digest::of("relay").to_hex());
        }),
        ("gpu-not-supplied", |p| p.gpus.clear()),
    ];
    let mut enclave = Enclave::start().await;
    let mut world = enclave.world();
    let caller = world.caller(1);
    for (code, defect) in defects {
        enclave.attest(defect);
        let (got, record) = enclave.ask(&mut world, &caller).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
        assert_eq!(record.status, RunStatus::Refused);
        assert_eq!((record.request.forwarded, &record.upstream), (None, &None));
        world.clock.advance_seconds(3);
    }
    enclave.upstream.nothing_was_sent();
}

#[tokio::test]
async fn another_key_after_verification_closes_the_way_and_the_old_evidence_opens_it_no_more() {
    let mut enclave = Enclave::start().await;
    let mut world = enclave.world();
    let caller = world.caller(1);
    let (got, _) = enclave.ask(&mut world, &caller).await;
    assert_eq!(got.status, 200);
    enclave.upstream.seen.recv().await.unwrap();
    *enclave.tls.lock().unwrap() = identity().0;
    enclave.upstream.close_connections().await;
    for code in ["upstream-key-changed", "tls-key-other"] {
        let (got, _) = enclave.ask(&mut world, &caller).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
        world.clock.advance_seconds(3);
    }
    enclave.upstream.nothing_was_sent();
}

#[tokio::test]
async fn evidence_is_used_until_its_end_and_not_longer() {
    let mut enclave = Enclave::start().await;
    let mut world = enclave.world();
    let caller = world.caller(1);
    assert_eq!(enclave.ask(&mut world, &caller).await.0.status, 200);
    enclave.upstream.seen.recv().await.unwrap();
    enclave.attest(|plan| plan.signed_nonce = Some(Nonce::from_random([1; 32])));
    world.clock.advance_seconds(601);
    let (got, _) = enclave.ask(&mut world, &caller).await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "report-data-mismatch")
    );
    enclave.upstream.nothing_was_sent();
}
