//! The `proofroom-tsm-double` binary: mounts the double of configfs-tsm over a directory and serves until
//! it is unmounted or killed. Its quotes are SIMULATED. Exit codes: 1 cannot mount, 64 wrong usage.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use proofroom_testkit::{
    tee::SimulatedTee,
    tsm::{TsmDouble, TsmOptions},
};

const USAGE: &str = "\
usage: proofroom-tsm-double [--room HEX] [--ccel FILE] DIRECTORY
  --room HEX    the TD of a room: MRCONFIGID, 96 hex digits, with the simulated boot and its log
  --ccel FILE   what the file CCEL shows instead (default: nothing, or the room's)";
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let (directory, options) = match read_options(env::args().skip(1)) {
        Ok(read) => read,
        Err(why) => {
            say(&format!("proofroom-tsm-double: {why}\n{USAGE}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    say("proofroom-tsm-double: quotes are SIMULATED and prove nothing");
    match TsmDouble::serve(&directory, SimulatedTee::demo(), options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let at = directory.display();
            say(&format!(
                "proofroom-tsm-double: cannot mount over `{at}`: {error}"
            ));
            ExitCode::FAILURE
        }
    }
}

fn read_options(mut words: impl Iterator<Item = String>) -> Result<(PathBuf, TsmOptions), String> {
    let mut options = TsmOptions::default();
    let mut directory = None;
    let mut ccel = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--room" => {
                let value = words.next().ok_or("--room needs an MRCONFIGID")?;
                let config = value.parse().map_err(|_| "--room needs 96 hex digits")?;
                options = TsmOptions::room(config);
            }
            "--ccel" => {
                let file = words.next().ok_or("--ccel needs a file")?;
                ccel = Some(fs::read(&file).map_err(|error| format!("`{file}`: {error}"))?);
            }
            flag if flag.starts_with('-') => return Err(format!("unknown option `{flag}`")),
            path if directory.is_none() => directory = Some(Path::new(path).to_owned()),
            more => return Err(format!("`{more}` is one argument too many")),
        }
    }
    if let Some(ccel) = ccel {
        options.ccel = ccel;
    }
    Ok((directory.ok_or("no directory")?, options))
}

fn say(words: &str) {
    // Where even standard error is gone, the exit code still speaks.
    drop(writeln!(std::io::stderr(), "{words}"));
}
