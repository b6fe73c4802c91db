//! Simulated evidence through the production code: what is accepted, and for every way to break it
//! the exact check and code that refuses it. Says nothing about genuine hardware.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::LazyLock;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{EvidenceDocument, Measurement};
use proofroom_testkit::tee::{Plan, QuoteLayout, Revoked, SimulatedTee, TcbAnswer};
use proofroom_verifier::{
    Appraisal, AppraisalPolicy, Assurance, CheckName, Freshness, Outcome,
    PRODUCTION_UPSTREAM as PRODUCTION, Reason, SIMULATED_UPSTREAM as SIMULATED, Verdict, appraise,
};

const NONCE: Nonce = Nonce::from_random([0x5a; 32]);

fn now() -> Timestamp {
    "2026-11-23T12:00:00.000Z".parse().unwrap()
}

fn policy(text: &str) -> AppraisalPolicy {
    AppraisalPolicy::parse(text, "policy.toml").unwrap()
}

fn plan(tee: &SimulatedTee) -> Plan {
    tee.plan(NONCE, Digest::of("tls key"), "glm-5", now())
}

fn judge(document: &[u8]) -> Appraisal {
    judge_under(SIMULATED, document)
}

fn judge_under(text: &str, document: &[u8]) -> Appraisal {
    appraise(document, &policy(text), Freshness::Challenge(NONCE), now())
}

/// Asserts that what `change` makes is rejected, first by `check` for `code`.
#[track_caller]
fn refused(check: &str, code: &str, change: impl FnOnce(&mut Plan)) -> Appraisal {
    let tee = SimulatedTee::demo();
    let mut plan = plan(&tee);
    change(&mut plan);
    refused_bytes(check, code, &tee.document(&plan))
}

#[track_caller]
fn refused_bytes(check: &str, code: &str, document: &[u8]) -> Appraisal {
    let appraisal = judge(document);
    assert_refused(&appraisal, check, code);
    appraisal
}

#[track_caller]
fn assert_refused(appraisal: &Appraisal, check: &str, code: &str) {
    let found = appraisal
        .first_failure()
        .map(|(check, code)| (check.as_str(), code.as_str()));
    assert_eq!(found, Some((check, code)), "{:#?}", appraisal.checks());
    assert_eq!(appraisal.verdict(), Verdict::Reject);
    appraisal.clone().into_verified().unwrap_err();
}

/// One honest document: making one costs more than judging it.
static HONEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let tee = SimulatedTee::demo();
    tee.document(&plan(&tee))
});

/// Takes a document apart, lets `change` edit its JSON, and puts it together again.
fn edited(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(&HONEST).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

fn with_quote(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let document = EvidenceDocument::parse(&HONEST).unwrap();
    let mut quote = document.quote_bytes().to_vec();
    change(&mut quote);
    let statement = document.statement().unwrap().to_bytes().unwrap();
    EvidenceDocument::write(&statement, &quote, document.collateral()).unwrap()
}

#[test]
fn the_shipped_policy_names_the_demo_root() {
    let root = SimulatedTee::demo().root_digest().to_string();
    assert!(SIMULATED.contains(&root), "the demo root is {root}");
}

#[test]
fn honest_simulated_evidence_is_accepted_and_marked() {
    let tee = SimulatedTee::demo();
    let document = tee.evidence_document(NONCE, Digest::of("tls key"), "glm-5", now());
    let appraisal = judge(&document);
    assert_eq!(
        appraisal.verdict(),
        Verdict::Accept,
        "{:#?}",
        appraisal.checks()
    );
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.assurance(), Assurance::Simulated);
    assert_eq!(verified.tls_spki(), Digest::of("tls key"));
    assert_eq!(verified.model(), "glm-5");
    assert_eq!(verified.evidence(), Digest::of(&document));
    assert_eq!(verified.policy_name(), "simulated-upstream");
    assert_eq!(verified.policy_digest(), Digest::of(SIMULATED));
    // the policy's ten minutes are the shortest limit
    assert_eq!(
        verified.expires().unix_seconds(),
        now().unix_seconds() + 600
    );
    assert!(verified.holds_at(now()));
    assert!(!verified.holds_at(verified.expires()));
}

#[test]
fn quotes_of_every_layout_are_accepted_and_a_service_td_is_not() {
    let tee = SimulatedTee::demo();
    let mut plan = plan(&tee);
    for layout in [QuoteLayout::V4, QuoteLayout::V5Td10, QuoteLayout::V5Td15] {
        plan.td.layout = layout;
        let appraisal = judge(&tee.document(&plan));
        assert_eq!(
            appraisal.verdict(),
            Verdict::Accept,
            "{:#?}",
            appraisal.checks()
        );
    }
    refused("td-attributes", "td-service-td", |plan| {
        plan.td.layout = QuoteLayout::V5Td15;
        plan.td.mr_service_td = Measurement::from_bytes([7; 48]);
    });
}

#[test]
fn the_shortest_limit_decides_the_expiry() {
    let tee = SimulatedTee::demo();
    let soon = Timestamp::from_unix_seconds(now().unix_seconds() + 60);
    let mut by_keyset = plan(&tee);
    by_keyset.statement.not_after = soon;
    let mut by_collateral = plan(&tee);
    by_collateral.collateral_until = soon;
    for plan in [by_keyset, by_collateral] {
        let verified = judge(&tee.document(&plan)).into_verified().unwrap();
        assert_eq!(verified.expires(), soon);
    }
}

#[test]
fn the_production_policy_refuses_simulated_evidence_at_its_root() {
    let tee = SimulatedTee::demo();
    let appraisal = judge_under(PRODUCTION, &tee.document(&plan(&tee)));
    assert_refused(&appraisal, "pck-chain-root", "root-not-trusted");
    assert_eq!(appraisal.assurance(), Assurance::Hardware);
    for unproved in [CheckName::QuoteSignature, CheckName::ReportDataBinding] {
        assert!(matches!(
            appraisal.outcome(unproved),
            Outcome::NotEvaluated(_)
        ));
    }
}

#[test]
fn another_seed_is_another_root() {
    let tee = SimulatedTee::from_seed([1; 32]);
    assert_ne!(tee.root_digest(), SimulatedTee::demo().root_digest());
    refused_bytes(
        "pck-chain-root",
        "root-not-trusted",
        &tee.document(&plan(&tee)),
    );
}

#[test]
fn a_quote_and_collateral_of_two_vendors_are_refused() {
    let (demo, other) = (SimulatedTee::demo(), SimulatedTee::from_seed([1; 32]));
    let plan = plan(&demo);
    let bytes = other.document(&plan);
    let document = EvidenceDocument::parse(&bytes).unwrap();
    let statement = document.statement().unwrap().to_bytes().unwrap();
    let mixed =
        EvidenceDocument::write(&statement, document.quote_bytes(), &demo.collateral(&plan))
            .unwrap();
    refused_bytes("pck-chain-root", "root-not-trusted", &mixed);
}

#[test]
fn an_archive_is_incomplete_but_shows_the_rest() {
    let tee = SimulatedTee::demo();
    let document = tee.document(&plan(&tee));
    let appraisal = appraise(
        &document,
        &policy(SIMULATED),
        Freshness::ArchiveAudit,
        now(),
    );
    assert_eq!(appraisal.verdict(), Verdict::Incomplete);
    assert_eq!(appraisal.verdict_without_freshness(), Verdict::Accept);
    assert_eq!(
        appraisal.outcome(CheckName::Nonce),
        &Outcome::NotEvaluated(Reason::ArchiveAudit)
    );
    appraisal.into_verified().unwrap_err();
}

#[test]
fn unsafe_td_attributes_are_refused_one_by_one() {
    const GOOD: u64 = 1 << 28;
    for (bits, code) in [
        (GOOD | 1, "td-debug"),
        (GOOD | 1 << 4, "td-profiling"),
        (GOOD | 1 << 2, "td-reserved"),
        (GOOD | 1 << 40, "td-reserved"),
        (GOOD | 1 << 17, "td-service-td"),
        (GOOD | 1 << 29, "td-migratable"),
        (0, "td-sept-ve"),
        (GOOD | 1 << 63, "attribute-not-allowed"),
    ] {
        refused("td-attributes", code, |plan| plan.td.attributes = bits);
    }
}

#[test]
fn a_debug_td_still_shows_that_its_signature_is_genuine() {
    let appraisal = refused("td-attributes", "td-debug", |plan| plan.td.attributes |= 1);
    assert_eq!(appraisal.outcome(CheckName::QuoteSignature), &Outcome::Pass);
    assert!(matches!(
        appraisal.outcome(CheckName::TcbStatus),
        Outcome::NotEvaluated(_)
    ));
}

#[test]
fn collateral_outside_its_time_is_refused() {
    let at = |seconds| Timestamp::from_unix_seconds(now().unix_seconds() + seconds);
    refused("collateral-time", "collateral-expired", |plan| {
        plan.collateral_until = at(-1);
    });
    refused("collateral-time", "crl-expired", |plan| {
        plan.revocation_until = at(-1);
    });
    refused("collateral-time", "collateral-not-yet-valid", |plan| {
        plan.collateral_from = at(1);
    });
}

#[test]
fn a_revoked_certificate_is_refused() {
    for revoked in [Revoked::Pck, Revoked::PlatformCa, Revoked::TcbSigner] {
        refused("pck-chain-root", "certificate-revoked", |plan| {
            plan.revoked = revoked;
        });
    }
}

#[test]
fn tcb_statuses_follow_the_policy() {
    for (answer, code) in [
        (TcbAnswer::SwHardeningNeeded, "tcb-status-refused"),
        (TcbAnswer::OutOfDate, "tcb-status-refused"),
        (TcbAnswer::Revoked, "tcb-revoked"),
        (TcbAnswer::NoMatch, "no-tcb-level"),
    ] {
        refused("tcb-status", code, |plan| plan.tcb = answer);
    }
}

fn tolerant(until: &str) -> String {
    format!(
        "{SIMULATED}\n[[tcb.tolerate]]\nstatus = \"SWHardeningNeeded\"\nuntil = \"{until}\"\nreason = \"test\"\n"
    )
}

#[test]
fn a_tolerated_status_is_accepted_until_its_date_alone() {
    let tee = SimulatedTee::demo();
    let mut plan = plan(&tee);
    plan.tcb = TcbAnswer::SwHardeningNeeded;
    let document = tee.document(&plan);
    let soon = "2026-11-23T12:05:00.000Z";
    let verified = judge_under(&tolerant(soon), &document)
        .into_verified()
        .unwrap();
    assert_eq!(verified.expires(), soon.parse().unwrap());
    let ended = judge_under(&tolerant("2026-11-23T12:00:00.000Z"), &document);
    assert_refused(&ended, "tcb-status", "tolerance-ended");
}

#[test]
fn a_refused_advisory_beats_a_tolerated_status() {
    let tee = SimulatedTee::demo();
    let mut plan = plan(&tee);
    plan.tcb = TcbAnswer::SwHardeningNeeded;
    let text = tolerant("2027-01-01T00:00:00.000Z").replace(
        "refuse_advisories = []",
        "refuse_advisories = [\"SIMULATED-SA-00001\"]",
    );
    let appraisal = judge_under(&text, &tee.document(&plan));
    assert_refused(&appraisal, "tcb-status", "advisory-refused");
}

#[test]
fn an_old_evaluation_is_refused() {
    let tee = SimulatedTee::demo();
    let text = SIMULATED.replace("number = 20", "number = 21");
    let appraisal = judge_under(&text, &tee.document(&plan(&tee)));
    assert_refused(&appraisal, "tcb-status", "evaluation-too-old");
}

#[test]
fn collateral_of_another_platform_or_enclave_is_refused() {
    refused("collateral-signature", "fmspc-mismatch", |plan| {
        plan.tcb_fmspc = [9; 6];
    });
    refused("collateral-signature", "pce-id-mismatch", |plan| {
        plan.tcb_pce_id = "0001";
    });
    refused("collateral-signature", "qe-identity-kind", |plan| {
        plan.qe_identity = "QE";
    });
}

#[test]
fn edited_collateral_is_refused() {
    let edit = |member: &'static str, from: &'static str, to: &'static str| {
        edited(|value| {
            let text = &mut value["collateral"][member];
            let changed = text.as_str().unwrap().replacen(from, to, 1);
            assert_ne!(text.as_str(), Some(changed.as_str()));
            *text = changed.into();
        })
    };
    refused_bytes(
        "collateral-signature",
        "tcb-info-signature",
        &edit("tcb_info", "UpToDate", "SWHardeningNeeded"),
    );
    refused_bytes(
        "collateral-signature",
        "qe-identity-signature",
        &edit("qe_identity", "\"isvsvn\":4", "\"isvsvn\":3"),
    );
}

#[test]
fn collateral_without_revocation_lists_is_refused() {
    let empty = edited(|value| value["collateral"]["pck_crl"] = "".into());
    refused_bytes("collateral-signature", "crl-invalid", &empty);
    let absent = edited(|value| {
        value["collateral"]
            .as_object_mut()
            .unwrap()
            .remove("pck_crl");
    });
    refused_bytes("document-parse", "document-malformed", &absent);
    let roots_instead = edited(|value| {
        value["collateral"]["pck_crl"] = value["collateral"]["root_ca_crl"].clone();
    });
    refused_bytes("pck-chain-root", "revocation-unknown", &roots_instead);
}

#[test]
fn other_measurements_are_refused() {
    let other = Measurement::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()));
    refused("reference-values", "reference-mismatch", |plan| {
        plan.td.mr_td = other;
    });
    refused("reference-values", "reference-mismatch", |plan| {
        plan.td.mr_seam = other;
    });
    for index in 0..3 {
        refused("reference-values", "reference-mismatch", |plan| {
            plan.td.rtmr[index] = other;
        });
    }
}

#[test]
fn placeholder_registers_are_refused() {
    let repeated = Measurement::from_bytes([0xaa; 48]);
    // RTMR3 is not compared, so nothing but this check can see it
    refused("placeholder-registers", "placeholder-register", |plan| {
        plan.td.rtmr[3] = repeated;
    });
    let zero = refused("reference-values", "reference-mismatch", |plan| {
        plan.td.mr_td = Measurement::from_bytes([0; 48]);
    });
    assert!(matches!(
        zero.outcome(CheckName::PlaceholderRegisters),
        Outcome::Fail { .. }
    ));
}

#[test]
fn a_statement_that_the_quote_does_not_bind_is_refused() {
    refused("report-data-binding", "report-data-mismatch", |plan| {
        plan.report_data = Some([7; 64]);
    });
    // the TLS key of a relay, swapped in after the quote was made
    let relayed = edited(|value| {
        let text = value["statement"].as_str().unwrap();
        let honest = Digest::of("tls key").to_string();
        value["statement"] = text
            .replace(&honest, &Digest::of("relay").to_string())
            .into();
    });
    let appraisal = refused_bytes("report-data-binding", "report-data-mismatch", &relayed);
    assert!(matches!(
        appraisal.outcome(CheckName::Model),
        Outcome::NotEvaluated(Reason::Unproved(CheckName::ReportDataBinding))
    ));
}

#[test]
fn a_key_added_to_the_statement_is_refused() {
    let added = edited(|value| {
        let text = value["statement"].as_str().unwrap();
        value["statement"] = text
            .replace("\"model\"", "\"tls_spki_sha256_backup\":\"x\",\"model\"")
            .into();
    });
    refused_bytes("statement-parse", "statement-malformed", &added);
}

#[test]
fn a_statement_for_another_purpose_is_refused() {
    refused("statement-parse", "statement-purpose", |plan| {
        plan.statement.purpose = "aci.keyset.v1".into();
    });
}

#[test]
fn another_nonce_is_refused() {
    refused("nonce", "nonce-mismatch", |plan| {
        plan.statement.nonce = Nonce::from_random([1; 32]);
    });
}

#[test]
fn a_replayed_document_does_not_answer_the_next_nonce() {
    let tee = SimulatedTee::demo();
    let document = tee.document(&plan(&tee));
    let next = Freshness::Challenge(Nonce::from_random([0x5b; 32]));
    let appraisal = appraise(&document, &policy(SIMULATED), next, now());
    assert_refused(&appraisal, "nonce", "nonce-mismatch");
}

#[test]
fn statements_outside_their_time_are_refused() {
    refused("keyset-expiry", "keyset-expired", |plan| {
        plan.statement.not_after = now();
    });
    refused("keyset-expiry", "keyset-lifetime", |plan| {
        plan.statement.not_after = Timestamp::from_unix_seconds(now().unix_seconds() + 86_401);
    });
}

#[test]
fn a_model_that_the_policy_does_not_allow_is_refused() {
    let tee = SimulatedTee::demo();
    let text = SIMULATED
        .replace("models = [\"*\"]", "models = [\"glm-4*\"]")
        .replace("model = \"any-model\"", "model = \"glm-4.5\"");
    let appraisal = judge_under(&text, &tee.document(&plan(&tee)));
    assert_refused(&appraisal, "model", "model-not-allowed");
}

#[test]
fn what_is_no_document_is_refused() {
    for bytes in [&b""[..], b"{}", b"[]", b"null", &[0xff; 10]] {
        let appraisal = refused_bytes("document-parse", "document-malformed", bytes);
        assert_eq!(appraisal.checks().len(), CheckName::ALL.len());
    }
    let format = edited(|value| value["format"] = "proofroom.upstream-evidence.v2".into());
    refused_bytes("document-parse", "document-malformed", &format);
    let extra = edited(|value| value["extra"] = true.into());
    refused_bytes("document-parse", "document-malformed", &extra);
    let chain = edited(|value| value["collateral"]["pck_certificate_chain"] = "x".into());
    refused_bytes("document-parse", "document-malformed", &chain);
    let huge = vec![b' '; proofroom_evidence::MAX_DOCUMENT_BYTES + 1];
    refused_bytes("document-parse", "document-malformed", &huge);
}

#[test]
fn every_truncation_of_the_quote_is_refused() {
    let whole = with_quote(|_| {});
    let length = EvidenceDocument::parse(&whole).unwrap().quote_bytes().len();
    // every boundary of a field lies in the first part; behind it is one long certificate chain
    for end in (0..1_400).chain((1_400..length).step_by(13)) {
        let cut = with_quote(|quote| quote.truncate(end));
        refused_bytes("quote-parse", "quote-malformed", &cut);
    }
}

#[test]
fn bytes_behind_the_quote_are_refused_unless_they_are_padding() {
    let behind = with_quote(|quote| quote.push(1));
    refused_bytes("quote-parse", "quote-malformed", &behind);
    let padded = with_quote(|quote| quote.extend([0; 70]));
    let appraisal = judge(&padded);
    assert_eq!(appraisal.verdict(), Verdict::Accept);
    let honest = judge(&with_quote(|_| {}));
    assert_eq!(appraisal.quote(), honest.quote());
    assert_ne!(appraisal.evidence(), honest.evidence());
    let too_much = with_quote(|quote| quote.extend([0; 129]));
    refused_bytes("quote-parse", "quote-malformed", &too_much);
}

#[test]
fn other_kinds_of_quotes_are_refused() {
    let set = |at: usize, value: u8| with_quote(|quote| quote[at] = value);
    // SGX as TEE type; version 5 body read as version 4 and the reverse; P-384 key; version 3
    for other in [set(4, 0), set(0, 5), set(0, 3), set(2, 3)] {
        refused_bytes("quote-parse", "quote-malformed", &other);
    }
}

#[test]
fn no_flip_in_the_signed_region_is_accepted() {
    let signed = 48 + 584;
    for at in 0..signed {
        let flipped = with_quote(|quote| quote[at] ^= 1 << (at % 8));
        let appraisal = judge(&flipped);
        assert_eq!(appraisal.verdict(), Verdict::Reject, "byte {at}");
    }
}

/// Certificates travel as PEM, whose labels and line ends readers take loosely. Nothing else behind
/// the signed region may change, and whatever changes there, the quote keeps its identity.
#[test]
fn behind_the_signed_region_only_pem_armour_can_change() {
    let document = EvidenceDocument::parse(&HONEST).unwrap();
    let quote = document.quote_bytes();
    let identity = judge(&HONEST).quote();
    let mut accepted = 0;
    for at in (632..quote.len()).step_by(23) {
        let appraisal = judge(&with_quote(|quote| quote[at] ^= 1));
        if appraisal.verdict() == Verdict::Accept {
            assert_eq!(appraisal.quote(), identity, "byte {at}");
            let line = quote[..at]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |p| p + 1);
            let armour = quote[at] == b'\n' || quote[line..].starts_with(b"-----");
            assert!(armour, "byte {at} of the quote");
            accepted += 1;
        }
    }
    println!("{accepted} flips in PEM armour were accepted");
}

#[test]
fn an_appraisal_reads_well_as_json() {
    let tee = SimulatedTee::demo();
    let json = serde_json::to_value(judge(&tee.document(&plan(&tee)))).unwrap();
    assert_eq!(json["verdict"], "accept");
    assert_eq!(json["assurance"], "simulated");
    assert_eq!(json["tcb"]["status"], "UpToDate");
    assert_eq!(json["tcb"]["fmspc"], "514d00000000");
    assert_eq!(json["checks"][0]["check"], "document-parse");
    assert_eq!(json["checks"][0]["outcome"], "pass");
}
