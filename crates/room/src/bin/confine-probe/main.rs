//! A trivial supervisor and a handful of attacks, for this crate's tests and bench. Not the
//! product's supervisor: it answers what it is told to answer and keeps no events.

use std::process::ExitCode;

mod attacks;
mod jailed;
mod supervise;

fn main() -> ExitCode {
    if let Some(code) = proofroom_confine::stages::main(std::env::args_os().skip(1)) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["supervise"] => match supervise::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(70),
        },
        ["attack", name, rest @ ..] => attacks::run(name, rest),
        ["jailed", names @ ..] => match jailed::run(names) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(70),
        },
        _ => ExitCode::from(64),
    }
}
