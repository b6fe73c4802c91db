//! Reads requests from standard input, one JSON object a line, and writes one answer a line: the
//! production verifier under the contract of `vectors/README.md`. Exits 0 when every line was a
//! request, 2 at the first that was none.

use std::{
    io::{self, BufRead as _, Read as _, Write as _},
    process::ExitCode,
};

use proofroom_conformance::{MAX_REQUEST_BYTES, Request, answer};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            // a closed standard error leaves the exit code to speak
            drop(writeln!(io::stderr(), "proofroom-conformance: {words}"));
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    for number in 1_u64.. {
        let mut line = Vec::new();
        // one more than allowed, so that a longer line is seen to be longer
        let limit = MAX_REQUEST_BYTES as u64 + 1;
        let read = input.by_ref().take(limit).read_until(b'\n', &mut line);
        if read.map_err(|error| format!("line {number}: {error}"))? == 0 {
            break;
        }
        if line.len() > MAX_REQUEST_BYTES {
            return Err(format!(
                "line {number} is longer than {MAX_REQUEST_BYTES} bytes"
            ));
        }
        let request: Request = serde_json::from_slice(&line)
            .map_err(|error| format!("line {number} is no request: {error}"))?;
        let written =
            serde_json::to_string(&answer(&request)).map_err(|error| error.to_string())?;
        writeln!(output, "{written}").map_err(|error| format!("cannot answer: {error}"))?;
    }
    Ok(())
}
