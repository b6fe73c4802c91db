//! `proofroom policy replay`: which past decisions other rules would change, and which cannot be told.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;
use proofroom::replay::{Destination, NewRules, Past, ReplayError, Verdict, check, replay};
use proofroom_clock::wall;
use serde_json::{Value, json};

use super::super::{
    Failure, UNAVAILABLE, USAGE,
    deployment::{open_deployment, open_state, parse_time},
    say,
};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Requests from then on (RFC 3339, UTC, or a day). Default: all.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Requests before then. Default: now.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// A classification or routing file with the new rules; at most one of each.
    #[arg(long, value_name = "FILE", required = true)]
    with: Vec<PathBuf>,
    /// Where keys, log and sessions are kept.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// One JSON object per decision, and one for the sum.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let from = (options.from.as_deref()).map(parse_time).transpose()?;
    let to = (options.to.as_deref()).map(parse_time).transpose()?;
    let to = to.unwrap_or_else(wall);
    let mut rules = NewRules::default();
    for path in &options.with {
        rules.add(path).map_err(failed)?;
    }
    check(&rules).map_err(failed)?;
    let state = open_state(options.state.as_deref())?;
    let sessions = state
        .sessions()
        .map_err(|error| Failure::new(UNAVAILABLE, error.code(), error))?;
    let deployment = open_deployment(state)?;
    let key = deployment.keys.gateway().verifying_key();
    let mut sum: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, dir) in sessions {
        for past in replay(&dir, key, &rules).map_err(failed)? {
            let within = from.is_none_or(|from| from <= past.started) && past.started < to;
            if within {
                let count = sum.entry(word(&past.verdict)).or_default();
                *count = count.saturating_add(1);
                say(&shown(&past, options.json))?;
            }
        }
    }
    say(&total(&rules, &sum, options.json))?;
    Ok(ExitCode::SUCCESS)
}

fn failed(error: ReplayError) -> Failure {
    Failure::new(USAGE, error.code(), error)
}

const WORDS: [&str; 4] = ["same", "changes", "cannot-tell", "not-routed"];

const fn word(verdict: &Verdict) -> &'static str {
    let [same, changes, cannot, not_routed] = WORDS;
    match verdict {
        Verdict::Same => same,
        Verdict::Changes(_) => changes,
        Verdict::CannotTell(_) => cannot,
        Verdict::NotRouted => not_routed,
    }
}

fn shown(past: &Past, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", machine(past));
    }
    let then = place(&past.then);
    let what = match &past.verdict {
        // a report says what is different
        Verdict::Same | Verdict::NotRouted => return String::new(),
        Verdict::Changes(now) => format!("{then} -> {}", place(now)),
        Verdict::CannotTell(why) => format!("{then} -> cannot be told: {}", why.join("; ")),
    };
    let (session, sequence, started) = (past.session, past.sequence, past.started);
    format!(
        "{started}  {session} run {sequence}  {}  {what}\n",
        past.label
    )
}

fn place(destination: &Destination) -> String {
    let rule = &destination.rule;
    match &destination.sent {
        None => format!("refused by `{rule}`"),
        Some((tier, _)) => format!("{tier} by `{rule}`"),
    }
}

fn machine(past: &Past) -> Value {
    let destination = |found: &Destination| {
        let (tier, upstreams) = found.sent.clone().unzip();
        json!({"rule": found.rule, "tier": tier, "upstreams": upstreams})
    };
    let (now, why) = match &past.verdict {
        Verdict::Changes(now) => (Some(destination(now)), None),
        Verdict::CannotTell(why) => (None, Some(why)),
        Verdict::Same | Verdict::NotRouted => (None, None),
    };
    json!({
        "session": past.session,
        "sequence": past.sequence,
        "started": past.started,
        "model": past.model,
        "label": past.label,
        "labels_now": past.labels_now,
        "then": destination(&past.then),
        "verdict": word(&past.verdict),
        "now": now,
        "why": why,
    })
}

fn total(rules: &NewRules, sum: &BTreeMap<&str, u64>, as_json: bool) -> String {
    let count = |word: &str| sum.get(word).copied().unwrap_or(0);
    if as_json {
        let decisions: BTreeMap<_, _> = WORDS.map(|word| (word, count(word))).into();
        let with: BTreeMap<_, _> = rules.digests().into();
        return format!("{}\n", json!({"decisions": decisions, "with": with}));
    }
    let parts = WORDS.map(|word| format!("{word} {}", count(word)));
    format!("decisions: {}\n", parts.join(", "))
}
