//! The `proofroom-agent` binary: options, one thread, exit code. Exit codes: 0 completed, 1 gave up,
//! 2 limit, 3 protocol error, 64 wrong usage.

use std::{env, io::Write as _, path::PathBuf, process::ExitCode};

use proofroom_agent::{Ended, Options, run};

const USAGE: &str = "usage: proofroom-agent [--socket PATH]";
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let Some(options) = read_options(env::args().skip(1)) else {
        say(USAGE);
        return ExitCode::from(EXIT_USAGE);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("proofroom-agent: cannot start: {error}"));
            return Ended::Protocol.exit_code();
        }
    };
    // Each step is an event of the supervisor's, which says more about it.
    let outcome = runtime.block_on(run(&options, &mut |_| {}));
    say(&format!(
        "proofroom-agent: {} [{}] after {} steps",
        outcome.message, outcome.code, outcome.steps
    ));
    outcome.ended.exit_code()
}

fn read_options(mut words: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--socket" => options.socket = PathBuf::from(words.next()?),
            _ => return None,
        }
    }
    Some(options)
}

/// A closed standard error is no reason to stop working.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
