//! The `proofroom-simulated-collateral` binary: writes what the SIMULATED vendor publishes about its
//! platform, valid from now on, as a directory of collateral for `proofroom run --collateral`.
//! Exit codes: 1 cannot write, 64 wrong usage.

use std::{
    env, fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use proofroom_canonical::{Digest, Nonce};
use proofroom_clock::wall;
use proofroom_testkit::tee::SimulatedTee;

const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let (Some(directory), None) = (words.next(), words.next()) else {
        say("usage: proofroom-simulated-collateral DIRECTORY");
        return ExitCode::from(EXIT_USAGE);
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("proofroom-simulated-collateral: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// One file for each platform, under its FMSPC.
fn write(directory: &Path) -> io::Result<()> {
    let tee = SimulatedTee::demo();
    // What a plan says about a statement is no part of collateral.
    let nobody = Digest::of("no TLS key");
    let plan = tee.plan(Nonce::from_random([0; 32]), nobody, "no-model", wall());
    let text = serde_json::to_vec(&tee.collateral(&plan))?;
    fs::create_dir_all(directory)?;
    let name = format!("{}.json", hex::encode(plan.tcb_fmspc));
    fs::write(directory.join(name), text)
}

fn say(words: &str) {
    // Where even standard error is gone, the exit code still speaks.
    drop(writeln!(io::stderr(), "{words}"));
}
