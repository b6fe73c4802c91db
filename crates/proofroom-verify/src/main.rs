//! `proofroom-verify`: one bundle in, a transcript and an exit code out. No network, no server, no
//! account; it decides nothing itself, the ladder does.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

mod providers;

use clap::Parser;
use proofroom_canonical::Timestamp;
use proofroom_record::{
    bundle::archive::MAX_BUNDLE_BYTES,
    ladder::{Anchor, Anchors, Report, verify_bundle},
    render,
};

/// The most bytes that a file with a trust anchor may have.
const MAX_ANCHOR_BYTES: usize = 1024 * 1024;

const USAGE: u8 = 64;
const INTERNAL: u8 = 70;

/// Verify a Proofroom session bundle, offline
///
/// Exit codes: 0 accepted, 10 rejected, 11 incomplete, 20 unsupported, 30 malformed, 64 usage,
/// 70 internal error.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The bundle (`*.proofroom`)
    bundle: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Judge as of this time (RFC 3339, UTC) instead of now
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// The deployment's CA certificate (PEM), from a source that you trust
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The log's verifier key, from a source that you trust
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
    /// Your own appraisal policy for attested upstreams
    #[arg(long, value_name = "FILE")]
    appraisal_policy: Option<PathBuf>,
    /// Your own policies for providers that attest in their own format, and what these rest on: a directory of files
    /// with the names that the session's had. Each must accept what the session's accepted
    #[arg(long, value_name = "DIR")]
    provider_policies: Option<PathBuf>,
    /// Your own appraisal policy for rooms
    #[arg(long, value_name = "FILE")]
    room_appraisal_policy: Option<PathBuf>,
    /// Reference values of the room's image that you made yourself (`proofroom measure`); the room
    /// appraisal policy must pin them
    #[arg(long, value_name = "FILE")]
    room_reference: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("cannot read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is larger than the {max} bytes allowed")]
    TooLarge { path: PathBuf, max: usize },
    #[error("this computer's clock is before 1970; give the time with --at")]
    Clock,
    #[error("cannot write the transcript")]
    Write(#[source] io::Error),
    #[error("cannot write the report as JSON")]
    Json(#[source] serde_json::Error),
}

impl RunError {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::TooLarge { .. } | Self::Clock => USAGE,
            Self::Write(_) | Self::Json(_) => INTERNAL,
        }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => {
            let shown = refused.print();
            let wrong = refused.use_stderr();
            return ExitCode::from(match (shown, wrong) {
                (Err(_), _) => INTERNAL,
                (Ok(()), true) => USAGE,
                (Ok(()), false) => 0,
            });
        }
    };
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            // with standard error closed, the exit code still tells
            let _written = writeln!(io::stderr(), "error: {error}{}", cause.unwrap_or_default());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, RunError> {
    let bytes = read(&arguments.bundle, MAX_BUNDLE_BYTES)?;
    let provider_policies = match &arguments.provider_policies {
        Some(dir) => Anchor::Pinned(providers::files(dir)?),
        None => Anchor::FromBundle,
    };
    let anchors = Anchors {
        ca: anchor(arguments.ca.as_deref())?,
        log_key: anchor(arguments.log_key.as_deref())?,
        appraisal_policy: anchor(arguments.appraisal_policy.as_deref())?,
        provider_policies,
        room_appraisal_policy: anchor(arguments.room_appraisal_policy.as_deref())?,
        room_reference: anchor(arguments.room_reference.as_deref())?,
    };
    let now = arguments.at.map_or_else(now, Ok)?;
    let report = verify_bundle(&bytes, &anchors, now);
    let text = match arguments.json {
        true => as_json(&report)?,
        false => render::transcript(&report),
    };
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(RunError::Write)?;
    Ok(report.verdict.exit_code())
}

fn as_json(report: &Report) -> Result<String, RunError> {
    let text = serde_json::to_string_pretty(&render::json(report)).map_err(RunError::Json)?;
    Ok(text + "\n")
}

fn anchor(path: Option<&Path>) -> Result<Anchor, RunError> {
    path.map_or(Ok(Anchor::FromBundle), |path| {
        read(path, MAX_ANCHOR_BYTES).map(Anchor::Pinned)
    })
}

fn read(path: &Path, max: usize) -> Result<Vec<u8>, RunError> {
    let refused = |source| RunError::Read {
        path: path.to_owned(),
        source,
    };
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(refused)?;
    if bytes.len() > max {
        return Err(RunError::TooLarge {
            path: path.to_owned(),
            max,
        });
    }
    Ok(bytes)
}

fn now() -> Result<Timestamp, RunError> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| RunError::Clock)?;
    let millis = i64::try_from(since.as_millis()).map_err(|_| RunError::Clock)?;
    Ok(Timestamp::from_unix_millis(millis))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let whole_seconds = text.strip_suffix('Z').map(|head| format!("{head}.000Z"));
    (text.parse().ok())
        .or_else(|| whole_seconds.and_then(|text| text.parse().ok()))
        .ok_or_else(|| "not a time of the form `2026-01-31T23:59:59Z`".to_owned())
}
