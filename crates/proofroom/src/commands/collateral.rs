//! `proofroom collateral`: what Intel says about TDX platforms, in a directory that `run --collateral` and
//! `appraise --collateral` read, and beside it what AMD says about chips, for `appraise --certificates` and `--crl`. 0 everything
//! is fresh, 10 something is not, 69 the service did not help.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use proofroom::{
    collateral::{
        AMD, AmdChip, AmdLine, CollateralService, FetchError, Freshness, INTEL, Lasts,
        PckAuthority, file_of, list_lasts, read,
    },
    files,
};
use proofroom_canonical::json;
use proofroom_clock::wall;
use proofroom_evidence::{
    Fmspc, MAX_QUOTE_BYTES, Quote,
    snp::{SNP_REPORT_BYTES, SnpProduct},
};
use serde::Serialize;

use super::{DIFFERENT, Failure, INTERNAL, UNAVAILABLE, USAGE, say};

const DAY: u64 = 24 * 60 * 60;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch what is said today about a platform.
    Fetch {
        /// The directory.
        dir: PathBuf,
        #[command(flatten)]
        platform: Platform,
        /// The product of a report that names none (version 2): Milan or Genoa.
        #[arg(long, value_name = "NAME", requires = "report", value_parser = product)]
        product: Option<SnpProduct>,
        #[command(flatten)]
        service: Service,
    },
    /// Say of every platform in a directory how long its collateral lasts.
    Check {
        /// The directory.
        dir: PathBuf,
        #[command(flatten)]
        due: Due,
        /// One JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Fetch again what is due or expired. What cannot be fetched stays as it is, and is named.
    Refresh {
        /// The directory.
        dir: PathBuf,
        #[command(flatten)]
        due: Due,
        #[command(flatten)]
        service: Service,
    },
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Platform {
    /// The platform's FMSPC: 12 hex digits.
    #[arg(long, value_name = "HEX", value_parser = fmspc)]
    fmspc: Option<Fmspc>,
    /// A quote that the platform made.
    #[arg(long, value_name = "FILE")]
    quote: Option<PathBuf>,
    /// A SEV-SNP report that the chip made: AMD is asked.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Service {
    /// The service: Intel's, or a caching one.
    #[arg(long, value_name = "URL", default_value = INTEL)]
    url: String,
    /// Who issued the platform's PCK certificate.
    #[arg(long, value_enum, default_value = "platform")]
    authority: Authority,
    /// The service for SEV-SNP: AMD's, or a caching one.
    #[arg(long, value_name = "URL", default_value = AMD)]
    amd_url: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Authority {
    Platform,
    Processor,
}

#[derive(Args, Debug)]
pub(crate) struct Due {
    /// How many days before its end collateral is due.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    due_days: u64,
}

/// What is said of one platform.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    of: Of,
    state: State,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    lasts: Option<Lasts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What a row is about.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Of {
    Fmspc(Fmspc),
    #[serde(serialize_with = "named")]
    Amd(AmdLine),
}

fn named<S: serde::Serializer>(line: &AmdLine, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&line.name())
}

impl Of {
    fn name(self) -> String {
        match self {
            Self::Fmspc(fmspc) => fmspc.to_string(),
            Self::Amd(line) => line.name(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", untagged)]
enum State {
    Dated(Freshness),
    #[serde(serialize_with = "unreadable")]
    Unreadable,
}

fn unreadable<S: serde::Serializer>(to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str("unreadable")
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Dated(Freshness::Fresh) => "fresh",
            Self::Dated(Freshness::Due) => "due",
            Self::Dated(Freshness::Expired) => "expired",
            Self::Unreadable => "unreadable",
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Fetch {
            dir,
            platform,
            product,
            service,
        } => {
            let row = match &platform.report {
                Some(report) => fetch_chip(dir, report, *product, service)?,
                None => fetch(dir, platform.fmspc()?, service).map_err(unavailable)??,
            };
            say(&told(&[row]))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { dir, due, json } => {
            let rows = rows(dir, due)?;
            say(&if *json { as_json(&rows) } else { told(&rows) })?;
            Ok(exit(&rows))
        }
        Command::Refresh { dir, due, service } => refresh(dir, due, service),
    }
}

fn refresh(dir: &Path, due: &Due, service: &Service) -> Result<ExitCode, Failure> {
    let mut failed = None;
    for row in rows(dir, due)? {
        if row.state == State::Dated(Freshness::Fresh) {
            continue;
        }
        let fetched = match row.of {
            Of::Fmspc(fmspc) => fetch(dir, fmspc, service),
            Of::Amd(line) => fetch_line(dir, line, service),
        };
        match fetched {
            Ok(kept) => say(&told(&[kept?]))?,
            Err(error) => {
                super::failed(&unavailable(error));
                failed = Some(ExitCode::from(UNAVAILABLE));
            }
        }
    }
    let rows = rows(dir, due)?;
    Ok(failed.unwrap_or_else(|| exit(&rows)))
}

fn exit(rows: &[Row]) -> ExitCode {
    let fresh = |row: &Row| row.state == State::Dated(Freshness::Fresh);
    match rows.iter().all(fresh) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DIFFERENT),
    }
}

/// Fetches, and keeps what came in place of what was there: whole, or not at all.
fn fetch(dir: &Path, fmspc: Fmspc, service: &Service) -> Result<Result<Row, Failure>, FetchError> {
    let authority = match service.authority {
        Authority::Platform => PckAuthority::Platform,
        Authority::Processor => PckAuthority::Processor,
    };
    let asked = CollateralService::new(&service.url)?;
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return Ok(Err(failure)),
    };
    let collateral = runtime.block_on(asked.fetch(fmspc, authority))?;
    let lasts = Lasts::of(&collateral).map_err(|problem| FetchError::Malformed {
        base: service.url.clone(),
        problem,
    })?;
    let path = file_of(dir, fmspc);
    let kept = json::to_bytes(&collateral)
        .map_err(|error| Failure::new(INTERNAL, "output", error))
        .and_then(|bytes| keep(dir, &path, &bytes));
    Ok(kept.map(|()| row(Of::Fmspc(fmspc), Ok(lasts), Duration::ZERO)))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INTERNAL, "runtime", error))
}

fn keep(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let kept = fs::create_dir_all(dir).and_then(|()| files::replace(path, bytes));
    kept.map_err(|error| {
        let error = anyhow::Error::new(error).context(format!("cannot write `{}`", path.display()));
        Failure::new(INTERNAL, "output", error)
    })
}

/// Fetches the certificate of the chip's key too. Everything is fetched before anything is kept.
fn fetch_chip(
    dir: &Path,
    report: &Path,
    product: Option<SnpProduct>,
    service: &Service,
) -> Result<Row, Failure> {
    let bytes = proofroom::measure::read(report, "report", SNP_REPORT_BYTES)
        .map_err(|error| Failure::new(USAGE, error.code(), error))?;
    let chip = AmdChip::of_report(&bytes, product)
        .map_err(|words| Failure::new(USAGE, "report-unusable", anyhow::anyhow!(words)))?;
    let asked = CollateralService::new(&service.amd_url).map_err(unavailable)?;
    let runtime = runtime()?;
    let leaf = runtime.block_on(asked.fetch_chip(&chip, dir));
    let leaf = leaf.map_err(unavailable)?;
    let (above, lasts) = runtime
        .block_on(asked.fetch_line(chip.line(), dir))
        .map_err(unavailable)?;
    for (path, bytes) in leaf.iter().chain(&above) {
        keep(dir, path, bytes)?;
    }
    Ok(row(Of::Amd(chip.line()), Ok(lasts), Duration::ZERO))
}

fn fetch_line(
    dir: &Path,
    line: AmdLine,
    service: &Service,
) -> Result<Result<Row, Failure>, FetchError> {
    let asked = CollateralService::new(&service.amd_url)?;
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return Ok(Err(failure)),
    };
    let (above, lasts) = runtime.block_on(asked.fetch_line(line, dir))?;
    let mut kept = above.iter().map(|(path, bytes)| keep(dir, path, bytes));
    let kept = kept.try_for_each(|kept| kept);
    Ok(kept.map(|()| row(Of::Amd(line), Ok(lasts), Duration::ZERO)))
}

/// Every platform of a directory, in the order of their names.
fn rows(dir: &Path, due: &Due) -> Result<Vec<Row>, Failure> {
    let listed = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = listed.map_err(|error| {
        let error = anyhow::Error::new(error).context(format!("cannot list `{}`", dir.display()));
        Failure::new(USAGE, "collateral-missing", error)
    })?;
    let mut platforms: Vec<Fmspc> = listed
        .iter()
        .filter_map(|entry| fmspc(entry.file_name().to_str()?.strip_suffix(".json")?).ok())
        .collect();
    platforms.sort_by_key(|fmspc| *fmspc.as_bytes());
    let margin = Duration::from_secs(due.due_days.saturating_mul(DAY));
    let judged = |fmspc: Fmspc| {
        let kept = read(&file_of(dir, fmspc));
        let kept = kept.map_err(|error| format!("{:#}", anyhow::Error::new(error)));
        let lasts = kept.and_then(|kept| Lasts::of(&kept));
        row(Of::Fmspc(fmspc), lasts, margin)
    };
    let mut rows: Vec<Row> = platforms.into_iter().map(judged).collect();
    let mut lines: Vec<AmdLine> = listed
        .iter()
        .filter_map(|entry| AmdLine::of_list(entry.file_name().to_str()?))
        .collect();
    lines.sort_by_key(|line| line.name());
    let of_line = |line: AmdLine| row(Of::Amd(line), list_lasts(&line.list_in(dir)), margin);
    rows.extend(lines.into_iter().map(of_line));
    Ok(rows)
}

fn row(of: Of, lasts: Result<Lasts, String>, margin: Duration) -> Row {
    let (state, lasts, problem) = match lasts {
        Ok(lasts) => (State::Dated(lasts.at(wall(), margin)), Some(lasts), None),
        Err(problem) => (State::Unreadable, None, Some(problem)),
    };
    Row {
        of,
        state,
        lasts,
        problem,
    }
}

fn told(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no collateral here\n".to_owned();
    }
    let line = |row: &Row| {
        let (name, state) = (row.of.name(), row.state.word());
        let until = row.lasts.map(|lasts| format!("until {}", lasts.until));
        let why = until.or_else(|| row.problem.clone()).unwrap_or_default();
        format!("{name:<12}  {state:<10}  {why}\n")
    };
    rows.iter().map(line).collect::<String>()
        + "Dates as they say themselves: nothing is verified before it is used.\n"
}

fn as_json(rows: &[Row]) -> String {
    let object =
        serde_json::json!({ "format": "proofroom.collateral-state.v1", "platforms": rows });
    format!("{object:#}\n")
}

impl Platform {
    fn fmspc(&self) -> Result<Fmspc, Failure> {
        if let Some(fmspc) = self.fmspc {
            return Ok(fmspc);
        }
        let path = self.quote.clone().unwrap_or_default();
        let bytes = proofroom::measure::read(&path, "quote", MAX_QUOTE_BYTES)
            .map_err(|error| Failure::new(USAGE, error.code(), error))?;
        let facts = Quote::parse(&bytes).and_then(|quote| quote.pck_facts());
        facts
            .map(|facts| facts.fmspc)
            .map_err(|error| Failure::new(USAGE, error.code(), error))
    }
}

fn product(text: &str) -> Result<SnpProduct, String> {
    SnpProduct::of_name(text)
        .ok_or_else(|| format!("`{text}` is no product of AMD's that is known"))
}

fn fmspc(text: &str) -> Result<Fmspc, String> {
    let mut bytes = [0; 6];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|error| format!("`{text}` is no FMSPC of 12 hex digits: {error}"))?;
    Ok(Fmspc::from_bytes(bytes))
}

fn unavailable(error: FetchError) -> Failure {
    let exit = match error {
        FetchError::Address(_) => USAGE,
        _ => UNAVAILABLE,
    };
    Failure::new(exit, error.code(), error)
}
