//! `proofroom find-value`: whether a value that is known was among the findings of a model run, by the
//! commitments in its record. The value is read and compared, and repeated nowhere.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use proofroom_canonical::{Digest, Sensitive};
use proofroom_gateway::RunKey;
use proofroom_record::{
    predicate::{VerifiedRecord, open},
    statement::ModelRun,
};
use zeroize::Zeroizing;

use super::{
    DIFFERENT, Failure, USAGE,
    deployment::{open_deployment, open_state},
    key_file, say,
};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The model run's record, `….dsse.json`.
    #[arg(long, value_name = "FILE")]
    record: PathBuf,
    /// File with the value, without the line break at its end; `-` reads standard input. Never an
    /// argument: other users of the machine see those.
    value: PathBuf,
    /// The deployment whose gateway made the record, and which holds the key.
    #[arg(long, value_name = "DIR", conflicts_with = "run_key")]
    state: Option<PathBuf>,
    /// File with the run's key as somebody revealed it, in the place of the deployment's own.
    #[arg(long, value_name = "FILE", requires = "gateway_key")]
    run_key: Option<PathBuf>,
    /// The public key (PEM) of the gateway that signed the record, beside `--run-key`.
    #[arg(long, value_name = "FILE", requires = "run_key")]
    gateway_key: Option<PathBuf>,
    /// Print the run's key as well. Whoever gets it can try values against this record, and against no other.
    #[arg(long, conflicts_with = "run_key")]
    reveal: bool,
}

/// The most bytes of a record or a value.
const MAX_FILE_BYTES: u64 = 4 << 20;

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let record = read(&options.record).map_err(|error| unreadable(&options.record, error))?;
    let (record, key) = match (&options.run_key, &options.gateway_key) {
        (Some(run_key), Some(gateway_key)) => {
            let signer = key_file::public(gateway_key, "gateway-key")?;
            let record = verified(&record, &signer)?;
            committed(record.predicate())?;
            (record, revealed(run_key)?)
        }
        _ => own(options, &record)?,
    };
    let value = value(&options.value)?;
    let rules = rules_of(record.predicate(), &key, value.expose());
    let run = record.predicate().run;
    if options.reveal {
        say(&format!(
            "key of run {run}: {}\n",
            hex::encode(key.expose())
        ))?;
    }
    if rules.is_empty() {
        // nothing in a record tells the run's key from another one
        let words = match options.run_key {
            None => "commits to other values",
            Some(_) => "commits to other values, or the key is not the one of that run",
        };
        say(&format!("not found: the record of run {run} {words}\n"))?;
        return Ok(ExitCode::from(DIFFERENT));
    }
    say(&format!(
        "found: in the request of run {run}, by rule `{}`\n",
        rules.join("`, `")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Rules by which the record commits to `value`.
fn rules_of<'r>(run: &'r ModelRun, key: &RunKey, value: &str) -> Vec<&'r str> {
    let findings = run.classification.findings.iter();
    let held = findings.filter(|finding| {
        let commitment = key.commit(&finding.rule, value);
        finding.commitments.contains(&commitment)
    });
    held.map(|finding| finding.rule.as_str()).collect()
}

/// The record, signed by the deployment's gateway, and its key.
fn own(options: &Options, record: &[u8]) -> Result<(VerifiedRecord<ModelRun>, RunKey), Failure> {
    let deployment = open_deployment(open_state(options.state.as_deref())?)?;
    let record = verified(record, deployment.keys.gateway().verifying_key())?;
    let key = deployment.keys.commitments();
    let run = record.predicate();
    if committed(run)? != key.id() {
        return Err(unopened(
            "the record's commitments were made with another key",
        ));
    }
    let key = key.of_run(&run.blinding);
    Ok((record, key))
}

/// The name of the key with which the record commits.
fn committed(run: &ModelRun) -> Result<Digest, Failure> {
    let key = run.classification.commitment_key;
    key.ok_or_else(|| unopened("the record has no commitments"))
}

fn unopened(words: &'static str) -> Failure {
    Failure::new(USAGE, "no-commitments", anyhow::Error::msg(words))
}

fn verified(
    record: &[u8],
    signer: &p256::ecdsa::VerifyingKey,
) -> Result<VerifiedRecord<ModelRun>, Failure> {
    open::<ModelRun>(record, signer).map_err(|error| Failure::new(USAGE, error.code(), error))
}

fn revealed(path: &Path) -> Result<RunKey, Failure> {
    let text = Zeroizing::new(read(path).map_err(|error| unreadable(path, error))?);
    let mut bytes = Zeroizing::new([0; 32]);
    let words = "a run's key is 64 hexadecimal digits";
    hex::decode_to_slice(text.trim_ascii(), bytes.as_mut_slice())
        .map_err(|_| Failure::new(USAGE, "run-key", anyhow::Error::msg(words)))?;
    Ok(RunKey::new(*bytes))
}

/// The value, without one line break at its end. Whoever typed the value itself does not see it again.
fn value(path: &Path) -> Result<Sensitive<String>, Failure> {
    let unreadable = |error| {
        let words = "cannot read the file with the value, which is no argument itself";
        Failure::new(
            USAGE,
            "file-unreadable",
            anyhow::Error::new(error).context(words),
        )
    };
    let bytes = Zeroizing::new(read(path).map_err(unreadable)?);
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words = "the value must be text, and not empty";
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Failure::new(USAGE, "bad-value", anyhow::Error::msg(words)))?;
    Ok(Sensitive::new(text.to_owned()))
}

fn unreadable(path: &Path, error: io::Error) -> Failure {
    let error = anyhow::Error::new(error).context(format!("cannot read `{}`", path.display()));
    Failure::new(USAGE, "file-unreadable", error)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let input: Box<dyn io::Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(fs::File::open(path)?)
    };
    let mut bytes = Vec::new();
    input.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("more than 4 MiB"));
    }
    Ok(bytes)
}
