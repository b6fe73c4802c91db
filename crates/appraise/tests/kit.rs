//! Genuine evidence, row by row: what was expected of it at a time, and what a report without a policy
//! says. The table in `docs/evidence-kit.md` is what this test writes; it fails where the two differ.
//! `PROOFROOM_WRITE_KIT_TABLE=1` writes it anew. Without the evidence it says aloud that it skipped.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

#[path = "../../verifier/tests/support/evidence.rs"]
mod evidence;
#[path = "kit/logs.rs"]
mod logs;
#[path = "kit/nvidia.rs"]
mod nvidia;

use std::{fmt::Write as _, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use evidence::read;
use proofroom_appraise::{Answer, AppraiseError, Beside, Report, appraise};
use proofroom_canonical::Timestamp;
use serde_json::{Value, json};

const TABLE: &str = "docs/evidence-kit.md";
/// When devices are judged whose row names no time: the day after the newest of them was captured.
const DEVICES_AT: &str = "2026-05-23T00:00:00.000Z";
/// Words of the reference implementation, and the code that stands for them here.
const CODES: &[(&str, &str)] = &[
    ("issue date is in the future", "collateral-not-yet-valid"),
    ("TCBInfo expired", "collateral-expired"),
    ("QE Identity expired", "collateral-expired"),
    ("CertNotValidYet", "certificate-not-yet-valid"),
    ("No matching TCB level", "no-tcb-level"),
    ("Debug mode is enabled", "td-debug"),
    ("Fmspc mismatch", "fmspc-mismatch"),
    ("Unsupported QE Identity", "qe-identity-kind"),
];

struct Row {
    files: String,
    at: String,
    expected: String,
    got: String,
    agrees: bool,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// A file as bytes; one of hex digits is what they say.
fn bytes(name: &str) -> Vec<u8> {
    let found = read(name).unwrap();
    let digits: Vec<u8> = found
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    let digits = digits.strip_prefix(b"0x").unwrap_or(&digits);
    hex::decode(digits).unwrap_or(found)
}

fn failures(report: &Report) -> Vec<&str> {
    let checks = report.checks().iter();
    checks
        .filter_map(|row| match &row.answer {
            Answer::Fail { code, .. } => Some(code.as_str()),
            Answer::Pass | Answer::NotEvaluated { .. } => None,
        })
        .collect()
}

fn told(report: &Report) -> String {
    let end = report.end().as_str();
    let status = &report
        .facts()
        .get("tcb")
        .map_or(&Value::Null, |tcb| &tcb["status"]);
    match (failures(report).as_slice(), status.as_str()) {
        ([], Some(status)) => format!("{end}, {status}"),
        ([], None) => end.to_owned(),
        (codes, _) => format!("{end}: {}", codes.join(", ")),
    }
}

/// Rows on Intel quotes. The reference says `ok` with a status word; a report without a policy is then
/// incomplete with that word, and no better.
fn quotes(matrix: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for row in matrix["rows"].as_array().unwrap() {
        let quote = bytes(&text(row, "quote"));
        let collateral = read(&text(row, "collateral")).unwrap();
        let beside = Beside {
            collateral: Some(serde_json::from_slice(&collateral).unwrap()),
            ..Beside::default()
        };
        for check in row["checks"].as_array().unwrap() {
            let at = text(check, "time").replace("+00:00", ".000Z");
            let judged = appraise(&quote, &beside, None, at.parse::<Timestamp>().unwrap());
            let (expected, got, agrees) = compared(check, &judged);
            let files = format!(
                "`{}` with `{}`",
                text(row, "quote"),
                text(row, "collateral")
            );
            rows.push(Row {
                files,
                at,
                expected,
                got,
                agrees,
            });
        }
    }
    rows
}

fn compared(check: &Value, judged: &Result<Report, AppraiseError>) -> (String, String, bool) {
    let (status, message) = (text(check, "tcb_status"), text(check, "message"));
    let ok = check["result"] == "ok";
    let expected = if ok { status.clone() } else { message.clone() };
    match judged {
        // SGX quotes are not read, whatever they are worth
        Err(error) => (
            expected,
            error.code().to_owned(),
            error.to_string().contains("SGX"),
        ),
        Ok(report) if ok => {
            let got = told(report);
            let agrees = got == format!("incomplete, {status}");
            (expected, got, agrees)
        }
        Ok(report) => {
            let code = CODES.iter().find(|(words, _)| message.contains(words));
            let agrees = code.is_some_and(|(_, code)| failures(report).contains(code));
            (
                expected,
                told(report),
                agrees && report.end().as_str() == "refused",
            )
        }
    }
}

/// Rows on NVIDIA devices: chain and signature alone, as the reference looked at no more.
fn devices(matrix: &Value) -> Vec<Row> {
    let rows = matrix["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let (list, place) = device_list(row);
            let at = DEVICES_AT.parse::<Timestamp>().unwrap();
            let report = appraise(&list, &Beside::default(), None, at).unwrap();
            let holds = ["certificate-chain", "report-signature"]
                .iter()
                .all(|name| {
                    let found = report.checks().iter().find(|check| check.check == *name);
                    found.is_some_and(|check| check.answer == Answer::Pass)
                });
            let must = row["must_accept"].as_bool().unwrap();
            let word = |holds: bool| {
                if holds {
                    "chain and signature hold"
                } else {
                    "refused"
                }
            };
            Row {
                files: place,
                at: DEVICES_AT.to_owned(),
                expected: word(must).to_owned(),
                got: format!("{}; {}", word(holds), told(&report)),
                agrees: must == holds,
            }
        })
        .collect()
}

/// The evidence list of one row, with one device.
fn device_list(row: &Value) -> (Vec<u8>, String) {
    let file = text(row, "file");
    let Some(index) = row["index"].as_u64() else {
        let chain = text(row, "chain_file");
        let device = json!([{
            "evidence": STANDARD.encode(bytes(&file)),
            "certificate": STANDARD.encode(read(&chain).unwrap()),
        }]);
        return (
            device.to_string().into_bytes(),
            format!("`{file}` with `{chain}`"),
        );
    };
    let document: Value = serde_json::from_slice(&read(&file).unwrap()).unwrap();
    let payload = document["model_attestations"][0]["nvidia_payload"].as_str();
    let list = payload.map_or(document.clone(), |payload| {
        serde_json::from_str::<Value>(payload).unwrap()["evidence_list"].clone()
    });
    let one = json!([list[usize::try_from(index).unwrap()]]);
    (
        one.to_string().into_bytes(),
        format!("`{file}`, device {index}"),
    )
}

/// Rows of the kit's description that its matrices do not have.
fn others() -> Vec<Row> {
    let snp = |leaf: &str, expected: &str| {
        let beside = Beside {
            certificates: vec![
                read("trustee/roots/milan_ask_ark_asvk.pem").unwrap(),
                read(leaf).unwrap(),
            ],
            ..Beside::default()
        };
        let file = "trustee/snp/test-report.bin";
        judged(
            file,
            &beside,
            "2024-06-01T00:00:00.000Z",
            expected,
            &format!(" with `{leaf}`"),
        )
    };
    let token =
        "nvidia-attestation-sdk/testdata/sample_attestation_data/hopperClaimsv3_detached_eat.json";
    let tpm = "dstack/tpm-attest_tests_tpm_quote_sample.bin";
    vec![
        snp("trustee/snp/test-vcek.der", "incomplete"),
        snp("trustee/snp/test-vcek-invalid-legacy.der", "refused"),
        snp("trustee/snp/test-vcek-invalid-new.der", "refused"),
        snp_of_dstack("2026-07-01T00:00:00.000Z", "incomplete"),
        snp_of_dstack("2026-06-17T01:05:03.000Z", "refused"),
        judged(token, &Beside::default(), DEVICES_AT, "incomplete", ""),
        judged(tpm, &Beside::default(), DEVICES_AT, "incomplete", ""),
        logs::without_lists(),
    ]
}

/// The report inside dstack's wrapper, which is not read itself.
fn snp_of_dstack(at: &str, expected: &str) -> Row {
    let file = "dstack/dstack-attest_tests_sev_snp_attestation.bin";
    let wrapped = read(file).unwrap();
    let beside = Beside {
        certificates: vec![
            read("trustee/roots/milan_ask_ark_asvk.pem").unwrap(),
            read("dstack/dstack-attest_tests_sev_snp_ask.pem").unwrap(),
            read("dstack/dstack-attest_tests_sev_snp_vcek.pem").unwrap(),
        ],
        ..Beside::default()
    };
    let files = format!("`{file}`, the report at byte 4, with its certificates");
    judged_bytes(files, &wrapped[4..4 + 1184], &beside, at, expected)
}

fn judged(file: &str, beside: &Beside, at: &str, expected: &str, with: &str) -> Row {
    let files = format!("`{file}`{with}");
    judged_bytes(files, &read(file).unwrap(), beside, at, expected)
}

fn judged_bytes(files: String, bytes: &[u8], beside: &Beside, at: &str, expected: &str) -> Row {
    let now = at.parse::<Timestamp>().unwrap();
    let report = appraise(bytes, beside, None, now).unwrap();
    Row {
        files,
        at: at.to_owned(),
        expected: expected.to_owned(),
        got: told(&report),
        agrees: report.end().as_str() == expected,
    }
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "# The evidence kit, row by row\n\n\
         Genuine third-party evidence, judged without a policy, so that nothing is ever accepted: at best a\n\
         report is `incomplete`. The files are not part of this repository. The reference is dcap-qvl 0.7.1 for\n\
         Intel quotes, and for NVIDIA devices their certificate chains and signatures alone. SGX quotes and the\n\
         wrappers of other products are not read, nor what their report data and RTMR3 events mean. Written by `crates/appraise/tests/kit.rs` with `PROOFROOM_WRITE_KIT_TABLE=1`, which fails where\n\
         this table is not what it finds.\n\n\
         | File | Judged as of | Expected | Got |\n|---|---|---|---|\n",
    );
    for row in rows {
        let Row {
            files,
            at,
            expected,
            got,
            ..
        } = row;
        writeln!(
            out,
            "| {files} | {at} | {} | {got} |",
            expected.replace('|', "/").replace('\n', " ")
        )
        .unwrap();
    }
    out
}

#[test]
fn every_row_of_the_kit_gets_what_is_expected_of_it() {
    let matrix = |name: &str| Some(serde_json::from_slice(&read(name)?).unwrap());
    let (Some(tdx), Some(gpu)) = (
        matrix("derived/expected-tdx-matrix.json"),
        matrix("derived/expected-gpu-matrix.json"),
    ) else {
        return;
    };
    let rows: Vec<Row> = [
        quotes(&tdx),
        devices(&gpu),
        others(),
        nvidia::rows(),
        logs::rows(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let wrong: Vec<String> = rows
        .iter()
        .filter(|row| !row.agrees)
        .map(|row| {
            format!(
                "{} at {}: expected {}, got {}",
                row.files, row.at, row.expected, row.got
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(TABLE);
    let made = table(&rows);
    if std::env::var_os("PROOFROOM_WRITE_KIT_TABLE").is_some() {
        fs::write(&file, &made).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        made,
        "{TABLE} is not what was found"
    );
}
