//! `cargo xtask train-scorer`: weights of the value scorer from labelled texts, and what they are worth on
//! the texts that were held out. The same data gives the same file, byte for byte: order and rounding are
//! fixed, there is no chance, and no function of the machine's mathematics library is used.

mod fit;
mod table;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use proofroom_canonical::Digest;
use proofroom_classify::training::{self, Candidate};

use crate::score::{Part, Record, read};
use fit::Sample;

/// Options of `train-scorer`.
#[derive(Args)]
pub(crate) struct Options {
    /// Files as `score` reads them. The part that is for development is trained on.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write the weights here.
    #[arg(long, value_name = "FILE", default_value = TABLE)]
    out: PathBuf,
    /// Write nothing, and fail if the file is not what would be written.
    #[arg(long)]
    check: bool,
}

/// Where the weights of the build are.
const TABLE: &str = "crates/classify/src/detect/scorer/weights.rs";

/// Trains, evaluates and writes.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut digests = Vec::new();
    let mut records = Vec::new();
    for file in &options.files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        digests.push(Digest::of(&bytes));
        records.extend(read(file)?);
    }
    let developed = samples(&records, Part::Develop);
    let positive = developed.iter().filter(|sample| sample.secret).count();
    ensure!(
        positive > 0 && positive < developed.len(),
        "no values of both kinds to train on"
    );
    let weights = fit::fit(&developed);
    println!(
        "trained on {}, of them {positive} credentials",
        developed.len()
    );
    evaluate("developed with", &developed, &weights);
    evaluate("held out", &samples(&records, Part::Held), &weights);
    let text = table::write(&weights, &digests, (developed.len(), positive));
    if options.check {
        let present = fs::read_to_string(&options.out)?;
        ensure!(
            present == text,
            "{} is not what this data gives",
            options.out.display()
        );
    } else {
        fs::write(&options.out, text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The candidates whose kind is known. Of a text with a secret those count that the hand-written rules take, or
/// the only one that there is; nobody said which of several it is.
fn samples(records: &[Record], part: Part) -> Vec<Sample> {
    let part = records.iter().filter(|record| record.is_in(part));
    part.flat_map(|record| {
        let found = training::candidates(&record.text);
        let alone = found.len() == 1 && !found.iter().any(|candidate| candidate.judged);
        let secret = record.labels.iter().any(|label| label == "secret");
        let known =
            move |candidate: &Candidate| record.is_none() || secret && (alone || candidate.judged);
        let sample = move |candidate: Candidate| Sample {
            secret,
            judged: candidate.judged,
            features: candidate.features,
        };
        found.into_iter().filter(known).map(sample)
    })
    .collect()
}

/// What hand-written rules and scorer say, together and where they differ.
fn evaluate(name: &str, samples: &[Sample], weights: &[i32]) {
    println!("{name}: {} values", samples.len());
    println!(
        "| chances of a credential | found | wrong | found beside the rules | wrong beside the rules |"
    );
    println!("|---|---|---|---|---|");
    let count = |is: &dyn Fn(&Sample) -> bool, secret: bool| {
        samples
            .iter()
            .filter(|sample| sample.secret == secret && is(sample))
            .count()
    };
    let judged = |sample: &Sample| sample.judged;
    println!(
        "| rules alone | {} | {} | | |",
        count(&judged, true),
        count(&judged, false)
    );
    for percent in [50, 70, 80, 90, 95, 97, 99] {
        let scored =
            |sample: &Sample| fit::chance(&sample.features, weights) * 100.0 >= f64::from(percent);
        let beside = |sample: &Sample| scored(sample) && !sample.judged;
        println!(
            "| {percent} % | {} | {} | {} | {} |",
            count(&scored, true),
            count(&scored, false),
            count(&beside, true),
            count(&beside, false)
        );
    }
}
