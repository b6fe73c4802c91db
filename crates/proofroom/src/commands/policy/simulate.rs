//! `proofroom policy simulate`: the level of every file of a directory under a policy.

mod history;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use proofroom::judge::{Judge, JudgeError, content};
use proofroom_classify::{Classification, Label};
use proofroom_clock::wall;
use serde_json::json;

use super::super::{Failure, INTERNAL, classify};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The directory; `.git` is left out, symbolic links are not followed.
    dir: PathBuf,
    /// Directory with policy files. Default: the built-in ones.
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Judge the files as this repository's. Default: the directory's name.
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Judge every version of every file that the repository's branches and tags lead to, instead of
    /// the files that are there. Messages of commits are not judged.
    #[arg(long)]
    history: bool,
    /// One JSON object per file, and one for the sum.
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Sum {
    files: BTreeMap<Label, u64>,
    links: u64,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let judge = Judge::open(options.policy.as_deref()).map_err(classify::usage)?;
    let name = options.dir.canonicalize().ok();
    let name = name.as_deref().and_then(Path::file_name);
    let repository = options.repository.clone().unwrap_or_else(|| {
        name.map_or_else(
            || "unnamed".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    });
    if options.history {
        return history::run(&judge, options, &repository);
    }
    let mut sum = Sum::default();
    let files = files(&options.dir, &mut sum.links).map_err(classify::usage)?;
    let output = |error| Failure::new(INTERNAL, "output", error);
    let mut out = anstream::stdout().lock();
    for file in files {
        let shown = file.strip_prefix(&options.dir).unwrap_or(&file);
        let shown = shown.to_string_lossy();
        let bytes = content(&file).map_err(classify::usage)?;
        let judged = bytes.as_deref().unwrap_or(b"\xff");
        let found = judge.classify(judged, Some(&shown), &repository, wall());
        let count = sum.files.entry(found.label).or_default();
        *count = count.saturating_add(1);
        tell(&judge, options.json, &shown, &found, &mut out).map_err(output)?;
    }
    total(&judge, options.json, &sum, &mut out).map_err(output)?;
    classify::warn_of_expired(judge.classification());
    Ok(ExitCode::SUCCESS)
}

/// Every file below `dir`, sorted by path.
fn files(dir: &Path, links: &mut u64) -> Result<Vec<PathBuf>, JudgeError> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let failed = |source| JudgeError::Read {
            path: dir.clone(),
            source,
        };
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && entry.file_name() != ".git" {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            } else if kind.is_symlink() {
                *links = links.saturating_add(1);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Findings by rule: ids and counts.
fn counts(found: &Classification) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for finding in &found.findings {
        let count: &mut u64 = counts.entry(finding.rule.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

fn tell(
    judge: &Judge,
    as_json: bool,
    path: &str,
    found: &Classification,
    out: &mut impl Write,
) -> io::Result<()> {
    let policy = judge.classification();
    let label = policy.levels().name(found.label);
    if as_json {
        let line = json!({"path": path, "label": label, "rules": counts(found)});
        return writeln!(out, "{line}");
    }
    if found.label == policy.default_label() {
        return Ok(());
    }
    let rules: Vec<String> = counts(found)
        .into_iter()
        .map(|(rule, count)| format!("{rule} x{count}"))
        .collect();
    // a path may hold whatever its author liked
    writeln!(out, "{label}  {path:?}  {}", rules.join(", "))
}

fn total(judge: &Judge, as_json: bool, sum: &Sum, out: &mut impl Write) -> io::Result<()> {
    let levels = judge.classification().levels();
    let named = levels.labels().map(|label| {
        let count = sum.files.get(&label).copied().unwrap_or(0);
        (levels.name(label), count)
    });
    if as_json {
        let files: BTreeMap<&str, u64> = named.collect();
        let line = json!({"files": files, "links_not_followed": sum.links,
            "classification_policy": judge.classification().digest().to_string()});
        return writeln!(out, "{line}");
    }
    let parts: Vec<String> = named
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    writeln!(
        out,
        "files: {}; links not followed: {}",
        parts.join(", "),
        sum.links
    )
}
