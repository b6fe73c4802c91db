//! The `proofroom-enclave` program. `serve FILE` serves; `weights DIRECTORY` prints a manifest and its digest;
//! `config` prints a file to start from. Exit codes: 64 wrong usage or configuration, 66 the weights, 69 the machine
//! cannot prove itself or keep memory, 70 something of ours.

#![forbid(unsafe_code)]

use std::{
    alloc::System,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use proofroom_canonical::Digest;
use proofroom_clock::wall;
use proofroom_enclave::{
    Config, Enclave, EnclaveError,
    config::{DEFAULT_CONFIG, MAX_CONFIG_BYTES},
    harden, keep_from_swap, machine,
    weights::{self, WeightsError},
};
use zeroizing_alloc::ZeroAlloc;

/// Prompts and answers pass through buffers of the HTTP, TLS and JSON libraries, which wipe nothing: whatever is
/// freed is overwritten before anybody else can get it.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

const USAGE: &str = "usage: proofroom-enclave serve FILE | weights DIRECTORY | config";
const WRONG_USAGE: u8 = 64;
const NO_WEIGHTS: u8 = 66;
const UNAVAILABLE: u8 = 69;
const INTERNAL: u8 = 70;

/// An exit code, and words with a stable code at their end.
struct Failure(u8, String);

impl Failure {
    fn new(exit: u8, error: &dyn std::error::Error, code: &str) -> Self {
        let cause = error.source().map(|cause| format!(": {cause}"));
        Self(
            exit,
            format!("{error}{} [{code}]", cause.unwrap_or_default()),
        )
    }
}

impl From<EnclaveError> for Failure {
    fn from(error: EnclaveError) -> Self {
        Self::new(UNAVAILABLE, &error, error.code())
    }
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Self {
        Self::new(NO_WEIGHTS, &error, error.code())
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve", file] => serve(Path::new(file)),
        ["weights", directory] => print_weights(Path::new(directory)),
        ["config"] => print(DEFAULT_CONFIG),
        _ => Err(Failure(WRONG_USAGE, USAGE.to_owned())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, words)) => {
            // where even standard error is gone, the exit code still speaks
            drop(writeln!(std::io::stderr(), "proofroom-enclave: {words}"));
            ExitCode::from(code)
        }
    }
}

fn serve(file: &Path) -> Result<(), Failure> {
    harden().map_err(|error| Failure::new(UNAVAILABLE, &error, error.code()))?;
    let config = read_config(file)?;
    let kept = keep_from_swap(config.swap)
        .map_err(|error| Failure::new(UNAVAILABLE, &error, error.code()))?;
    let reports = machine(config.reports.clone())
        .map_err(|error| Failure::new(UNAVAILABLE, &error, error.code()))?;
    let weights = config.weights.clone();
    let enclave = Enclave::new(config, reports, wall)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INTERNAL, &error, "runtime"))?;
    runtime.block_on(async {
        let listening = enclave.listen().await?;
        let address = listening
            .address()
            .map_err(|error| Failure::new(INTERNAL, &error, "enclave-listen"))?;
        print(&format!("{{\"listening\":\"{address}\"}}\n"))?;
        let serving = tokio::spawn(listening.serve());
        let reading = tokio::task::spawn_blocking(move || measured(&weights));
        let digest = reading.await.map_err(|_| EnclaveError::Ended)??;
        enclave.prove(digest).await?;
        let memory = kept.as_str();
        print(&format!(
            "{{\"ready\":true,\"weights\":\"{digest}\",\"memory\":\"{memory}\"}}\n"
        ))?;
        serving.await.map_err(|_| EnclaveError::Ended)?;
        Ok(())
    })
}

fn read_config(file: &Path) -> Result<Config, Failure> {
    let text = read_small(file)
        .map_err(|error| Failure::new(WRONG_USAGE, &error, "enclave-config-unreadable"))?;
    let base = file.parent().unwrap_or(Path::new("."));
    let base = std::path::absolute(base).unwrap_or_else(|_| PathBuf::from(base));
    Config::parse(&text, &base).map_err(|error| Failure::new(WRONG_USAGE, &error, error.code()))
}

fn read_small(file: &Path) -> std::io::Result<String> {
    match fs::metadata(file)?.len() > MAX_CONFIG_BYTES as u64 {
        true => Err(std::io::Error::other("the file is too long")),
        false => fs::read_to_string(file),
    }
}

/// The digest of the model, which must be as its manifest where there is one.
fn measured(weights: &proofroom_enclave::config::Weights) -> Result<Digest, Failure> {
    let expected = weights.manifest.as_ref().map(fs::read_to_string);
    let expected = expected
        .transpose()
        .map_err(|error| Failure::new(NO_WEIGHTS, &error, "weights-manifest"))?;
    let manifest = weights::manifest(&weights.directory)?;
    Ok(weights::digest(&manifest, expected.as_deref())?)
}

/// The manifest on standard output, its digest on standard error.
fn print_weights(directory: &Path) -> Result<(), Failure> {
    let manifest = weights::manifest(directory)?;
    print(&manifest)?;
    let digest = weights::digest(&manifest, None)?;
    writeln!(std::io::stderr(), "{digest}")
        .map_err(|error| Failure::new(INTERNAL, &error, "output"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(INTERNAL, &error, "output"))
}
