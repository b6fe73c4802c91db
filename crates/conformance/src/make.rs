//! Makes the vectors: every case from the simulated platform of the published seed, at one fixed
//! time, so that the same code writes the same bytes. What each must be answered is written here by
//! hand; nothing asks an implementation.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::{
    Answer,
    vector::{Manifest, RawRequest},
};

mod coverage;
mod dsse;
mod gpu;
mod receipt;
pub(crate) mod room;
mod snp;
mod upstream;
mod vtpm;

/// A case before it has a number.
struct Case {
    stage: &'static str,
    name: String,
    title: String,
    clauses: Vec<String>,
    provenance: String,
    request: RawRequest,
    files: Vec<(&'static str, Vec<u8>)>,
    expected: Answer,
}

/// Every file of `vectors/` that is made, by its path.
///
/// # Errors
/// Words, where this code itself is wrong.
pub fn files() -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut files: BTreeMap<String, Vec<u8>> = shared_files();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let cases = [
        upstream::cases(),
        room::cases(),
        snp::cases(),
        gpu::cases(),
        vtpm::cases(),
        dsse::cases(),
        receipt::cases(),
    ];
    let mut listed = Vec::new();
    for case in cases.into_iter().flatten() {
        let number = numbers.entry(case.stage).or_default();
        *number += 1;
        let folder = format!("{}/{number:03}-{}", case.stage, case.name);
        for (name, bytes) in &case.files {
            files.insert(format!("{folder}/{name}"), bytes.clone());
        }
        let manifest = Manifest {
            title: case.title,
            clauses: case.clauses,
            provenance: case.provenance,
            request: case.request,
        };
        files.insert(format!("{folder}/manifest.json"), pretty(&manifest)?);
        files.insert(format!("{folder}/expected.json"), pretty(&case.expected)?);
        listed.push((folder, manifest, case.expected));
    }
    let coverage = coverage::document(&listed)?;
    files.insert("SPEC_COVERAGE.md".to_owned(), coverage.into_bytes());
    Ok(files)
}

fn pretty(value: &impl serde::Serialize) -> Result<Vec<u8>, String> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| error.to_string())?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn shared_files() -> BTreeMap<String, Vec<u8>> {
    let upstream = upstream::policies()
        .into_iter()
        .map(|(name, text)| (format!("upstream-tdx/{name}"), text.into_bytes()));
    let room = room::shared()
        .into_iter()
        .map(|(name, bytes)| (format!("room/{name}"), bytes));
    let snp = snp::shared()
        .into_iter()
        .map(|(name, bytes)| (format!("snp/{name}"), bytes));
    let gpu = gpu::shared()
        .into_iter()
        .map(|(name, bytes)| (format!("gpu/{name}"), bytes));
    let vtpm = vtpm::shared()
        .into_iter()
        .map(|(name, bytes)| (format!("vtpm/{name}"), bytes));
    upstream
        .chain(room)
        .chain(snp)
        .chain(gpu)
        .chain(vtpm)
        .collect()
}

/// Writes every made file below `directory`. Files that are not made stay.
///
/// # Errors
/// Those of writing.
pub fn write(directory: &Path) -> io::Result<usize> {
    let files = files().map_err(io::Error::other)?;
    for (name, bytes) in &files {
        let path = directory.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(files.len())
}
