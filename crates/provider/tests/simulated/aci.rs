//! A service of Attested Confidential Inference: what is accepted, and each defect with the check and the code that
//! refuses it.

use proofroom_canonical::{Digest, Nonce};
use proofroom_provider::{
    Beside, CheckOutcome, Exchange, Format, ProviderAppraisal, ProviderDocument, ProviderPolicy,
    appraise_provider, platforms_of,
};
use proofroom_testkit::{
    provider::{
        ProviderKey,
        aci::{self, AciPlan},
        event,
    },
    tee::{TcbAnswer, simulated_measurement},
};
use proofroom_verifier::{Assurance, Verdict};
use serde_json::json;

use crate::world::{NOW, assert_refused, connection, exchange, nonce, obstacle, policy_of};

fn policy() -> ProviderPolicy {
    policy_of(&aci::policy("direct"))
}

pub fn plan() -> AciPlan {
    aci::plan(nonce(), connection(), NOW)
}

fn document(plan: &AciPlan) -> Vec<u8> {
    let beside = Beside {
        collateral: aci::collateral(plan),
        challenge: Some(nonce()),
    };
    ProviderDocument::write(Format::Aci, &aci::report(plan), beside).unwrap()
}

pub fn appraise(plan: &AciPlan, policy: &ProviderPolicy) -> ProviderAppraisal {
    appraise_provider(&document(plan), policy, exchange(), NOW)
}

fn open(appraisal: &ProviderAppraisal) -> Vec<(String, &'static str)> {
    let checks = appraisal.checks().iter();
    let open = checks.filter(|check| check.outcome != CheckOutcome::Pass);
    open.map(|check| (check.label(), check.outcome.code().unwrap()))
        .collect()
}

#[test]
fn a_service_is_accepted_with_what_it_does_not_show_named() {
    let appraisal = appraise(&plan(), &policy());
    assert_eq!(
        open(&appraisal),
        [
            ("provider: model".to_owned(), "model-not-named"),
            ("model-0: gpu".to_owned(), "gpu-not-supplied"),
        ],
        "{:#?}",
        appraisal.checks()
    );
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.assurance(), Assurance::Simulated);
    assert_eq!(verified.tls_spki(), Some(connection()));
    assert_eq!(verified.machines_and_gpus(), (1, 0));
    assert_eq!(verified.expires(), NOW.after_seconds(300));
    let platforms = platforms_of(&aci::report(&plan()), Format::Aci).unwrap();
    assert_eq!(platforms.len(), 1);
}

#[test]
fn an_aggregator_is_a_gateway_and_no_machine_that_runs_a_model() {
    let policy = policy_of(&aci::policy("aggregator"));
    let appraisal = appraise(&plan(), &policy);
    assert_eq!(
        open(&appraisal),
        [("provider: model".to_owned(), "model-not-named")]
    );
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.machines_and_gpus(), (0, 0));
    assert_eq!(verified.quotes().count(), 1);
}

#[test]
fn an_archive_shows_the_binding_and_neither_freshness_nor_a_connection() {
    let document = document(&plan());
    let appraisal = appraise_provider(&document, &policy(), Exchange::ArchiveAudit, NOW);
    let archive = |label: &str| (label.to_owned(), "archive-audit");
    let open: Vec<_> = open(&appraisal)
        .into_iter()
        .filter(|(_, code)| *code == "archive-audit")
        .collect();
    assert_eq!(
        open,
        [archive("provider: tls-key"), archive("model-0: nonce")]
    );
    assert!(appraisal.into_verified().is_err());
    // without the challenge nobody can say what the quote binds
    let bare =
        ProviderDocument::write(Format::Aci, &aci::report(&plan()), aci::collateral(&plan()));
    let appraisal = appraise_provider(&bare.unwrap(), &policy(), Exchange::ArchiveAudit, NOW);
    assert_eq!(
        obstacle(&appraisal),
        ("model-0: keyset".to_owned(), "keyset-not-in-quote")
    );
}

#[test]
fn a_key_of_a_domain_counts_where_the_policy_names_the_domain() {
    let mut plan = plan();
    plan.keyset["tls_public_keys"][0]["domain"] = json!("api.example.com");
    assert_eq!(obstacle(&appraise(&plan, &policy())).1, "tls-key-other");
    let named = aci::policy("direct") + "domain = \"api.example.com\"\n";
    assert!(appraise(&plan, &policy_of(&named)).into_verified().is_ok());
}

#[test]
fn custody_is_borne_without_where_the_policy_says_so_and_never_where_it_fails() {
    let text = aci::policy("direct");
    let tolerate =
        "[[tolerate]]\ncheck = \"key-custody\"\nreason = \"no service of keys\"\n\n[machine]";
    let tolerant = policy_of(&text.replacen("[machine]", tolerate, 1));
    let mut without = plan();
    without.custody = None;
    assert_eq!(
        obstacle(&appraise(&without, &policy())).1,
        "custody-not-supplied"
    );
    let verified = appraise(&without, &tolerant).into_verified().unwrap();
    let custody = verified
        .checks()
        .iter()
        .find(|check| check.outcome.code() == Some("custody-not-supplied"));
    assert_eq!(custody.unwrap().outcome.word(), "not-evaluated");
    let mut wrong = plan();
    wrong.custody.as_mut().unwrap().root = ProviderKey::ethereum("another");
    assert_eq!(obstacle(&appraise(&wrong, &tolerant)).1, "custody-root");
}

#[test]
fn where_no_key_signs_receipts_custody_is_not_shown_as_passed() {
    let mut plan = plan();
    plan.keyset["receipt_signing_keys"][0]["algo"] = json!("rsa");
    let open = open(&appraise(&plan, &policy()));
    assert!(
        open.contains(&("model-0: key-custody".to_owned(), "not-reached")),
        "{open:?}"
    );
}

type Defect = fn(&mut AciPlan);

const DEFECTS: &[(&str, &str, &str, Defect)] = &[
    // form
    (
        "another kind of TEE",
        "provider: report",
        "report-malformed",
        |p| {
            p.tee_type = "sgx".to_owned();
        },
    ),
    (
        "a keyset of another shape",
        "model-0: keyset",
        "keyset-malformed",
        |p| {
            p.keyset["attestation_keys"] = json!([]);
        },
    ),
    // quote
    ("a debug TD", "model-0: quote", "td-debug", |p| {
        p.machine.td.attributes |= 1
    }),
    (
        "a TD that can be migrated",
        "model-0: quote",
        "td-migratable",
        |p| {
            p.machine.td.attributes |= 1 << 29;
        },
    ),
    (
        "a platform out of date",
        "model-0: quote",
        "tcb-status-refused",
        |p| {
            p.platform.tcb = TcbAnswer::OutOfDate;
        },
    ),
    (
        "another firmware",
        "model-0: quote",
        "reference-mismatch",
        |p| {
            p.machine.td.mr_td = simulated_measurement("hostile base image");
        },
    ),
    // binding
    (
        "a key added to the keyset",
        "model-0: keyset",
        "keyset-not-in-quote",
        |p| {
            let mut shown = p.keyset.clone();
            let relay = json!({ "spki_sha256": Digest::of("relay").to_hex() });
            shown["tls_public_keys"].as_array_mut().unwrap().push(relay);
            p.shown_digest = Some(aci::digest(&shown));
            p.shown_keyset = Some(shown);
        },
    ),
    (
        "a keyset that its digest denies",
        "model-0: keyset",
        "keyset-digest",
        |p| {
            let mut shown = p.keyset.clone();
            shown["not_after"] = json!(4_000_000_000_u32);
            p.shown_keyset = Some(shown);
        },
    ),
    (
        "a statement of another protocol",
        "model-0: keyset",
        "keyset-not-in-quote",
        |p| {
            p.purpose = "aci.report_data.v2".to_owned();
        },
    ),
    (
        "bytes behind the digest",
        "model-0: keyset",
        "keyset-not-in-quote",
        |p| p.padding[0] = 1,
    ),
    (
        "report data stated and not quoted",
        "model-0: keyset",
        "keyset-not-in-quote",
        |p| {
            p.shown_data = Some([1; 32]);
        },
    ),
    (
        "another challenge, as of an old report",
        "model-0: keyset",
        "keyset-not-in-quote",
        |p| {
            p.challenge = Some(Nonce::from_random([1; 32]));
        },
    ),
    ("no challenge", "model-0: nonce", "nonce-absent", |p| {
        p.challenge = None
    }),
    (
        "a subject that nobody allowed",
        "model-0: keyset",
        "subject-not-allowed",
        |p| {
            p.keyset["subject"] = json!("dstack-app://other");
        },
    ),
    (
        "the TLS key of a relay",
        "provider: tls-key",
        "tls-key-other",
        |p| {
            p.keyset["tls_public_keys"][0]["spki_sha256"] = json!(Digest::of("relay").to_hex());
        },
    ),
    (
        "no TLS key",
        "provider: tls-key",
        "tls-key-not-offered",
        |p| {
            p.keyset["tls_public_keys"] = json!([]);
        },
    ),
    // freshness
    (
        "a keyset at its end",
        "model-0: keyset-expiry",
        "keyset-expired",
        |p| {
            p.keyset["not_after"] = json!(NOW.unix_seconds());
        },
    ),
    (
        "a keyset that promises too much",
        "model-0: keyset-expiry",
        "keyset-lifetime",
        |p| {
            p.keyset["not_after"] = json!(NOW.unix_seconds() + 601);
        },
    ),
    // keys
    (
        "no key that signs receipts",
        "model-0: signing-key",
        "receipt-key-missing",
        |p| {
            p.keyset["receipt_signing_keys"][0]["algo"] = json!("rsa");
        },
    ),
    (
        "a receipt key that is a TLS key too",
        "model-0: keyset",
        "keyset-malformed",
        |p| {
            p.keyset["e2ee_public_keys"] = json!([p.keyset["receipt_signing_keys"][0]]);
        },
    ),
    (
        "nothing of where keys come from",
        "model-0: key-custody",
        "custody-not-supplied",
        |p| {
            p.custody = None;
        },
    ),
    (
        "keys of another kind of service",
        "model-0: key-custody",
        "custody-provider",
        |p| {
            custody(p).provider = "file".to_owned();
        },
    ),
    (
        "custody of another key",
        "model-0: key-custody",
        "custody-key-missing",
        |p| {
            custody(p).public_key = "00".repeat(32);
        },
    ),
    (
        "a key derived for something else",
        "model-0: key-custody",
        "custody-purpose",
        |p| {
            custody(p).purpose = "aci.tls.v1".to_owned();
        },
    ),
    (
        "keys of another service",
        "model-0: key-custody",
        "custody-root",
        |p| {
            custody(p).root = ProviderKey::ethereum("another");
        },
    ),
    (
        "keys of another application",
        "model-0: key-custody",
        "custody-root",
        |p| {
            custody(p).app_id = vec![1; 20];
        },
    ),
    (
        "half a chain",
        "model-0: key-custody",
        "custody-signature",
        |p| custody(p).signatures = 1,
    ),
    // log and deployment
    (
        "an event left out",
        "model-0: event-log",
        "log-replay",
        |p| {
            let mut events = p.machine.events.clone();
            events.remove(8);
            p.machine.shown_events = Some(events);
        },
    ),
    (
        "a digest that its payload denies",
        "model-0: event-log",
        "log-digest",
        |p| {
            let mut events = p.machine.events.clone();
            events[4].digest = [1; 48];
            p.machine.shown_events = Some(events);
        },
    ),
    ("no log", "model-0: event-log", "log-malformed", |p| {
        p.machine.shown_events = Some(Vec::new());
    }),
    (
        "an event after the boot",
        "model-0: event-log",
        "log-event-late",
        |p| {
            p.machine.events.push(event("miner-hotkey", b"x"));
        },
    ),
    (
        "another deployment shown than measured",
        "model-0: compose",
        "compose-mismatch",
        |p| {
            p.machine.shown_compose = Some("{}".to_owned());
        },
    ),
    (
        "another deployment measured",
        "model-0: compose",
        "compose-not-allowed",
        |p| {
            p.machine.compose = "{}".to_owned();
            p.machine.events[5] = event("compose-hash", Digest::of("{}").as_bytes());
        },
    ),
    (
        "another application",
        "model-0: app-id",
        "app-not-allowed",
        |p| {
            p.machine.events[4] = event("app-id", &[1; 20]);
            custody(p).app_id = vec![1; 20];
        },
    ),
    (
        "an image for development",
        "model-0: os-image",
        "os-image-not-allowed",
        |p| {
            p.machine.events[9] = event("os-image-hash", &[1; 32]);
        },
    ),
    (
        "keys from another service",
        "model-0: key-provider",
        "key-provider-not-allowed",
        |p| {
            p.machine.events[10] = event("key-provider", b"{\"name\":\"local\",\"id\":\"00\"}");
        },
    ),
];

fn custody(plan: &mut AciPlan) -> &mut aci::CustodyPlan {
    plan.custody.as_mut().unwrap()
}

#[test]
fn every_defect_is_refused_by_its_own_check_and_code() {
    let policy = policy();
    for (what, check, code, defect) in DEFECTS {
        let mut plan = plan();
        defect(&mut plan);
        assert_refused(what, appraise(&plan, &policy), check, code);
    }
}

#[test]
fn a_report_cut_at_any_length_or_of_another_version_is_not_accepted() {
    let whole = aci::report(&plan());
    let policy = policy();
    let refused = |report: &[u8]| {
        let beside = Beside::from(aci::collateral(&plan()));
        let document = ProviderDocument::write(Format::Aci, report, beside).unwrap();
        obstacle(&appraise_provider(&document, &policy, exchange(), NOW)).1
    };
    for length in (0..whole.len())
        .step_by(211)
        .chain(whole.len() - 40..whole.len())
    {
        assert_eq!(refused(&whole[..length]), "report-malformed", "{length}");
    }
    let text = String::from_utf8(whole).unwrap();
    for (from, to) in [
        ("aci/1", "aci/2"),
        (
            "\"api_version\"",
            "\"api_version\":\"aci/1\",\"api_version\"",
        ),
        (
            "\"workload_keyset_digest\":\"sha256:",
            "\"workload_keyset_digest\":\"sha512:",
        ),
        ("\"quote\":\"04", "\"quote\":\"zz"),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text);
        assert_eq!(refused(broken.as_bytes()), "report-malformed");
    }
    let broken = text.replacen("\"quote\":\"04", "\"quote\":\"03", 1);
    assert_eq!(refused(broken.as_bytes()), "quote-unsupported");
    let appraisal = appraise_provider(&document(&plan()), &policy, exchange(), NOW);
    assert_eq!(appraisal.verdict(), Verdict::Accept);
}

#[test]
fn a_policy_that_leaves_something_open_is_refused() {
    let text = aci::policy("direct");
    let code = |text: &str| {
        let siblings = proofroom_testkit::provider::policies();
        let found = ProviderPolicy::parse(text, "p.toml", &|name| siblings.get(name).cloned());
        found.unwrap_err()[0].code()
    };
    let unpinned = text.replacen("kms_roots = [\"", "kms_roots = [] #", 1);
    for (text, wanted) in [
        (unpinned, "policy-unpinned"),
        (
            text.replacen("kms_roots = [\"", "kms_roots = [\"04", 1),
            "policy-unpinned",
        ),
        (
            text.replacen("max_seconds = 600", "max_seconds = 0", 1),
            "policy-freshness",
        ),
        (
            text.replacen("\"required\"", "\"not-offered\"", 1),
            "policy-receipts",
        ),
        (text.replacen("[keyset]", "[keysets]", 1), "policy-syntax"),
        (
            text.replacen("serving = \"direct\"\n", "", 1),
            "policy-syntax",
        ),
        (
            text.replacen("format = \"aci\"", "format = \"dstack\"", 1),
            "policy-tables",
        ),
        (
            text.split("[keyset]").next().unwrap().to_owned(),
            "policy-tables",
        ),
        (
            text.replacen(
                "quote_policy",
                "gpu_policy = \"simulated-provider-gpu.toml\"\nquote_policy",
                1,
            ),
            "policy-gpu",
        ),
    ] {
        assert_eq!(code(&text), wanted, "{text}");
    }
}

#[test]
fn the_shipped_policy_is_whole_and_accepts_nobody_who_is_simulated() {
    let sibling = |name: &str| match name {
        "production-upstream.toml" => Some(proofroom_verifier::PRODUCTION_UPSTREAM.to_owned()),
        _ => None,
    };
    let text = proofroom_provider::PRODUCTION_ACI;
    let policy = ProviderPolicy::parse(text, "production-aci.toml", &sibling).unwrap();
    assert_eq!(policy.assurance(), Assurance::Hardware);
    let appraisal = appraise(&plan(), &policy);
    assert_eq!(appraisal.verdict(), Verdict::Reject);
    assert_eq!(
        obstacle(&appraisal),
        ("gateway: quote".to_owned(), "root-not-trusted")
    );
}
