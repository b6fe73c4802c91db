//! `proofroom policy shadow`: rules that are tried beside those in force, and what they would change.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;
use proofroom::{
    shadow_rules::{self, Differences, ShadowError},
    state::StateDir,
};
use proofroom_canonical::Digest;
use proofroom_clock::wall;
use serde_json::json;

use super::super::{
    Failure, UNAVAILABLE, USAGE,
    deployment::{open_deployment, open_state, parse_time},
    say,
};

#[derive(Args, Debug)]
#[group(id = "what", required = true, multiple = false, args = ["dir", "stop", "report"])]
pub(crate) struct Options {
    /// Directory with `classification.toml` and `routing.toml`: sessions that begin from now on try
    /// them and go by those in force.
    dir: Option<PathBuf>,
    /// Try none any more.
    #[arg(long)]
    stop: bool,
    /// Count what they would have decided otherwise, from the signed records.
    #[arg(long)]
    report: bool,
    /// Requests from then on (RFC 3339, UTC, or a day). Default: all.
    #[arg(long, value_name = "TIME", requires = "report")]
    from: Option<String>,
    /// Requests before then. Default: now.
    #[arg(long, value_name = "TIME", requires = "report")]
    to: Option<String>,
    /// Where keys, log and sessions are kept.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// One JSON object per pair of files.
    #[arg(long, requires = "report")]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let state = open_state(options.state.as_deref())?;
    if let Some(dir) = &options.dir {
        let digests = shadow_rules::begin(&state, dir).map_err(failed)?;
        let lines = digests.map(|(name, digest)| format!("{name:<20} {digest}\n"));
        say(&format!(
            "sessions try these, with no effect\n{}",
            lines.concat()
        ))?;
    } else if options.stop {
        shadow_rules::stop(&state).map_err(failed)?;
    } else {
        report(options, state)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: ShadowError) -> Failure {
    Failure::new(USAGE, error.code(), error)
}

fn report(options: &Options, state: StateDir) -> Result<(), Failure> {
    let from = (options.from.as_deref()).map(parse_time).transpose()?;
    let to = (options.to.as_deref()).map(parse_time).transpose()?;
    let to = to.unwrap_or_else(wall);
    let sessions = state
        .sessions()
        .map_err(|error| Failure::new(UNAVAILABLE, error.code(), error))?;
    let deployment = open_deployment(state)?;
    let key = deployment.keys.gateway().verifying_key();
    let mut counts = BTreeMap::new();
    for (_, dir) in sessions {
        let within = |time| from.is_none_or(|from| from <= time) && time < to;
        shadow_rules::count(&dir, key, within, &mut counts)
            .map_err(|error| Failure::new(USAGE, error.code(), error))?;
    }
    if counts.is_empty() && !options.json {
        return say("no rules were tried\n");
    }
    for (files, found) in &counts {
        say(&if options.json {
            machine(*files, found)
        } else {
            human(*files, found)
        })?;
    }
    Ok(())
}

fn named(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or("nothing")
}

fn human((classification, routing): (Digest, Digest), found: &Differences) -> String {
    let mut told = format!(
        "classification.toml {classification}\nrouting.toml {routing}\n  tried on {} requests\n",
        found.tried
    );
    for ((rule, from, to), count) in &found.rules {
        let (from, to) = (named(from), named(to));
        told.push_str(&format!(
            "  rule `{rule}`: {from} -> {to}, {count} requests\n"
        ));
    }
    for ((from, to), count) in &found.tiers {
        let (from, to) = (named(from), named(to));
        told.push_str(&format!("  tier: {from} -> {to}, {count} requests\n"));
    }
    told
}

fn machine((classification, routing): (Digest, Digest), found: &Differences) -> String {
    let rules = found.rules.iter().map(
        |((rule, from, to), count)| json!({"rule": rule, "from": from, "to": to, "requests": count}),
    );
    let tiers = found
        .tiers
        .iter()
        .map(|((from, to), count)| json!({"from": from, "to": to, "requests": count}));
    let line = json!({"classification": classification, "routing": routing, "tried": found.tried,
        "rules": rules.collect::<Vec<_>>(), "tiers": tiers.collect::<Vec<_>>()});
    format!("{line}\n")
}
