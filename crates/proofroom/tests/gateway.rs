//! A standalone gateway shows what it is: in a (simulated) TEE by evidence over the asker's nonce, its record
//! key and its TLS key; elsewhere by saying that it has none. Where this user may not mount FUSE the first
//! says so and proves nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_testkit::{
    issuer::SimulatedIssuer,
    tee::SimulatedTee,
    tsm::{TsmDouble, TsmOptions, TsmProvider},
};
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);

struct Gateway(Child, String);

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Gateway {
    /// A gateway with the built-in policies over TLS, whose reports are made in `reports`.
    fn start(dir: &Path, reports: &str) -> (Self, Value) {
        let init = Command::new(env!("CARGO_BIN_EXE_proofroom"))
            .args(["policy", "init", "policy"])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(init.status.success(), "{init:?}");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(dir.join("tls.pem"), made.cert.pem()).unwrap();
        fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let config = format!(
            "version = 1\nstate = \"state\"\npolicy = \"policy\"\nreports = \"{reports}\"\n[listen]\n\
             address = \"127.0.0.1:0\"\ntls = {{ certificate = \"tls.pem\", key = \"tls.key\", \
             client_certificates = \"asked\" }}\n"
        );
        fs::write(dir.join("gateway.toml"), config).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_proofroom"));
        program.args(["gateway", "serve", "--config", "gateway.toml"]);
        Self::run(program.current_dir(dir))
    }

    fn run(program: &mut Command) -> (Self, Value) {
        let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["listening"].as_str().unwrap().to_owned();
        (Self(child, format!("https://{address}")), said)
    }
}

fn appraise(dir: &Path, url: &str) -> (i32, Value, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_proofroom"))
        .args([
            "appraise",
            "--url",
            url,
            "--collateral",
            ".",
            "--policy",
            "policy.toml",
        ])
        .args(["--json", "--at", &NOW.to_string()])
        .current_dir(dir)
        .output()
        .unwrap();
    let said = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
    let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code().unwrap(), said, complaint)
}

/// Intel's word on the simulated platform, and a policy that accepts it.
fn endorse(dir: &Path) {
    let tee = SimulatedTee::demo();
    let plan = tee.plan(Nonce::from_random([7; 32]), Digest::of("k"), "any", NOW);
    let file = format!("{}.json", hex::encode(plan.tcb_fmspc));
    let collateral = serde_json::to_vec(&tee.collateral(&plan)).unwrap();
    fs::write(dir.join(file), collateral).unwrap();
    fs::write(
        dir.join("policy.toml"),
        proofroom_verifier::SIMULATED_UPSTREAM,
    )
    .unwrap();
}

#[test]
fn a_gateway_in_a_tee_shows_evidence_of_its_keys_and_an_appraisal_accepts_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("guest")).unwrap();
    let options = TsmOptions {
        provider: TsmProvider::Tdx,
        ..TsmOptions::default()
    };
    let at = dir.path().join("guest");
    let Ok(_double) = TsmDouble::mount(&at, SimulatedTee::demo(), options) else {
        eprintln!("SKIPPED: FUSE cannot be mounted here");
        return;
    };
    endorse(dir.path());
    let (gateway, said) = Gateway::start(dir.path(), "guest/report");
    assert_eq!(said["attestation"], "tee");
    let (code, report, complaint) = appraise(dir.path(), &gateway.1);
    assert_eq!(code, 0, "{complaint}{report}");
    let checks = report["report"]["checks"].as_array().unwrap();
    let binding = checks
        .iter()
        .find(|check| check["check"] == "report-data-binding")
        .unwrap();
    assert_eq!(binding["outcome"], "pass");
}

#[test]
fn a_gateway_outside_of_a_tee_says_so_and_nothing_accepts_it() {
    let dir = tempfile::tempdir().unwrap();
    endorse(dir.path());
    let (gateway, said) = Gateway::start(dir.path(), "none-such");
    assert_eq!(said["attestation"], "outside");
    let (code, _, complaint) = appraise(dir.path(), &gateway.1);
    assert_eq!(code, 20, "{complaint}");
    assert!(
        complaint.contains("gateway-without-evidence"),
        "{complaint}"
    );
}

fn locked_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmLck:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// The same program with a limit on locked memory that it may not lift.
fn limited(dir: &Path) -> Command {
    let mut program = Command::new("setpriv");
    program.args([
        "--bounding-set=-sys_resource,-ipc_lock",
        "--inh-caps=-sys_resource,-ipc_lock",
    ]);
    program.args([
        "prlimit",
        "--memlock=65536:65536",
        env!("CARGO_BIN_EXE_proofroom"),
    ]);
    program
        .args(["gateway", "serve", "--config", "gateway.toml"])
        .current_dir(dir);
    program
}

#[test]
fn a_gateway_locks_its_memory_or_says_that_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (gateway, said) = Gateway::start(dir.path(), "none-such");
    let (locked, memory) = (locked_kib(gateway.0.id()), said["memory"].as_str().unwrap());
    assert_eq!(memory == "locked", locked > 1024, "{memory}: {locked} KiB");
    assert!(
        memory == "locked" || memory.starts_with("not locked: "),
        "{memory}"
    );
    drop(gateway);
    if Command::new("setpriv").arg("--version").output().is_err()
        || !rustix::process::geteuid().is_root()
    {
        eprintln!("SKIPPED: the limit that may not be lifted: no setpriv, or another user");
        return;
    }
    let (gateway, said) = Gateway::run(&mut limited(dir.path()));
    assert_eq!(locked_kib(gateway.0.id()), 0);
    let memory = said["memory"].as_str().unwrap();
    assert!(
        memory.starts_with("not locked: the process may lock 65536 bytes alone"),
        "{memory}"
    );
    drop(gateway);
    let config = fs::read_to_string(dir.path().join("gateway.toml")).unwrap();
    fs::write(
        dir.path().join("gateway.toml"),
        format!("memory = \"locked\"\n{config}"),
    )
    .unwrap();
    let refused = limited(dir.path()).output().unwrap();
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && complaint.contains("memory-not-locked"),
        "{complaint}"
    );
}

#[test]
fn people_are_barred_at_issuers_of_the_configuration_alone() {
    let dir = tempfile::tempdir().unwrap();
    let table = SimulatedIssuer::new("https://login.test").table("if-bound");
    let listen = "[listen]\naddress = \"127.0.0.1:0\"";
    let config = format!("version = 1\nstate = \"state\"\n{listen}\n{table}");
    fs::write(dir.path().join("gateway.toml"), config).unwrap();
    let person = |what: &str, issuer: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_proofroom"))
            .args(["gateway", "person", what, "--config", "gateway.toml"])
            .args(["--issuer", issuer, "--subject", "ada"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = [done.stdout, done.stderr].concat();
        (
            done.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    for wrong in [
        "https://login.test/",
        "https://Login.test",
        "https://other.test",
    ] {
        let (barred, said) = person("bar", wrong);
        assert!(!barred && said.contains("issuer-unknown"), "{said}");
        assert!(said.contains("https://login.test"), "{said}");
    }
    assert!(!dir.path().join("state/gateway-bars.json").exists());
    assert!(person("bar", "https://login.test").0);
    // whoever was barred at an issuer that is gone can be let in again
    assert!(person("unbar", "https://other.test").0);
}
