//! `proofroom policy history`: which version was in force when, after verifying every entry.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use proofroom::policy_history::PolicyStore;
use proofroom_canonical::Timestamp;
use proofroom_clock::wall;
use proofroom_record::{
    dsse::key_id,
    policy_version::{PolicyHistory, PolicyVersion},
    predicate::VerifiedRecord,
};
use serde_json::{Value, json};

use super::super::{
    Failure, USAGE,
    deployment::{open_deployment, open_state, parse_time},
    say,
};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the version that was in force then (RFC 3339, UTC).
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Where keys, log and sessions are kept.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// One JSON object per version.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let at = (options.at.as_deref()).map(parse_time).transpose()?;
    let state = open_state(options.state.as_deref())?;
    let store = PolicyStore::of(&state);
    let Some(history) = store.history().map_err(super::history)? else {
        let words =
            "this deployment keeps no policy history; `proofroom policy activate` begins one";
        return Err(Failure::new(
            USAGE,
            "policy-no-history",
            anyhow::Error::msg(words),
        ));
    };
    history
        .check_clock(wall())
        .map_err(|error| Failure::new(USAGE, error.code(), error))?;
    let deployment = open_deployment(state)?;
    for version in history.versions() {
        store.texts(version.predicate()).map_err(super::history)?;
        store
            .check_logged(version, &deployment.log)
            .map_err(super::history)?;
    }
    let shown: Vec<_> = match at {
        None => history.versions().iter().collect(),
        Some(at) => vec![history.in_force(at).ok_or_else(|| none_at(at))?],
    };
    let lines = shown.into_iter().map(|version| {
        if options.json {
            format!("{}\n", machine(&history, version))
        } else {
            human(&history, version)
        }
    });
    say(&lines.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

fn none_at(at: Timestamp) -> Failure {
    let words = format!("no version was in force at {at}");
    Failure::new(USAGE, "policy-none-in-force", anyhow::Error::msg(words))
}

fn human(history: &PolicyHistory, version: &VerifiedRecord<PolicyVersion>) -> String {
    let claim = version.predicate();
    let when = match history.interval(claim.number) {
        None => "never in force: a later one came first".to_owned(),
        Some(interval) => match interval.until {
            None => format!("in force from {}", interval.from),
            Some(until) => format!("in force from {} to {until}", interval.from),
        },
    };
    // author and reason are whatever somebody wrote
    format!(
        "version {}: {when}\n  by {:?} because of {:?}, signed {}\n  entry {}\n{}",
        claim.number,
        claim.author,
        claim.reason,
        claim.signed,
        version.digest(),
        (claim.policies.by_file())
            .map(|(name, digest)| format!("  {name:<20} {digest}\n"))
            .concat(),
    )
}

fn machine(history: &PolicyHistory, version: &VerifiedRecord<PolicyVersion>) -> Value {
    let claim = version.predicate();
    let interval = history.interval(claim.number);
    let key = p256::pkcs8::DecodePublicKey::from_public_key_pem(&claim.signer);
    json!({
        "number": claim.number,
        "entry": version.digest(),
        "previous": claim.previous,
        "policies": claim.policies,
        "author": claim.author,
        "reason": claim.reason,
        "signed": claim.signed,
        "from": interval.map(|interval| interval.from),
        "until": interval.and_then(|interval| interval.until),
        "signer": key.map(|key| key_id(&key)).ok(),
    })
}
