//! Room policies that must not be built, and the ones that ship.

use proofroom_canonical::Digest;

use super::{NO_ROOM_EVIDENCE, PinError, ROOM_VM, RoomAppraisalPolicy};

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
    let refused = policy().with_reference(b"another").unwrap_err();
    assert_eq!(refused.code(), "room-reference-not-pinned");
    let refused = policy().with_reference(b"manifest").unwrap_err();
    assert_eq!(refused.code(), "reference-malformed");
    let none = RoomAppraisalPolicy::parse(NO_ROOM_EVIDENCE, "room.toml").unwrap();
    assert!(none.references().is_empty());
    let refused = none.with_reference(b"manifest").unwrap_err();
    assert!(matches!(refused, PinError::AcceptsNothing(_)));
}

#[test]
fn nothing_may_be_left_open() {
    for line in [
        "name",
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
