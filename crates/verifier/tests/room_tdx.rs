//! Rooms in a simulated trust domain through the production verifier: some that are accepted, and
//! everything about them that must not be changed.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "shared/session.rs"]
mod common;

use std::sync::LazyLock;

use common::{
    NOW, STATEMENT, assignment, boot_config, expectation, fails, good_runtime, runtime, session,
};
use proofroom_canonical::{Digest, IsolationLevel, Nonce, SessionId, Timestamp};
use proofroom_evidence::{
    AssignmentEvent, EvidenceType, Measurement, Moment, RoomDocument, RoomEndorsements,
    RoomEvidence, RuntimeEvent,
};
use proofroom_testkit::{
    td::{BootEvent, EV_SEPARATOR, SimulatedRoom, simulated_boot},
    tee::{Plan, Revoked, SimulatedTee, TcbAnswer, simulated_measurement},
};
use proofroom_verifier::{
    Assurance, PinnedRoomPolicy, ROOM_SIMULATED, ROOM_TDX, ReferenceManifest, RoomAppraisal,
    RoomAppraisalPolicy, RoomCheckName as Name, RoomExpectation, RoomOutcome, RoomTrust, Verdict,
    appraise_room, level_of,
    reference::{
        Hash256, Hash384, Reference, ReferenceEvent, ReferenceLayer, Shape, TdxReference,
        fold_pcrs, fold_rtmrs, rtmr_of,
    },
};

const REFERENCES: [Name; 4] = [
    Name::ReferenceMrTd,
    Name::ReferenceRtmr0,
    Name::ReferenceRtmr1,
    Name::ReferenceRtmr2,
];

/// A boot as the firmware of a TD measures it, by PCR.
const BOOT: [(u32, &str); 6] = [
    (1, "hand-off block"),
    (7, "secure boot"),
    (4, "kernel"),
    (5, "exit boot services"),
    (9, "command line"),
    (9, "initrd"),
];

fn events() -> Vec<ReferenceEvent> {
    let event = |(pcr, data): (u32, &str)| ReferenceEvent {
        pcr,
        rtmr: rtmr_of(pcr),
        kind: "EV_SEPARATOR".to_owned(),
        sha256: Hash256::of(data.as_bytes()),
        sha384: Hash384::of(data.as_bytes()),
        what: data.to_owned(),
    };
    BOOT.into_iter().map(event).collect()
}

fn boot() -> Vec<BootEvent> {
    let event = |(pcr, data): (u32, &str)| BootEvent {
        pcr: u32::from(rtmr_of(pcr).unwrap()) + 1,
        kind: EV_SEPARATOR,
        data: data.as_bytes().to_vec(),
    };
    BOOT.into_iter().map(event).collect()
}

fn not_computed() -> TdxReference {
    TdxReference::NotComputed {
        reason: "no ACPI tables of a TD".to_owned(),
    }
}

fn computed() -> TdxReference {
    let [rtmr0, rtmr1, rtmr2] = fold_rtmrs(&events());
    TdxReference::Computed {
        mrtd: Hash384::from_bytes(*simulated_measurement("mr_td").as_bytes()),
        rtmr0,
        rtmr1,
        rtmr2,
        events: events(),
    }
}

fn manifest(tdx: TdxReference) -> ReferenceManifest {
    let events = events();
    ReferenceManifest::new(Reference {
        format: proofroom_verifier::reference::REFERENCE_FORMAT.to_owned(),
        image: Digest::of("image"),
        command_line: "quiet".to_owned(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 1024,
            qemu: "10.0.2".to_owned(),
        },
        components: vec![],
        tpm2: fold_pcrs(&events),
        tdx,
        events,
        layers: vec![ReferenceLayer {
            name: "git".to_owned(),
            root: Hash256::of(b"root"),
            image: Hash256::of(b"layer"),
        }],
    })
    .unwrap()
}

fn pinned(text: &str, manifest: &ReferenceManifest) -> PinnedRoomPolicy {
    let text = RoomAppraisalPolicy::pinning(text, manifest.digest());
    let policy = RoomAppraisalPolicy::parse(&text, "room.toml").unwrap();
    policy.with_reference(manifest.bytes(), NOW).unwrap()
}

/// The simulated policy without its own registers: it takes them from the manifest, as a policy for
/// hardware does.
fn by_manifest() -> String {
    let (before, rest) = ROOM_SIMULATED.split_once("[simulated]").unwrap();
    let (_, after) = rest.split_once("[tcb]").unwrap();
    format!("{before}[tcb]{after}")
}

fn config() -> String {
    boot_config(&Hash256::of(b"root").to_string())
}

fn room_of(boot: Vec<BootEvent>, events: Vec<RuntimeEvent>) -> SimulatedRoom {
    let mut room = SimulatedRoom::boot(SimulatedTee::demo(), &config(), boot);
    events.into_iter().for_each(|event| room.measure(event));
    room
}

/// A room that booted what the manifest says.
fn room() -> SimulatedRoom {
    room_of(boot(), good_runtime())
}

fn document(room: &SimulatedRoom) -> Vec<u8> {
    document_of(room, &room.evidence(Moment::Start, STATEMENT))
}

fn document_of(room: &SimulatedRoom, evidence: &RoomEvidence) -> Vec<u8> {
    room.document(evidence, &room.plan(NOW))
}

fn judge_as(
    document: &[u8],
    policy: &PinnedRoomPolicy,
    expected: &RoomExpectation,
) -> RoomAppraisal {
    let trust = RoomTrust {
        policy,
        deployment_ca: b"",
    };
    appraise_room(document, trust, expected, NOW)
}

fn judge_by(text: &str, document: &[u8]) -> RoomAppraisal {
    judge_as(
        document,
        &pinned(text, &manifest(computed())),
        &expectation(),
    )
}

fn judge(document: &[u8]) -> RoomAppraisal {
    judge_by(&by_manifest(), document)
}

#[track_caller]
fn refused(name: Name, code: &str, change: impl FnOnce(&mut SimulatedRoom)) -> RoomAppraisal {
    let mut room = room();
    change(&mut room);
    let found = judge(&document(&room));
    fails(&found, name, code);
    found
}

#[track_caller]
fn refused_plan(name: Name, code: &str, change: impl FnOnce(&mut Plan)) {
    let room = room();
    let mut plan = room.plan(NOW);
    change(&mut plan);
    let evidence = room.evidence(Moment::Start, STATEMENT);
    fails(&judge(&room.document(&evidence, &plan)), name, code);
}

fn other() -> Measurement {
    simulated_measurement("something else")
}

fn outcome(appraisal: &RoomAppraisal, name: Name) -> &RoomOutcome {
    let mut checks = appraisal.checks().iter();
    &checks.find(|check| check.name == name).unwrap().outcome
}

#[test]
fn a_room_that_booted_the_manifest_is_accepted_and_called_simulated_everywhere() {
    let appraisal = judge(&document(&room()));
    assert_eq!(appraisal.first_failure(), None);
    let names: Vec<Name> = appraisal.checks().iter().map(|check| check.name).collect();
    assert_eq!(names, Name::of(EvidenceType::Tdx));
    assert_eq!(appraisal.verdict(), Verdict::Accept);
    let shown = serde_json::to_value(&appraisal).unwrap();
    assert_eq!(shown["simulated"], true);
    assert_eq!(shown["tcb"]["status"], "UpToDate");
    let room = appraisal.into_verified().unwrap();
    assert_eq!(room.level(), IsolationLevel::Simulated);
    assert_eq!(room.assurance(), Assurance::Simulated);
    assert!(room.label().starts_with("SIMULATED "));
    assert_eq!(room.kind(), EvidenceType::Tdx);
    assert_eq!(room.session(), session());
}

#[test]
fn a_room_with_the_simulated_boot_is_accepted_under_the_shipped_policy_and_an_image_without_td_values()
 {
    let policy = pinned(ROOM_SIMULATED, &manifest(not_computed()));
    let simulated = room_of(simulated_boot(), good_runtime());
    let found = judge_as(&document(&simulated), &policy, &expectation());
    assert_eq!(found.first_failure(), None);
    let room = found.into_verified().unwrap();
    assert_eq!(room.level(), IsolationLevel::Simulated);
    assert_eq!(room.policy_name(), "room-simulated");
    // any other boot is another room, also one that the manifest would have
    let found = judge_as(&document(&self::room()), &policy, &expectation());
    fails(&found, Name::ReferenceRtmr0, "reference-mismatch");
}

#[test]
fn no_policy_for_hardware_accepts_what_test_keys_signed() {
    let found = judge_by(ROOM_TDX, &document(&room()));
    fails(&found, Name::PckChainRoot, "root-not-trusted");
    assert_eq!(found.assurance(), Assurance::Hardware);
    for kind in [EvidenceType::Tpm2, EvidenceType::Tdx, EvidenceType::SevSnp] {
        let level = level_of(kind, Assurance::Simulated);
        assert_eq!(level, IsolationLevel::Simulated);
    }
}

#[test]
fn a_policy_for_software_tpms_accepts_no_quote_of_a_td_and_the_reverse() {
    let manifest = manifest(computed());
    let vm = RoomAppraisalPolicy::for_reference(manifest.digest());
    let vm = RoomAppraisalPolicy::parse(&vm, "room.toml").unwrap();
    let vm = vm.with_reference(manifest.bytes(), NOW).unwrap();
    let found = judge_as(&document(&room()), &vm, &expectation());
    fails(&found, Name::EvidenceType, "evidence-type-refused");
    let evidence = proofroom_testkit::tpm::SimulatedTpm::boot([1; 32], vec![]);
    let evidence = evidence.evidence(Moment::Start, STATEMENT);
    let endorsements = RoomEndorsements::Tpm2 {
        ak_certificate: String::new(),
    };
    let tpm2 = RoomDocument::write(&evidence.to_text().unwrap(), &endorsements).unwrap();
    fails(&judge(&tpm2), Name::EvidenceType, "evidence-type-refused");
}

#[test]
fn bytes_that_are_no_document_answer_every_check_of_the_policys_type() {
    let found = judge(b"{}");
    fails(&found, Name::DocumentParse, "room-document-malformed");
    assert_eq!(found.checks().len(), Name::of(EvidenceType::Tdx).len());
    let passed = found
        .checks()
        .iter()
        .filter(|check| check.outcome == RoomOutcome::Pass);
    assert_eq!(passed.count(), 0);
}

#[test]
fn evidence_of_another_moment_or_statement_is_refused() {
    let room = room();
    let end = room.evidence(Moment::End, STATEMENT);
    fails(
        &judge(&document_of(&room, &end)),
        Name::Moment,
        "moment-mismatch",
    );
    let other = room.evidence(Moment::Start, "{}");
    let found = judge(&document_of(&room, &other));
    fails(&found, Name::Statement, "statement-mismatch");
    let mut swapped = other;
    swapped.statement = STATEMENT.to_owned();
    let found = judge(&document_of(&room, &swapped));
    fails(&found, Name::ReportData, "report-data-mismatch");
}

#[test]
fn evidence_of_another_session_is_refused() {
    let policy = pinned(&by_manifest(), &manifest(computed()));
    let document = document(&room());
    let judged = |expected: RoomExpectation| judge_as(&document, &policy, &expected);
    let another = RoomExpectation {
        session: SessionId::from_random([6; 16]),
        ..expectation()
    };
    fails(
        &judged(another),
        Name::RuntimeAssignment,
        "assignment-mismatch",
    );
    let another = RoomExpectation {
        nonce: Nonce::from_random([6; 32]),
        ..expectation()
    };
    fails(&judged(another), Name::Nonce, "nonce-mismatch");
}

#[test]
fn another_root_is_refused() {
    let mut foreign = SimulatedRoom::boot(SimulatedTee::from_seed([3; 32]), &config(), boot());
    good_runtime()
        .into_iter()
        .for_each(|event| foreign.measure(event));
    let found = judge(&document(&foreign));
    fails(&found, Name::PckChainRoot, "root-not-trusted");
    // a pass that rests on the signature is none, a failure counts always
    assert_eq!(
        *outcome(&found, Name::ReferenceRtmr1),
        RoomOutcome::NotEvaluated(Name::QuoteSignature)
    );
    assert_eq!(
        *outcome(&found, Name::Nonce),
        RoomOutcome::NotEvaluated(Name::RuntimeAssignment)
    );
    // collateral of the trusted root beside a quote of another
    let evidence = foreign.evidence(Moment::Start, STATEMENT);
    let mixed = room().document(&evidence, &room().plan(NOW));
    fails(&judge(&mixed), Name::PckChainRoot, "root-not-trusted");
}

#[test]
fn what_the_vendor_says_of_the_platform_counts_as_with_an_upstream() {
    let tcb = |tcb| move |plan: &mut Plan| plan.tcb = tcb;
    refused_plan(
        Name::TcbStatus,
        "tcb-status-refused",
        tcb(TcbAnswer::OutOfDate),
    );
    refused_plan(
        Name::TcbStatus,
        "tcb-status-refused",
        tcb(TcbAnswer::SwHardeningNeeded),
    );
    refused_plan(Name::TcbStatus, "tcb-revoked", tcb(TcbAnswer::Revoked));
    refused_plan(Name::TcbStatus, "no-tcb-level", tcb(TcbAnswer::NoMatch));
    refused_plan(Name::PckChainRoot, "certificate-revoked", |plan| {
        plan.revoked = Revoked::Pck;
    });
    refused_plan(Name::CollateralTime, "collateral-expired", |plan| {
        plan.collateral_until = Timestamp::from_unix_seconds(NOW.unix_seconds() - 1);
    });
    refused_plan(Name::CollateralSignature, "fmspc-mismatch", |plan| {
        plan.tcb_fmspc = [9; 6];
    });
    refused_plan(Name::CollateralSignature, "pce-id-mismatch", |plan| {
        plan.tcb_pce_id = "0001";
    });
}

#[test]
fn tolerances_advisories_and_old_evaluations_are_the_policys_to_judge() {
    let room = room();
    let mut plan = room.plan(NOW);
    plan.tcb = TcbAnswer::SwHardeningNeeded;
    let document = room.document(&room.evidence(Moment::Start, STATEMENT), &plan);
    let tolerant = |until: &str| {
        format!(
            "{}\n[[tcb.tolerate]]\nstatus = \"SWHardeningNeeded\"\nuntil = \"{until}\"\nreason = \"a test\"\n",
            by_manifest()
        )
    };
    let long = tolerant("2027-01-01T00:00:00.000Z");
    assert_eq!(judge_by(&long, &document).verdict(), Verdict::Accept);
    let over = tolerant("2020-01-01T00:00:00.000Z");
    fails(
        &judge_by(&over, &document),
        Name::TcbStatus,
        "tolerance-ended",
    );
    let refusing = long.replace(
        "refuse_advisories = []",
        "refuse_advisories = [\"SIMULATED-SA-00001\"]",
    );
    fails(
        &judge_by(&refusing, &document),
        Name::TcbStatus,
        "advisory-refused",
    );
    let newer = by_manifest().replace("number = 20", "number = 21");
    let found = judge_by(&newer, &self::document(&self::room()));
    fails(&found, Name::TcbStatus, "evaluation-too-old");
}

#[test]
fn a_td_that_its_host_could_read_or_move_is_refused() {
    let attributes = |bits| move |room: &mut SimulatedRoom| room.td.attributes = bits;
    refused(Name::TdAttributes, "td-debug", attributes(1 << 28 | 1));
    refused(
        Name::TdAttributes,
        "td-migratable",
        attributes(1 << 28 | 1 << 29),
    );
    refused(Name::TdAttributes, "td-sept-ve", attributes(0));
    refused(
        Name::TdAttributes,
        "attribute-not-allowed",
        attributes(1 << 28 | 1 << 63),
    );
}

#[test]
fn another_tdx_module_is_refused_where_the_policy_lists_them() {
    let change = |room: &mut SimulatedRoom| room.td.mr_seam = other();
    refused(Name::MrSeam, "mr-seam-mismatch", change);
    let line = ROOM_SIMULATED
        .lines()
        .find(|line| line.starts_with("mr_seam"))
        .unwrap();
    let open = by_manifest().replace(line, "mr_seam = \"not-compared\"");
    let mut other_module = room();
    change(&mut other_module);
    let found = judge_by(&open, &document(&other_module));
    assert_eq!(found.verdict(), Verdict::Accept);
    // then the module is the vendor's to judge, and without its word nobody has
    let mut plan = other_module.plan(NOW);
    plan.tcb = TcbAnswer::OutOfDate;
    let evidence = other_module.evidence(Moment::Start, STATEMENT);
    let found = judge_by(&open, &other_module.document(&evidence, &plan));
    assert_eq!(
        *outcome(&found, Name::MrSeam),
        RoomOutcome::NotEvaluated(Name::TcbStatus)
    );
}

#[test]
fn every_register_of_the_boot_has_its_own_check_and_names_the_event() {
    let found = refused(Name::ReferenceMrTd, "reference-mismatch", |room| {
        room.td.mr_td = other();
    });
    let failures = |found: &RoomAppraisal| {
        let fail = |outcome: &RoomOutcome| matches!(outcome, RoomOutcome::Fail { .. });
        found
            .checks()
            .iter()
            .filter(|check| fail(&check.outcome))
            .count()
    };
    assert_eq!(failures(&found), 1);
    for (changed, name, words) in [
        (
            "secure boot",
            Name::ReferenceRtmr0,
            "RTMR0: event 1 is not `secure boot`",
        ),
        (
            "kernel",
            Name::ReferenceRtmr1,
            "RTMR1: event 0 is not `kernel`",
        ),
        (
            "initrd",
            Name::ReferenceRtmr2,
            "RTMR2: event 1 is not `initrd`",
        ),
    ] {
        let mut boot = boot();
        for event in &mut boot {
            if event.data == changed.as_bytes() {
                event.data.push(b'!');
            }
        }
        let found = judge(&document(&room_of(boot, good_runtime())));
        fails(&found, name, "reference-mismatch");
        assert_eq!(found.first_failure().unwrap().2, words);
        assert_eq!(failures(&found), 1);
    }
    let missing = judge(&document(&room_of(boot()[..5].to_vec(), good_runtime())));
    fails(&missing, Name::ReferenceRtmr2, "reference-mismatch");
    let words = missing.first_failure().unwrap().2;
    assert_eq!(words, "RTMR2: `initrd` was not measured");
}

#[test]
fn an_image_whose_td_registers_nobody_computed_judges_no_td() {
    let policy = pinned(&by_manifest(), &manifest(not_computed()));
    let found = judge_as(&document(&room()), &policy, &expectation());
    fails(&found, Name::ReferenceMrTd, "reference-not-computed");
    let words = found.first_failure().unwrap().2;
    assert!(words.contains("no ACPI tables of a TD"), "{words}");
    for name in REFERENCES {
        assert!(matches!(outcome(&found, name), RoomOutcome::Fail { .. }));
    }
}

#[test]
fn placeholder_registers_are_refused() {
    for byte in [0, 0xaa] {
        let repeated = Measurement::from_bytes([byte; 48]);
        let code = "placeholder-register";
        refused(Name::PlaceholderRegisters, code, |room| {
            room.td.mr_td = repeated
        });
        refused(Name::PlaceholderRegisters, code, |room| {
            room.td.mr_config_id = repeated
        });
        for index in 0..4 {
            refused(Name::PlaceholderRegisters, code, |room| {
                room.td.rtmr[index] = repeated
            });
        }
    }
}

#[test]
fn the_boot_log_must_add_up_to_the_quoted_registers() {
    let room = room();
    let good = room.evidence(Moment::Start, STATEMENT);
    let judged = |change: &dyn Fn(&mut RoomEvidence)| {
        let mut evidence = good.clone();
        change(&mut evidence);
        judge(&document_of(&room, &evidence))
    };
    let log = |boot: &[BootEvent]| proofroom_testkit::td::boot_log(boot);
    let dropped = judged(&|evidence| evidence.boot_log = log(&boot()[1..]));
    fails(&dropped, Name::BootLogReplay, "boot-log-mismatch");
    let mut swapped = boot();
    swapped.swap(4, 5);
    let reordered = judged(&|evidence| evidence.boot_log = log(&swapped));
    fails(&reordered, Name::BootLogReplay, "boot-log-mismatch");
    let empty = judged(&|evidence| evidence.boot_log.clear());
    fails(&empty, Name::BootLog, "boot-log-malformed");
    let cut = judged(&|evidence| evidence.boot_log.truncate(evidence.boot_log.len() - 1));
    fails(&cut, Name::BootLog, "boot-log-malformed");
    let at = |pcr| {
        let mut events = boot();
        events.push(BootEvent {
            pcr,
            kind: EV_SEPARATOR,
            data: vec![1],
        });
        judged(&move |evidence: &mut RoomEvidence| evidence.boot_log = log(&events))
    };
    fails(&at(4), Name::BootLog, "boot-log-runtime-register");
    fails(&at(0), Name::BootLog, "boot-log-malformed");
    fails(&at(5), Name::BootLog, "boot-log-malformed");
}

#[test]
fn no_runtime_event_can_be_dropped_reordered_edited_or_added() {
    let mut room = room();
    room.measure(runtime("more", String::new()));
    let good = room.evidence(Moment::Start, STATEMENT);
    let judged = |change: &dyn Fn(&mut Vec<RuntimeEvent>)| {
        let mut evidence = good.clone();
        change(&mut evidence.runtime);
        judge(&document_of(&room, &evidence))
    };
    assert_eq!(judged(&|_| {}).verdict(), Verdict::Accept);
    let code = "runtime-events-mismatch";
    let changes: [fn(&mut Vec<RuntimeEvent>); 7] = [
        |events| drop(events.pop()),
        |events| drop(events.remove(1)),
        |events| events.swap(1, 2),
        |events| events[1].content = events[1].content.replace("acme", "acne"),
        |events| events[2].name = "less".to_owned(),
        |events| events.push(runtime("again", String::new())),
        Vec::clear,
    ];
    for change in changes {
        fails(&judged(&change), Name::RuntimeReplay, code);
    }
}

#[test]
fn the_boot_configuration_is_the_one_that_the_host_promised() {
    refused(Name::MrConfigId, "mr-config-id-mismatch", |room| {
        let another = config().replace("\"vcpus\":1", "\"vcpus\":2");
        room.td.mr_config_id = proofroom_testkit::td::mr_config_id(another.as_bytes());
    });
    // a room that measured another configuration than the promised one, in order or not
    let events = vec![
        runtime("boot-config", config().replace("1024", "2048")),
        runtime("assignment", assignment().to_text().unwrap()),
    ];
    let found = judge(&document(&room_of(boot(), events)));
    fails(&found, Name::MrConfigId, "mr-config-id-mismatch");
    let RoomOutcome::Fail { cause, .. } = outcome(&found, Name::RuntimeBootConfig) else {
        panic!("the shape is another");
    };
    assert_eq!(cause.as_str(), "boot-config-shape");
    let silent = judge(&document(&room_of(boot(), vec![])));
    fails(&silent, Name::PlaceholderRegisters, "placeholder-register");
}

/// The machine's command line and these tests mean the same MRCONFIGID.
#[test]
fn a_promise_is_what_the_machines_command_line_carries() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let golden = include_str!("../../vmm/tests/golden/tdx.txt");
    let promised = proofroom_testkit::td::mr_config_id(br#"{"format":"proofroom.boot.v1"}"#);
    assert!(golden.contains(&STANDARD.encode(promised.as_bytes())));
}

#[test]
fn nobody_else_configures_the_td() {
    refused(Name::MrOwner, "mr-owner-set", |room| {
        room.td.mr_owner = other()
    });
    refused(Name::MrOwner, "mr-owner-set", |room| {
        room.td.mr_owner_config = other()
    });
}

#[test]
fn the_room_must_have_been_told_what_the_session_says() {
    let told = |event: AssignmentEvent| {
        let events = vec![
            runtime("boot-config", config()),
            runtime("assignment", event.to_text().unwrap()),
        ];
        judge(&document(&room_of(boot(), events)))
    };
    let another = AssignmentEvent {
        commit: "cd".repeat(20),
        ..assignment()
    };
    fails(
        &told(another),
        Name::RuntimeAssignment,
        "assignment-mismatch",
    );
    let replayed = AssignmentEvent {
        nonce: Nonce::from_random([8; 32]),
        ..assignment()
    };
    fails(&told(replayed), Name::Nonce, "nonce-mismatch");
}

#[test]
fn a_signature_or_key_beside_a_quote_that_holds_them_is_refused() {
    let room = room();
    let parts: [fn(&mut RoomEvidence) -> &mut Vec<u8>; 2] = [
        |evidence| &mut evidence.signature,
        |evidence| &mut evidence.key,
    ];
    for part in parts {
        let mut evidence = room.evidence(Moment::Start, STATEMENT);
        part(&mut evidence).push(0);
        let found = judge(&document_of(&room, &evidence));
        fails(&found, Name::DocumentParse, "room-document-malformed");
    }
}

#[test]
fn sev_snp_evidence_is_refused_as_unsupported() {
    let room = room();
    let mut evidence = room.evidence(Moment::Start, STATEMENT);
    evidence.kind = EvidenceType::SevSnp;
    let found = judge(&document_of(&room, &evidence));
    fails(&found, Name::DocumentParse, "room-evidence-unsupported");
}

static POLICY: LazyLock<PinnedRoomPolicy> =
    LazyLock::new(|| pinned(&by_manifest(), &manifest(computed())));

/// Header and body, and the signature over them.
const SIGNED: usize = 48 + 584 + 4 + 64;

#[test]
fn no_bit_of_the_signed_part_of_the_quote_is_free() {
    let room = room();
    let good = room.evidence(Moment::Start, STATEMENT);
    let plan = room.plan(NOW);
    let expected = expectation();
    // every byte, each place of a byte in turn
    for at in 0..SIGNED {
        let mut flipped = good.clone();
        flipped.quote[at] ^= 1 << (at % 8);
        let found = judge_as(&room.document(&flipped, &plan), &POLICY, &expected);
        assert_eq!(found.verdict(), Verdict::Reject, "byte {at}");
    }
}

#[test]
fn no_truncation_of_the_quote_is_read() {
    let room = room();
    let good = room.evidence(Moment::Start, STATEMENT);
    let plan = room.plan(NOW);
    let expected = expectation();
    for length in (0..SIGNED).chain((SIGNED..good.quote.len()).step_by(97)) {
        let mut cut = good.clone();
        cut.quote.truncate(length);
        let found = judge_as(&room.document(&cut, &plan), &POLICY, &expected);
        fails(&found, Name::QuoteParse, "quote-malformed");
    }
}

#[test]
fn a_flipped_bit_of_the_boot_log_changes_a_register_or_nothing_that_is_judged() {
    let room = room();
    let good = room.evidence(Moment::Start, STATEMENT);
    let plan = room.plan(NOW);
    let replay = |evidence: &RoomEvidence| {
        proofroom_evidence::EventLog::parse(&evidence.boot_log)
            .and_then(|log| log.replay_sha384())
            .ok()
    };
    let mut free = 0;
    for bit in (0..good.boot_log.len() * 8).step_by(9) {
        let mut flipped = good.clone();
        flipped.boot_log[bit / 8] ^= 1 << (bit % 8);
        let found = judge_as(&room.document(&flipped, &plan), &POLICY, &expectation());
        if found.verdict() == Verdict::Accept {
            assert_eq!(replay(&good), replay(&flipped), "bit {bit}");
            free += 1;
        }
    }
    println!("{free} flips of event types and data changed no register");
}
