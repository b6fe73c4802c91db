//! The `proofroom-cassette` binary: a model upstream that plays recordings. Prints one JSON line
//! with its address, then serves until killed. Exit codes: 1 cannot start, 64 wrong usage.

use std::{env, fs, io::Write as _, process::ExitCode};

use proofroom_testkit::cassette::{Cassette, Options, Transport, start};
use serde_json::json;

const USAGE: &str = "\
usage: proofroom-cassette --cassette FILE... [--port N] [--tls-attested] [--model NAME]
  --cassette FILE   a recording; the first that fits a conversation plays it
  --port N          port on 127.0.0.1 (default 0: any)
  --tls-attested    https, with simulated attestation evidence
  --model NAME      the model that the evidence names (default cassette-tee)";
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let options = match read_options(env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            say(&format!("proofroom-cassette: {why}\n{USAGE}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(serve(options)),
        Err(error) => Err(error.to_string()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("proofroom-cassette: {why}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), String> {
    let running = start(options).await.map_err(|error| error.to_string())?;
    let line = json!({
        "cassette": true,
        "address": running.address.to_string(),
        "url": running.url,
        "tls_spki_sha256": running.tls_spki_sha256.map(|digest| digest.to_string()),
    });
    let mut out = std::io::stdout();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())?;
    running.serve().await;
    Ok(())
}

fn read_options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut port, mut cassettes) = (0, Vec::new());
    let (mut attested, mut model) = (false, "cassette-tee".to_owned());
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("`{word}` needs a value"))
        };
        match word.as_str() {
            "--cassette" => cassettes.push(load(&value()?)?),
            "--port" => port = value()?.parse().map_err(|_| "`--port` is no port")?,
            "--tls-attested" => attested = true,
            "--model" => model = value()?,
            _ => return Err(format!("unknown option `{word}`")),
        }
    }
    if cassettes.is_empty() {
        return Err("`--cassette` is missing".to_owned());
    }
    let transport = if attested {
        Transport::Attested { model }
    } else {
        Transport::Plain
    };
    Ok(Options {
        port,
        cassettes,
        transport,
    })
}

fn load(path: &str) -> Result<Cassette, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("`{path}`: {error}"))?;
    Cassette::parse(&text).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("`{path}`: {error}: {cause}"),
        None => format!("`{path}`: {error}"),
    })
}

/// A closed standard error is no reason to stop serving.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
