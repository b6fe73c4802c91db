//! A guest whose kernel shows nothing has no attester, and says why for each kind.

#![allow(clippy::unwrap_used, reason = "tests")]

use proofroom_attester::{GuestPaths, TsmPaths, detect};

#[test]
fn a_guest_without_any_interface_has_no_attester_and_a_reason_for_each_kind() {
    let empty = tempfile::tempdir().unwrap();
    let at = |name: &str| empty.path().join(name);
    let refused = detect(&GuestPaths {
        tsm: TsmPaths {
            report: at("report"),
            measurements: at("measurements"),
            ccel: at("ccel"),
        },
        tpm: vec![at("tpmrm0"), at("tpm0")],
        boot_log: at("log"),
    })
    .unwrap_err();
    assert_eq!(refused.code(), "no-attester");
    let reasons: Vec<_> = refused
        .reasons()
        .iter()
        .map(|(kind, error)| (*kind, error.code()))
        .collect();
    let wanted = [("tdx, sev-snp", "attester-file"), ("tpm2", "attester-file")];
    assert_eq!(reasons, wanted);
    assert!(refused.to_string().contains("tpmrm0"), "{refused}");
}
