//! Rooms of a simulated TPM through the production verifier: one that is accepted, and everything
//! about it that must not be changed.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "shared/session.rs"]
mod common;

use common::{
    NOW, STATEMENT, assignment, boot_config, expectation, fails, good_runtime, runtime, session,
};
use proofroom_canonical::{Digest, IsolationLevel, Nonce, SessionId};
use proofroom_evidence::{
    AssignmentEvent, EvidenceType, Moment, RoomDocument, RoomEndorsements, RoomEvidence,
    RuntimeEvent,
};
use proofroom_testkit::{
    tee::SimulatedKey,
    tpm::{BootEvent, EV_SEPARATOR, SimulatedTpm, unknown_extension},
};
use proofroom_verifier::{
    PinnedRoomPolicy, ReferenceManifest, RoomAppraisal, RoomAppraisalPolicy, RoomCheckName as Name,
    RoomOutcome, RoomTrust, Verdict, VerifiedRoom, appraise_room,
    reference::{
        Hash256, Hash384, Reference, ReferenceEvent, ReferenceLayer, Shape, TdxReference, fold_pcrs,
    },
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose};

fn boot() -> Vec<BootEvent> {
    let event = |pcr, data: &[u8]| BootEvent {
        pcr,
        kind: EV_SEPARATOR,
        data: data.to_vec(),
    };
    let mut events = vec![event(0, b"firmware"), event(1, b"configuration")];
    events.extend((0..8).map(|pcr| event(pcr, &[0; 4])));
    events.push(event(4, b"kernel"));
    events.push(event(9, b"command line"));
    events.push(event(9, b"initrd"));
    events
}

fn manifest(change: impl FnOnce(&mut Reference)) -> ReferenceManifest {
    let events: Vec<ReferenceEvent> = boot()
        .iter()
        .map(|event| ReferenceEvent {
            pcr: event.pcr,
            rtmr: proofroom_verifier::reference::rtmr_of(event.pcr),
            kind: "EV_SEPARATOR".to_owned(),
            sha256: Hash256::of(&event.data),
            sha384: Hash384::of(&event.data),
            what: String::from_utf8_lossy(&event.data).replace('\0', "0"),
        })
        .collect();
    let mut contents = Reference {
        format: proofroom_verifier::reference::REFERENCE_FORMAT.to_owned(),
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
        layers: vec![ReferenceLayer {
            name: "git".to_owned(),
            root: Hash256::of(b"root"),
            image: Hash256::of(b"layer"),
        }],
    };
    change(&mut contents);
    ReferenceManifest::new(contents).unwrap()
}

fn pinned(manifest: &ReferenceManifest) -> PinnedRoomPolicy {
    let text = RoomAppraisalPolicy::for_reference(manifest.digest());
    let policy = RoomAppraisalPolicy::parse(&text, "room.toml").unwrap();
    policy.with_reference(manifest.bytes(), NOW).unwrap()
}

fn tpm(events: Vec<RuntimeEvent>) -> SimulatedTpm {
    let mut tpm = SimulatedTpm::boot([9; 32], boot());
    for event in events {
        tpm.measure(event);
    }
    tpm
}

struct Ca {
    issuer: Issuer<'static, SimulatedKey>,
    pem: String,
}

fn ca(label: &str) -> Ca {
    let key = SimulatedKey::derive(&[3; 32], label);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Proofroom deployment CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let pem = params.self_signed(&key).unwrap().pem();
    Ca {
        issuer: Issuer::new(params, key),
        pem,
    }
}

fn document(tpm: &SimulatedTpm, evidence: &RoomEvidence, certificate: String) -> Vec<u8> {
    let _: &SimulatedTpm = tpm;
    let endorsements = RoomEndorsements::Tpm2 {
        ak_certificate: certificate,
    };
    RoomDocument::write(&evidence.to_text().unwrap(), &endorsements).unwrap()
}

fn judge(document: &[u8]) -> RoomAppraisal {
    judge_by(document, &manifest(|_| {}))
}

fn judge_by(document: &[u8], manifest: &ReferenceManifest) -> RoomAppraisal {
    let ca = ca("ca");
    let trust = RoomTrust {
        policy: &pinned(manifest),
        deployment_ca: ca.pem.as_bytes(),
    };
    appraise_room(document, trust, &expectation(), NOW)
}

fn good_document() -> Vec<u8> {
    document_of(&tpm(good_runtime()))
}

fn document_of(tpm: &SimulatedTpm) -> Vec<u8> {
    let certificate = tpm.certificate(&ca("ca").issuer, session(), |_| {});
    document(tpm, &tpm.evidence(Moment::Start, STATEMENT), certificate)
}

fn accepted() -> VerifiedRoom {
    let appraisal = judge(&good_document());
    assert_eq!(appraisal.first_failure(), None);
    appraisal.into_verified().unwrap()
}

#[test]
fn a_room_that_booted_its_image_is_accepted_and_says_whose_tpm_it_was() {
    let room = accepted();
    assert_eq!(room.level(), IsolationLevel::Vm);
    assert_eq!(room.label(), "vm, software TPM of the host");
    assert_eq!(room.policy_name(), "room-vm");
    assert_eq!(room.session(), session());
    assert_eq!(room.moment(), Moment::Start);
    assert_eq!(room.image(), Digest::of("image"));
    let appraisal = judge(&good_document());
    let names: Vec<Name> = appraisal.checks().iter().map(|check| check.name).collect();
    assert_eq!(names, Name::of(EvidenceType::Tpm2));
}

#[test]
fn bytes_that_are_no_document_answer_every_check() {
    let appraisal = judge(b"{}");
    fails(&appraisal, Name::DocumentParse, "room-document-malformed");
    assert_eq!(appraisal.checks().len(), Name::of(EvidenceType::Tpm2).len());
    let reached = |outcome: &RoomOutcome| *outcome == RoomOutcome::Pass;
    assert!(
        !appraisal
            .checks()
            .iter()
            .any(|check| reached(&check.outcome))
    );
}

#[test]
fn evidence_of_another_moment_or_statement_is_refused() {
    let tpm = tpm(good_runtime());
    let certificate = tpm.certificate(&ca("ca").issuer, session(), |_| {});
    let end = tpm.evidence(Moment::End, STATEMENT);
    let found = judge(&document(&tpm, &end, certificate.clone()));
    fails(&found, Name::Moment, "moment-mismatch");
    let other = tpm.evidence(Moment::Start, "{}");
    let found = judge(&document(&tpm, &other, certificate.clone()));
    fails(&found, Name::Statement, "statement-mismatch");
    let mut swapped = tpm.evidence(Moment::Start, "{}");
    swapped.statement = STATEMENT.to_owned();
    let found = judge(&document(&tpm, &swapped, certificate));
    fails(&found, Name::QualifyingData, "qualifying-data-mismatch");
}

#[test]
fn a_quote_that_the_tpm_did_not_make_itself_is_refused() {
    let mut forged = tpm(good_runtime());
    forged.magic = 0x1234_5678;
    fails(&judge(&document_of(&forged)), Name::QuoteParse, "tpm-magic");
    let tpm = tpm(good_runtime());
    let certificate = tpm.certificate(&ca("ca").issuer, session(), |_| {});
    let mut evidence = tpm.evidence(Moment::Start, STATEMENT);
    evidence.quote[5] = 0x17; // TPM_ST_ATTEST_CERTIFY
    let found = judge(&document(&tpm, &evidence, certificate));
    fails(&found, Name::QuoteParse, "tpm-quote-kind");
}

#[test]
fn a_key_that_could_sign_anything_is_no_attestation_key() {
    for attributes in [0x0004_0072, 0x0005_0070, 0x0005_0052, 0x0007_0072, 0] {
        let mut loose = tpm(good_runtime());
        loose.attributes = attributes;
        let found = judge(&document_of(&loose));
        fails(&found, Name::AttestationKey, "ak-attributes");
    }
    let mut elsewhere = tpm(good_runtime());
    elsewhere.hierarchy = [0x40, 0, 0, 1];
    let found = judge(&document_of(&elsewhere));
    fails(&found, Name::QuoteSigner, "quote-signer-mismatch");
}

#[test]
fn an_attestation_key_needs_this_deployments_certificate_for_this_session() {
    let tpm = tpm(good_runtime());
    let evidence = tpm.evidence(Moment::Start, STATEMENT);
    let judged = |pem: String| judge(&document(&tpm, &evidence, pem));
    let issue = |change: &dyn Fn(&mut CertificateParams)| {
        tpm.certificate(&ca("ca").issuer, session(), |params| change(params))
    };
    let other_ca = tpm.certificate(&ca("other").issuer, session(), |_| {});
    fails(
        &judged(other_ca),
        Name::AkCertificate,
        "ak-certificate-issuer",
    );
    let another = SessionId::from_random([6; 16]);
    let other_session = tpm.certificate(&ca("ca").issuer, another, |_| {});
    fails(
        &judged(other_session),
        Name::AkCertificate,
        "ak-certificate-session",
    );
    let other_tpm = SimulatedTpm::boot([8; 32], boot());
    let other_key = other_tpm.certificate(&ca("ca").issuer, session(), |_| {});
    fails(
        &judged(other_key),
        Name::AkCertificate,
        "ak-certificate-key",
    );
    let old = issue(&|params| params.not_after = rcgen::date_time_ymd(2021, 1, 1));
    fails(&judged(old), Name::AkCertificate, "ak-certificate-time");
    let any_use = issue(&|params| params.extended_key_usages.clear());
    fails(&judged(any_use), Name::AkCertificate, "ak-certificate-use");
    let unknown = issue(&|params| params.custom_extensions.push(unknown_extension()));
    fails(&judged(unknown), Name::AkCertificate, "ak-certificate-use");
    let as_ca = issue(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    fails(&judged(as_ca), Name::AkCertificate, "ak-certificate-use");
    fails(
        &judged("nonsense".to_owned()),
        Name::AkCertificate,
        "ak-certificate-malformed",
    );
}

#[test]
fn a_quote_over_other_registers_is_refused() {
    for quoted in [vec![], vec![0, 1], (0..16).collect::<Vec<u32>>()] {
        let mut narrow = tpm(good_runtime());
        narrow.quoted = quoted;
        let found = judge(&document_of(&narrow));
        fails(&found, Name::PcrSelection, "pcr-selection-mismatch");
    }
}

#[test]
fn logs_must_add_up_to_the_quoted_registers() {
    let tpm = tpm(good_runtime());
    let certificate = tpm.certificate(&ca("ca").issuer, session(), |_| {});
    let evidence = tpm.evidence(Moment::Start, STATEMENT);
    let judged = |evidence: &RoomEvidence| judge(&document(&tpm, evidence, certificate.clone()));
    let mut dropped = evidence.clone();
    let swtpm = SimulatedTpm::boot([9; 32], boot()[1..].to_vec());
    dropped.boot_log = swtpm.boot_log();
    fails(&judged(&dropped), Name::PcrDigest, "pcr-digest-mismatch");
    let mut cut = evidence.clone();
    cut.boot_log.pop();
    fails(&judged(&cut), Name::BootLog, "boot-log-malformed");
    let mut silent = evidence.clone();
    silent.runtime.push(runtime("more", String::new()));
    fails(&judged(&silent), Name::PcrDigest, "pcr-digest-mismatch");
    let mut reordered = evidence;
    reordered.runtime.reverse();
    fails(&judged(&reordered), Name::PcrDigest, "pcr-digest-mismatch");
}

#[test]
fn a_boot_log_may_not_touch_the_register_of_runtime_events() {
    let mut events = boot();
    events.push(BootEvent {
        pcr: 15,
        kind: EV_SEPARATOR,
        data: vec![1],
    });
    let mut early = SimulatedTpm::boot([9; 32], events);
    good_runtime()
        .into_iter()
        .for_each(|event| early.measure(event));
    let found = judge(&document_of(&early));
    fails(&found, Name::BootLog, "boot-log-runtime-register");
}

#[test]
fn every_register_of_the_boot_has_its_own_check() {
    for (pcr, name) in [
        (0, Name::ReferencePcr0),
        (1, Name::ReferencePcr1),
        (2, Name::ReferencePcr2),
        (3, Name::ReferencePcr3),
        (4, Name::ReferencePcr4),
        (5, Name::ReferencePcr5),
        (6, Name::ReferencePcr6),
        (7, Name::ReferencePcr7),
        (8, Name::ReferencePcr8),
        (9, Name::ReferencePcr9),
        (14, Name::ReferencePcr14),
    ] {
        let mut events = boot();
        events.push(BootEvent {
            pcr,
            kind: EV_SEPARATOR,
            data: b"something else".to_vec(),
        });
        let mut other = SimulatedTpm::boot([9; 32], events);
        good_runtime()
            .into_iter()
            .for_each(|event| other.measure(event));
        let found = judge(&document_of(&other));
        fails(&found, name, "reference-mismatch");
        let failures = found
            .checks()
            .iter()
            .filter(|check| matches!(check.outcome, RoomOutcome::Fail { .. }));
        assert_eq!(failures.count(), 1);
    }
}

#[test]
fn another_kernel_is_named_in_the_words() {
    let mut events = boot();
    for event in &mut events {
        if event.data == b"kernel" {
            event.data = b"kernel with one byte changed".to_vec();
        }
    }
    let mut other = SimulatedTpm::boot([9; 32], events);
    good_runtime()
        .into_iter()
        .for_each(|event| other.measure(event));
    let found = judge(&document_of(&other));
    let (name, _, words) = found.first_failure().unwrap();
    assert_eq!(name, Name::ReferencePcr4);
    assert_eq!(words, "PCR 4: event 1 is not `kernel`");
}

#[test]
fn the_boot_configuration_comes_first_and_fits_the_reference() {
    let assigned = runtime("assignment", assignment().to_text().unwrap());
    let good_root = Hash256::of(b"root").to_string();
    let with = |content: String| vec![runtime("boot-config", content), assigned.clone()];
    for (events, code) in [
        (vec![], "boot-config-missing"),
        (vec![assigned.clone()], "boot-config-missing"),
        (with("{".to_owned()), "boot-config-malformed"),
        (
            with(r#"{"shape":{"vcpus":1,"memory_mib":1024}}"#.to_owned()),
            "boot-config-malformed",
        ),
        (
            with(boot_config(&good_root).replace("1024", "2048")),
            "boot-config-shape",
        ),
        (with(boot_config(&"00".repeat(32))), "boot-config-layer"),
    ] {
        let found = judge(&document_of(&tpm(events)));
        fails(&found, Name::RuntimeBootConfig, code);
    }
    let bare = manifest(|contents| contents.layers.clear());
    let found = judge_by(&good_document(), &bare);
    fails(&found, Name::RuntimeBootConfig, "boot-config-layer");
}

#[test]
fn the_layers_are_those_of_the_reference_each_once_and_in_its_order() {
    let layer = |name: &str| ReferenceLayer {
        name: name.to_owned(),
        root: Hash256::of(name.as_bytes()),
        image: Hash256::of(b"image"),
    };
    let reference = manifest(|contents| contents.layers = ["base", "git"].map(layer).to_vec());
    let judged = |names: &[(&str, &str)]| {
        let listed: Vec<String> = names
            .iter()
            .map(|(name, root)| {
                let root = Hash256::of(root.as_bytes());
                format!(r#"{{"name":"{name}","root":"{root}"}}"#)
            })
            .collect();
        let config = format!(
            r#"{{"shape":{{"vcpus":1,"memory_mib":1024}},"layers":[{}]}}"#,
            listed.join(",")
        );
        let assigned = runtime("assignment", assignment().to_text().unwrap());
        let events = vec![runtime("boot-config", config), assigned];
        judge_by(&document_of(&tpm(events)), &reference)
    };
    let (base, git, other) = (("base", "base"), ("git", "git"), ("x", "x"));
    assert_eq!(judged(&[base, git]).verdict(), Verdict::Accept);
    for (layers, code) in [
        (&[git, base][..], "boot-config-layer-order"),
        (&[base], "boot-config-layer-missing"),
        (&[git], "boot-config-layer-missing"),
        (&[], "boot-config-layer-missing"),
        (&[base, base], "boot-config-layer-missing"),
        (&[base, git, git], "boot-config-layer-extra"),
        (&[base, git, other], "boot-config-layer"),
        (&[("git", "base"), git], "boot-config-layer"),
    ] {
        let found = judged(layers);
        fails(&found, Name::RuntimeBootConfig, code);
    }
}

#[test]
fn the_room_must_have_been_told_what_the_session_says() {
    let root = Hash256::of(b"root").to_string();
    let boot_event = runtime("boot-config", boot_config(&root));
    let told = |event: AssignmentEvent| {
        let assigned = runtime("assignment", event.to_text().unwrap());
        judge(&document_of(&tpm(vec![boot_event.clone(), assigned])))
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
    let another = AssignmentEvent {
        session: SessionId::from_random([6; 16]),
        ..assignment()
    };
    fails(
        &told(another),
        Name::RuntimeAssignment,
        "assignment-mismatch",
    );
    let mut another = assignment();
    another.policies.clear();
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
    let never = judge(&document_of(&tpm(vec![boot_event.clone()])));
    fails(&never, Name::RuntimeAssignment, "assignment-missing");
    let text = assignment().to_text().unwrap();
    let twice = vec![
        boot_event.clone(),
        runtime("assignment", text.clone()),
        runtime("assignment", text.clone()),
    ];
    let found = judge(&document_of(&tpm(twice)));
    fails(&found, Name::RuntimeAssignment, "assignment-missing");
    let spaced = vec![
        boot_event,
        runtime("assignment", text.replacen(',', ", ", 1)),
    ];
    let found = judge(&document_of(&tpm(spaced)));
    fails(&found, Name::RuntimeAssignment, "assignment-malformed");
}

#[test]
fn no_bit_of_quote_signature_key_or_log_is_free() {
    let tpm = tpm(good_runtime());
    let certificate = tpm.certificate(&ca("ca").issuer, session(), |_| {});
    let good = tpm.evidence(Moment::Start, STATEMENT);
    let ca = ca("ca");
    let policy = pinned(&manifest(|_| {}));
    let trust = RoomTrust {
        policy: &policy,
        deployment_ca: ca.pem.as_bytes(),
    };
    let parts: [fn(&mut RoomEvidence) -> &mut Vec<u8>; 4] = [
        |evidence| &mut evidence.quote,
        |evidence| &mut evidence.signature,
        |evidence| &mut evidence.key,
        |evidence| &mut evidence.boot_log,
    ];
    for (part, bytes_of) in parts.into_iter().enumerate() {
        let length = bytes_of(&mut good.clone()).len();
        // Every bit of what is signed, of the signature and of the key; of the log a bit of every
        // fourth byte, each place of a byte in turn.
        let step = if part == 3 { 33 } else { 1 };
        for bit in (0..length * 8).step_by(step) {
            let mut flipped = good.clone();
            bytes_of(&mut flipped)[bit / 8] ^= 1 << (bit % 8);
            let bytes = document(&tpm, &flipped, certificate.clone());
            let found = appraise_room(&bytes, trust, &expectation(), NOW);
            // An event's data beside its digest, its type, its other bank and the header's version
            // numbers are not what a quote is over: such a flip changes no register.
            let same_registers = part == 3 && same_registers(&good, &flipped);
            assert!(
                found.verdict() != Verdict::Accept || same_registers,
                "part {part}, bit {bit} is free"
            );
        }
    }
}

fn same_registers(one: &RoomEvidence, other: &RoomEvidence) -> bool {
    let replay = |evidence: &RoomEvidence| {
        proofroom_evidence::EventLog::parse(&evidence.boot_log)
            .and_then(|log| log.replay_sha384())
            .ok()
    };
    replay(one) == replay(other)
}
