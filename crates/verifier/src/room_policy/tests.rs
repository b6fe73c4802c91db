//! Room policies that must not be built, and the ones that ship.

use proofroom_canonical::{Digest, Timestamp};

use proofroom_evidence::EvidenceType;

use super::{NO_ROOM_EVIDENCE, ROOM_SIMULATED, ROOM_TDX, ROOM_VM, RoomAppraisalPolicy};
use crate::Assurance;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_435_200);

/// Scalar 0x0101..01.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEb/A7lJJBzh2t1DUZ5pYOCoW0Gmmg
XDKBA6orzhWUyhY8T3U6Vb8B3FP2wLDH7ueLQMb/fSWpbiKCuYnO9xwUSg==
-----END PUBLIC KEY-----";

fn problems(text: &str) -> Vec<&'static str> {
    RoomAppraisalPolicy::parse(text, "room.toml")
        .err()
        .unwrap_or_default()
        .iter()
        .map(crate::PolicyProblem::code)
        .collect()
}

fn pinned() -> String {
    RoomAppraisalPolicy::for_reference(Digest::of("manifest"))
}

#[track_caller]
fn refused(from: &str, to: &str, wanted: &[&str]) {
    let text = pinned();
    assert!(text.contains(from), "`{from}` is not in the policy");
    assert_eq!(problems(&text.replacen(from, to, 1)), wanted);
}

#[test]
fn the_shipped_policy_is_none_until_it_pins_a_manifest() {
    assert_eq!(problems(ROOM_VM), ["policy-placeholder"]);
    let policy = RoomAppraisalPolicy::parse(&pinned(), "room.toml").unwrap();
    assert_eq!(policy.name(), "room-vm");
    assert_eq!(policy.digest(), Digest::of(pinned()));
    assert_eq!(policy.references(), [Digest::of("manifest")]);
}

#[test]
fn a_policy_judges_with_the_manifest_that_it_pins_alone() {
    let policy = || RoomAppraisalPolicy::parse(&pinned(), "room.toml").unwrap();
    let refused = policy().with_reference(b"another", NOW).unwrap_err();
    assert_eq!(refused.code(), "room-reference-not-pinned");
    let refused = policy().with_reference(b"manifest", NOW).unwrap_err();
    assert_eq!(refused.code(), "reference-malformed");
    let none = RoomAppraisalPolicy::parse(NO_ROOM_EVIDENCE, "room.toml").unwrap();
    assert!(none.references().is_empty());
    let refused = none.with_reference(b"manifest", NOW).unwrap_err();
    assert_eq!(refused.code(), "room-policy-accepts-nothing");
}

#[test]
fn nothing_may_be_left_open() {
    for line in [
        "name",
        "purpose",
        "accept",
        "owner",
        "attestation_key",
        "nonce",
        "references",
    ] {
        let text: String = pinned()
            .lines()
            .filter(|candidate| !candidate.starts_with(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(problems(&text), ["policy-syntax"], "{line}");
    }
    let start = "references = [";
    let line = pinned();
    let line = line.lines().find(|line| line.starts_with(start)).unwrap();
    refused(line, "references = []", &["policy-unpinned"]);
    refused(line, "references = [\"x\"]", &["policy-unpinned"]);
    refused("\"required\"", "\"optional\"", &["policy-syntax"]);
    refused("\"deployment-ca\"", "\"anybody\"", &["policy-syntax"]);
    refused(
        "\"software-tpm-of-the-host\"",
        "\"hardware\"",
        &["policy-syntax"],
    );
    refused("\"tpm2\"", "\"tpm2\"\nmore = 1", &["policy-syntax"]);
    assert_eq!(problems(&" ".repeat(70_000)), ["policy-too-large"]);
}

#[test]
fn a_software_tpm_is_never_called_hardware() {
    refused("\"room-vm\"", "\"room-hardware\"", &["policy-name"]);
    refused("\"room-vm\"", "\"Room VM\"", &["policy-name"]);
}

fn tdx(shipped: &str) -> String {
    RoomAppraisalPolicy::pinning(shipped, Digest::of("manifest"))
}

#[track_caller]
fn refused_tdx(shipped: &str, from: &str, to: &str, wanted: &[&str]) {
    let text = tdx(shipped);
    assert!(text.contains(from), "`{from}` is not in the policy");
    assert_eq!(problems(&text.replacen(from, to, 1)), wanted);
}

#[test]
fn the_shipped_policies_for_trust_domains_are_none_until_they_pin_a_manifest() {
    for (shipped, name, assurance) in [
        (ROOM_TDX, "room-tdx", Assurance::Hardware),
        (ROOM_SIMULATED, "room-simulated", Assurance::Simulated),
    ] {
        assert_eq!(problems(shipped), ["policy-placeholder"]);
        let policy = RoomAppraisalPolicy::parse(&tdx(shipped), "room.toml").unwrap();
        assert_eq!(policy.name(), name);
        assert_eq!(policy.kind(), Some(EvidenceType::Tdx));
        assert_eq!(policy.assurance(), assurance);
        assert_eq!(policy.references(), [Digest::of("manifest")]);
    }
}

#[test]
fn a_policy_for_trust_domains_leaves_nothing_open() {
    for key in [
        "name",
        "accept",
        "roots",
        "nonce",
        "mr_seam",
        "references",
        "min_eval",
        "refuse_adv",
        "allow",
        "mr_td",
        "rtmr0",
        "rtmr1",
        "rtmr2",
    ] {
        let text: String = tdx(ROOM_SIMULATED)
            .lines()
            .filter(|line| !line.starts_with(key))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(problems(&text), ["policy-syntax"], "{key}");
    }
    let refused = |from, to, wanted| refused_tdx(ROOM_TDX, from, to, &[wanted]);
    refused(
        "mr_seam = \"not-compared\"",
        "mr_seam = []",
        "policy-unpinned",
    );
    refused(
        "mr_seam = \"not-compared\"",
        "mr_seam = \"any\"",
        "policy-unpinned",
    );
    refused(
        "mr_seam = \"not-compared\"",
        "mr_seam = [\"00\"]",
        "policy-measurement",
    );
    refused("\"required\"", "\"optional\"", "policy-syntax");
    let revoked = "accept = [\"UpToDate\", \"Revoked\"]";
    let wanted = ["policy-tcb", "policy-example"];
    refused_tdx(ROOM_TDX, "accept = [\"UpToDate\"]", revoked, &wanted);
    refused(
        "accept = \"tdx\"",
        "accept = \"tdx\"\nmore = 1",
        "policy-syntax",
    );
    refused("accept = \"tdx\"", "accept = \"sev-snp\"", "policy-syntax");
}

#[test]
fn the_examples_of_a_policy_for_trust_domains_are_run() {
    let example = |text: &str| problems(&format!("{}{text}", tdx(ROOM_TDX)));
    let late = "at = \"2026-12-01T00:00:00.000Z\" }\n";
    let out_of_date = format!("\n[[match]]\ntcb = {{ status = \"OutOfDate\", {late}");
    assert_eq!(example(&out_of_date), ["policy-example"]);
    let up_to_date = format!("\n[[not_match]]\ntcb = {{ status = \"UpToDate\", {late}");
    assert_eq!(example(&up_to_date), ["policy-example"]);
    assert_eq!(example("\n[[match]]\n"), ["policy-example"]);
    assert_eq!(example("\n[[match]]\nmodel = \"x\"\n"), ["policy-syntax"]);
}

#[test]
fn what_is_simulated_says_so_in_its_name_and_never_hardware() {
    let renamed = |name: &str| tdx(ROOM_SIMULATED).replace("\"room-simulated\"", name);
    let wanted = [
        "policy-root-simulated",
        "policy-simulated-reference",
        "policy-purpose",
    ];
    assert_eq!(problems(&renamed("\"room\"")), wanted);
    assert_eq!(
        problems(&renamed("\"simulated-hardware\"")),
        ["policy-name"]
    );
    let hardware = tdx(ROOM_TDX).replace("\"room-tdx\"", "\"room-hardware\"");
    assert_eq!(problems(&hardware), [""; 0]);
}

#[test]
fn simulated_registers_are_measurements() {
    let text = tdx(ROOM_SIMULATED);
    let line = text.lines().find(|line| line.starts_with("rtmr1")).unwrap();
    let refused = |to: &str, wanted| refused_tdx(ROOM_SIMULATED, line, to, &[wanted]);
    refused("rtmr1 = \"00\"", "policy-measurement");
    let zero = format!("rtmr1 = \"{}\"", "00".repeat(48));
    refused(&zero, "policy-placeholder");
    refused("rtmr1 = \"not-compared\"", "policy-measurement");
}

/// The pinned policy with a maker beside what it pins, or in its place.
fn with_maker(references: &str, maker: &str) -> String {
    let line = pinned();
    let line = line.lines().find(|line| line.starts_with("references"));
    let text = pinned().replace(line.unwrap(), references);
    format!("{text}\n[[signed_reference]]\n{maker}\n")
}

#[test]
fn a_maker_may_stand_in_the_place_of_a_manifest() {
    let maker = format!("name = \"room\"\nmin_version = 3\nkey = \"\"\"{KEY}\"\"\"");
    let text = with_maker("references = []", &maker);
    let policy = RoomAppraisalPolicy::parse(&text, "room.toml").unwrap();
    assert!(policy.accepts_releases() && policy.references().is_empty());
    let refused = policy.with_reference(b"manifest", NOW).unwrap_err();
    assert_eq!(refused.code(), "envelope-malformed");
    for (from, to, wanted) in [
        ("min_version = 3", "", "policy-syntax"),
        ("min_version = 3", "min_version = 0", "policy-signer"),
        ("\"room\"", "\"\"", "policy-signer"),
        ("PUBLIC", "PRIVATE", "policy-signer"),
        ("name = \"room\"", "name = \"room\"\nx = 1", "policy-syntax"),
    ] {
        let text = with_maker("references = []", &maker.replace(from, to));
        assert_eq!(problems(&text), [wanted], "{to}");
    }
    let again = |second: &str| {
        let two = format!("{maker}\n[[signed_reference]]\n{second}");
        problems(&with_maker("references = []", &two))
    };
    let stricter = maker.replace("= 3", "= 4");
    assert_eq!(again(&stricter), ["policy-signer"]);
    assert!(again(&stricter.replace("\"room\"", "\"other\"")).is_empty());
}

#[test]
fn a_policy_for_rooms_judges_no_upstream_and_simulated_ones_say_so_twice() {
    let own = "purpose = \"production-session\"";
    refused(
        own,
        "purpose = \"production-upstream\"",
        &["policy-purpose"],
    );
    refused(own, "purpose = \"simulated\"", &["policy-purpose"]);
    assert!(crate::AppraisalPolicy::parse(&pinned(), "room.toml").is_err());
}
