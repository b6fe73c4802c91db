//! `proofroom appraise`: what attestation evidence proves. 0 accepted under the policy, 10 refused, 11
//! not every check could be made, which is the best that there is without a policy, 20 not evidence.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use proofroom::{collateral::CollateralSource, files};
use proofroom_appraise::{
    AppraiseError, Beside, End, Expected, Kind, Made, Policy, Report, RoomSession, appraise, ear,
};
use proofroom_canonical::{Nonce, Timestamp, json as strict};
use proofroom_clock::wall;
use proofroom_evidence::{Collateral, MAX_DOCUMENT_BYTES, REPORT_DATA_BYTES, VtpmDocument};
use proofroom_provider::MAX_PROVIDER_DOCUMENT_BYTES;
use serde_json::json;

use super::{DIFFERENT, Failure, NOT_ALL_CHECKS, UNKNOWN, USAGE, key_file, say};

mod provider;
mod text;
mod url;

/// Certificates, revocation lists, reference manifests, policies: none is near this.
const MAX_BESIDE_BYTES: usize = 8 * 1024 * 1024;
const FORMAT: &str = "proofroom.appraisal.v1";
/// Who made a result.
const BUILD: &str = concat!("proofroom ", env!("CARGO_PKG_VERSION"));

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The evidence; what it is, its bytes say.
    #[arg(required_unless_present = "url")]
    evidence: Option<PathBuf>,
    /// Ask this standalone gateway, or enclave of ours, for its evidence, over a nonce made and judge that.
    #[arg(long, value_name = "URL", conflicts_with_all = ["evidence", "nonce", "report_data", "archived"])]
    url: Option<String>,
    /// The appraisal policy. Without one nothing is accepted.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Judge as of this time, RFC 3339, instead of now.
    #[arg(long, value_name = "TIME", value_parser = rfc3339)]
    at: Option<Timestamp>,
    /// With `--at`: judge as of now as well.
    #[arg(long, requires = "at")]
    also_now: bool,
    /// The nonce that the evidence must answer; a bare quote or report, as `proofroom attest` does.
    #[arg(long, value_name = "NONCE")]
    nonce: Option<Nonce>,
    /// The report data that a bare quote or report of another protocol must carry: 128 hex digits.
    #[arg(long, value_name = "HEX", value_parser = report_data, conflicts_with = "nonce")]
    report_data: Option<[u8; REPORT_DATA_BYTES]>,
    /// Nonce and report data are from an archive: they can be compared, but show no freshness.
    #[arg(long)]
    archived: bool,
    #[command(flatten)]
    files: Files,
    /// JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Also an EAR claims set (draft-ietf-rats-ear) in the JSON; it has no signature.
    #[arg(long, requires = "json")]
    ear: bool,
    /// Write the EAR to this file, as a JWT that `--sign` signs.
    #[arg(long, value_name = "FILE", requires = "sign")]
    ear_token: Option<PathBuf>,
    /// The P-256 private key (PEM, PKCS #8) that signs the EAR.
    #[arg(long, value_name = "KEY", requires = "ear_token")]
    sign: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Files {
    /// Intel's collateral for a bare TDX quote, an enclave, or one in a virtual TPM's document: a file, or a directory as `run --collateral` reads it.
    #[arg(long, value_name = "PATH")]
    collateral: Option<PathBuf>,
    /// Certificates of an SNP report, also of one in a virtual TPM's document, PEM or DER, in any order. Repeatable.
    #[arg(long, value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// AMD's revocation list, DER.
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// NVIDIA's reference manifest of a driver. Repeatable.
    #[arg(long, value_name = "FILE")]
    driver_rim: Vec<PathBuf>,
    /// NVIDIA's reference manifest of a BIOS. Repeatable.
    #[arg(long, value_name = "FILE")]
    bios_rim: Vec<PathBuf>,
    /// A token of NVIDIA's attestation service about the same devices. Repeatable.
    #[arg(long, value_name = "FILE")]
    token: Vec<PathBuf>,
    /// The key set of NVIDIA's attestation service.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// The reference manifest that a room's policy pins.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// The binding statement of the session whose room it is.
    #[arg(long, value_name = "FILE", requires = "agent")]
    binding: Option<PathBuf>,
    /// The session's closing statement, for evidence of its end.
    #[arg(long, value_name = "FILE", requires = "binding")]
    closing: Option<PathBuf>,
    /// The session's agent, as the access policy names it.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The deployment's CA certificate, PEM, which certifies keys of software TPMs.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

fn rfc3339(text: &str) -> Result<Timestamp, String> {
    let read: jiff::Timestamp = text
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    Ok(Timestamp::from_unix_millis(read.as_millisecond()))
}

fn report_data(text: &str) -> Result<[u8; REPORT_DATA_BYTES], String> {
    let mut data = [0; REPORT_DATA_BYTES];
    hex::decode_to_slice(text, &mut data).map_err(|error| error.to_string())?;
    Ok(data)
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let now = wall();
    let (evidence, report_data) = match (&options.url, &options.evidence) {
        (Some(url), _) => {
            let (nonce, answered) = url::ask(url)?;
            if provider::is_report(&answered.document) {
                return provider::run_asked(options, nonce, &answered);
            }
            let asked = url::of_gateway(url, (nonce, &answered), options.json)?;
            (asked.evidence, Some(asked.report_data))
        }
        (None, Some(path)) => (
            read(path, MAX_PROVIDER_DOCUMENT_BYTES)?,
            options.report_data,
        ),
        (None, None) => (Vec::new(), None),
    };
    if provider::is_document(&evidence) {
        return provider::run(options, &evidence);
    }
    let kind = Kind::recognise(&evidence).map_err(failure)?;
    let beside = beside(options, &evidence, report_data)?;
    let judge = |at| {
        let policy = read_policy(options, kind, at)?;
        appraise(&evidence, &beside, policy.as_ref(), at).map_err(failure)
    };
    let report = judge(options.at.unwrap_or(now))?;
    let also = options.also_now.then(|| judge(now)).transpose()?;
    let out = if options.json {
        as_json(options, &report, also.as_ref())
    } else {
        let mut words = text::told(&report, options.at.is_none());
        if let Some(also) = &also {
            words.push_str("\nThe same, judged as of now:\n");
            words.push_str(&text::told(also, true));
        }
        words
    };
    write_token(options, &report)?;
    say(&out)?;
    Ok(ended(report.end()))
}

/// Whatever it came to: a refusal that is signed is a result too.
fn write_token(options: &Options, report: &Report) -> Result<(), Failure> {
    let (Some(out), Some(key)) = (&options.ear_token, &options.sign) else {
        return Ok(());
    };
    let key = key_file::private(key, "ear-key")?;
    let token = ear::token(&ear::claims_set(report, BUILD), &key);
    std::path::absolute(out)
        .and_then(|out| files::replace(&out, token.as_bytes()))
        .map_err(|error| Failure::new(USAGE, "output", error))
}

/// The exit code speaks of the time that was asked about.
fn ended(end: &End) -> ExitCode {
    match end {
        End::Accepted(_) => ExitCode::SUCCESS,
        End::Refused => ExitCode::from(DIFFERENT),
        End::Incomplete => ExitCode::from(NOT_ALL_CHECKS),
    }
}

fn as_json(options: &Options, report: &Report, also: Option<&Report>) -> String {
    let mut value = json!({ "format": FORMAT, "report": report });
    if let Some(members) = value.as_object_mut() {
        if let Some(also) = also {
            members.insert("now".to_owned(), json!(also));
        }
        if options.ear {
            members.insert("ear".to_owned(), ear::claims_set(report, BUILD));
        }
    }
    format!("{:#}\n", value)
}

fn failure(error: AppraiseError) -> Failure {
    let exit = match error {
        AppraiseError::Unknown { .. } | AppraiseError::TooLarge { .. } => UNKNOWN,
        _ => USAGE,
    };
    Failure::new(exit, error.code(), error)
}

fn read_policy(options: &Options, kind: Kind, at: Timestamp) -> Result<Option<Policy>, Failure> {
    let Some(path) = &options.policy else {
        return Ok(None);
    };
    let text = String::from_utf8(read(path, MAX_BESIDE_BYTES)?)
        .map_err(|error| Failure::new(USAGE, "policy-refused", error))?;
    let manifest = maybe(options.files.reference.as_deref())?;
    let file = path.display().to_string();
    let policy = Policy::parse(kind, &text, &file, manifest.as_deref(), at).map_err(failure)?;
    Ok(Some(policy))
}

fn beside(
    options: &Options,
    evidence: &[u8],
    report_data: Option<[u8; REPORT_DATA_BYTES]>,
) -> Result<Beside, Failure> {
    let files = &options.files;
    Ok(Beside {
        collateral: collateral(files.collateral.as_deref(), evidence)?,
        certificates: all(&files.certificates)?,
        crl: maybe(files.crl.as_deref())?,
        driver_rims: all(&files.driver_rim)?,
        bios_rims: all(&files.bios_rim)?,
        tokens: all(&files.token)?,
        jwks: maybe(files.jwks.as_deref())?,
        expected: Expected {
            nonce: options.nonce,
            report_data,
            made: match options.archived {
                true => Made::Archived,
                false => Made::ForThisExchange,
            },
        },
        room: session(files)?,
    })
}

fn collateral(path: Option<&Path>, evidence: &[u8]) -> Result<Option<Collateral>, Failure> {
    match path {
        Some(path) if path.is_dir() => CollateralSource::Directory(path.to_owned())
            .of_quote(&quote_in(evidence))
            .map(Some)
            .map_err(|error| Failure::new(USAGE, error.code(), error)),
        _ => parsed(path, MAX_DOCUMENT_BYTES),
    }
}

/// The TD's quote that a document has inside; other evidence is one itself.
fn quote_in(evidence: &[u8]) -> Vec<u8> {
    let document = VtpmDocument::parse(evidence).ok();
    let quote = document.and_then(|document| document.td_quote);
    quote.map_or_else(|| evidence.to_vec(), |quote| quote.0)
}

fn session(files: &Files) -> Result<Option<RoomSession>, Failure> {
    let (Some(path), Some(agent)) = (&files.binding, &files.agent) else {
        return Ok(None);
    };
    let Some(binding) = parsed(Some(path), MAX_DOCUMENT_BYTES)? else {
        return Ok(None);
    };
    Ok(Some(RoomSession {
        binding_bytes: read(path, MAX_DOCUMENT_BYTES)?,
        binding,
        closing: parsed(files.closing.as_deref(), MAX_DOCUMENT_BYTES)?,
        agent: agent.clone(),
        deployment_ca: maybe(files.ca.as_deref())?.unwrap_or_default(),
    }))
}

fn parsed<T: serde::de::DeserializeOwned>(
    path: Option<&Path>,
    max: usize,
) -> Result<Option<T>, Failure> {
    let Some(path) = path else {
        return Ok(None);
    };
    let value = strict::parse(&read(path, max)?, max).map_err(|error| {
        let error = anyhow::Error::new(error).context(format!("cannot read `{}`", path.display()));
        Failure::new(USAGE, "input-malformed", error)
    })?;
    Ok(Some(value))
}

fn maybe(path: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    path.map(|path| read(path, MAX_BESIDE_BYTES)).transpose()
}

fn all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    paths
        .iter()
        .map(|path| read(path, MAX_BESIDE_BYTES))
        .collect()
}

fn read(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    proofroom::measure::read(path, "file", max)
        .map_err(|error| Failure::new(USAGE, error.code(), error))
}
