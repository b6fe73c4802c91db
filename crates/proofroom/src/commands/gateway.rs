//! `proofroom gateway`: the gateway as a server of its own, and the keys of those who may use it.

mod check;
mod key;
mod person;
mod proxy;
mod serve;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use proofroom_gateway_server::{Config, config::DEFAULT_CONFIG};

use super::{Failure, USAGE, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM or SIGINT; then no run is begun, and every run gets its record.
    Serve(serve::Options),
    /// Read every record of a gateway that does not run, compare it with the log, hash the log again, and make
    /// the index anew. A start reads the latest records alone.
    CheckRecords(check::Options),
    /// Make, list or revoke virtual keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Bar people and tokens of an issuer, let them in again, or list who is barred.
    #[command(subcommand)]
    Person(person::Command),
    /// Add proofs of possession to the requests of local programs that cannot make them, on their way to a gateway.
    Proxy(proxy::Options),
    /// Print the commented configuration that a new gateway starts from.
    Config,
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(options) => serve::run(options),
        Command::CheckRecords(options) => check::run(options),
        Command::Key(command) => key::run(command),
        Command::Person(command) => person::run(command),
        Command::Proxy(options) => proxy::run(options),
        Command::Config => say(DEFAULT_CONFIG).map(|()| ExitCode::SUCCESS),
    }
}

/// Reads `gateway.toml`.
fn configuration(path: &Path) -> Result<Config, Failure> {
    let text = read(path)?;
    let base = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    Config::parse(&text, &base).map_err(|problem| Failure::new(USAGE, problem.code(), problem))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let words = anyhow::Error::new(error).context(format!("cannot read `{}`", path.display()));
        Failure::new(USAGE, "gateway-file", words)
    })
}
