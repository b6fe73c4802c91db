//! `proofroom gateway key`: the file of virtual keys. A key is shown once, when it is made.

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use clap::{Args, Subcommand};
use proofroom::state::StateDir;
use proofroom_authn::Thumbprint;
use proofroom_canonical::{Digest, Timestamp};
use proofroom_clock::wall;
use proofroom_gateway_server::keys::{
    Budget, KeyFile, KeyFileError, KeyId, KeyLimits, KeyToken, Scope, VirtualKey, Window,
};

use super::{
    super::{Failure, INTERNAL, USAGE, say},
    configuration,
};

const DAY_SECONDS: i64 = 86_400;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key, and print it: it is kept nowhere.
    Create(Box<Create>),
    /// List the keys, one a line.
    List(Config),
    /// Revoke a key. It is refused from its next request on, and its answers under way break off.
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(crate) struct Config {
    /// The gateway's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    #[command(flatten)]
    config: Config,
    /// The person or program that it is for.
    #[arg(long)]
    user: String,
    /// Their team.
    #[arg(long)]
    team: String,
    /// The repository that it is for, as routing rules name it.
    #[arg(long, default_value = "")]
    repository: String,
    /// What it is used for, as routing rules name purposes.
    #[arg(long, value_name = "NAME", default_value = "")]
    purpose: String,
    /// Models that it is for (globs), as clients name them.
    #[arg(long, value_name = "GLOB", default_value = "*")]
    model: Vec<String>,
    /// Tiers that it is for (globs).
    #[arg(long, value_name = "GLOB", default_value = "*")]
    tier: Vec<String>,
    /// Labels that its session may have (globs).
    #[arg(long, value_name = "GLOB", default_value = "*")]
    label: Vec<String>,
    /// Regions of upstreams that it is for (globs).
    #[arg(long, value_name = "GLOB", default_value = "*")]
    region: Vec<String>,
    /// Days until it expires; never without it.
    #[arg(long, value_name = "DAYS")]
    expires_in_days: Option<u32>,
    /// Most requests in a minute.
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u64>,
    /// Most tokens in a minute.
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u64>,
    /// Most runs at once.
    #[arg(long, value_name = "N")]
    runs_at_once: Option<u64>,
    /// Budget, such as `day:tokens=1000000` or `month:micros=50000000`; repeatable.
    #[arg(long, value_name = "WINDOW:UNIT=N")]
    budget: Vec<BudgetWord>,
    /// Budget of one session of it; repeatable.
    #[arg(long, value_name = "WINDOW:UNIT=N")]
    session_budget: Vec<BudgetWord>,
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS client certificate without which it is refused,
    /// as `sha256:<64 hex digits>`.
    #[arg(long, value_name = "DIGEST")]
    client_key: Option<Digest>,
    /// Thumbprint (RFC 7638) of the client's key: without a proof by it (DPoP) the virtual key is refused. `proofroom gateway
    /// proxy --thumbprint` prints one.
    #[arg(long, value_name = "JKT")]
    dpop: Option<Thumbprint>,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    #[command(flatten)]
    config: Config,
    /// Id of the key.
    id: KeyId,
}

/// A budget as it is written on the command line.
#[derive(Clone, Copy, Debug)]
struct BudgetWord(Budget);

impl FromStr for BudgetWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write a budget as `day:tokens=N`, `month:micros=N` or `total:tokens=N`";
        let (window, rest) = text.split_once(':').ok_or(wrong)?;
        let (unit, number) = rest.split_once('=').ok_or(wrong)?;
        let window = match window {
            "day" => Window::Day,
            "month" => Window::Month,
            "total" => Window::Total,
            _ => return Err(wrong),
        };
        let number = Some(number.parse().map_err(|_| wrong)?);
        let (tokens, micros) = match unit {
            "tokens" => (number, None),
            "micros" => (None, number),
            _ => return Err(wrong),
        };
        Ok(Self(Budget {
            window,
            tokens,
            micros,
        }))
    }
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Create(options) => create(options),
        Command::List(options) => list(options),
        Command::Revoke(options) => revoke(options),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn create(options: &Create) -> Result<(), Failure> {
    let config = configuration(&options.config.config)?;
    // the file of keys may be the first thing in it
    StateDir::open(&config.state).map_err(|error| Failure::new(USAGE, error.code(), error))?;
    let path = config.keys;
    let token =
        KeyToken::generate().map_err(|_| Failure::new(INTERNAL, "no-randomness", NoRandomness))?;
    let key = key(options, &token);
    KeyFile::change(&path, |file| {
        file.keys.push(key);
        Ok(())
    })
    .map_err(refused)?;
    say(&format!("{}\n", token.expose()))
}

#[derive(Debug, thiserror::Error)]
#[error("the system gave no randomness")]
struct NoRandomness;

fn key(options: &Create, token: &KeyToken) -> VirtualKey {
    let created = wall();
    let lasts = options
        .expires_in_days
        .map(|days| i64::from(days).saturating_mul(DAY_SECONDS));
    let budgets = |words: &[BudgetWord]| words.iter().map(|word| word.0).collect();
    VirtualKey {
        id: token.id(),
        digest: token.digest(),
        user: options.user.clone(),
        team: options.team.clone(),
        created,
        expires: lasts.map(|seconds| {
            Timestamp::from_unix_seconds(created.unix_seconds().saturating_add(seconds))
        }),
        revoked: None,
        scope: Scope {
            models: options.model.clone(),
            tiers: options.tier.clone(),
            labels: options.label.clone(),
            regions: options.region.clone(),
            repository: options.repository.clone(),
            purpose: options.purpose.clone(),
        },
        limits: KeyLimits {
            requests_per_minute: options.requests_per_minute,
            tokens_per_minute: options.tokens_per_minute,
            runs_at_once: options.runs_at_once,
            budgets: budgets(&options.budget),
        },
        session_limits: KeyLimits {
            budgets: budgets(&options.session_budget),
            ..KeyLimits::default()
        },
        client_key: options.client_key,
        proof_key: options.dpop,
    }
}

fn list(options: &Config) -> Result<(), Failure> {
    let path = configuration(&options.config)?.keys;
    let file = KeyFile::load(&path).map_err(refused)?;
    let now = wall();
    let mut words = String::new();
    for key in &file.keys {
        let state = match (key.revoked, key.expires) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) if now >= at => format!("expired {at}"),
            (None, Some(at)) => format!("until {at}"),
            (None, None) => "does not expire".to_owned(),
        };
        words.push_str(&format!("{} {} {} {state}\n", key.id, key.user, key.team));
    }
    say(&words)
}

fn revoke(options: &Revoke) -> Result<(), Failure> {
    let path = configuration(&options.config.config)?.keys;
    let revoked = wall();
    KeyFile::change(&path, |file| {
        file.find_mut(options.id)?.revoked.get_or_insert(revoked);
        Ok(())
    })
    .map_err(refused)?;
    say(&format!("revoked {}\n", options.id))
}

fn refused(error: KeyFileError) -> Failure {
    Failure::new(USAGE, error.code(), error)
}
