//! A vector on disk: `vectors/<stage>/<number>-<name>/` with `manifest.json`, its input files and
//! `expected.json`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{Nonce, Timestamp};
use proofroom_evidence::{Collateral, EvidenceDocument};
use serde::{Deserialize, Serialize};

use crate::{Answer, Bytes, Expectation, Request};

mod vendors;

pub(crate) use vendors::{RawChain, RawGpu, RawSnp, RawVtpm};

/// One vector, with its input read.
#[derive(Clone, Debug)]
pub struct Vector {
    /// `<stage>/<number>-<name>`.
    pub name: String,
    /// What it is, for a reader.
    pub title: String,
    /// What a verifier is asked; `None` where the files of the evidence kit are not at hand.
    pub request: Option<Request>,
    /// What it must answer.
    pub expected: Answer,
}

/// Why a vector could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// A file is missing or unreadable.
    #[error("cannot read `{0}`")]
    Io(PathBuf, #[source] io::Error),
    /// The manifest is not one.
    #[error("`{0}` is no manifest")]
    Manifest(PathBuf, #[source] serde_json::Error),
    /// The expected answer is not one.
    #[error("`{0}` is no answer")]
    Expected(PathBuf, #[source] serde_json::Error),
    /// A document that is to be filled has no boot log.
    #[error("`{0}` has no boot log that could be filled")]
    Log(PathBuf),
    /// A file of the evidence kit is not what the manifest takes it for.
    #[error("`{0}` of the evidence kit is not what the manifest takes it for: {1}")]
    Kit(PathBuf, String),
}

/// A manifest as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) title: String,
    /// Documents and sections that the case is about.
    pub(crate) clauses: Vec<String>,
    pub(crate) provenance: String,
    pub(crate) request: RawRequest,
}

/// The request, with names of files in the place of their contents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum RawRequest {
    UpstreamTdx {
        at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<Nonce>,
        policy: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kit: Option<Kit>,
    },
    Room {
        at: Timestamp,
        policy: String,
        reference: String,
        deployment_ca: String,
        session: String,
        document: String,
        /// Zero bytes are added to the document's boot log until it has this many: a log that large is
        /// made, not kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fill_boot_log_to: Option<usize>,
    },
    Snp(RawSnp),
    Gpu(RawGpu),
    Vtpm(RawVtpm),
    Dsse {
        key: String,
        envelope: String,
    },
    TlogProof {
        key: String,
        proof: String,
        leaf: String,
    },
}

/// Files of the evidence kit that a document is put together from, around a statement that no
/// genuine quote binds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kit {
    /// The quote.
    pub quote: PathBuf,
    /// The collateral.
    pub collateral: PathBuf,
    /// The statement, verbatim.
    pub statement: String,
}

/// Reads every vector below `directory`, in the order of their names. `kit` is the directory of the
/// evidence kit, if there is one.
///
/// # Errors
/// See [`VectorError`].
pub fn load_all(directory: &Path, kit: Option<&Path>) -> Result<Vec<Vector>, VectorError> {
    let mut all = Vec::new();
    for stage in folders(directory)? {
        for case in folders(&stage)? {
            if case.join("manifest.json").is_file() {
                all.push(load(directory, &case, kit)?);
            }
        }
    }
    Ok(all)
}

fn folders(directory: &Path) -> Result<Vec<PathBuf>, VectorError> {
    let unreadable = |error| VectorError::Io(directory.to_owned(), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn load(root: &Path, case: &Path, kit: Option<&Path>) -> Result<Vector, VectorError> {
    let path = case.join("manifest.json");
    let manifest: Manifest = serde_json::from_slice(&bytes(&path)?)
        .map_err(|error| VectorError::Manifest(path, error))?;
    let path = case.join("expected.json");
    let expected = serde_json::from_slice(&bytes(&path)?)
        .map_err(|error| VectorError::Expected(path, error))?;
    let name = case.strip_prefix(root).unwrap_or(case);
    Ok(Vector {
        name: name.display().to_string(),
        title: manifest.title,
        request: request(case, manifest.request, kit)?,
        expected,
    })
}

fn request(
    case: &Path,
    raw: RawRequest,
    kit: Option<&Path>,
) -> Result<Option<Request>, VectorError> {
    let read = |name: &str| bytes(&case.join(name)).map(Bytes);
    Ok(Some(match raw {
        RawRequest::UpstreamTdx {
            at,
            nonce,
            policy,
            document,
            kit: from_kit,
        } => {
            let document = match (document, from_kit, kit) {
                (Some(name), _, _) => read(&name)?,
                (None, Some(files), Some(kit)) => composed(&files, kit)?,
                _ => return Ok(None),
            };
            Request::UpstreamTdx {
                at,
                nonce,
                policy: text(&case.join(policy))?,
                document,
            }
        }
        RawRequest::Room {
            at,
            policy,
            reference,
            deployment_ca,
            session,
            document,
            fill_boot_log_to,
        } => Request::Room {
            at,
            policy: text(&case.join(policy))?,
            reference: read(&reference)?,
            deployment_ca: text(&case.join(deployment_ca))?,
            session: expectation(&case.join(session))?,
            document: match fill_boot_log_to {
                Some(size) => filled(&read(&document)?.0, size)
                    .ok_or_else(|| VectorError::Log(case.join(document)))?,
                None => read(&document)?,
            },
        },
        RawRequest::Gpu(gpu) => Request::Gpu(Box::new(gpu.read(case)?)),
        RawRequest::Snp(snp) => Request::Snp(Box::new(snp.read(case)?)),
        RawRequest::Vtpm(vtpm) => Request::Vtpm(Box::new(vtpm.read(case)?)),
        RawRequest::Dsse { key, envelope } => Request::Dsse {
            key: text(&case.join(key))?,
            envelope: read(&envelope)?,
        },
        RawRequest::TlogProof { key, proof, leaf } => Request::TlogProof {
            key: text(&case.join(key))?.trim_end().to_owned(),
            proof: read(&proof)?,
            leaf: read(&leaf)?,
        },
    }))
}

fn expectation(path: &Path) -> Result<Expectation, VectorError> {
    serde_json::from_slice(&bytes(path)?)
        .map_err(|error| VectorError::Manifest(path.to_owned(), error))
}

/// `document` with zero bytes behind its boot log, `size` bytes of log in all.
fn filled(document: &[u8], size: usize) -> Option<Bytes> {
    // the evidence is a text inside the document's text
    const MEMBER: &str = r#"\"boot_log\":\""#;
    let (before, rest) = str::from_utf8(document).ok()?.split_once(MEMBER)?;
    let (log, after) = rest.split_once('\\')?;
    let mut log = STANDARD.decode(log).ok()?;
    log.resize(size, 0);
    let whole = [before, MEMBER, &STANDARD.encode(log), "\\", after].concat();
    Some(Bytes(whole.into_bytes()))
}

fn composed(files: &Kit, kit: &Path) -> Result<Bytes, VectorError> {
    let collateral: Collateral = serde_json::from_slice(&bytes(&kit.join(&files.collateral))?)
        .map_err(|error| VectorError::Kit(files.collateral.clone(), error.to_string()))?;
    let quote = bytes(&kit.join(&files.quote))?;
    EvidenceDocument::write(files.statement.as_bytes(), &quote, &collateral)
        .map(Bytes)
        .map_err(|error| VectorError::Kit(files.quote.clone(), error.to_string()))
}

fn bytes(path: &Path) -> Result<Vec<u8>, VectorError> {
    fs::read(path).map_err(|error| VectorError::Io(path.to_owned(), error))
}

fn text(path: &Path) -> Result<String, VectorError> {
    fs::read_to_string(path).map_err(|error| VectorError::Io(path.to_owned(), error))
}
