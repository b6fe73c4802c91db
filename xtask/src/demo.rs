//! `cargo xtask demo`: a coding session from nothing to a verified bundle. With no model at hand it
//! plays recorded answers through a local upstream and says so.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::machine::{self, Purpose};

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// One JSON object per line on standard output.
    #[arg(long)]
    json: bool,
    /// Use this OpenAI-compatible server (vLLM, llama.cpp, Ollama) instead of recorded answers.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Model to ask the upstream for.
    #[arg(long)]
    model: Option<String>,
    /// How the room is isolated. `vm` builds the image of virtual machines first, and boots it on
    /// an emulated processor where `--accel` says nothing else.
    #[arg(long, value_name = "LEVEL", default_value = "auto")]
    isolation: String,
    /// What executes a virtual machine: `kvm` or `tcg`.
    #[arg(long, value_name = "ACCEL")]
    accel: Option<String>,
}

const TASK: &str = "The test suite of this repository fails (run it with `python3 -m unittest`). \
                    Find the cause, fix it without changing the tests, and commit the fix.";

/// Packages whose programs take part.
pub(crate) const PACKAGES: &[&str] = &[
    "proofroom",
    "proofroom-agent",
    "proofroom-guest",
    "proofroom-testkit",
    "proofroom-verify",
];

/// Runs the demo; the exit code is that of the verification.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    machine::prepare(Purpose::Demo)?;
    machine::build(PACKAGES)?;
    let isolation = isolation(options)?;
    let dir = machine::target().join("demo");
    if dir.exists() {
        fs::remove_dir_all(&dir).context("cannot clear the last demo")?;
    }
    fs::create_dir_all(&dir)?;
    let repository = make_repository(&dir)?;
    let model = choose_model(options, &dir)?;
    let bundle = dir.join("session.proofroom");
    let mut session = Command::new(machine::program("proofroom"));
    session
        .arg("run")
        .arg("--repo")
        .arg(&repository)
        .args(["--task", TASK])
        .arg("--state")
        .arg(dir.join("state"))
        .arg("--out")
        .arg(&bundle)
        .args(&isolation)
        .args(&model.arguments);
    if options.json {
        session.arg("--json");
    }
    let status = session.status().context("cannot start proofroom")?;
    drop(model);
    if !bundle.is_file() {
        bail!("the session left no bundle (it ended with {status})");
    }
    let verified = verify(&bundle, options)?;
    let code = verified.code().and_then(|code| u8::try_from(code).ok());
    Ok(match (code, status.success()) {
        (Some(0), false) => ExitCode::FAILURE,
        (Some(code), _) => ExitCode::from(code),
        (None, _) => ExitCode::FAILURE,
    })
}

/// The arguments that choose the room's isolation; what it needs is built.
fn isolation(options: &Options) -> Result<Vec<String>> {
    let mut arguments = vec!["--isolation".to_owned(), options.isolation.clone()];
    if options.isolation == "vm" {
        machine::prepare(Purpose::Machines)?;
        crate::image::ensure_built()?;
        let accel = options.accel.as_deref().unwrap_or("tcg");
        arguments.extend(["--accel".to_owned(), accel.to_owned()]);
    } else if let Some(accel) = &options.accel {
        arguments.extend(["--accel".to_owned(), accel.clone()]);
    }
    Ok(arguments)
}

/// Verifies the bundle as an auditor would, with the program that an auditor has.
fn verify(bundle: &Path, options: &Options) -> Result<ExitStatus> {
    let mut verify = Command::new(machine::program("proofroom-verify"));
    verify.arg(bundle);
    if !options.json {
        println!("\nproofroom-verify {}\n", bundle.display());
        return verify.status().context("cannot start proofroom-verify");
    }
    let output = verify
        .arg("--json")
        .output()
        .context("cannot start proofroom-verify")?;
    let mut said: Value = serde_json::from_slice(&output.stdout)
        .context("proofroom-verify did not answer in JSON")?;
    if let Some(members) = said.as_object_mut() {
        members.insert("type".to_owned(), "verification".into());
    }
    println!("{said}");
    Ok(output.status)
}

/// Copies the demo's repository out of the tree and makes a git repository of it.
pub(crate) fn make_repository(dir: &Path) -> Result<PathBuf> {
    let repository = dir.join("repository");
    copy_tree(&machine::root().join("demo/repo"), &repository)?;
    for arguments in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["add", "--all"],
        &[
            "commit",
            "--quiet",
            "--message",
            "Import the invoice library",
        ],
    ] {
        machine::run(
            Command::new("git")
                .current_dir(&repository)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .args(["-c", "user.name=Demo", "-c", "user.email=demo@example.org"])
                .args(arguments),
        )?;
    }
    Ok(repository)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_name() == "__pycache__" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// The model of a demo: arguments for `proofroom run`, and the local upstreams to be stopped after.
struct Model {
    arguments: Vec<String>,
    upstreams: Vec<Upstream>,
}

fn choose_model(options: &Options, dir: &Path) -> Result<Model> {
    let mut arguments = Vec::new();
    if let Some(model) = &options.model {
        arguments.extend(["--model".to_owned(), model.clone()]);
    }
    if let Some(url) = &options.upstream {
        arguments.extend(["--upstream".to_owned(), url.clone()]);
        return Ok(Model {
            arguments,
            upstreams: Vec::new(),
        });
    }
    if ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"]
        .iter()
        .any(|name| env::var_os(name).is_some())
    {
        return Ok(Model {
            arguments,
            upstreams: Vec::new(),
        });
    }
    let cassette = machine::root().join("crates/testkit/cassettes/demo.json");
    let standard = Upstream::start(&cassette, Tier::Standard)?;
    let tee = Upstream::start(&cassette, Tier::Tee)?;
    let policy = dir.join("policy");
    let mut init = Command::new(machine::program("proofroom"));
    machine::run(
        init.args(["policy", "init"])
            .arg(&policy)
            .stdout(Stdio::null()),
    )?;
    // Test keys are accepted because this file says so, and the word goes with every record.
    let simulated = machine::root().join("crates/verifier/policies/simulated-upstream.toml");
    fs::copy(simulated, policy.join("appraisal.toml"))?;
    let upstreams = fs::read_to_string(machine::root().join("demo/upstreams.toml"))?
        .replace("STANDARD_ADDRESS", &standard.address)
        .replace("TEE_ADDRESS", &tee.address);
    fs::write(policy.join("upstreams.toml"), upstreams)?;
    arguments.extend(["--policy".to_owned(), policy.display().to_string()]);
    Ok(Model {
        arguments,
        upstreams: vec![standard, tee],
    })
}

impl Drop for Model {
    fn drop(&mut self) {
        for upstream in &mut self.upstreams {
            drop(upstream.child.kill());
            drop(upstream.child.wait());
        }
    }
}

/// Which upstream plays the cassette.
#[derive(Clone, Copy)]
pub(crate) enum Tier {
    /// Plain HTTP on loopback, contract only.
    Standard,
    /// TLS behind the simulated attester.
    Tee,
}

/// A running cassette upstream.
pub(crate) struct Upstream {
    child: Child,
    /// Host and port.
    pub(crate) address: String,
}

impl Upstream {
    /// Starts one on a free port and waits until it listens.
    pub(crate) fn start(cassette: &Path, tier: Tier) -> Result<Self> {
        let mut command = Command::new(machine::program("proofroom-cassette"));
        command.arg("--cassette").arg(cassette);
        if let Tier::Tee = tier {
            command.arg("--tls-attested");
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the cassette upstream")?;
        let stdout = child
            .stdout
            .take()
            .context("the cassette upstream has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)
            .context("the cassette upstream did not say where it listens")?;
        let address = ready
            .get("address")
            .and_then(Value::as_str)
            .context("the cassette upstream did not say where it listens")?
            .to_owned();
        Ok(Self { child, address })
    }
}
