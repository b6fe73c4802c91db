//! Cases of `snp`: reports of every version and product that are accepted, and for every way to break
//! one the check and code that must refuse it.

use proofroom_canonical::Timestamp;
use proofroom_evidence::snp::{SigningKey, SnpProduct, SnpReport};
use proofroom_testkit::{
    snp::{
        ASK_SERIAL, ASVK_SERIAL, CSP_ID, SNP_SEED, SimulatedAmd, SnpEvidence, SnpPlan, VLEK_SERIAL,
    },
    tee::simulated_measurement,
};
use proofroom_verifier::PRODUCTION_SNP;

use super::Case;
use crate::{
    Answer, ReportData, Verdict,
    vector::{RawRequest, RawSnp},
};

const STAGE: &str = "snp";
/// 2026-12-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_796_083_200);
const MADE: &str = "made: the simulated AMD vendor of the seed `proofroom simulated SNP, seed 01`";
const REPORT_DATA: ReportData = ReportData([0x77; 64]);

/// Check and code; none where the case is accepted.
type Failure = Option<(&'static str, &'static str)>;

struct Row {
    name: String,
    title: &'static str,
    change: &'static str,
    policy: &'static str,
    failure: Failure,
    evidence: SnpEvidence,
}

/// Files that the cases share, by name.
pub(super) fn shared() -> Vec<(String, Vec<u8>)> {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let policy = policy(&amd);
    let chip = format!("chip_ids = [\"{}\"]", "5b".repeat(64));
    let host_data = format!("host_data = [\"{}\"]", "11".repeat(32));
    let milan = "[tcb.milan]\nboot_loader = 4\ntee = 0\nsnp = 24\nmicrocode = 219\n";
    let keys = format!("keys = [\"vcek\", \"vlek\"]\ncsp_ids = [\"{CSP_ID}\"]");
    let vlek = keys.replace("\"vcek\", ", "");
    [
        ("simulated", policy.clone()),
        ("production", PRODUCTION_SNP.to_owned()),
        ("other-chip", policy.replace("chip_ids = \"any\"", &chip)),
        ("vlek-alone", policy.replace(&keys, &vlek)),
        (
            "single-socket",
            policy.replace("require = []", "require = [\"SINGLE_SOCKET\"]"),
        ),
        ("no-smt", policy.replace("allow = [\"SMT\"]", "allow = []")),
        (
            "newer-abi",
            policy.replace("min_abi = [0, 0]", "min_abi = [1, 51]"),
        ),
        (
            "host-data",
            policy.replace("host_data = \"not-compared\"", &host_data),
        ),
        ("no-milan", policy.replace(milan, "")),
    ]
    .into_iter()
    .map(|(name, text)| (format!("policies/{name}.toml"), text.into_bytes()))
    .collect()
}

/// The shipped policy, made to trust the simulated vendor.
fn policy(amd: &SimulatedAmd) -> String {
    let roots: Vec<String> = SnpProduct::ALL
        .iter()
        .map(|product| format!("\"{}\"", amd.root_digest(*product)))
        .collect();
    let measured = |line: &&str| line.starts_with("measurement");
    let example = PRODUCTION_SNP.lines().find(measured).unwrap_or_default();
    let measurement = simulated_measurement("snp");
    let text = PRODUCTION_SNP
        .replace("name = \"production-snp\"", "name = \"simulated-snp\"")
        .replace("\"production-upstream\"", "\"simulated\"")
        .replace(
            "roots = [\"amd-ark-milan\", \"amd-ark-genoa\", \"amd-ark-turin\"]",
            &format!("roots = [{}]", roots.join(", ")),
        )
        .replace("keys = [\"vcek\"]", "keys = [\"vcek\", \"vlek\"]")
        .replace("csp_ids = []", &format!("csp_ids = [\"{CSP_ID}\"]"))
        .replace(example, &format!("measurement = [\"{measurement}\"]"))
        .replace(
            "require = [\"ALIAS_CHECK_COMPLETE\"]",
            "require = [\"ECC_EN\"]",
        );
    text.split("\n[[match]]")
        .next()
        .unwrap_or_default()
        .to_owned()
}

pub(super) fn cases() -> Vec<Case> {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let rows = [
        accepted(&amd),
        chains(&amd),
        revocation(&amd),
        endorsed(&amd),
        claims(&amd),
        policies(&amd),
        bytes(&amd),
    ];
    let mut cases: Vec<Case> = rows.into_iter().flatten().map(case).collect();
    cases.push(without_list(&amd));
    cases
}

fn case(row: Row) -> Case {
    let report = SnpReport::parse(&row.evidence.report).ok();
    let evidence = row.evidence;
    Case {
        stage: STAGE,
        name: row.name,
        title: row.title.to_owned(),
        clauses: vec!["snp.md section 3".to_owned()],
        provenance: match row.change {
            "" => MADE.to_owned(),
            change => format!("{MADE}; {change}"),
        },
        request: RawRequest::Snp(RawSnp {
            at: NOW,
            report_data: REPORT_DATA,
            policy: format!("../policies/{}.toml", row.policy),
            report: "report.bin".to_owned(),
            leaf: "leaf.der".to_owned(),
            intermediate: "intermediate.der".to_owned(),
            root: "root.der".to_owned(),
            crl: Some("crl.der".to_owned()),
        }),
        files: vec![
            ("report.bin", evidence.report),
            ("leaf.der", evidence.leaf),
            ("intermediate.der", evidence.intermediate),
            ("root.der", evidence.root),
            ("crl.der", evidence.crl),
        ],
        expected: Answer {
            verdict: row.failure.map_or(Verdict::Accept, |_| Verdict::Reject),
            check: row.failure.map(|(check, _)| check.to_owned()),
            code: row.failure.map(|(_, code)| code.to_owned()),
            identity: report.map(|report| report.identity().to_string()),
            tcb: None,
        },
    }
}

fn milan(amd: &SimulatedAmd) -> SnpPlan {
    amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, NOW)
}

fn row(
    name: &str,
    title: &'static str,
    change: &'static str,
    failure: Failure,
    evidence: SnpEvidence,
) -> Row {
    Row {
        name: name.to_owned(),
        title,
        change,
        policy: "simulated",
        failure,
        evidence,
    }
}

fn accepted(amd: &SimulatedAmd) -> Vec<Row> {
    let mut rows = Vec::new();
    for product in SnpProduct::ALL {
        for version in 2..=5 {
            for key in [SigningKey::Vcek, SigningKey::Vlek] {
                let evidence = amd.make(&amd.plan(product, version, key, NOW));
                let name = format!("accepted-{product}-{version}-{key}", key = key.as_str());
                let title = "A report that is in order";
                rows.push(row(&name.to_lowercase(), title, "", None, evidence));
            }
        }
    }
    let mut hidden = amd.plan(SnpProduct::Milan, 3, SigningKey::Vlek, NOW);
    hidden.report.chip_id = [0; 64];
    let title = "A provider with a key of its own may hide which chip it is";
    rows.push(row(
        "accepted-hidden-chip",
        title,
        "CHIP_ID zero",
        None,
        amd.make(&hidden),
    ));
    let mut others = milan(amd);
    others.crl.revoked = vec![vec![99], vec![0]];
    let title = "A revocation list that names others, and the serial number that every VCEK has";
    rows.push(row(
        "accepted-others-revoked",
        title,
        "99 and 0 revoked",
        None,
        amd.make(&others),
    ));
    rows
}

fn changed(amd: &SimulatedAmd, change: impl FnOnce(&mut SnpPlan)) -> SnpEvidence {
    let mut plan = milan(amd);
    change(&mut plan);
    amd.make(&plan)
}

fn mixed(amd: &SimulatedAmd, change: impl FnOnce(&mut SnpEvidence)) -> SnpEvidence {
    let mut evidence = amd.make(&milan(amd));
    change(&mut evidence);
    evidence
}

fn days(count: i64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW.unix_seconds() + count * 86_400)
}

#[rustfmt::skip]
fn chains(amd: &SimulatedAmd) -> Vec<Row> {
    let planned = |name, title, change, check, code, edit: fn(&mut SnpPlan)| row(name, title, change, Some((check, code)), changed(amd, edit));
    let vlek = amd.make(&amd.plan(SnpProduct::Milan, 3, SigningKey::Vlek, NOW));
    let genoa = amd.make(&amd.plan(SnpProduct::Genoa, 3, SigningKey::Vcek, NOW));
    let broken = Some(("chain-signatures", "chain-broken"));
    vec![
        planned("intermediate-no-ca", "A signing key whose certificate is no CA's", "no CA", "chain-signatures", "chain-broken", |p| p.intermediate_ca = false),
        planned("leaf-a-ca", "A chip key whose certificate is a CA's", "CA", "chain-signatures", "chain-broken", |p| p.vek.ca = true),
        planned("leaf-unknown-critical", "A critical extension that nobody knows", "extension added", "chain-signatures", "chain-broken", |p| p.vek.unknown_critical = true),
        planned("leaf-no-hwid", "A chip key that names no chip", "hwID left out", "chain-parse", "vek-extension-malformed", |p| p.vek.hardware_id = None),
        planned("leaf-of-another-generation", "A product that is none", "Rome-B0", "chain-parse", "vek-extension-malformed", |p| p.vek.product_name = "Rome-B0".to_owned()),
        planned("leaf-early", "A certificate from the future", "from tomorrow", "chain-time", "certificate-not-yet-valid", |p| p.vek.not_before = days(1)),
        planned("leaf-late", "A certificate that has ended", "until yesterday", "chain-time", "certificate-expired", |p| p.vek.not_after = days(-1)),
        row("intermediate-of-vlek", "A signing key of the other kind", "ASVK in the place of ASK", broken, mixed(amd, |e| e.intermediate.clone_from(&vlek.intermediate))),
        row("intermediate-of-genoa", "A signing key of another product", "Genoa's ASK", broken, mixed(amd, |e| e.intermediate.clone_from(&genoa.intermediate))),
        row("root-of-genoa", "The root of another product, which the policy names too", "Genoa's ARK", broken, mixed(amd, |e| e.root.clone_from(&genoa.root))),
        row("chain-no-certificate", "A certificate that is none", "leaf replaced by three bytes", Some(("chain-parse", "chain-malformed")), mixed(amd, |e| e.leaf = vec![0x30, 1, 0])),
    ]
}

#[rustfmt::skip]
fn revocation(amd: &SimulatedAmd) -> Vec<Row> {
    let planned = |name, title, change, code, edit: fn(&mut SnpPlan)| row(name, title, change, Some(("revocation", code)), changed(amd, edit));
    let vlek = |serial: &[u8]| {
        let mut plan = amd.plan(SnpProduct::Genoa, 5, SigningKey::Vlek, NOW);
        plan.crl.revoked = vec![serial.to_vec()];
        amd.make(&plan)
    };
    let genoa = amd.make(&amd.plan(SnpProduct::Genoa, 5, SigningKey::Vcek, NOW));
    let revoked = Some(("revocation", "certificate-revoked"));
    let invalid = Some(("revocation", "crl-invalid"));
    vec![
        planned("revoked-ask", "A revoked signing key", "ASK revoked", "certificate-revoked", |p| p.crl.revoked = vec![ASK_SERIAL.to_vec()]),
        row("revoked-asvk", "A revoked signing key of VLEKs", "ASVK revoked", revoked, vlek(ASVK_SERIAL)),
        row("revoked-vlek", "A revoked VLEK", "VLEK revoked", revoked, vlek(VLEK_SERIAL)),
        planned("crl-of-another-signer", "A revocation list that the root did not sign", "signed by the ASK", "crl-invalid", |p| p.crl.foreign = true),
        planned("crl-early", "A revocation list from the future", "from tomorrow", "crl-expired", |p| p.crl.this_update = days(1)),
        planned("crl-late", "A revocation list that has expired", "until yesterday", "crl-expired", |p| p.crl.next_update = Some(days(-1))),
        planned("crl-without-end", "A revocation list that never ends", "no nextUpdate", "crl-expired", |p| p.crl.next_update = None),
        row("crl-of-genoa", "The revocation list of another product's root", "Genoa's", invalid, mixed(amd, |e| e.crl.clone_from(&genoa.crl))),
        row("crl-no-list", "A revocation list that is none", "replaced by five bytes", invalid, mixed(amd, |e| e.crl = vec![0x30, 3, 2, 1, 1])),
    ]
}

#[rustfmt::skip]
fn endorsed(amd: &SimulatedAmd) -> Vec<Row> {
    let planned = |name, title, change, check, code, edit: fn(&mut SnpPlan)| row(name, title, change, Some((check, code)), changed(amd, edit));
    let with = |mut plan: SnpPlan, edit: fn(&mut SnpPlan)| { edit(&mut plan); amd.make(&plan) };
    let vlek = amd.plan(SnpProduct::Milan, 3, SigningKey::Vlek, NOW);
    let old = amd.plan(SnpProduct::Milan, 2, SigningKey::Vcek, NOW);
    vec![
        planned("signing-key-of-another-kind", "A report that says another kind of key signed it", "SIGNING_KEY VLEK", "signing-key", "signing-key-mismatch", |p| p.report.flags = 1 << 2),
        planned("chip-key-masked", "A masked chip key", "MASK_CHIP_KEY", "signing-key", "chip-key-masked", |p| p.report.flags = 1 << 1),
        planned("report-unsigned", "A report that says nobody signed it", "SIGNING_KEY none", "report-signature", "report-unsigned", |p| p.report.flags = 7 << 2),
        planned("product-of-another-processor", "The processor of another product", "Genoa's family and model", "product", "product-mismatch", |p| p.report.cpu = [0x19, 0x11, 1]),
        planned("tcb-not-certified", "A TCB for which the key was not made", "microcode of the certificate higher", "reported-tcb", "reported-tcb-mismatch", |p| raise(&mut p.vek.tcb)),
        planned("chip-of-another-certificate", "The certificate of another chip", "another CHIP_ID", "chip-id", "chip-id-mismatch", |p| p.report.chip_id = [1; 64]),
        planned("chip-masked", "A hidden chip with a key of the chip", "CHIP_ID zero", "chip-id", "chip-id-masked", |p| p.report.chip_id = [0; 64]),
        row("reserved-tcb-part", "A reserved part of a TCB version", "byte 3 of CURRENT_TCB set", Some(("product", "snp-reserved")), with(old, |p| if let Some(part) = p.report.current_tcb.get_mut(3) { *part = 1 })),
        row("provider-of-another-name", "A key that AMD made for another provider", "CSP_ID another-provider", Some(("signing-key", "csp-refused")), with(vlek, |p| p.vek.csp_id = Some("another-provider".to_owned()))),
    ]
}

fn raise(tcb: &mut [u8; 8]) {
    let [.., microcode] = tcb;
    *microcode += 1;
}

fn lower(tcb: &mut [u8; 8], part: usize) {
    if let Some(part) = tcb.get_mut(part) {
        *part -= 1;
    }
}

#[rustfmt::skip]
fn claims(amd: &SimulatedAmd) -> Vec<Row> {
    let planned = |name, title, change, check, code, edit: fn(&mut SnpPlan)| row(name, title, change, Some((check, code)), changed(amd, edit));
    let reference = "reference-values";
    let other = "reference-mismatch";
    vec![
        planned("guest-debug", "A guest that its host may debug", "DEBUG set", "guest-policy", "guest-debug", |p| p.report.policy |= 1 << 19),
        planned("guest-migratable", "A guest with a migration agent", "MIGRATE_MA set", "guest-policy", "guest-migratable", |p| p.report.policy |= 1 << 18),
        planned("guest-with-agent", "A guest that names a migration agent", "REPORT_ID_MA", "guest-policy", "guest-migratable", |p| p.report.report_id_ma = [3; 32]),
        planned("guest-bit-not-allowed", "A freedom of the guest's policy that ours does not list", "bit 21", "guest-policy", "policy-bit-not-allowed", |p| p.report.policy |= 1 << 21),
        planned("platform-without-ecc", "A platform without what the policy demands", "ECC_EN off", "platform", "platform-bit-missing", |p| p.report.platform = 1),
        planned("vmpl-1", "A report that a lower privilege level asked for", "VMPL 1", "vmpl", "vmpl-refused", |p| p.report.vmpl = 1),
        planned("other-measurement", "Other software", "a bit of MEASUREMENT", reference, other, |p| if let Some(byte) = p.report.measurement.get_mut(0) { *byte ^= 1 }),
        planned("id-key", "An identity key where there must be none", "ID_KEY_DIGEST", reference, other, |p| p.report.id_key_digest = [1; 48]),
        planned("author-key", "An author key where there must be none", "AUTHOR_KEY_DIGEST", reference, other, |p| p.report.author_key_digest = [1; 48]),
        planned("author-key-enabled", "A report that says it has an author key", "AUTHOR_KEY_EN", reference, other, |p| p.report.flags = 1),
        planned("report-data-of-something-else", "A report that binds something else", "last bit of REPORT_DATA", "report-data-binding", "report-data-mismatch", |p| if let Some(byte) = p.report.report_data.last_mut() { *byte ^= 1 }),
        planned("launch-tcb-low", "A guest that was launched on an older platform", "SNP part of LAUNCH_TCB", "tcb-minimum", "tcb-below-minimum", |p| lower(&mut p.report.launch_tcb, 6)),
        planned("current-tcb-low", "A platform older than what it is committed to", "SNP part of CURRENT_TCB", "tcb-minimum", "tcb-inconsistent", |p| lower(&mut p.report.current_tcb, 6)),
        planned("committed-tcb-low", "A platform that can go back behind what it reports", "microcode of COMMITTED_TCB", "tcb-minimum", "tcb-inconsistent", |p| lower(&mut p.report.committed_tcb, 7)),
        planned("reported-tcb-low", "An outdated platform", "microcode of report and certificate", "tcb-minimum", "tcb-below-minimum", |p| { lower(&mut p.report.reported_tcb, 7); lower(&mut p.vek.tcb, 7); }),
    ]
}

#[rustfmt::skip]
fn policies(amd: &SimulatedAmd) -> Vec<Row> {
    let under = |policy, title, check, code| Row { policy, ..row(policy, title, "another policy", Some((check, code)), amd.make(&milan(amd))) };
    vec![
        under("production", "The policy for genuine hardware trusts no simulated root", "chain-root", "root-not-trusted"),
        under("other-chip", "A chip that the policy does not list", "chip-id", "chip-refused"),
        under("vlek-alone", "A kind of key that the policy does not accept", "signing-key", "signing-key-refused"),
        under("single-socket", "A guest without what the policy demands of it", "guest-policy", "policy-bit-missing"),
        under("no-smt", "A guest with a freedom that a strict policy does not list", "guest-policy", "policy-bit-not-allowed"),
        under("newer-abi", "A guest that would run on older firmware", "guest-policy", "abi-too-old"),
        under("host-data", "Host data that the policy pins", "reference-values", "reference-mismatch"),
        under("no-milan", "A product without a minimum", "tcb-minimum", "product-refused"),
    ]
}

/// Where things are in a report (AMD 56860).
const SIGNED: usize = 0x2a0;
const SIGNATURE_R: usize = 0x2a0;
const R_FILLING: usize = 0x2a0 + 48;
const MEASUREMENT: usize = 0x90;

#[rustfmt::skip]
fn bytes(amd: &SimulatedAmd) -> Vec<Row> {
    let edited = |name, title, change, check, code, edit: fn(&mut Vec<u8>)| row(name, title, change, Some((check, code)), mixed(amd, |e| edit(&mut e.report)));
    let signature = "report-signature-invalid";
    vec![
        edited("report-flipped", "A report that was changed after it was signed", "a bit of MEASUREMENT", "report-signature", signature, |r| flip(r, MEASUREMENT)),
        edited("signature-flipped", "Another signature", "a bit of r", "report-signature", signature, |r| flip(r, SIGNATURE_R)),
        edited("signature-filling", "Something in the filling of the signature", "behind r", "report-parse", "snp-signature-encoding", |r| flip(r, R_FILLING)),
        edited("report-cut", "A report without its signature", "672 bytes", "report-parse", "snp-truncated", |r| r.truncate(SIGNED)),
        edited("report-empty", "No report", "removed", "report-parse", "snp-truncated", Vec::clear),
        edited("report-trailing", "A byte behind the report", "one added", "report-parse", "snp-trailing-bytes", |r| r.push(0)),
        edited("report-version-1", "A version that is not read", "version 1", "report-parse", "snp-version", |r| set(r, 0, 1)),
        edited("report-version-6", "A version that nobody knows yet", "version 6", "report-parse", "snp-version", |r| set(r, 0, 6)),
        edited("report-algorithm", "Another signature algorithm", "SIGNATURE_ALGO 2", "report-parse", "snp-algorithm", |r| set(r, 0x34, 2)),
        edited("report-vmpl", "A privilege level that does not exist", "VMPL 4", "report-parse", "snp-vmpl", |r| set(r, 0x30, 4)),
        edited("report-reserved", "A reserved byte", "0x4c set", "report-parse", "snp-reserved", |r| set(r, 0x4c, 1)),
        edited("report-processor", "A processor that nobody knows", "family 0x1b", "report-parse", "snp-processor", |r| set(r, 0x188, 0x1b)),
    ]
}

fn flip(bytes: &mut [u8], at: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

fn without_list(amd: &SimulatedAmd) -> Case {
    let title = "Without a revocation list nothing is accepted";
    let mut case = case(row(
        "no-revocation-list",
        title,
        "not supplied",
        None,
        amd.make(&milan(amd)),
    ));
    if let RawRequest::Snp(snp) = &mut case.request {
        snp.crl = None;
    }
    case.files.retain(|(name, _)| *name != "crl.der");
    case.expected.verdict = Verdict::Incomplete;
    case
}
