//! House rules that a machine can check: every source file says what it is, no file grows past
//! reading, documents name only what exists, and crates depend downwards only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::machine;

/// A source file that is longer than this must be two.
const MAX_LINES: usize = 800;

/// Which of our crates each may use. A new arrow is a decision: change it here and say why in an ADR.
const ARROWS: &[(&str, &[&str])] = &[
    ("agent", &["llm"]),
    ("appraise", &["canonical", "evidence", "record", "verifier"]),
    ("attester", &["canonical", "evidence"]),
    ("authn", &["canonical"]),
    ("authz", &["canonical", "record"]),
    ("canonical", &[]),
    ("classify", &["canonical"]),
    ("clock", &["canonical"]),
    ("confine", &["canonical"]),
    (
        "conformance",
        &[
            "canonical",
            "evidence",
            "record",
            "sealing",
            "testkit",
            "tlog",
            "verifier",
        ],
    ),
    ("dsse", &["canonical"]),
    ("e2e", &[]),
    (
        "enclave",
        &[
            "attester",
            "canonical",
            "clock",
            "confine",
            "evidence",
            "sealing",
            "serving",
        ],
    ),
    ("escape-probe", &[]),
    ("egress", &["canonical"]),
    ("egress-broker", &["canonical", "egress", "record"]),
    ("evidence", &["canonical"]),
    (
        "gateway",
        &[
            "canonical",
            "classify",
            "clock",
            "evidence",
            "llm",
            "provider",
            "record",
            "sealing",
            "serving",
            "signer",
            "verifier",
        ],
    ),
    (
        "gateway-server",
        &[
            "authn",
            "canonical",
            "classify",
            "clock",
            "gateway",
            "ledger",
            "llm",
            "record",
            "tlog",
        ],
    ),
    (
        "guest",
        &[
            "authz",
            "canonical",
            "classify",
            "clock",
            "confine",
            "egress",
            "init",
            "record",
            "signer",
        ],
    ),
    (
        "init",
        &["attester", "canonical", "confine", "record", "room", "vmm"],
    ),
    ("layer", &["canonical"]),
    ("ledger", &["canonical", "tlog"]),
    ("llm", &["canonical"]),
    ("measure", &["canonical", "verifier"]),
    (
        "proofroom",
        &[
            "appraise",
            "attester",
            "authn",
            "authz",
            "canonical",
            "classify",
            "clock",
            "confine",
            "egress",
            "egress-broker",
            "evidence",
            "gateway",
            "gateway-server",
            "layer",
            "ledger",
            "measure",
            "provider",
            "record",
            "room",
            "tlog",
            "verifier",
        ],
    ),
    (
        "provider",
        &["canonical", "evidence", "serving", "verifier"],
    ),
    (
        "record",
        &[
            "canonical",
            "dsse",
            "evidence",
            "provider",
            "tlog",
            "verifier",
        ],
    ),
    (
        "room",
        &["attester", "canonical", "clock", "confine", "vmm"],
    ),
    ("sealing", &["canonical", "serving"]),
    ("serving", &["canonical", "evidence"]),
    ("signer", &["canonical", "dsse"]),
    (
        "testkit",
        &["canonical", "clock", "evidence", "llm", "serving"],
    ),
    ("tlog", &["canonical"]),
    ("verifier", &["canonical", "dsse", "evidence"]),
    ("verify", &["canonical", "record", "tlog", "verifier"]),
    ("vmm", &["canonical"]),
    ("xtask", &["canonical", "classify"]),
];

/// Crates that do no I/O, and what none of their dependencies may bring in.
const PURE: &[&str] = &[
    "appraise",
    "authn",
    "authz",
    "canonical",
    "classify",
    "dsse",
    "egress",
    "evidence",
    "llm",
    "measure",
    "provider",
    "record",
    "sealing",
    "serving",
    "tlog",
    "verifier",
    "verify",
    "vmm",
];
const IMPURE: &[&str] = &["hyper", "mio", "openssl", "reqwest", "rustls", "tokio"];

/// The one library of compiled C and assembler, and the pure crates that verify quotes (docs/adr/0030) or tokens
/// (docs/adr/0048) with it.
const COMPILED: &str = "ring";
const VERIFIES_WITH_COMPILED: &[&str] = &[
    "appraise", "authn", "measure", "provider", "record", "verifier", "verify",
];

/// The offline verifier stays small enough to be read.
const MAX_VERIFIER_PACKAGES: usize = 150;

/// Checks all house rules; fails with every breach.
pub(crate) fn tidy() -> Result<()> {
    let mut breaches = Vec::new();
    for file in tracked()? {
        let path = machine::root().join(&file);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => source_file(&file, &path, &mut breaches)?,
            Some("md") => document(&file, &path, &mut breaches)?,
            _ => {}
        }
    }
    crates(&mut breaches)?;
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("house rules are broken:\n  {}", breaches.join("\n  "))
}

fn tracked() -> Result<Vec<PathBuf>> {
    let listing = Command::new("git")
        .current_dir(machine::root())
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .context("cannot list the tracked files")?;
    Ok(String::from_utf8_lossy(&listing.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|name| machine::root().join(name).is_file())
        .collect())
}

fn source_file(file: &Path, path: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let name = file.display();
    let says_what_it_is = text
        .lines()
        .find(|line| !line.starts_with("#!["))
        .is_some_and(|line| line.starts_with("//!"));
    let compile_failure = file.components().any(|part| part.as_os_str() == "fail");
    if !says_what_it_is && !compile_failure {
        breaches.push(format!("{name}: does not begin with `//!` and what it is"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        breaches.push(format!(
            "{name}: {lines} lines, more than {MAX_LINES}; split it"
        ));
    }
    if file.file_name().is_some_and(|name| name == "mod.rs") {
        breaches.push(format!("{name}: modules are `name.rs` beside `name/`"));
    }
    Ok(())
}

/// Every path in backticks that begins like one of ours must exist.
fn document(file: &Path, path: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    for quoted in text.split('`').skip(1).step_by(2) {
        let ours = ["crates/", "docs/", "demo/", "fuzz/", "xtask/"]
            .iter()
            .any(|prefix| quoted.starts_with(prefix));
        let plain = !quoted.contains(['*', '{', '<', ' ', '\n', '$']);
        let target = quoted.split(['#', ':']).next().unwrap_or(quoted);
        if ours && plain && !machine::root().join(target).exists() {
            breaches.push(format!(
                "{}: names `{quoted}`, which does not exist",
                file.display()
            ));
        }
    }
    Ok(())
}

fn crates(breaches: &mut Vec<String>) -> Result<()> {
    let metadata = Command::new("cargo")
        .current_dir(machine::root())
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .context("cannot read the crate graph")?;
    let metadata: Value =
        serde_json::from_slice(&metadata.stdout).context("cannot read the crate graph")?;
    let graph = Graph::read(&metadata);
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for (name, uses) in &graph.ours {
        let Some(may) = allowed.get(name.as_str()) else {
            breaches.push(format!("crate `{name}` has no line in the list of arrows"));
            continue;
        };
        for used in uses {
            if !may.contains(&used.as_str()) {
                breaches.push(format!("crate `{name}` may not use `{used}`"));
            }
        }
    }
    for name in PURE {
        let reached = made_of(name)?;
        for impure in IMPURE {
            if reached.contains(*impure) {
                breaches.push(format!("crate `{name}` is pure, but reaches `{impure}`"));
            }
        }
        if reached.contains(COMPILED) && !VERIFIES_WITH_COMPILED.contains(name) {
            breaches.push(format!("crate `{name}` is pure, but reaches `{COMPILED}`"));
        }
        if *name == "verify" && reached.len() > MAX_VERIFIER_PACKAGES {
            breaches.push(format!(
                "the offline verifier is made of {} packages, more than {MAX_VERIFIER_PACKAGES}",
                reached.len()
            ));
        }
    }
    Ok(())
}

/// Which of our crates each of our crates uses.
struct Graph {
    ours: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read(metadata: &Value) -> Self {
        let names: BTreeMap<&str, &str> = array(metadata, &["packages"])
            .filter_map(|package| Some((text(package, "id")?, text(package, "name")?)))
            .collect();
        let mut all = BTreeMap::<String, BTreeSet<String>>::new();
        for node in array(metadata, &["resolve", "nodes"]) {
            let Some(name) = text(node, "id").and_then(|id| names.get(id)) else {
                continue;
            };
            let uses = array(node, &["deps"])
                .filter(|dependency| {
                    array(dependency, &["dep_kinds"])
                        .any(|kind| kind.get("kind").is_some_and(Value::is_null))
                })
                .filter_map(|dependency| {
                    names
                        .get(text(dependency, "pkg")?)
                        .map(|name| (*name).to_owned())
                });
            all.entry((*name).to_owned()).or_default().extend(uses);
        }
        let members: BTreeSet<&str> = array(metadata, &["workspace_members"])
            .filter_map(Value::as_str)
            .filter_map(|id| names.get(id).copied())
            .collect();
        let ours = members
            .iter()
            .map(|member| {
                let uses = all.get(*member).into_iter().flatten();
                let inside = uses.filter(|used| members.contains(used.as_str()));
                (short(member), inside.map(|used| short(used)).collect())
            })
            .collect();
        Self { ours }
    }
}

/// Names of every package that our crate `name` is built from, with the features that it asks for.
fn made_of(name: &str) -> Result<BTreeSet<String>> {
    let tree = Command::new("cargo")
        .current_dir(machine::root())
        .args([
            "tree",
            "--locked",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
        ])
        .args(["--package", &format!("proofroom-{name}")])
        .output()
        .context("cannot read the crate tree")?;
    anyhow::ensure!(
        tree.status.success(),
        "cannot read the tree of crate `{name}`"
    );
    Ok(String::from_utf8_lossy(&tree.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}

fn short(package: &str) -> String {
    package
        .strip_prefix("proofroom-")
        .unwrap_or(package)
        .to_owned()
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn array<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a Value> {
    path.iter()
        .try_fold(value, |value, name| value.get(name))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
