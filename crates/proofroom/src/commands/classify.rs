//! `proofroom classify`: what the policies say about one file, and why. Says where, never what.

use std::{
    io::{self, Read as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use proofroom::judge::{Judge, JudgeError, MAX_FILE_BYTES, Way, content, place};
use proofroom_classify::{
    Classification, ClassificationPolicy, Confidence, Finding, Label, RouteDecision,
};
use proofroom_clock::wall;
use serde_json::{Value, json};

use super::{Failure, INTERNAL, USAGE};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The file; `-` reads standard input.
    file: PathBuf,
    /// Directory with policy files. Default: the built-in ones.
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Judge it as a file of this repository.
    #[arg(long, value_name = "NAME", default_value = "unnamed")]
    repository: String,
    /// Judge it as the file at this path of the repository. Default: the file's own name.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Ask where requests for this model would go. Default: every model that upstreams name.
    #[arg(long)]
    model: Option<String>,
    /// Ask for this person.
    #[arg(long, value_name = "NAME", default_value = "")]
    person: String,
    /// Ask for a session opened for this purpose.
    #[arg(long, value_name = "NAME", default_value = "")]
    purpose: String,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let judge = Judge::open(options.policy.as_deref()).map_err(usage)?;
    let bytes = read(options)?;
    let named = options.path.clone().or_else(|| {
        let shown = options.file.to_str()?;
        (shown != "-").then(|| shown.to_owned())
    });
    // More than the cap is judged as content that nobody can read.
    let judged = bytes.as_deref().unwrap_or(b"\xff");
    let found = judge.classify(judged, named.as_deref(), &options.repository, wall());
    let text = std::str::from_utf8(judged).unwrap_or_default();
    let ways = judge.ways(
        found.label,
        options.model.as_deref(),
        &options.repository,
        (&options.person, &options.purpose),
    );
    warn_of_expired(judge.classification());
    let told = if options.json {
        print_json(&judge, &found, text, &ways)
    } else {
        print(&judge, &found, text, &ways)
    };
    told.map_err(|error| Failure::new(INTERNAL, "output", error))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn usage(error: JudgeError) -> Failure {
    Failure::new(USAGE, error.code(), error)
}

/// Says which exceptions are no longer applied.
pub(super) fn warn_of_expired(policy: &ClassificationPolicy) {
    for (id, owner) in policy.expired_exceptions(wall()) {
        let mut err = anstream::stderr().lock();
        // Where even standard error is gone, the judgement still counts.
        drop(writeln!(
            err,
            "proofroom: exception `{id}` of {owner} has expired and is not applied"
        ));
    }
}

fn read(options: &Options) -> Result<Option<Vec<u8>>, Failure> {
    if options.file.as_os_str() != "-" {
        return content(&options.file).map_err(usage);
    }
    let mut bytes = Vec::new();
    io::stdin()
        .take(MAX_FILE_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .context("cannot read standard input")
        .map_err(|error| Failure::new(USAGE, "file-unreadable", error))?;
    Ok((bytes.len() as u64 <= MAX_FILE_BYTES).then_some(bytes))
}

fn name(judge: &Judge, label: Label) -> &str {
    judge.classification().levels().name(label)
}

/// Why the label is what it is: the rules that carry it, or the policy's default.
pub(super) fn because(judge: &Judge, found: &Classification) -> String {
    let mut rules: Vec<&str> = found
        .findings
        .iter()
        .filter(|finding| finding.label == found.label)
        .map(|finding| finding.rule.as_str())
        .collect();
    rules.sort_unstable();
    rules.dedup();
    if rules.is_empty() {
        let default = name(judge, judge.classification().default_label());
        return format!("nothing was found; the policy's default is `{default}`");
    }
    format!("rule `{}`", rules.join("`, `"))
}

fn print(judge: &Judge, found: &Classification, text: &str, ways: &[Way]) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    for finding in &found.findings {
        let at = place(text, &finding.span);
        let (line, column) = (at.line, at.column);
        let (end_line, end_column) = (at.end_line, at.end_column);
        let label = name(judge, finding.label);
        let sure = finding.confidence.name();
        let (rule, reason) = (&finding.rule, finding.reason);
        writeln!(
            out,
            "{line}:{column}-{end_line}:{end_column}  {label}  {rule}  {sure}  {reason}"
        )?;
    }
    for excused in &found.excepted {
        let at = place(text, &excused.finding.span);
        let (rule, exception) = (&excused.finding.rule, &excused.exception);
        let (line, column) = (at.line, at.column);
        writeln!(
            out,
            "{line}:{column}  excused  {rule}  exception `{exception}`"
        )?;
    }
    let because = because(judge, found);
    writeln!(out, "level {}: {because}", name(judge, found.label))?;
    if ways.is_empty() {
        writeln!(out, "no upstream names a model; ask with --model")?;
    }
    for way in ways {
        let model = &way.model;
        match &way.decision {
            RouteDecision::Send {
                rule,
                tier,
                candidates,
                ..
            } => {
                let names: Vec<&str> = candidates.iter().map(|c| c.upstream.as_str()).collect();
                let names = names.join(", ");
                writeln!(out, "{model} -> tier {tier} ({names}), by rule `{rule}`")?;
            }
            RouteDecision::Refuse { code, message, .. } => {
                writeln!(out, "{model} -> refused ({}): {message}", code.code())?;
            }
        }
    }
    Ok(())
}

fn finding_json(judge: &Judge, finding: &Finding, text: &str) -> Value {
    let at = place(text, &finding.span);
    let confidence: Confidence = finding.confidence;
    json!({
        "rule": finding.rule, "reason": finding.reason, "label": name(judge, finding.label),
        "confidence": confidence.name(), "line": at.line, "column": at.column,
        "end_line": at.end_line, "end_column": at.end_column,
    })
}

fn print_json(judge: &Judge, found: &Classification, text: &str, ways: &[Way]) -> io::Result<()> {
    let findings: Vec<Value> = found
        .findings
        .iter()
        .map(|finding| finding_json(judge, finding, text))
        .collect();
    let excused: Vec<Value> = found
        .excepted
        .iter()
        .map(|excused| json!({
            "exception": excused.exception, "finding": finding_json(judge, &excused.finding, text),
        }))
        .collect();
    let ways: Vec<Value> = ways.iter().map(way_json).collect();
    let all = json!({
        "label": name(judge, found.label), "because": because(judge, found),
        "findings": findings, "excused": excused, "ways": ways,
        "classification_policy": judge.classification().digest().to_string(),
        "routing_policy": judge.routing.digest().to_string(),
    });
    writeln!(io::stdout().lock(), "{all}")
}

fn way_json(way: &Way) -> Value {
    match &way.decision {
        RouteDecision::Send {
            rule,
            tier,
            candidates,
            ..
        } => json!({
            "model": way.model, "decision": "send", "rule": rule, "tier": tier,
            "upstreams": candidates.iter().map(|c| c.upstream.as_str()).collect::<Vec<_>>(),
        }),
        RouteDecision::Refuse {
            rule,
            code,
            message,
            ..
        } => json!({
            "model": way.model, "decision": "refuse", "rule": rule, "code": code.code(),
            "message": message,
        }),
    }
}
