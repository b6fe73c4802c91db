//! The workspace's front door for anything with logic; see `cargo xtask --help`.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a build tool talks to the person who started it"
)]

mod checks;
mod clients;
mod demo;
mod image;
mod machine;
mod matrix;
mod score;
mod suite;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, demonstrates and checks Proofroom.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a coding session on a small real repository and verify the bundle that it leaves.
    Demo(demo::Options),
    /// Build the image of virtual machines: kernel, initial file system, firmware, all pinned.
    Image(image::Options),
    /// Run every test, third-party checks included.
    Test,
    /// Run what continuous integration runs: format, lints, dependencies, house rules, tests.
    Ci,
    /// Install real clients and run each against the gateway, as `docs/compatibility.md` says.
    Clients(clients::Options),
    /// Try to get out of rooms of every backend, and write what came of it to `docs/attack-matrix.md`.
    AttackMatrix(matrix::Options),
    /// Score the classifier on a file of labelled texts: recall by label, false positives, speed.
    Score(score::Options),
    /// Train the classifier's scorer of values on labelled texts, and say what it is worth on those held out.
    TrainScorer(train::Options),
    /// Check the house rules: file heads, file sizes, documents that name what exists, crate arrows.
    Tidy,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Image(options) => image::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Test => suite::test().map(|()| ExitCode::SUCCESS),
        Task::Ci => suite::ci().map(|()| ExitCode::SUCCESS),
        Task::Clients(options) => clients::run(&options).map(|()| ExitCode::SUCCESS),
        Task::AttackMatrix(options) => matrix::make(&options).map(|()| ExitCode::SUCCESS),
        Task::Score(options) => score::run(&options),
        Task::TrainScorer(options) => train::run(&options),
        Task::Tidy => checks::tidy().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
