//! `proofroom collateral` against a double of AMD's Key Distribution Service, with a simulated vendor; and what was
//! fetched, to `proofroom appraise`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
};

use proofroom_canonical::Timestamp;
use proofroom_evidence::snp::{SigningKey, SnpProduct};
use proofroom_testkit::{
    snp::{SNP_SEED, SimulatedAmd, SnpEvidence, SnpPlan},
    tee::simulated_measurement,
};
use proofroom_verifier::PRODUCTION_SNP;
use serde_json::Value;
use x509_cert::{
    Certificate,
    der::{Decode as _, EncodePem as _, pem::LineEnding},
};

const DAY: i64 = 24 * 3600;
const CHIP: &str = "blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219";

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(jiff::Timestamp::now().as_second())
}

/// Evidence whose revocation list lasts as many days.
fn lasting(amd: &SimulatedAmd, days: i64) -> SnpEvidence {
    let mut plan: SnpPlan = amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, now());
    let until = Timestamp::from_unix_seconds(now().unix_seconds() + days * DAY);
    plan.crl.this_update = Timestamp::from_unix_seconds(now().unix_seconds() - 30 * DAY);
    plan.crl.next_update = Some(until);
    amd.make(&plan)
}

fn pem(der: &[u8]) -> String {
    let certificate = Certificate::from_der(der).unwrap();
    certificate.to_pem(LineEnding::LF).unwrap()
}

/// What the service says, by path.
fn answers(made: &SnpEvidence) -> BTreeMap<String, Vec<u8>> {
    let chip = "5a".repeat(64);
    let chain = pem(&made.intermediate) + &pem(&made.root);
    BTreeMap::from([
        (format!("/vcek/v1/Milan/{chip}?{CHIP}"), made.leaf.clone()),
        ("/vcek/v1/Milan/cert_chain".to_owned(), chain.into_bytes()),
        ("/vcek/v1/Milan/crl".to_owned(), made.crl.clone()),
    ])
}

/// Serves until the test ends; answers 404 to everything else.
fn serving(answers: BTreeMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            for line in lines {
                if line.unwrap().is_empty() {
                    break;
                }
            }
            let found = answers.get(request.split(' ').nth(1).unwrap());
            let status = found.map_or("404 Not Found", |_| "200 OK");
            let body = found.cloned().unwrap_or_default();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    url
}

fn run(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_proofroom"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = [done.stdout, done.stderr].concat();
    (
        done.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

fn fetch(dir: &Path, url: &str) -> (i32, String) {
    let asked = ["collateral", "fetch", "kept", "--report", "report"];
    run(dir, &[&asked[..], &["--amd-url", url]].concat())
}

fn policy(amd: &SimulatedAmd) -> String {
    let example = PRODUCTION_SNP
        .lines()
        .find(|line| line.starts_with("measurement"));
    let measurement = simulated_measurement("snp");
    let root = amd.root_digest(SnpProduct::Milan);
    let text = PRODUCTION_SNP
        .replace("production-snp", "simulated-snp")
        .replace("\"production-upstream\"", "\"simulated\"")
        .replace("\"amd-ark-milan\"", &format!("\"{root}\""))
        .replace(
            example.unwrap(),
            &format!("measurement = [\"{measurement}\"]"),
        );
    text.split("\n[[match]]").next().unwrap().to_owned()
}

#[test]
fn what_amd_says_is_kept_and_a_report_is_accepted_with_it() {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let made = lasting(&amd, 30);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("report"), &made.report).unwrap();
    fs::write(dir.path().join("policy.toml"), policy(&amd)).unwrap();
    let url = serving(answers(&made));
    let (code, out) = fetch(dir.path(), &url);
    assert_eq!(code, 0, "{out}");
    let leaf = format!("kept/amd-vcek-milan-{}-04-00-24-219.der", "5a".repeat(64));
    let data = "77".repeat(64);
    let appraised = [
        "appraise",
        "report",
        "--policy",
        "policy.toml",
        "--report-data",
        &data,
        "--certificates",
        &leaf,
        "--certificates",
        "kept/amd-vcek-milan.pem",
        "--crl",
        "kept/amd-vcek-milan.crl",
    ];
    let (code, out) = run(dir.path(), &appraised);
    assert_eq!(code, 0, "{out}");
    let (code, out) = run(dir.path(), &["collateral", "check", "kept", "--json"]);
    assert_eq!(code, 0, "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    let row = said.get("platforms").and_then(|rows| rows.get(0)).unwrap();
    assert_eq!(row.get("amd").unwrap(), "vcek-milan");
    assert_eq!(row.get("state").unwrap(), "fresh");
}

#[test]
fn an_expired_list_is_fetched_again_and_stays_where_nobody_answers() {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let old = lasting(&amd, -1);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("report"), &old.report).unwrap();
    let (code, out) = fetch(dir.path(), &serving(answers(&old)));
    assert_eq!(code, 0, "{out}");
    let check = ["collateral", "check", "kept"];
    let (code, out) = run(dir.path(), &check);
    assert_eq!(code, 10, "{out}");
    let refresh = |url: &str| {
        let asked = ["collateral", "refresh", "kept", "--amd-url", url];
        run(dir.path(), &asked)
    };
    let list = dir.path().join("kept/amd-vcek-milan.crl");
    let before = fs::read(&list).unwrap();
    let (code, out) = refresh(&serving(BTreeMap::new()));
    assert_eq!(code, 69, "{out}");
    assert!(out.contains("collateral-service-status"), "{out}");
    assert_eq!(fs::read(&list).unwrap(), before);
    let (code, out) = refresh(&serving(answers(&lasting(&amd, 30))));
    assert_eq!(code, 0, "{out}");
    assert_ne!(fs::read(&list).unwrap(), before);
}

#[test]
fn an_answer_that_is_none_is_not_kept() {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let made = lasting(&amd, 30);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("report"), &made.report).unwrap();
    let mut other = amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, now());
    other.vek.hardware_id = Some(vec![1; 64]);
    let other = amd.make(&other).leaf;
    for (path, answer) in [
        (format!("{}?{CHIP}", "5a".repeat(64)), other),
        (format!("{}?{CHIP}", "5a".repeat(64)), vec![0x30, 1, 0]),
        ("cert_chain".to_owned(), pem(&made.root).into_bytes()),
        ("crl".to_owned(), made.root.clone()),
    ] {
        let mut told = answers(&made);
        told.insert(format!("/vcek/v1/Milan/{path}"), answer);
        let (code, out) = fetch(dir.path(), &serving(told));
        assert_eq!(code, 69, "{path}: {out}");
        assert!(out.contains("collateral-service-answer"), "{path}: {out}");
        assert!(!dir.path().join("kept").exists(), "{path}");
    }
    fs::write(dir.path().join("report"), [0; 10]).unwrap();
    let (code, out) = fetch(dir.path(), "http://127.0.0.1:1");
    assert_eq!(code, 64, "{out}");
}
