//! The cases of `gpu`, one a line.

use proofroom_canonical::Nonce;
use proofroom_testkit::gpu::{ChainPlan, RimPlan};
use serde_json::json;

use super::{NOW, Plan, Row, Supplied, chain, crossed, on_hold, revoked, with_reports};
use crate::Verdict;

const REPORT: &str = "gpu.md section 2";
const CHAIN: &str = "gpu.md section 3";
const MANIFEST: &str = "gpu.md section 4";
const TOKEN: &str = "gpu.md section 5";
const CHECKS: &str = "gpu.md section 6";

pub(super) fn all() -> Vec<Row> {
    let groups = [
        accepted(),
        sets(),
        reports(),
        chains(),
        claims(),
        manifests(),
        signatures(),
        tokens(),
        devices(),
    ];
    groups.into_iter().flatten().collect()
}

fn refused(
    name: &'static str,
    title: &'static str,
    change: &'static str,
    clause: &'static str,
    failure: (&'static str, &'static str),
    edit: fn(&mut Plan),
) -> Row {
    let mut plan = Plan::honest(2);
    edit(&mut plan);
    Row {
        name,
        title,
        change,
        clause,
        verdict: Verdict::Reject,
        failure: Some(failure),
        plan,
    }
}

#[rustfmt::skip]
fn accepted() -> Vec<Row> {
    let row = |name, title, change, verdict, count, edit: fn(&mut Plan)| {
        let mut plan = Plan::honest(count);
        edit(&mut plan);
        Row { name, title, change, clause: CHECKS, verdict, failure: None, plan }
    };
    vec![
        row("accepted", "Two devices with manifests and a token", "", Verdict::Accept, 2, |_| ()),
        row("accepted-eight", "Eight devices", "eight devices", Verdict::Accept, 8, |p| p.policy = "eight"),
        row("accepted-without-token", "No token, under a policy that needs none", "not supplied", Verdict::Accept, 2, |p| { p.policy = "without-token"; p.supplied = Supplied::NoToken; }),
        row("trailing-zero", "A report in a larger buffer: its signature lies where the lengths put it", "one zero byte added to each report", Verdict::Accept, 2, |p| p.list = Some(with_reports(p, |r| r.push(0)))),
        row("manifest-spelled-otherwise", "Another spelling of the same canonical XML", "an element written without its end tag", Verdict::Accept, 2, |p| p.manifest = Some(("></ns0:Entity>", " />"))),
        row("measurement-of-no-decoder", "The measurement of a decoder that is not there", "measurement 36 another", Verdict::Accept, 2, |p| p.device(0, |d| measure(&mut d.report.measurements, 35))),
        row("token-not-supplied", "No token, where the policy needs one", "not supplied", Verdict::Incomplete, 2, |p| p.supplied = Supplied::NoToken),
        row("manifest-not-supplied", "No manifest of the driver", "not supplied", Verdict::Incomplete, 2, |p| p.supplied = Supplied::NoDriverManifest),
        row("archive-audit", "Evidence from an archive cannot show that it was fresh", "asked without a nonce", Verdict::Incomplete, 2, |p| p.nonce = None),
    ]
}

fn measure(all: &mut [[u8; 48]], index: usize) {
    if let Some(value) = all.get_mut(index) {
        *value = [9; 48];
    }
}

fn other_nonce() -> Nonce {
    Nonce::from_random([0x5b; 32])
}

#[rustfmt::skip]
fn sets() -> Vec<Row> {
    let mut eight = Plan::honest(8);
    eight.policy = "eight";
    eight.device(5, |device| device.report.nonce = other_nonce());
    let title = "One GPU of eight from another exchange";
    let one_of_eight = Row { name: "one-of-eight-from-another-report", title, change: "the sixth report has another nonce", clause: CHECKS, verdict: Verdict::Reject, failure: Some(("nonce", "gpu-nonce-mismatch")), plan: eight };
    vec![
        one_of_eight,
        refused("nonce-old", "All devices of an earlier exchange", "asked with another nonce", CHECKS, ("nonce", "gpu-nonce-mismatch"), |p| p.nonce = Some(other_nonce())),
        refused("device-twice", "One device that answers twice", "second device as the first", CHECKS, ("device-unique", "gpu-device-twice"), |p| { p.policy = "without-token"; p.supplied = Supplied::NoToken; p.devices = vec![p.gpus.plan(1, super::NONCE), p.gpus.plan(1, super::NONCE)]; }),
        refused("device-missing", "Fewer devices than the policy says", "second device left out", CHECKS, ("device-count", "gpu-device-count"), |p| drop(p.devices.pop())),
        refused("list-no-json", "No list", "replaced", "gpu.md section 1", ("evidence-list", "gpu-list-malformed"), |p| p.list = Some(b"[]".to_vec())),
        refused("production-policy", "The policy for genuine hardware trusts no simulated root", "policy production", CHECKS, ("certificate-chain", "gpu-root-not-trusted"), |p| p.policy = "production"),
    ]
}

#[rustfmt::skip]
fn reports() -> Vec<Row> {
    let malformed = |name, title, change, edit| refused(name, title, change, REPORT, ("report-parse", "gpu-report-malformed"), edit);
    let unsigned = |name, title, change, edit| refused(name, title, change, REPORT, ("report-signature", "gpu-report-signature-invalid"), edit);
    vec![
        malformed("report-trailing-byte", "A byte behind the report that is no filling", "0x01 added", |p| p.list = Some(with_reports(p, |r| r.push(1)))),
        malformed("report-filled-too-far", "More filling than is allowed", "65 zero bytes added", |p| p.list = Some(with_reports(p, |r| r.extend([0; 65])))),
        malformed("report-cut", "A report without its last byte", "one removed", |p| p.list = Some(with_reports(p, |r| { r.pop(); }))),
        malformed("report-of-spdm-1-2", "Another version of SPDM", "version 0x12", |p| p.list = Some(with_reports(p, |r| if let Some(version) = r.first_mut() { *version = 0x12 }))),
        unsigned("measurement-flipped", "A measurement changed after it was signed", "a bit of the first measurement", |p| p.list = Some(with_reports(p, |r| flip(r, 37 + 8 + 7)))),
        unsigned("signature-flipped", "Another signature", "last bit", |p| p.list = Some(with_reports(p, |r| { let last = r.len() - 1; flip(r, last) }))),
        unsigned("report-of-another-device", "The report of one device with the certificates of another", "certificates exchanged", |p| p.list = Some(crossed(p))),
        unsigned("key-of-another-device", "A report that another key signed", "the leaf certifies another key", |p| chain(p, ChainPlan::OtherKey)),
    ]
}

fn flip(bytes: &mut [u8], at: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
}

#[rustfmt::skip]
fn chains() -> Vec<Row> {
    let row = |name, title, change, code, edit| refused(name, title, change, CHAIN, ("certificate-chain", code), edit);
    let time = |name, title, change, code, edit| refused(name, title, change, CHAIN, ("certificate-time", code), edit);
    let fwid = |name, title, change, code, edit| refused(name, title, change, CHAIN, ("firmware-id", code), edit);
    vec![
        row("chain-leaf-missing", "A chain without the device's own certificate", "leaf left out", "gpu-chain-leaf", |p| chain(p, ChainPlan::NoLeaf)),
        row("chain-root-alone", "A chain of a root alone", "root alone", "gpu-chain-leaf", |p| chain(p, ChainPlan::RootAlone)),
        row("chain-leaf-a-ca", "A device that is a CA", "leaf is a CA", "gpu-chain-leaf", |p| chain(p, ChainPlan::LeafIsCa)),
        row("chain-root-missing", "A chain without its root", "root left out", "gpu-root-not-trusted", |p| chain(p, ChainPlan::NoRoot)),
        row("chain-link-missing", "A chain with a broken link", "the device's CA left out", "gpu-chain-broken", |p| chain(p, ChainPlan::NoDeviceCa)),
        row("chain-forged-ca", "Another CA of the same name", "another identity CA", "gpu-chain-broken", |p| chain(p, ChainPlan::ForgedIdentity)),
        row("chain-forged-leaf", "A leaf that another CA signed", "signed with another key", "gpu-chain-broken", |p| chain(p, ChainPlan::ForgedLeaf)),
        row("chain-too-long", "A path longer than a CA allows", "path length", "gpu-chain-broken", |p| chain(p, ChainPlan::PathTooLong)),
        row("chain-no-ca", "A device's CA that is none", "no CA", "gpu-chain-broken", |p| chain(p, ChainPlan::NoCa)),
        row("certificate-refused", "A certificate that the policy refuses", "policy refuses-root", "gpu-certificate-refused", |p| p.policy = "refuses-root"),
        time("leaf-expired", "A certificate that has ended", "leaf until 2021", "gpu-certificate-expired", |p| chain(p, ChainPlan::LeafExpired)),
        time("leaf-early", "A certificate from the future", "leaf from 2048", "gpu-certificate-not-yet-valid", |p| chain(p, ChainPlan::LeafNotYetValid)),
        fwid("firmware-other", "Firmware that the certificate does not name", "another FWID in the report", "gpu-firmware-id-mismatch", |p| p.device(0, |d| d.report.fwid = Some([7; 48]))),
        fwid("firmware-absent", "A report that does not name its firmware", "field 20 left out", "gpu-firmware-id-absent", |p| p.device(0, |d| d.report.fwid = None)),
    ]
}

#[rustfmt::skip]
fn claims() -> Vec<Row> {
    let row = |name, title, change, check, code, edit| refused(name, title, change, CHECKS, (check, code), edit);
    vec![
        row("chip-other", "A chip that the policy does not name", "GB100", "chip", "gpu-chip-not-allowed", |p| p.device(0, |d| d.chip = "GB100")),
        row("driver-other", "A driver that the policy does not name", "999.10.02", "versions", "gpu-driver-not-allowed", |p| p.device(0, |d| d.report.driver = Some("999.10.02".to_owned()))),
        row("driver-absent", "A report without the driver's version", "field 3 left out", "versions", "gpu-version-absent", |p| p.device(0, |d| d.report.driver = None)),
        row("bios-other", "A BIOS that the policy does not name", "last part 03", "versions", "gpu-bios-not-allowed", |p| p.device(0, |d| if let Some(last) = d.report.bios.get_mut(4) { *last = 3 })),
        row("mode-other", "A mode that the policy does not allow", "single passthrough", "mode", "gpu-mode-not-allowed", |p| p.device(0, |d| { d.report.protected_pcie = Some(0x55); d.report.feature = Some(0); })),
        row("mode-contradicts", "A report that names two modes", "protected PCIe and single passthrough", "mode", "gpu-mode-unknown", |p| p.device(0, |d| d.report.feature = Some(0))),
        row("measurement-other", "A measurement that is no golden value", "measurement 10 another", "measurements", "gpu-measurement-mismatch", |p| p.device(1, |d| measure(&mut d.report.measurements, 9))),
        row("measurement-of-the-decoder", "The measurement of a decoder that is there", "field 11 0xaa, measurement 36 another", "measurements", "gpu-measurement-mismatch", |p| p.device(0, |d| { measure(&mut d.report.measurements, 35); d.report.nvdec0 = 0xaa; })),
        row("measurements-fewer", "A report that leaves measurements out", "60 of 64", "measurements", "gpu-measurement-absent", |p| p.device(0, |d| d.report.measurements.truncate(60))),
    ]
}

#[rustfmt::skip]
fn manifests() -> Vec<Row> {
    let driver = |name, title, change, code, edit: fn(&mut Plan)| refused(name, title, change, MANIFEST, ("driver-rim", code), edit);
    let bios = |name, title, change, code, edit: fn(&mut Plan)| refused(name, title, change, MANIFEST, ("bios-rim", code), edit);
    vec![
        bios("rim-of-another-bios", "The manifest of another BIOS", "version 96.00.CF.00.03", "gpu-rim-version-mismatch", |p| p.bios.version = "96.00.CF.00.03".to_owned()),
        driver("rim-of-another-driver", "The manifest of another driver", "version 999.10.02", "gpu-rim-version-mismatch", |p| p.driver.version = "999.10.02".to_owned()),
        driver("rim-of-another-chip", "The manifest of another chip", "product GB100", "gpu-rim-product-mismatch", |p| p.driver.product = "GB100".to_owned()),
        driver("rim-of-another-root", "A manifest under another root", "another root", "gpu-rim-root-not-trusted", |p| p.driver.other_root = true),
        driver("rim-expired", "A manifest whose signer has ended", "until 2025", "gpu-rim-expired", |p| p.driver.signer_until = 2025),
        driver("rim-signature-of-something-else", "A signature over something else", "another signature", "gpu-rim-signature-invalid", |p| p.driver.bad_signature = true),
        driver("rim-edited", "An edited manifest", "a measurement inactive", "gpu-rim-digest-mismatch", |p| p.manifest = Some(("active=\"True\"", "active=\"False\""))),
        driver("rim-reindexed", "A golden value moved to another index", "index 63 as 64", "gpu-rim-digest-mismatch", |p| p.manifest = Some(("index=\"63\"", "index=\"64\""))),
        driver("rim-white-space", "White space that canonical XML keeps", "one space more", "gpu-rim-digest-mismatch", |p| p.manifest = Some(("\n </ns0:Payload>", "\n  </ns0:Payload>"))),
        driver("rim-document-type", "A document type with an entity", "declared", "gpu-rim-malformed", |p| p.manifest = Some(("<SoftwareIdentity", "<!DOCTYPE x [<!ENTITY e \"x\">]><SoftwareIdentity"))),
        driver("rim-comment", "A comment, which canonical XML leaves out", "added", "gpu-rim-malformed", |p| p.manifest = Some(("<ns0:Entity", "<!-- --><ns0:Entity"))),
        driver("rim-character-reference", "A character reference", "&#65;", "gpu-rim-malformed", |p| p.manifest = Some(("name=\"SIMULATED\"", "name=\"&#65;\""))),
        driver("rim-of-a-part", "A signature over a part of the document", "URI #x", "gpu-rim-malformed", |p| p.manifest = Some(("Reference URI=\"\"", "Reference URI=\"#x\""))),
        driver("rim-other-algorithm", "A weaker signature algorithm", "ECDSA with SHA-256", "gpu-rim-malformed", |p| p.manifest = Some(("xmldsig-more#ecdsa-sha384", "xmldsig-more#ecdsa-sha256"))),
        refused("rims-conflict", "An index that both manifests claim", "index 0 in both", MANIFEST, ("measurements", "gpu-rim-conflict"), |p| { let twice = RimPlan::bios().golden.into_iter().take(1); p.driver.golden.splice(0..0, twice); }),
    ]
}

#[rustfmt::skip]
fn signatures() -> Vec<Row> {
    let row = |name, title, change, code, edit| refused(name, title, change, TOKEN, ("token-signature", code), edit);
    vec![
        row("token-alg-none", "A token that nobody signed", "alg none", "gpu-token-unsigned", |p| p.token.alg = "none".to_owned()),
        row("token-alg-hmac", "A token signed with a shared key", "alg HS256", "gpu-token-algorithm", |p| p.token.alg = "HS256".to_owned()),
        row("token-alg-lower-case", "An algorithm in another spelling", "alg es384", "gpu-token-algorithm", |p| p.token.alg = "es384".to_owned()),
        row("token-kid-unknown", "A key that the key set does not have", "another kid", "gpu-token-key-unknown", |p| p.token.kid = "another".to_owned()),
        row("token-without-keys", "No key set", "not supplied", "gpu-token-key-unknown", |p| p.supplied = Supplied::NoKeys),
        row("token-keys-not-trusted", "A key set that the policy does not name", "another seed's", "gpu-jwks-not-trusted", |p| p.supplied = Supplied::OtherKeys),
        row("token-of-another-key", "A token that another key signed", "another key under our kid", "gpu-token-signature-invalid", |p| p.token.signer = "another"),
        refused("token-no-token", "No token", "replaced", TOKEN, ("token-parse", "gpu-token-malformed"), |p| p.token_bytes = Some(b"[[\"JWT\",\"a.b.c\"],{}]".to_vec())),
    ]
}

#[rustfmt::skip]
fn tokens() -> Vec<Row> {
    let row = |name, title, change, code, edit| refused(name, title, change, TOKEN, ("token-claims", code), edit);
    vec![
        row("token-expired", "A token that has expired", "exp now", "gpu-token-expired", |p| p.overall("exp", json!(NOW.unix_seconds()))),
        row("token-of-a-device-expired", "A device's token that has expired", "exp now", "gpu-token-expired", |p| p.claim("GPU-1", "exp", json!(NOW.unix_seconds()))),
        row("token-early", "A token from the future", "nbf a second from now", "gpu-token-not-yet-valid", |p| p.overall("nbf", json!(NOW.unix_seconds() + 1))),
        row("token-issuer", "A token of another issuer", "NVAT-LOCAL-VERIFIER", "gpu-token-issuer", |p| p.overall("iss", json!("NVAT-LOCAL-VERIFIER"))),
        row("token-nonce", "A token of another exchange", "another nonce", "gpu-token-nonce-mismatch", |p| p.overall("eat_nonce", json!("11".repeat(32)))),
        row("token-result", "A token that says the attestation failed", "overall result false", "gpu-token-result", |p| p.overall("x-nvidia-overall-att-result", json!(false))),
        row("token-submodule-digest", "A device's token that the overall token does not name", "digests all zero", "gpu-token-submodule-mismatch", |p| p.token.digests = Some("00".repeat(32))),
        row("token-claim-of-another-type", "A time that is no number", "exp `never`", "gpu-token-claim", |p| p.overall("exp", json!("never"))),
    ]
}

#[rustfmt::skip]
fn devices() -> Vec<Row> {
    let row = |name, title, change, code, edit| refused(name, title, change, TOKEN, ("token-device", code), edit);
    let revocation = |name, title, change, edit| refused(name, title, change, TOKEN, ("revocation", "gpu-certificate-revoked"), edit);
    vec![
        row("developer-mode", "A device in developer mode", "dbgstat enabled", "gpu-debug-status", |p| p.claim("GPU-0", "dbgstat", json!("enabled"))),
        row("secure-boot-off", "A device that did not boot securely", "secboot false", "gpu-secure-boot", |p| p.claim("GPU-0", "secboot", json!(false))),
        row("token-says-fail", "A device whose measurements NVIDIA's service refuses", "measres fail", "gpu-token-result", |p| p.claim("GPU-0", "measres", json!("fail"))),
        row("token-of-another-device", "A token about another device", "another ueid", "gpu-token-device-absent", |p| p.claim("GPU-0", "ueid", json!("1"))),
        row("token-of-another-driver", "A token that names another driver", "another version", "gpu-token-device-mismatch", |p| p.claim("GPU-0", "x-nvidia-gpu-driver-version", json!("1"))),
        revocation("certificate-on-hold", "A certificate on hold", "OCSP says certificateHold", |p| p.claim("GPU-1", "x-nvidia-gpu-attestation-report-cert-chain", on_hold())),
        revocation("certificate-revoked", "A revoked certificate", "status revoked", |p| p.claim("GPU-1", "x-nvidia-gpu-attestation-report-cert-chain", revoked())),
    ]
}
