//! A report as words: what was proved, what was not, why, and what it comes to.

use std::fmt::Write as _;

use proofroom_appraise::{Answer, End, Report, Row};
use proofroom_verifier::Assurance;
use serde_json::Value;

/// Facts longer than this belong into JSON.
const MAX_FACT: usize = 140;

pub(super) fn told(report: &Report, is_now: bool) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    write(&mut out, report, is_now).unwrap_or_default();
    out
}

fn write(out: &mut String, report: &Report, is_now: bool) -> std::fmt::Result {
    let when = if is_now { " (now)" } else { "" };
    writeln!(out, "Evidence:   {}", report.kind())?;
    writeln!(out, "            {}", report.evidence())?;
    writeln!(out, "Judged as of: {}{when}", report.at())?;
    match report.policy() {
        Some(policy) => {
            writeln!(out, "Policy:     {} ({})", policy.name, policy.digest)?;
            if policy.assurance == Assurance::Simulated {
                writeln!(
                    out,
                    "            SIMULATED: nothing under it is about hardware"
                )?;
            }
        }
        None => writeln!(out, "Policy:     none, so nothing can be accepted")?,
    }
    section(out, "Proved", report, |answer| *answer == Answer::Pass)?;
    section(out, "Failed", report, |answer| {
        matches!(answer, Answer::Fail { .. })
    })?;
    section(out, "Not evaluated", report, |answer| {
        matches!(answer, Answer::NotEvaluated { .. })
    })?;
    writeln!(
        out,
        "\nWhat the evidence says of itself, worth what is proved above:"
    )?;
    for (name, value) in report.facts() {
        writeln!(out, "  {name}: {}", shown(value))?;
    }
    writeln!(out, "\n{}", ending(report))
}

fn section(
    out: &mut String,
    title: &str,
    report: &Report,
    belongs: impl Fn(&Answer) -> bool,
) -> std::fmt::Result {
    let rows: Vec<&Row> = report
        .checks()
        .iter()
        .filter(|row| belongs(&row.answer))
        .collect();
    writeln!(out, "\n{title} ({}):", rows.len())?;
    for row in rows {
        let subject = row
            .subject
            .as_deref()
            .map_or(String::new(), |s| format!("{s}: "));
        match &row.answer {
            Answer::Pass => writeln!(out, "  {subject}{}", row.check)?,
            Answer::Fail { code, words } | Answer::NotEvaluated { code, words } => {
                writeln!(out, "  {subject}{}: {words} ({code})", row.check)?;
            }
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // control characters of evidence must not reach a terminal
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    match text.char_indices().nth(MAX_FACT) {
        Some((end, _)) => format!(
            "{}… (all of it with --json)",
            text.get(..end).unwrap_or_default()
        ),
        None => text,
    }
}

fn ending(report: &Report) -> String {
    let simulated = report
        .policy()
        .is_some_and(|policy| policy.assurance == Assurance::Simulated);
    match report.end() {
        End::Accepted(_) if simulated => {
            "ACCEPTED, SIMULATED: every required check passed, and none is about hardware"
                .to_owned()
        }
        End::Accepted(_) => "ACCEPTED: every check that the policy requires passed".to_owned(),
        End::Refused => "REFUSED: a check failed".to_owned(),
        End::Incomplete if report.policy().is_none() => {
            "INCOMPLETE: without a policy nothing is accepted; no check that was made failed"
                .to_owned()
        }
        End::Incomplete => "INCOMPLETE: no check failed, but not every one was made".to_owned(),
    }
}
