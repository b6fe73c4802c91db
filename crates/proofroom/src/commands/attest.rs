//! `proofroom attest`: evidence of the machine that it runs in, over a relying party's nonce. It proves
//! nothing by itself; `proofroom appraise` judges it, elsewhere.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use proofroom_attester::{Provider, TsmAttester, TsmPaths};
use proofroom_canonical::Nonce;
use proofroom_evidence::Challenge;
use serde_json::json;

use super::{Failure, INTERNAL, UNAVAILABLE, USAGE, say};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The nonce of whoever asks: 64 hex digits that were never used before.
    #[arg(long, value_name = "NONCE")]
    nonce: Nonce,
    /// Where the evidence goes; the file must not exist. What the host adds goes beside it, as `FILE.aux`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the kernel makes reports.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/sys/kernel/config/tsm/report"
    )]
    reports: PathBuf,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let challenge = Challenge::new(options.nonce);
    let paths = TsmPaths {
        report: options.reports.clone(),
        ..TsmPaths::default()
    };
    let refused =
        |error: proofroom_attester::AttestError| Failure::new(UNAVAILABLE, error.code(), error);
    let attester = TsmAttester::start(paths).map_err(refused)?;
    let report = attester.report(&challenge.report_data()).map_err(refused)?;
    keep(&options.out, &report.outblob)?;
    let beside = (!report.auxblob.is_empty()).then(|| beside(&options.out));
    if let Some(path) = &beside {
        keep(path, &report.auxblob)?;
    }
    let words = match options.json {
        true => as_json(options, attester.provider(), &challenge, beside.as_deref()),
        false => told(options, attester.provider(), beside.as_deref()),
    };
    say(&words)?;
    Ok(ExitCode::SUCCESS)
}

fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".aux");
    PathBuf::from(name)
}

fn keep(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| unwritable(path, USAGE, error))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| unwritable(path, INTERNAL, error))
}

fn unwritable(path: &Path, exit: u8, error: std::io::Error) -> Failure {
    let error = anyhow::Error::new(error).context(format!("cannot write `{}`", path.display()));
    Failure::new(exit, "output", error)
}

const fn name(provider: Provider) -> &'static str {
    match provider {
        Provider::Tdx => "Intel TDX quote",
        Provider::SevSnp => "AMD SEV-SNP report",
    }
}

fn told(options: &Options, provider: Provider, beside: Option<&Path>) -> String {
    let (out, nonce) = (options.out.display(), options.nonce);
    let added = beside.map_or_else(String::new, |path| {
        format!("What the host added to it: {}\n", path.display())
    });
    format!(
        "{}: {out}\n{added}It is a claim until somebody else has judged it, with a policy of their own:\n\
         \n    proofroom appraise {out} --nonce {nonce} --policy POLICY\n",
        name(provider),
    )
}

fn as_json(
    options: &Options,
    provider: Provider,
    challenge: &Challenge,
    beside: Option<&Path>,
) -> String {
    let object = json!({
        "format": "proofroom.attest.v1",
        "kind": provider.evidence_type(),
        "evidence": options.out,
        "aux": beside,
        "statement": challenge.statement(),
        "report_data": format!("{:?}", challenge.report_data()),
    });
    format!("{object:#}\n")
}
