//! Documents of providers in their own formats and of enclaves of ours, as a gateway keeps them, and what an enclave
//! shows when it is asked: judged by the policy for providers, which names two others that lie beside it.

use std::{fmt::Write as _, path::Path, process::ExitCode};

use proofroom::collateral::CollateralSource;
use proofroom_canonical::Nonce;
use proofroom_clock::wall;
use proofroom_gateway::{Answered, CollateralStore as _};
use proofroom_provider::{
    CheckOutcome, CollateralByPlatform, Exchange, Format, ProviderAppraisal, ProviderCheck,
    ProviderDocument, ProviderPolicy, appraise_provider, platforms_of,
};
use proofroom_verifier::{Assurance, Verdict};
use serde_json::json;

use super::{
    DIFFERENT, FORMAT, Failure, MAX_BESIDE_BYTES, NOT_ALL_CHECKS, Options, UNKNOWN, USAGE, read,
    say,
};

pub(super) fn is_document(evidence: &[u8]) -> bool {
    ProviderDocument::parse(evidence).is_ok()
}

/// Whether an address answered as an enclave of ours does.
pub(super) fn is_report(answer: &[u8]) -> bool {
    platforms_of(answer, Format::ProofroomEnclave).is_ok()
}

/// From an archive, at best incomplete.
pub(super) fn run(options: &Options, evidence: &[u8]) -> Result<ExitCode, Failure> {
    judge(options, evidence, Exchange::ArchiveAudit)
}

/// An enclave that was asked just now, over its own connection.
pub(super) fn run_asked(
    options: &Options,
    nonce: Nonce,
    answered: &Answered,
) -> Result<ExitCode, Failure> {
    let malformed = |error| Failure::new(UNKNOWN, "report-malformed", error);
    let format = Format::ProofroomEnclave;
    let platforms = platforms_of(&answered.document, format).map_err(malformed)?;
    let source = options.files.collateral.as_deref();
    let known = platforms.into_iter().filter_map(|platform| {
        let directory = CollateralSource::Directory(source?.to_owned());
        let found = directory.of_platform(platform)?;
        Some((platform.to_string(), found))
    });
    let known: CollateralByPlatform = known.collect();
    let document = ProviderDocument::write(format, &answered.document, known);
    let exchange = match answered.tls_key {
        Some(tls_spki) => Exchange::Challenge { nonce, tls_spki },
        None => Exchange::ArchiveAudit,
    };
    judge(options, &document.map_err(malformed)?, exchange)
}

fn judge(options: &Options, evidence: &[u8], exchange: Exchange) -> Result<ExitCode, Failure> {
    let policy = policy(options)?;
    let at = options.at.unwrap_or_else(wall);
    let appraisal = appraise_provider(evidence, &policy, exchange, at);
    say(&match options.json {
        true => format!("{:#}\n", json!({ "format": FORMAT, "report": appraisal })),
        false => told(&appraisal, &policy),
    })?;
    Ok(match appraisal.verdict() {
        Verdict::Accept => ExitCode::SUCCESS,
        Verdict::Reject => ExitCode::from(DIFFERENT),
        Verdict::Incomplete => ExitCode::from(NOT_ALL_CHECKS),
    })
}

fn policy(options: &Options) -> Result<ProviderPolicy, Failure> {
    let refused = |words: String| Failure::new(USAGE, "provider-policy", anyhow::anyhow!(words));
    let challenged = options.nonce.is_some() || options.report_data.is_some();
    if challenged || options.also_now || options.ear || options.ear_token.is_some() {
        let words = "providers and enclaves take `--policy`, `--at`, `--json` and, with `--url`, `--collateral`";
        return Err(refused(words.to_owned()));
    }
    let path = options.policy.as_deref();
    let path = path.ok_or_else(|| refused("providers and enclaves need `--policy`".to_owned()))?;
    let text = text(path)?;
    let beside = path.parent().unwrap_or(Path::new("."));
    let sibling = |name: &str| self::text(&beside.join(name)).ok();
    let file = path.display().to_string();
    ProviderPolicy::parse(&text, &file, &sibling).map_err(|problems| {
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        refused(words.join("\n"))
    })
}

fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path, MAX_BESIDE_BYTES)?)
        .map_err(|error| Failure::new(USAGE, "provider-policy", error))
}

fn told(appraisal: &ProviderAppraisal, policy: &ProviderPolicy) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    write(&mut out, appraisal, policy).unwrap_or_default();
    out
}

fn write(
    out: &mut String,
    appraisal: &ProviderAppraisal,
    policy: &ProviderPolicy,
) -> std::fmt::Result {
    writeln!(
        out,
        "Evidence:   {}, model {}",
        policy.format().as_str(),
        policy.model()
    )?;
    writeln!(out, "Policy:     {} ({})", policy.name(), policy.digest())?;
    if policy.assurance() == Assurance::Simulated {
        writeln!(
            out,
            "            SIMULATED: nothing under it is about hardware"
        )?;
    }
    for check in appraisal.checks() {
        writeln!(out, "  {}", line(check))?;
    }
    writeln!(out, "\n{}", ending(appraisal.verdict()))
}

fn line(check: &ProviderCheck) -> String {
    let (label, word) = (check.label(), check.outcome.word());
    match &check.outcome {
        CheckOutcome::Pass => format!("{word}: {label}"),
        CheckOutcome::Fail { code, words } | CheckOutcome::NotEvaluated { code, words } => {
            format!("{word}: {label} [{code}] {words}")
        }
    }
}

const fn ending(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "Accepted.",
        Verdict::Reject => "Refused.",
        Verdict::Incomplete => "Incomplete: no check failed, and not every one was made.",
    }
}
