//! `proofroom policy activate`: puts a version of the policy in force.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use proofroom::{
    policies::VersionTexts,
    policy_history::{Activation, PolicyStore},
};
use proofroom_canonical::Timestamp;
use proofroom_clock::wall;
use proofroom_record::{policy_version::PolicyVersion, predicate::VerifiedRecord};

use super::super::{
    Failure, USAGE,
    deployment::{open_deployment, open_state, parse_time},
    key_file, say,
};

/// The code of a key that is none.
const KEY: &str = "policy-key";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Directory with `access.cedar`, `classification.toml`, `routing.toml` and `egress.toml`.
    dir: PathBuf,
    /// Who puts it in force, as every reader of a record will see it.
    #[arg(long, value_name = "WHO")]
    author: String,
    /// Why, as every reader of a record will see it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// From when on (RFC 3339, UTC). Default: now.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// The key that signs, a P-256 private key in PEM (PKCS #8). Default: the deployment's own.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Public key (PEM) that must sign the next version. Default: the one that signs this.
    #[arg(long, value_name = "FILE")]
    next_key: Option<PathBuf>,
    /// Where keys, log and sessions are kept.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let texts = VersionTexts::load(&options.dir)
        .map_err(|problems| Failure::new(USAGE, "policy-refused", problems))?;
    let state = open_state(options.state.as_deref())?;
    let store = PolicyStore::of(&state);
    let deployment = open_deployment(state)?;
    let own = (options.key.as_deref())
        .map(|path| key_file::private(path, KEY))
        .transpose()?;
    let key = own.as_ref().unwrap_or_else(|| deployment.keys.gateway());
    let successor = (options.next_key.as_deref())
        .map(|path| key_file::public(path, KEY))
        .transpose()?;
    let now = wall();
    let from = (options.from.as_deref()).map(parse_time).transpose()?;
    let activation = Activation {
        texts,
        author: options.author.clone(),
        reason: options.reason.clone(),
        from: from.unwrap_or(now),
        key,
        successor: successor.unwrap_or_else(|| *key.verifying_key()),
    };
    let version = store
        .activate(&activation, &deployment.log, now)
        .map_err(super::history)?;
    say(&told(&version))?;
    Ok(ExitCode::SUCCESS)
}

fn told(version: &VerifiedRecord<PolicyVersion>) -> String {
    let claim = version.predicate();
    let from: Timestamp = claim.in_force_from;
    let mut told = format!("version {}, in force from {from}\n", claim.number);
    told.push_str(&format!("{:<20} {}\n", "entry", version.digest()));
    for (name, digest) in claim.policies.by_file() {
        told.push_str(&format!("{name:<20} {digest}\n"));
    }
    told
}
