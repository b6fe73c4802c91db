//! `proofroom collateral` against a double of a caching certification service, with simulated endorsements.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use proofroom::collateral::read;
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::Collateral;
use proofroom_testkit::tee::SimulatedTee;
use serde_json::Value;

const FMSPC: &str = "514d00000000";
const DAY: i64 = 24 * 3600;

/// Endorsements that last as many days from now.
fn lasting(days: i64) -> Collateral {
    let now = Timestamp::from_unix_seconds(jiff::Timestamp::now().as_second());
    let later = |days: i64| Timestamp::from_unix_seconds(now.unix_seconds() + days * DAY);
    let tee = SimulatedTee::demo();
    let mut plan = tee.plan(Nonce::from_random([1; 32]), Digest::of("k"), "any", now);
    plan.collateral_from = later(-30);
    (plan.collateral_until, plan.revocation_until) = (later(days), later(days));
    tee.collateral(&plan)
}

/// Answers as a PCCS does (API version 4) until it is told to fail.
struct Double {
    url: String,
    fails: Arc<AtomicBool>,
}

impl Double {
    fn serving(collateral: Collateral) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fails = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&fails);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &collateral, told.load(Ordering::SeqCst));
            }
        });
        Self { url, fails }
    }
}

fn serve(mut stream: TcpStream, collateral: &Collateral, fails: bool) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    for line in lines {
        if line.unwrap().is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap();
    let found = answer(path, collateral).filter(|_| !fails);
    let Some((header, chain, body)) = found else {
        let refusal = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(refusal.as_bytes()).unwrap();
        return;
    };
    let chain = chain
        .replace('%', "%25")
        .replace('\n', "%0A")
        .replace(' ', "%20");
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\n{header}: {chain}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
}

/// The header that holds the issuers, they themselves, and the body.
fn answer<'a>(path: &str, of: &'a Collateral) -> Option<(&'static str, &'a str, Vec<u8>)> {
    let signed = |member: &str, text: &str, signature: &[u8]| {
        let signature = hex::encode(signature);
        format!(r#"{{"{member}":{text},"signature":"{signature}"}}"#).into_bytes()
    };
    Some(match path {
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der" => (
            "SGX-PCK-CRL-Issuer-Chain",
            &of.pck_crl_issuer_chain,
            of.pck_crl.clone(),
        ),
        "/sgx/certification/v4/rootcacrl" => (
            "Unused",
            &of.pck_crl_issuer_chain,
            hex::encode(&of.root_ca_crl).into_bytes(),
        ),
        "/tdx/certification/v4/tcb?fmspc=514d00000000" => (
            "TCB-Info-Issuer-Chain",
            &of.tcb_info_issuer_chain,
            signed("tcbInfo", &of.tcb_info, &of.tcb_info_signature),
        ),
        "/tdx/certification/v4/qe/identity" => (
            "SGX-Enclave-Identity-Issuer-Chain",
            &of.qe_identity_issuer_chain,
            signed(
                "enclaveIdentity",
                &of.qe_identity,
                &of.qe_identity_signature,
            ),
        ),
        _ => return None,
    })
}

fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_proofroom"))
        .arg("collateral")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        done.status.code().unwrap(),
        text(&done.stdout),
        text(&done.stderr),
    )
}

fn fetch(dir: &Path, url: &str, fmspc: &str) -> (i32, String, String) {
    run(dir, &["fetch", "kept", "--fmspc", fmspc, "--url", url])
}

#[test]
fn what_a_service_says_is_kept_whole_and_its_state_told() {
    let dir = tempfile::tempdir().unwrap();
    let collateral = lasting(30);
    let double = Double::serving(collateral.clone());
    let (code, out, err) = fetch(dir.path(), &double.url, FMSPC);
    assert_eq!(code, 0, "{out}{err}");
    let kept = dir.path().join("kept").join(format!("{FMSPC}.json"));
    assert_eq!(read(&kept).unwrap(), collateral);
    let (code, out, _) = run(dir.path(), &["check", "kept", "--json"]);
    assert_eq!(code, 0, "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["platforms"][0]["fmspc"], FMSPC);
    assert_eq!(said["platforms"][0]["state"], "fresh");
    let (code, out, _) = run(dir.path(), &["check", "kept", "--due-days", "31"]);
    assert_eq!(code, 10, "{out}");
    assert!(out.contains("due"), "{out}");
}

#[test]
fn what_is_expired_is_fetched_again_and_what_cannot_be_stays() {
    let dir = tempfile::tempdir().unwrap();
    let old = Double::serving(lasting(-1));
    assert_eq!(fetch(dir.path(), &old.url, FMSPC).0, 0);
    assert_eq!(run(dir.path(), &["check", "kept"]).0, 10);
    let kept = dir.path().join("kept").join(format!("{FMSPC}.json"));
    let before = fs::read(&kept).unwrap();

    old.fails.store(true, Ordering::SeqCst);
    let (code, _, err) = run(dir.path(), &["refresh", "kept", "--url", &old.url]);
    assert_eq!(code, 69, "{err}");
    assert!(err.contains("collateral-service-status"), "{err}");
    assert_eq!(fs::read(&kept).unwrap(), before);

    let new = Double::serving(lasting(30));
    let (code, out, err) = run(dir.path(), &["refresh", "kept", "--url", &new.url]);
    assert_eq!(code, 0, "{out}{err}");
    assert_ne!(fs::read(&kept).unwrap(), before);
}

#[test]
fn a_platform_that_nobody_knows_and_a_file_that_is_none_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let double = Double::serving(lasting(30));
    let (code, _, err) = fetch(dir.path(), &double.url, "000000000001");
    assert_eq!(code, 69, "{err}");
    assert!(!dir.path().join("kept").exists());
    let (code, _, err) = fetch(dir.path(), "http://pccs.example", FMSPC);
    assert_eq!(code, 64, "{err}");

    fs::create_dir(dir.path().join("kept")).unwrap();
    fs::write(dir.path().join("kept/000000000001.json"), "{").unwrap();
    let (code, out, _) = run(dir.path(), &["check", "kept"]);
    assert_eq!(code, 10, "{out}");
    assert!(out.contains("unreadable"), "{out}");
    let (code, _, err) = run(dir.path(), &["check", "nowhere"]);
    assert_eq!(code, 64, "{err}");
}
