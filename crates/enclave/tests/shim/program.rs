//! The program as a process: what keeps it from serving, and what it leaves behind.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use proofroom_canonical::Digest;
use proofroom_testkit::{
    enclave,
    provider::MODEL,
    tee::SimulatedTee,
    tsm::{TsmDouble, TsmOptions, TsmProvider},
};
use serde_json::Value;

use crate::world::{Server, challenge};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proofroom-enclave");
const ANSWER: &str = "{\"choices\":[]}";

/// A directory with weights, a configuration, and a machine of this kind.
struct Place {
    dir: tempfile::TempDir,
    _machine: Option<TsmDouble>,
}

impl Place {
    /// `None` where FUSE cannot be mounted.
    fn of(provider: TsmProvider, server: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("guest")).unwrap();
        let options = TsmOptions {
            provider,
            ..TsmOptions::default()
        };
        let mounted = TsmDouble::mount(&dir.path().join("guest"), SimulatedTee::demo(), options);
        let Ok(machine) = mounted else {
            eprintln!("SKIPPED: FUSE cannot be mounted here");
            return None;
        };
        Some(Self::new(dir, Some(machine), server))
    }

    fn new(dir: tempfile::TempDir, machine: Option<TsmDouble>, server: &str) -> Self {
        fs::create_dir(dir.path().join("weights")).unwrap();
        fs::write(dir.path().join("weights/model.safetensors"), "tensors").unwrap();
        let place = Self {
            dir,
            _machine: machine,
        };
        place.configure(&format!(
            "listen = \"127.0.0.1:0\"\nserver = \"{server}\"\nmodel = \"{MODEL}\"\nimage = \"{}\"\n\
             statement_seconds = 300\nswap = \"tolerated\"\nreports = \"guest/report\"\n[weights]\ndirectory = \"weights\"\n",
            enclave::image()
        ));
        place
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn configure(&self, text: &str) {
        fs::write(self.path().join("enclave.toml"), text).unwrap();
    }

    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join("enclave.toml")).unwrap();
        assert!(text.contains(from));
        self.configure(&text.replace(from, to));
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "enclave.toml"])
            .current_dir(self.path());
        command
    }

    /// Exit code and complaint of a start that must fail.
    fn refused(&self) -> (i32, String) {
        let done = self.command().output().unwrap();
        (
            done.status.code().unwrap(),
            String::from_utf8(done.stderr).unwrap(),
        )
    }

    /// Every file but the machine's, with its content.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for name in ["", "weights"] {
            for entry in fs::read_dir(self.path().join(name)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    found.push((path.display().to_string(), fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Running {
    fn start(place: &Place) -> Self {
        let mut command = place.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[test]
fn the_program_refuses_to_serve_what_it_cannot_read_or_prove() {
    let Some(place) = Place::of(TsmProvider::Tdx, "127.0.0.1:1") else {
        return;
    };
    let ends = |place: &Place, exit: i32, code: &str| {
        let (found, complaint) = place.refused();
        assert!(
            found == exit && complaint.contains(code),
            "{found} {complaint}"
        );
    };
    fs::write(place.path().join("list"), "proofroom.weights.v1\n").unwrap();
    place.edit("directory", "manifest = \"list\"\ndirectory");
    ends(&place, 66, "[weights-differ]");
    place.edit("\"list\"", "\"gone\"");
    ends(&place, 66, "[weights-manifest]");
    place.edit("manifest = \"gone\"\n", "");
    place.edit("\"weights\"", "\"none-such\"");
    ends(&place, 66, "[weights-unreadable]");
    place.edit("\"guest/report\"", "\"none-such\"");
    ends(&place, 69, "[attester-file]");
    place.edit("127.0.0.1:1", "192.0.2.1:1");
    ends(&place, 64, "[enclave-config-value]");
    place.configure("surprise = 1");
    ends(&place, 64, "[enclave-config-syntax]");
    fs::remove_file(place.path().join("enclave.toml")).unwrap();
    ends(&place, 64, "[enclave-config-unreadable]");
    let Some(other) = Place::of(TsmProvider::SevSnp, "127.0.0.1:1") else {
        return;
    };
    ends(&other, 69, "[report-provider-unknown]");
}

#[tokio::test]
async fn the_program_serves_and_leaves_nothing_of_a_prompt_on_disk_or_in_what_it_says() {
    let mut server = Server::start().await;
    let Some(place) = Place::of(TsmProvider::Tdx, &server.address.to_string()) else {
        return;
    };
    let before = place.files();
    let mut running = Running::start(&place);
    let address = running.line()["listening"].as_str().unwrap().to_owned();
    let ready = running.line();
    let manifest = format!(
        "proofroom.weights.v1\n{} 7 model.safetensors\n",
        Digest::of("tensors").to_hex()
    );
    assert_eq!(ready["weights"], Digest::of(&manifest).to_string());
    // as root memory is locked; otherwise the line says what keeps it, or that nothing does
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let locked = !locked.unwrap().trim().starts_with("0 ");
    assert_eq!(ready["memory"] == "locked", locked, "{ready} {status}");
    server.whole(ANSWER);
    let mut client = crate::world::Client::connect(address.parse().unwrap()).await;
    let canary = "canary-5b1f0c77";
    let body = format!("{{\"model\":\"{MODEL}\",\"messages\":\"{canary}\"}}");
    let got = client.post(&body, &challenge(1).to_string()).await;
    assert_eq!(got.body, ANSWER.as_bytes());
    assert!(
        server
            .seen
            .recv()
            .await
            .unwrap()
            .body
            .ends_with(format!("{canary}\"}}").as_bytes())
    );
    // an answer that breaks off, and a request that cannot be read
    client
        .post(&format!("{{\"{canary}"), &challenge(2).to_string())
        .await;
    let id = running.child.id();
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert_eq!(core.unwrap().split_whitespace().nth(4), Some("1"));
    // whoever is not root may not look into a process that is not dumpable
    let of_root = fs::metadata(format!("/proc/{id}/mem"));
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&of_root.unwrap()), 0);
    drop(running.child.kill());
    let mut said = String::new();
    running.out.read_to_string(&mut said).unwrap();
    let mut complained = String::new();
    let mut stderr = running.child.stderr.take().unwrap();
    stderr.read_to_string(&mut complained).unwrap();
    assert_eq!((said.as_str(), complained.as_str()), ("", ""));
    assert_eq!(place.files(), before);
}

#[test]
fn a_manifest_and_a_configuration_to_start_from_are_printed() {
    let place = Place::new(tempfile::tempdir().unwrap(), None, "127.0.0.1:1");
    let run = |words: &[&str]| {
        let done = Command::new(PROGRAM)
            .args(words)
            .current_dir(place.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            done.status.code().unwrap(),
            text(done.stdout),
            text(done.stderr),
        )
    };
    let (code, manifest, digest) = run(&["weights", "weights"]);
    assert_eq!(
        (code, digest.trim()),
        (0, Digest::of(&manifest).to_string().as_str())
    );
    assert!(manifest.starts_with("proofroom.weights.v1\n"));
    assert_eq!(run(&["weights", "none-such"]).0, 66);
    assert_eq!(
        run(&["config"]).1,
        proofroom_enclave::config::DEFAULT_CONFIG
    );
    assert_eq!(run(&["surprise"]).0, 64);
}
