//! Writes the seeds of the fuzz targets into `fuzz/corpus/`, or into the directory that is named.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

fn main() -> ExitCode {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    let directory = env::args_os().nth(1).unwrap_or_else(|| here.into());
    let directory = Path::new(&directory);
    let (code, words) = match proofroom_conformance::seeds::write(directory) {
        Ok(count) => (0, format!("{count} seeds in `{}`", directory.display())),
        Err(error) => (
            1,
            format!("cannot write `{}`: {error}", directory.display()),
        ),
    };
    // a closed standard error leaves the exit code to speak
    drop(writeln!(io::stderr(), "{words}"));
    ExitCode::from(code)
}
