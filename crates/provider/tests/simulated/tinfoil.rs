//! An enclave of Tinfoil, of AMD SEV-SNP and of Intel TDX: what is accepted, and each defect with the check and the
//! code that refuses it.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_provider::{
    Beside, CheckOutcome, Exchange, Format, ProviderAppraisal, ProviderDocument, ProviderPolicy,
    appraise_provider, platforms_of,
};
use proofroom_testkit::{
    provider::tinfoil::{self, TinfoilPlan, key},
    tee::{TcbAnswer, simulated_measurement},
};
use proofroom_verifier::{Assurance, Verdict};
use serde_json::json;

use crate::world::{NOW, assert_refused, connection, exchange, nonce, obstacle};

fn parsed(text: &str) -> Result<ProviderPolicy, &'static str> {
    let siblings = tinfoil::policies();
    let found = ProviderPolicy::parse(text, "p.toml", &|name| siblings.get(name).cloned());
    found.map_err(|problems| problems[0].code())
}

fn policy() -> ProviderPolicy {
    parsed(&tinfoil::policy("direct")).unwrap()
}

fn plan() -> TinfoilPlan {
    tinfoil::plan(nonce(), connection(), NOW)
}

fn document(plan: &TinfoilPlan) -> Vec<u8> {
    let beside = Beside::from(tinfoil::collateral(plan));
    ProviderDocument::write(Format::Tinfoil, &tinfoil::report(plan), beside).unwrap()
}

fn appraise(plan: &TinfoilPlan, policy: &ProviderPolicy) -> ProviderAppraisal {
    appraise_provider(&document(plan), policy, exchange(), NOW)
}

fn open(appraisal: &ProviderAppraisal) -> Vec<(String, &'static str, &'static str)> {
    let checks = appraisal.checks().iter();
    let open = checks.filter(|check| check.outcome != CheckOutcome::Pass);
    open.map(|check| {
        (
            check.label(),
            check.outcome.word(),
            check.outcome.code().unwrap(),
        )
    })
    .collect()
}

#[test]
fn an_enclave_of_either_processor_is_accepted_and_its_release_is_never_shown_as_passed() {
    for tdx in [false, true] {
        let plan = TinfoilPlan { tdx, ..plan() };
        let appraisal = appraise(&plan, &policy());
        let not = "not-evaluated";
        assert_eq!(
            open(&appraisal),
            [
                ("provider: model".to_owned(), not, "model-not-named"),
                (
                    "model-0: release-provenance".to_owned(),
                    not,
                    "release-not-read"
                ),
            ],
            "{:#?}",
            appraisal.checks()
        );
        let verified = appraisal.into_verified().unwrap();
        assert_eq!(verified.assurance(), Assurance::Simulated);
        assert_eq!(verified.tls_spki(), Some(connection()));
        assert_eq!(verified.machines_and_gpus(), (1, 2));
        assert_eq!(verified.quotes().count(), 1);
        assert_eq!(verified.expires(), NOW.after_seconds(600));
        let platforms = platforms_of(&tinfoil::report(&plan), Format::Tinfoil).unwrap();
        assert_eq!(platforms.len(), usize::from(tdx));
    }
}

#[test]
fn a_router_is_a_gateway_and_no_machine_that_runs_a_model() {
    let policy = parsed(&tinfoil::policy("aggregator")).unwrap();
    let mut plan = plan();
    plan.gpus.clear();
    let verified = appraise(&plan, &policy).into_verified().unwrap();
    assert_eq!(verified.machines_and_gpus(), (0, 0));
    assert!(
        verified
            .checks()
            .iter()
            .any(|check| check.label() == "gateway: quote")
    );
}

#[test]
fn a_whole_key_is_bound_as_its_digest_is() {
    let mut plan = plan();
    plan.keys[0] = key("tls", "spki", &hex::encode("the connection's key"));
    assert!(appraise(&plan, &policy()).into_verified().is_ok());
}

#[test]
fn an_archive_shows_the_binding_and_neither_freshness_nor_a_connection() {
    let appraisal = appraise_provider(&document(&plan()), &policy(), Exchange::ArchiveAudit, NOW);
    let archive: Vec<_> = open(&appraisal)
        .into_iter()
        .filter(|(_, _, code)| *code == "archive-audit")
        .map(|(label, ..)| label)
        .collect();
    assert_eq!(archive, ["provider: tls-key", "model-0: nonce"]);
    assert_eq!(appraisal.verdict(), Verdict::Incomplete);
    assert!(appraisal.into_verified().is_err());
}

type Defect = fn(&mut TinfoilPlan);

const DEFECTS: &[(&str, &str, &str, Defect)] = &[
    // form
    (
        "a document made at boot",
        "provider: report",
        "report-superseded",
        |p| {
            p.format = "https://tinfoil.sh/predicate/sev-snp-guest/v2".to_owned();
        },
    ),
    (
        "a document of no known version",
        "provider: report",
        "report-malformed",
        |p| {
            p.format = "https://tinfoil.sh/predicate/attestation/v4".to_owned();
        },
    ),
    (
        "two keys for connections",
        "provider: report",
        "report-malformed",
        |p| {
            p.keys.push(p.keys[0].clone());
        },
    ),
    (
        "a key with a member more",
        "provider: report",
        "report-malformed",
        |p| {
            p.keys[1]["use"] = json!("both");
        },
    ),
    (
        "a key for connections of another kind",
        "provider: report",
        "report-malformed",
        |p| {
            p.keys[0] = key("tls", "x25519-hpke", &"ab".repeat(32));
        },
    ),
    // report
    (
        "a guest that can be debugged",
        "model-0: quote",
        "guest-debug",
        |p| {
            p.snp.report.policy |= 1 << 19;
        },
    ),
    (
        "a guest that can be moved",
        "model-0: quote",
        "guest-migratable",
        |p| {
            p.snp.report.policy |= 1 << 18;
        },
    ),
    (
        "another release",
        "model-0: quote",
        "reference-mismatch",
        |p| {
            p.snp.report.measurement = *simulated_measurement("another release").as_bytes();
        },
    ),
    (
        "firmware below the minimum",
        "model-0: quote",
        "tcb-below-minimum",
        |p| {
            p.snp.report.launch_tcb[7] -= 1;
        },
    ),
    (
        "a certificate of another chip",
        "model-0: quote",
        "chip-id-mismatch",
        |p| {
            p.snp.report.chip_id = [1; 64];
        },
    ),
    (
        "a certificate that has ended",
        "model-0: quote",
        "certificate-expired",
        |p| {
            p.snp.vek.not_after = Timestamp::from_unix_seconds(NOW.unix_seconds() - 1);
        },
    ),
    (
        "a revoked signing key",
        "model-0: quote",
        "certificate-revoked",
        |p| {
            p.snp
                .crl
                .revoked
                .push(proofroom_testkit::snp::ASK_SERIAL.to_vec());
        },
    ),
    (
        "a privilege level of a service",
        "model-0: quote",
        "vmpl-refused",
        |p| {
            p.snp.report.vmpl = 2;
        },
    ),
    (
        "a report of a version to come",
        "model-0: quote",
        "snp-version",
        |p| {
            p.snp.report.version = 9;
        },
    ),
    (
        "no revocation list",
        "model-0: quote",
        "no-revocation-list",
        |p| p.crl = false,
    ),
    ("no certificates", "model-0: quote", "not-supplied", |p| {
        p.certificates = false
    }),
    // quote
    ("a debug TD", "model-0: quote", "td-debug", |p| {
        p.tdx = true;
        p.td.attributes |= 1;
    }),
    (
        "a platform out of date",
        "model-0: quote",
        "tcb-status-refused",
        |p| {
            p.tdx = true;
            p.platform.tcb = TcbAnswer::OutOfDate;
        },
    ),
    ("another TD", "model-0: quote", "reference-mismatch", |p| {
        p.tdx = true;
        p.td.mr_td = simulated_measurement("another release");
    }),
    // binding
    (
        "keys that the report does not bind",
        "model-0: statement",
        "section-digest",
        |p| {
            p.shown_keys = Some(vec![key("tls", "spki-fp-sha256", &connection().to_hex())]);
        },
    ),
    (
        "a report for another challenge",
        "model-0: statement",
        "report-data-mismatch",
        |p| {
            p.signed_nonce = Some(Nonce::from_random([1; 32]));
        },
    ),
    (
        "a quote for another challenge",
        "model-0: statement",
        "report-data-mismatch",
        |p| {
            p.tdx = true;
            p.signed_nonce = Some(Nonce::from_random([1; 32]));
        },
    ),
    (
        "bytes behind the digest",
        "model-0: statement",
        "section-digest",
        |p| p.padding[31] = 1,
    ),
    ("an old document", "model-0: nonce", "nonce-mismatch", |p| {
        p.nonce = Nonce::from_random([1; 32]);
    }),
    (
        "the TLS key of a relay",
        "provider: tls-key",
        "tls-key-other",
        |p| {
            p.keys[0] = key("tls", "spki-fp-sha256", &Digest::of("relay").to_hex());
        },
    ),
    (
        "no TLS key",
        "provider: tls-key",
        "tls-key-not-offered",
        |p| drop(p.keys.remove(0)),
    ),
    // devices
    ("no GPUs", "model-0: gpu", "gpu-not-supplied", |p| {
        p.gpus.clear()
    }),
    ("one GPU fewer", "model-0: gpu", "gpu-device-count", |p| {
        drop(p.gpus.pop())
    }),
    (
        "GPUs for an old challenge",
        "model-0: gpu",
        "gpu-nonce-mismatch",
        |p| {
            p.gpus[1].report.nonce = Nonce::from_random([2; 32]);
        },
    ),
    (
        "a device of an unknown kind",
        "model-0: gpu",
        "gpu-evidence-unknown",
        |p| {
            p.devices.push(json!({
                "id": "npu0", "kind": "npu", "vendor": "x", "format": "x", "evidence": {},
            }));
        },
    ),
];

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
fn a_processor_that_the_policy_does_not_judge_is_not_accepted() {
    let lines = |drop: &str| {
        let text = tinfoil::policy("direct");
        let kept = text.lines().filter(|line| !line.starts_with(drop));
        kept.collect::<Vec<_>>().join("\n")
    };
    let (no_snp, no_tdx) = (lines("snp_policy"), lines("quote_policy"));
    let tdx = TinfoilPlan {
        tdx: true,
        ..plan()
    };
    let code = |plan: &TinfoilPlan, text: &str| obstacle(&appraise(plan, &parsed(text).unwrap())).1;
    assert_eq!(code(&plan(), &no_snp), "snp-no-policy");
    assert_eq!(code(&tdx, &no_tdx), "quote-no-policy");
    assert!(
        appraise(&plan(), &parsed(&no_tdx).unwrap())
            .into_verified()
            .is_ok()
    );
    let neither = no_snp.replace("quote_policy", "#");
    assert_eq!(parsed(&neither).unwrap_err(), "policy-quote");
}

#[test]
fn a_policy_that_promises_what_the_format_lacks_is_refused() {
    let text = tinfoil::policy("direct");
    for (from, to, code) in [
        ("\"not-offered\"", "\"required\"", "policy-receipts"),
        ("[enclave]", "[serving]", "policy-syntax"),
        (
            "format = \"tinfoil\"",
            "format = \"dstack\"",
            "policy-tables",
        ),
        (
            "name = \"simulated-tinfoil\"",
            "name = \"tinfoil\"",
            "policy-simulated",
        ),
        (
            "simulated-tinfoil-snp.toml",
            "absent.toml",
            "policy-sibling",
        ),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert_eq!(parsed(&changed).unwrap_err(), code);
    }
    let strict = text.replacen("check = \"release-provenance\"", "check = \"tls-key\"", 1);
    let appraisal = appraise(&plan(), &parsed(&strict).unwrap());
    assert_eq!(obstacle(&appraisal).1, "release-not-read");
    // the policy for reports is part of what decided
    let other = tinfoil::policies();
    let weaker = |name: &str| {
        let text = other.get(name).cloned()?;
        Some(text.replace("microcode = 84", "microcode = 83"))
    };
    let weaker = ProviderPolicy::parse(&text, "p.toml", &weaker).unwrap();
    assert_ne!(weaker.digest(), policy().digest());
}

#[test]
fn a_document_cut_at_any_length_or_changed_in_the_signed_part_is_not_accepted() {
    let policy = policy();
    let whole = tinfoil::report(&plan());
    let refused = |report: &[u8]| {
        let document = ProviderDocument::write(Format::Tinfoil, report, Beside::default()).unwrap();
        obstacle(&appraise_provider(&document, &policy, exchange(), NOW)).1
    };
    for length in (0..whole.len())
        .step_by(499)
        .chain(whole.len() - 40..whole.len())
    {
        assert_eq!(refused(&whole[..length]), "report-malformed", "{length}");
    }
    let text = String::from_utf8(whole).unwrap();
    for (from, to, code) in [
        ("report-data/v1", "report-data/v2", "report-malformed"),
        (
            "format/sev-snp-report/v1",
            "format/sev-snp-report/v2",
            "report-malformed",
        ),
        (
            "\"report_base64\":\"",
            "\"report_base64\":\"A",
            "report-malformed",
        ),
        (
            "\"report_base64\":\"Aw",
            "\"report_base64\":\"AA",
            "snp-version",
        ),
        (
            "\"challenge\"",
            "\"challenge\":{},\"challenge\"",
            "report-malformed",
        ),
        (
            "\"role\":\"endorsement\"",
            "\"role\":\"reference-values\"",
            "not-supplied",
        ),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text, "{from}");
        assert_eq!(refused(broken.as_bytes()), code, "{from}");
    }
}

#[test]
fn the_shipped_policy_is_whole_and_accepts_nobody_who_is_simulated() {
    let sibling = |name: &str| match name {
        "production-snp.toml" => Some(proofroom_verifier::PRODUCTION_SNP.to_owned()),
        "production-gpu.toml" => Some(proofroom_verifier::gpu::PRODUCTION_GPU.to_owned()),
        _ => None,
    };
    let text = proofroom_provider::PRODUCTION_TINFOIL;
    let policy = ProviderPolicy::parse(text, "production-tinfoil.toml", &sibling).unwrap();
    assert_eq!(policy.assurance(), Assurance::Hardware);
    let appraisal = appraise(&plan(), &policy);
    assert_eq!(appraisal.verdict(), Verdict::Reject);
    assert_eq!(
        obstacle(&appraisal),
        ("model-0: quote".to_owned(), "root-not-trusted")
    );
}
