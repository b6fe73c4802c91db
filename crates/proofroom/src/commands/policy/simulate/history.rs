//! Every version of every file of a git repository, judged: what a rule would have met.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use proofroom::{
    broker::{Git, GitError},
    judge::{Judge, MAX_FILE_BYTES},
};
use proofroom_classify::Label;
use proofroom_clock::wall;
use serde_json::json;

use super::{
    super::super::{Failure, INTERNAL, USAGE, classify},
    Options, counts,
};

/// The most bytes of files that are read at once.
const BATCH_BYTES: u64 = 32 * 1024 * 1024;

/// One version of a file.
struct Version {
    object: String,
    path: String,
    bytes: u64,
}

pub(super) fn run(judge: &Judge, options: &Options, repository: &str) -> Result<ExitCode, Failure> {
    let git = Git::at(git_directory(&options.dir)?);
    let versions = versions(&git).map_err(git_failed)?;
    let output = |error| Failure::new(INTERNAL, "output", error);
    let mut out = anstream::stdout().lock();
    let mut sum: BTreeMap<Label, u64> = BTreeMap::new();
    let mut rest = versions.as_slice();
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(batch(rest));
        rest = behind;
        let contents = contents(&git, batch).map_err(git_failed)?;
        for (version, content) in batch.iter().zip(contents) {
            let found = judge.classify(&content, Some(&version.path), repository, wall());
            let count = sum.entry(found.label).or_default();
            *count = count.saturating_add(1);
            let label = judge.classification().levels().name(found.label);
            let (path, object, rules) = (&version.path, &version.object, counts(&found));
            if options.json {
                let line = json!({"path": path, "object": object, "label": label, "rules": rules});
                writeln!(out, "{line}").map_err(output)?;
            } else if found.label != judge.classification().default_label() {
                let rules = rules.iter().map(|(rule, count)| format!("{rule} x{count}"));
                let rules = rules.collect::<Vec<_>>().join(", ");
                let short = object.get(..12).unwrap_or(object);
                writeln!(out, "{label}  {path:?}  {short}  {rules}").map_err(output)?;
            }
        }
    }
    total(judge, options, &sum, &mut out).map_err(output)?;
    classify::warn_of_expired(judge.classification());
    Ok(ExitCode::SUCCESS)
}

fn total(
    judge: &Judge,
    options: &Options,
    sum: &BTreeMap<Label, u64>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let levels = judge.classification().levels();
    let named = levels
        .labels()
        .map(|label| (levels.name(label), sum.get(&label).copied().unwrap_or(0)));
    if options.json {
        let versions: BTreeMap<&str, u64> = named.collect();
        let policy = judge.classification().digest().to_string();
        let line = json!({"versions": versions, "classification_policy": policy});
        return writeln!(out, "{line}");
    }
    let parts = named.map(|(name, count)| format!("{name} {count}"));
    writeln!(out, "versions: {}", parts.collect::<Vec<_>>().join(", "))
}

fn git_failed(error: GitError) -> Failure {
    Failure::new(USAGE, error.code(), error)
}

/// The git directory of a work tree, or the directory itself.
fn git_directory(dir: &Path) -> Result<PathBuf, Failure> {
    let dir = dir.canonicalize();
    let dir = dir.map_err(|error| Failure::new(USAGE, "file-unreadable", error))?;
    let inner = dir.join(".git");
    if inner.is_dir() {
        return Ok(inner);
    }
    // a further work tree's `.git` is a file that names its directory
    match fs::read_to_string(&inner) {
        Ok(text) => {
            let named = text.trim().strip_prefix("gitdir: ").unwrap_or_default();
            Ok(dir.join(named))
        }
        Err(_) => Ok(dir),
    }
}

/// Every version of every file, each object under the first path that leads to it.
fn versions(git: &Git) -> Result<Vec<Version>, GitError> {
    let listed = git.answer(["rev-list", "--objects", "--all"])?;
    let listed = String::from_utf8_lossy(&listed);
    let named: Vec<(&str, &str)> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let objects: String = named
        .iter()
        .map(|(object, _)| format!("{object}\n"))
        .collect();
    let sizes = git.answer_to(objects.as_bytes(), ["cat-file", "--batch-check"])?;
    let sizes = String::from_utf8_lossy(&sizes);
    let found = named.iter().zip(sizes.lines()).filter_map(|(name, line)| {
        let mut words = line.split(' ').skip(1);
        let (kind, bytes) = (words.next()?, words.next()?);
        (kind == "blob").then(|| Version {
            object: name.0.to_owned(),
            path: name.1.to_owned(),
            bytes: bytes.parse().unwrap_or(u64::MAX),
        })
    });
    let mut versions: Vec<Version> = found.collect();
    versions.sort_by(|one, other| (&one.path, &one.object).cmp(&(&other.path, &other.object)));
    Ok(versions)
}

/// How many versions are read at once; at least one.
fn batch(versions: &[Version]) -> usize {
    let mut bytes: u64 = 0;
    let fits = versions.iter().take_while(|version| {
        bytes = bytes.saturating_add(version.bytes.min(MAX_FILE_BYTES));
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

/// The contents of a batch; of one that is larger than files are judged, what nobody can read.
fn contents(git: &Git, batch: &[Version]) -> Result<Vec<Vec<u8>>, GitError> {
    let readable = |version: &&Version| version.bytes <= MAX_FILE_BYTES;
    let objects = batch.iter().filter(readable);
    let objects: String = objects
        .map(|version| format!("{}\n", version.object))
        .collect();
    let answer = git.answer_to(objects.as_bytes(), ["cat-file", "--batch"])?;
    let mut rest = answer.as_slice();
    let mut contents = Vec::new();
    for version in batch {
        if version.bytes > MAX_FILE_BYTES {
            contents.push(b"\xff".to_vec());
            continue;
        }
        // `<object> blob <bytes>`, a line feed, the content, a line feed
        let line = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
        let from = line.saturating_add(1);
        let end = from.saturating_add(usize::try_from(version.bytes).unwrap_or(usize::MAX));
        contents.push(rest.get(from..end).unwrap_or(b"\xff").to_vec());
        rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
    }
    Ok(contents)
}
