//! Bundles that are accepted, and what the transcript says about them.

use proofroom_evidence::EvidenceType;
use proofroom_record::{
    bundle::archive,
    ladder::{Anchor, Anchors, Verdict, verify_bundle, write_bundle},
    render::{json, transcript},
    statement::Signer,
};

use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use proofroom_verifier::{NO_ROOM_EVIDENCE, ROOM_VM, ReferenceRelease, RoomCheckName};

use crate::{
    first_problem,
    fixture::{Fixture, RoomKind, at, gateway_key, room},
    good, good_files, now, verify,
};

fn shown(report: &proofroom_record::ladder::Report) -> String {
    // certificates are signed with fresh randomness, so the bundle's size varies by a few bytes
    let text = transcript(report);
    let (before, rest) = text.split_once("bytes          ok            ").unwrap();
    let (_, after) = rest.split_once(" bytes,").unwrap();
    format!("{before}bytes          ok            N bytes,{after}")
}

#[test]
fn an_honest_bundle_is_accepted_with_its_caveats() {
    let report = verify(&good());
    assert_eq!(
        first_problem(&report),
        ("none", "accepted"),
        "{}",
        transcript(&report)
    );
    assert_eq!(report.verdict, Verdict::Accepted);
    insta::assert_snapshot!("accepted", shown(&report));
}

#[test]
fn the_same_parts_give_the_same_bytes() {
    let parts = Fixture::default().parts();
    assert_eq!(write_bundle(&parts).unwrap(), write_bundle(&parts).unwrap());
}

#[test]
fn pinned_anchors_are_named_in_the_verdict_and_foreign_ones_refuse() {
    let files = good_files();
    let bytes = archive::write(&files).unwrap();
    let pinned = Anchors {
        ca: Anchor::Pinned(files["trust/ca.pem"].clone()),
        log_key: Anchor::Pinned(files["trust/log.vkey"].clone()),
        ..Anchors::from_bundle()
    };
    let report = verify_bundle(&bytes, &pinned, now());
    assert_eq!(report.verdict, Verdict::Accepted);
    assert!(transcript(&report).contains("Verdict: accepted, with the pinned trust anchors"));
    let other = Fixture {
        ca_key: 4,
        ..Fixture::default()
    }
    .parts()
    .trust;
    let foreign = Anchors {
        ca: Anchor::Pinned(other.ca),
        ..Anchors::from_bundle()
    };
    let report = verify_bundle(&bytes, &foreign, now());
    assert_eq!(first_problem(&report), ("trust-anchors", "ca-differs"));
    assert_eq!(report.verdict.exit_code(), 10);
    let foreign = Anchors {
        log_key: Anchor::Pinned(b"x\n".to_vec()),
        ..Anchors::from_bundle()
    };
    let report = verify_bundle(&bytes, &foreign, now());
    assert_eq!(first_problem(&report), ("trust-anchors", "log-key-differs"));
}

#[test]
fn an_interrupted_session_is_accepted_as_such() {
    let fixture = Fixture {
        signer: Signer::Gateway,
        ..Fixture::default()
    };
    let report = verify(&write_bundle(&fixture.parts()).unwrap());
    assert_eq!(
        first_problem(&report),
        ("none", "accepted"),
        "{}",
        transcript(&report)
    );
    let text = transcript(&report);
    assert!(
        text.contains("Verdict: accepted as the record of an interrupted session"),
        "{text}"
    );
    assert!(text.contains("INTERRUPTED: the room was lost"), "{text}");
}

#[test]
fn a_bundle_without_attested_upstreams_says_that_nothing_was_appraised() {
    let fixture = Fixture {
        attested: false,
        ..Fixture::default()
    };
    let report = verify(&write_bundle(&fixture.parts()).unwrap());
    assert_eq!(report.verdict, Verdict::Accepted, "{}", transcript(&report));
    assert!(!transcript(&report).contains("SIMULATED"));
    assert!(transcript(&report).contains("no model run used an attested upstream"));
}

#[test]
fn evidence_that_no_longer_holds_does_not_undo_the_record() {
    let much_later = crate::fixture::at(400 * 86_400);
    let report = verify_bundle(&good(), &Anchors::from_bundle(), much_later);
    assert_eq!(report.verdict, Verdict::Accepted, "{}", transcript(&report));
    assert!(
        transcript(&report).contains("Not proven: `evidence-now`"),
        "{}",
        transcript(&report)
    );
}

#[test]
fn the_report_escapes_what_comes_from_the_room() {
    let page = String::from_utf8(good_files()["report.html"].clone()).unwrap();
    assert!(page.contains("read `../secret\\u{1b}[2J&lt;b&gt;`"));
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("src="));
    assert!(page.contains("no upstream may see &lt;restricted&gt;"));
}

fn vm() -> Fixture {
    Fixture {
        room: RoomKind::Vm,
        ..Fixture::default()
    }
}

#[test]
fn a_room_in_a_virtual_machine_is_accepted_with_every_check_of_its_evidence_shown() {
    let report = verify(&write_bundle(&vm().parts()).unwrap());
    let text = transcript(&report);
    assert_eq!(first_problem(&report), ("none", "accepted"), "{text}");
    assert_eq!(report.room.len(), 2);
    let all = format!(
        "all {} checks hold",
        RoomCheckName::of(EvidenceType::Tpm2).len()
    );
    assert_eq!(text.matches(&all).count(), 2, "{text}");
    assert!(text.contains("start: quote-signature"), "{text}");
    assert!(text.contains("end: pcr-digest"), "{text}");
    assert!(
        text.contains("`vm`, vm, software TPM of the host"),
        "{text}"
    );
    assert!(text.contains("Not proven: no memory encryption"), "{text}");
    assert!(text.contains("software TPM that the host runs"), "{text}");
    let shown = json(&report);
    let checks = shown["room"][0]["checks"].as_array().unwrap();
    assert_eq!(checks.len(), RoomCheckName::of(EvidenceType::Tpm2).len());
}

#[test]
fn a_simulated_trust_domain_is_accepted_with_every_check_shown_and_called_simulated() {
    let fixture = Fixture {
        room: RoomKind::SimulatedTd,
        attested: false,
        ..Fixture::default()
    };
    let report = verify(&write_bundle(&fixture.parts()).unwrap());
    let text = transcript(&report);
    assert_eq!(first_problem(&report), ("none", "accepted"), "{text}");
    let checks = RoomCheckName::of(EvidenceType::Tdx);
    let all = format!(
        "SIMULATED trust domain, signed with test keys: all {} checks hold",
        checks.len()
    );
    assert_eq!(text.matches(&all).count(), 2, "{text}");
    for check in checks {
        assert!(
            text.contains(&format!("start: {check} ")),
            "{check}: {text}"
        );
        assert!(text.contains(&format!("end: {check} ")), "{check}: {text}");
    }
    assert!(
        text.contains("`simulated`, SIMULATED trust domain"),
        "{text}"
    );
    assert!(
        text.contains("Not proven: nothing about hardware"),
        "{text}"
    );
    assert!(text.contains("SIMULATED: attestation evidence"), "{text}");
    assert!(!text.contains("`hardware`"), "{text}");
    let shown = json(&report);
    assert_eq!(shown["room"][0]["simulated"], true);
    assert_eq!(shown["room"][1]["tcb"]["status"], "UpToDate");
}

#[test]
fn an_interrupted_room_needs_no_evidence_of_its_end() {
    let fixture = Fixture {
        signer: Signer::Gateway,
        ..vm()
    };
    let report = verify(&write_bundle(&fixture.parts()).unwrap());
    let text = transcript(&report);
    assert_eq!(first_problem(&report), ("none", "accepted"), "{text}");
    assert!(text.contains("the session was interrupted"), "{text}");
}

#[test]
fn an_auditors_own_reference_values_must_be_the_ones_that_the_policy_pins() {
    let parts = vm().parts();
    let bytes = write_bundle(&parts).unwrap();
    let own = room::manifest().bytes().to_vec();
    let pinned = |manifest: Vec<u8>| Anchors {
        room_reference: Anchor::Pinned(manifest),
        ..Anchors::from_bundle()
    };
    let report = verify_bundle(&bytes, &pinned(own), now());
    assert_eq!(first_problem(&report), ("none", "accepted"));
    let report = verify_bundle(&bytes, &pinned(b"{}".to_vec()), now());
    let refused = ("room-evidence", "room-reference-not-pinned");
    assert_eq!(first_problem(&report), refused);
    let policy = Anchors {
        room_appraisal_policy: Anchor::Pinned(NO_ROOM_EVIDENCE.as_bytes().to_vec()),
        ..Anchors::from_bundle()
    };
    let report = verify_bundle(&bytes, &policy, now());
    let refused = ("room-evidence", "room-policy-accepts-nothing");
    assert_eq!(first_problem(&report), refused);
}

/// The policy for machines with a TPM, with the fixture's gateway key as a maker's.
fn policy_of_a_maker() -> Vec<u8> {
    let pem = gateway_key()
        .verifying_key()
        .to_public_key_pem(LineEnding::LF);
    let lines = ROOM_VM
        .lines()
        .filter(|line| !line.starts_with("references"));
    let text: Vec<&str> = lines.collect();
    let (text, pem) = (text.join("\n"), pem.unwrap());
    format!("{text}\nreferences = []\n[[signed_reference]]\nname = \"room\"\nmin_version = 1\nkey = \"\"\"{pem}\"\"\"\n")
        .into_bytes()
}

#[test]
fn reference_values_that_their_maker_signed_hold_as_of_the_sessions_start() {
    let bytes = write_bundle(&vm().parts()).unwrap();
    let judged = |expires: i64| {
        let release = ReferenceRelease {
            name: "room".to_owned(),
            version: 1,
            issued: at(-60),
            expires: at(expires),
            manifest: String::from_utf8(room::manifest().bytes().to_vec()).unwrap(),
        };
        let anchors = Anchors {
            room_appraisal_policy: Anchor::Pinned(policy_of_a_maker()),
            room_reference: Anchor::Pinned(release.sign(&gateway_key()).unwrap()),
            ..Anchors::from_bundle()
        };
        let report = verify_bundle(&bytes, &anchors, now());
        let (rung, code) = first_problem(&report);
        (rung.to_owned(), code.to_owned())
    };
    let pair = |rung: &str, code: &str| (rung.to_owned(), code.to_owned());
    // over before the session ended, and long before now
    assert_eq!(judged(1), pair("none", "accepted"));
    assert_eq!(judged(-1), pair("room-evidence", "release-expired"));
}
