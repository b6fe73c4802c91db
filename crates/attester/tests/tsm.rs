//! The configfs-tsm attester over the FUSE double, whose quotes are simulated. Where this user may
//! not mount FUSE the tests say so and prove nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::{collections::BTreeMap, fs};

use proofroom_attester::{
    Attester, GuestPaths, MAX_BOOT_LOG_BYTES, Provider, TsmAttester, TsmPaths, detect,
};
use proofroom_canonical::{Digest, IsolationLevel, Nonce, SessionId, Timestamp};
use proofroom_evidence::{
    AssignmentEvent, EvidenceDocument, EvidenceType, Moment, Quote, ReportData, RoomDocument,
    RoomEndorsements, RoomEvidence,
};
use proofroom_testkit::{
    td,
    tee::SimulatedTee,
    tsm::{Extends, TsmDouble, TsmOptions, TsmProvider},
};
use proofroom_verifier::{
    AppraisalPolicy, Freshness, PRODUCTION_UPSTREAM, ROOM_SIMULATED, ROOM_TDX, ReferenceManifest,
    RoomAppraisal, RoomAppraisalPolicy, RoomExpectation, RoomTrust, SIMULATED_UPSTREAM, Verdict,
    appraise, appraise_room,
    reference::{
        Hash256, Hash384, REFERENCE_FORMAT, Reference, ReferenceEvent, Shape, TdxReference,
        fold_pcrs,
    },
};
use sha2::{Digest as _, Sha384, Sha512};

struct Guest {
    // Before the directory: the double is unmounted first.
    _double: TsmDouble,
    directory: tempfile::TempDir,
}

impl Guest {
    fn new(options: TsmOptions) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match TsmDouble::mount(directory.path(), SimulatedTee::demo(), options) {
            Ok(double) => Some(Self {
                _double: double,
                directory,
            }),
            Err(error) => {
                eprintln!("SKIPPED: FUSE cannot be mounted here: {error}");
                None
            }
        }
    }

    fn paths(&self) -> TsmPaths {
        let at = |name: &str| self.directory.path().join(name);
        TsmPaths {
            report: at("report"),
            measurements: at("measurements"),
            ccel: at("CCEL"),
        }
    }

    fn attester(&self) -> TsmAttester {
        TsmAttester::start(self.paths()).unwrap()
    }

    fn entries(&self) -> usize {
        fs::read_dir(self.paths().report).unwrap().count()
    }
}

#[test]
fn room_evidence_of_a_td_binds_the_statement_and_every_event() {
    let options = TsmOptions {
        ccel: b"a CC event log".to_vec(),
        ..TsmOptions::default()
    };
    let Some(guest) = Guest::new(options) else {
        return;
    };
    let mut attester = guest.attester();
    assert_eq!(attester.provider(), Provider::Tdx);
    let events = [("boot-config", r#"{"layers":[]}"#), ("assignment", "{}")];
    for (name, content) in events {
        attester.measure(name, content).unwrap();
    }
    let refused = attester.measure("two\nlines", "").unwrap_err();
    assert_eq!(refused.code(), "room-evidence-member");
    let text = attester.attest(Moment::Start, "a statement").unwrap();

    let evidence = RoomEvidence::parse(&text).unwrap();
    assert_eq!(evidence.kind, EvidenceType::Tdx);
    assert_eq!(evidence.boot_log, b"a CC event log");
    assert!(evidence.key.is_empty() && evidence.signature.is_empty());
    let names: Vec<_> = evidence.runtime.iter().map(|event| &event.name).collect();
    assert_eq!(names, ["boot-config", "assignment"]);

    let quote = Quote::parse(&evidence.quote).unwrap();
    let bound: [u8; 64] = Sha512::digest(b"a statement").into();
    assert_eq!(quote.claims().report_data, bound);
    let mut replayed = vec![0; 48];
    for (name, content) in events {
        let event = format!("proofroom.runtime-event.v1\n{name}\n{content}");
        replayed.extend(Sha384::digest(event));
        replayed = Sha384::digest(&replayed).to_vec();
    }
    assert_eq!(quote.claims().rtmr[3].as_bytes()[..], replayed);
    assert_eq!(guest.entries(), 0, "a report that was made is removed");
}

#[test]
fn what_the_attester_makes_passes_the_production_verifier_under_a_simulated_policy_only() {
    let Some(guest) = Guest::new(TsmOptions::default()) else {
        return;
    };
    let now: Timestamp = "2026-11-23T12:00:00.000Z".parse().unwrap();
    let nonce = Nonce::from_random([0x5a; 32]);
    let tee = SimulatedTee::demo();
    let plan = tee.plan(nonce, Digest::of("tls key"), "glm-5", now);
    let statement = plan.statement.to_bytes().unwrap();
    let mut attester = guest.attester();
    let text = str::from_utf8(&statement).unwrap();
    let evidence = attester.attest(Moment::Start, text).unwrap();
    let evidence = RoomEvidence::parse(&evidence).unwrap();
    let document =
        EvidenceDocument::write(&statement, &evidence.quote, &tee.collateral(&plan)).unwrap();

    let judge = |policy: &str| {
        let policy = AppraisalPolicy::parse(policy, "policy.toml").unwrap();
        appraise(&document, &policy, Freshness::Challenge(nonce), now)
    };
    let simulated = judge(SIMULATED_UPSTREAM);
    assert_eq!(
        simulated.verdict(),
        Verdict::Accept,
        "{:#?}",
        simulated.checks()
    );
    let production = judge(PRODUCTION_UPSTREAM);
    assert_eq!(production.verdict(), Verdict::Reject);
    let (check, code) = production.first_failure().unwrap();
    assert_eq!(
        (check.as_str(), code.as_str()),
        ("pck-chain-root", "root-not-trusted")
    );
}

/// The manifest of an image whose TD registers nobody computed.
fn manifest() -> ReferenceManifest {
    let event = ReferenceEvent {
        pcr: 0,
        rtmr: None,
        kind: "EV_SEPARATOR".to_owned(),
        sha256: Hash256::of(b"firmware"),
        sha384: Hash384::of(b"firmware"),
        what: "firmware".to_owned(),
    };
    let events = vec![event];
    ReferenceManifest::new(Reference {
        format: REFERENCE_FORMAT.to_owned(),
        image: Digest::of("image"),
        command_line: "quiet".to_owned(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 1024,
            qemu: "7.2.22".to_owned(),
        },
        components: vec![],
        tpm2: fold_pcrs(&events),
        tdx: TdxReference::NotComputed {
            reason: "a test".to_owned(),
        },
        events,
        layers: vec![],
    })
    .unwrap()
}

#[test]
fn a_room_that_attests_over_the_double_is_accepted_as_simulated_and_as_nothing_else() {
    let config = r#"{"shape":{"vcpus":1,"memory_mib":1024},"layers":[]}"#;
    let promised = td::mr_config_id(config.as_bytes());
    let Some(guest) = Guest::new(TsmOptions::room(promised)) else {
        return;
    };
    let assignment = AssignmentEvent {
        session: SessionId::from_random([5; 16]),
        nonce: Nonce::from_random([7; 32]),
        repository: "acme".to_owned(),
        commit: "ab".repeat(20),
        agent: "builtin".to_owned(),
        policies: BTreeMap::new(),
    };
    let mut attester = guest.attester();
    attester.measure("boot-config", config).unwrap();
    let told = assignment.to_text().unwrap();
    attester.measure("assignment", &told).unwrap();
    let text = attester.attest(Moment::Start, "a statement").unwrap();

    let now: Timestamp = "2026-11-23T12:00:00.000Z".parse().unwrap();
    let tee = SimulatedTee::demo();
    let plan = tee.plan(assignment.nonce, Digest::of("none"), "none", now);
    let collateral = RoomEndorsements::Tdx(Box::new(tee.collateral(&plan)));
    let document = RoomDocument::write(&text, &collateral).unwrap();
    let expected = RoomExpectation {
        moment: Moment::Start,
        statement: b"a statement".to_vec(),
        session: assignment.session,
        nonce: assignment.nonce,
        agent: assignment.agent.clone(),
        commit: assignment.commit.clone(),
        policies: BTreeMap::new(),
    };
    let judge = |shipped: &str| -> RoomAppraisal {
        let text = RoomAppraisalPolicy::pinning(shipped, manifest().digest());
        let policy = RoomAppraisalPolicy::parse(&text, "room.toml").unwrap();
        let policy = policy.with_reference(manifest().bytes(), now).unwrap();
        let trust = RoomTrust {
            policy: &policy,
            deployment_ca: b"",
        };
        appraise_room(&document, trust, &expected, now)
    };
    let simulated = judge(ROOM_SIMULATED);
    assert_eq!(simulated.first_failure(), None);
    let room = simulated.into_verified().unwrap();
    assert_eq!(room.level(), IsolationLevel::Simulated);
    let (check, cause, _) = judge(ROOM_TDX)
        .first_failure()
        .map(|(check, cause, words)| (check, cause, words.to_owned()))
        .unwrap();
    let wanted = ("pck-chain-root", "root-not-trusted");
    assert_eq!((check.as_str(), cause.as_str()), wanted);
}

#[test]
fn a_report_into_which_somebody_else_writes_is_begun_anew_and_given_up_in_the_end() {
    let disturbed = |times| {
        Guest::new(TsmOptions {
            disturbed: times,
            ..TsmOptions::default()
        })
    };
    let Some(twice) = disturbed(2) else { return };
    let report = twice.attester().report(&ReportData::of_statement(b"x"));
    let quote = Quote::parse(&report.unwrap().outblob).unwrap();
    let bound: [u8; 64] = Sha512::digest(b"x").into();
    assert_eq!(quote.claims().report_data, bound);

    let always = disturbed(usize::MAX).unwrap();
    let refused = always.attester().attest(Moment::End, "x").unwrap_err();
    assert_eq!(refused.code(), "report-disturbed");
    assert_eq!(always.entries(), 0);
}

#[test]
fn entries_of_others_are_left_alone() {
    let Some(guest) = Guest::new(TsmOptions::default()) else {
        return;
    };
    fs::create_dir(guest.paths().report.join("proofroom-0")).unwrap();
    guest.attester().attest(Moment::End, "x").unwrap();
    assert_eq!(guest.entries(), 1);
}

#[test]
fn an_event_that_the_register_lost_is_not_measured() {
    let Some(guest) = Guest::new(TsmOptions {
        extends: Extends::Lost,
        ..TsmOptions::default()
    }) else {
        return;
    };
    let mut attester = guest.attester();
    let refused = attester.measure("boot-config", "{}").unwrap_err();
    assert_eq!(refused.code(), "register-not-extended");
    assert!(attester.events().is_empty());
}

#[test]
fn a_sev_snp_guest_attests_and_has_no_register_for_events() {
    let Some(guest) = Guest::new(TsmOptions {
        provider: TsmProvider::SevSnp,
        ..TsmOptions::default()
    }) else {
        return;
    };
    let mut attester = guest.attester();
    assert_eq!(attester.provider(), Provider::SevSnp);
    let refused = attester.measure("boot-config", "{}").unwrap_err();
    assert_eq!(refused.code(), "runtime-register-missing");
    let report = attester.report(&ReportData::of_statement(b"x")).unwrap();
    assert_eq!(report.auxblob, b"SIMULATED certificates");
    let evidence = attester.attest(Moment::End, "x").unwrap();
    let evidence = RoomEvidence::parse(&evidence).unwrap();
    assert_eq!(evidence.kind, EvidenceType::SevSnp);
    assert_eq!(evidence.quote[0x50..0x90], Sha512::digest(b"x")[..]);
}

#[test]
fn an_unknown_provider_and_an_endless_log_are_refused() {
    let Some(unknown) = Guest::new(TsmOptions {
        provider: TsmProvider::Unknown,
        ..TsmOptions::default()
    }) else {
        return;
    };
    let refused = TsmAttester::start(unknown.paths()).unwrap_err();
    assert_eq!(refused.code(), "report-provider-unknown");
    let endless = Guest::new(TsmOptions {
        ccel: vec![0xff; MAX_BOOT_LOG_BYTES + 1],
        ..TsmOptions::default()
    })
    .unwrap();
    let refused = endless.attester().attest(Moment::End, "x").unwrap_err();
    assert_eq!(refused.code(), "attester-file-too-large");
}

#[test]
fn a_td_is_found_before_a_tpm_is_looked_for() {
    let Some(guest) = Guest::new(TsmOptions::default()) else {
        return;
    };
    let found = detect(&GuestPaths {
        tsm: guest.paths(),
        tpm: vec!["/dev/null".into()],
        boot_log: "/dev/null".into(),
    })
    .unwrap();
    assert!(matches!(found, Attester::Tsm(_)));
    assert_eq!(found.evidence_type(), EvidenceType::Tdx);
}
