//! What can be asked of `proofroom`, and how it ends: 0 done, 1 the session did not complete, 10 a
//! captured boot is not the predicted one or evidence is refused, 11 not every check of evidence could be
//! made, 20 no evidence that is known, 64 the request or a file is wrong, 69 the machine cannot
//! do it, 70 our fault.

mod appraise;
mod attest;
mod classify;
mod collateral;
mod deployment;
mod doctor;
mod find_value;
mod gateway;
mod image;
mod key_file;
mod layer;
mod login;
mod measure;
mod policy;
mod room;
mod run;

use std::{io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

/// Run coding agents in isolated rooms, and keep the evidence.
#[derive(Debug, Parser)]
#[command(name = "proofroom", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one session: a coding agent, or any command, on a git repository, in a room of its own.
    Run(Box<run::Options>),
    /// Say what this machine can isolate, mechanism by mechanism.
    Doctor(doctor::Options),
    /// Look at rooms, end them, and clean up after a crash.
    #[command(subcommand)]
    Room(room::Command),
    /// Build, list or verify the tool chains that rooms get.
    #[command(subcommand)]
    Layer(layer::Command),
    /// Say what attestation evidence proves, and what it does not: with a policy, or without one.
    Appraise(Box<appraise::Options>),
    /// Have this confidential machine attest its state, over somebody's nonce.
    Attest(attest::Options),
    /// Keep what Intel says about TDX platforms: fetch it, see how long it lasts, and refresh it.
    #[command(subcommand)]
    Collateral(collateral::Command),
    /// Learn what a virtual machine's image must be measured with on this machine.
    #[command(subcommand)]
    Image(image::Command),
    /// Compute what the measured boot of a room's image must look like, without booting it.
    Measure(measure::Options),
    /// Say what the policies find in a file, its level, and where it would go. Repeats nothing of it.
    Classify(classify::Options),
    /// Say whether a value that is known was found in the request of a model run, by its record.
    FindValue(find_value::Options),
    /// Serve models to everybody with a virtual key, and keep a record of every run.
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// Log in at an issuer whose tokens a gateway accepts, by a code that is entered in any browser.
    Login(Box<login::LoginOptions>),
    /// Print an access token of the login, fetched anew where the last one is at its end.
    Token(login::TokenOptions),
    /// Write, check, test or simulate policy files.
    #[command(subcommand)]
    Policy(policy::Command),
}

/// The session did not complete.
pub(crate) const INCOMPLETE: u8 = 1;
/// What was compared is different.
pub(crate) const DIFFERENT: u8 = 10;
/// No check failed, but not every one was made.
pub(crate) const NOT_ALL_CHECKS: u8 = 11;
/// Bytes that are no evidence that is known.
pub(crate) const UNKNOWN: u8 = 20;
/// The request or one of its files is wrong.
pub(crate) const USAGE: u8 = 64;
/// The machine lacks something.
pub(crate) const UNAVAILABLE: u8 = 69;
/// Our fault, or the disk's.
pub(crate) const INTERNAL: u8 = 70;

/// An error that ends the command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    pub(crate) code: &'static str,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: u8, code: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            code,
            error: error.into(),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.command {
        Command::Run(options) => run::run(options),
        Command::Doctor(options) => doctor::run(options),
        Command::Room(command) => room::run(command),
        Command::Appraise(options) => appraise::run(options),
        Command::Attest(options) => attest::run(options),
        Command::Collateral(command) => collateral::run(command),
        Command::Image(command) => image::run(command),
        Command::Layer(command) => layer::run(command),
        Command::Measure(options) => measure::run(options),
        Command::Classify(options) => classify::run(options),
        Command::FindValue(options) => find_value::run(options),
        Command::Gateway(command) => gateway::run(command),
        Command::Login(options) => login::log_in(options),
        Command::Token(options) => login::token(options),
        Command::Policy(command) => policy::run(command),
    };
    done.unwrap_or_else(|failure| failed(&failure))
}

/// Writes the command's answer.
fn say(words: &str) -> Result<(), Failure> {
    anstream::stdout()
        .lock()
        .write_all(words.as_bytes())
        .map_err(|error| Failure::new(INTERNAL, "output", error))
}

/// Says what ended the command.
pub(crate) fn failed(failure: &Failure) -> ExitCode {
    let Failure { exit, code, error } = failure;
    let mut err = anstream::stderr().lock();
    // Where even standard error is gone, the exit code still speaks.
    drop(writeln!(err, "proofroom: {error:#} ({code})"));
    ExitCode::from(*exit)
}
