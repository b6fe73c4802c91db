//! `cargo xtask score`: what the classifier finds, misses and wrongly raises in a file of labelled
//! texts, under the policy that ships. Any file of the shape `{"id","text","labels","source"}`, a
//! record a line, can be scored; a text counts as raised above the policy's default level.

mod bar;
mod records;
mod tally;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use proofroom_canonical::Timestamp;
use proofroom_classify::{
    Classification, ClassificationPolicy, Classifier, Context, DEFAULT_CLASSIFICATION, Origin,
    Segment,
};

use bar::Bar;
pub(crate) use records::{Record, read};
use tally::Score;

/// Options of `score`.
#[derive(Args)]
pub(crate) struct Options {
    /// `.jsonl` or `.jsonl.xz`: a record `{"id","text","labels":[…],"source"}` a line.
    file: PathBuf,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Fail below: `secret=0.96` (recall of a label), `found=0.97` (of all that is labelled),
    /// `fp=0.015` (most of `none` raised), `restricted-fp=0.002`. Repeat or separate by commas.
    #[arg(long, value_name = "BAR", value_delimiter = ',')]
    bar: Vec<Bar>,
    /// Score a part only: the ids whose SHA-256 begins below 154 of 256 are for development, the
    /// others are held out from it.
    #[arg(long, default_value = "all")]
    part: Part,
    /// Ask the scorer of values too, and believe it from so many chances in a hundred on.
    #[arg(long, value_name = "PERCENT")]
    sure: Option<u32>,
    /// List ids, sources and rules of what was missed or wrongly raised. Never texts.
    #[arg(long)]
    show: bool,
}

/// Which records are scored.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    All,
    Develop,
    Held,
}

/// Scores the file.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let records: Vec<Record> = read(&options.file)?
        .into_iter()
        .filter(|record| record.is_in(options.part))
        .collect();
    if records.is_empty() {
        bail!("{}: no record to score", options.file.display());
    }
    let scorer = options
        .sure
        .map(|percent| format!("\n[scorer]\nsure_percent = {percent}\n"));
    let text = DEFAULT_CLASSIFICATION.to_owned() + &scorer.unwrap_or_default();
    let policy = ClassificationPolicy::parse(&text, "classification.toml")
        .map_err(|problems| anyhow::anyhow!("the shipped policy is refused: {problems:?}"))?;
    let classifier = Classifier::new(&policy);
    let mut score = Score::default();
    for record in &records {
        let result = classify(&classifier, &record.text);
        let raised = score.add(record, &result, &policy);
        if options.show && raised == record.is_none() {
            let rules: Vec<&str> = result.findings.iter().map(|f| f.rule.as_str()).collect();
            eprintln!(
                "{} {:?} {} {rules:?}",
                record.id, record.labels, record.source
            );
        }
    }
    score.megabytes_per_second = speed(&classifier, &records);
    if options.json {
        println!("{}", score.to_json());
    } else {
        print!("{}", score.to_table());
    }
    Ok(judge(&options.bar, &score))
}

fn judge(bars: &[Bar], score: &Score) -> ExitCode {
    let missed: Vec<String> = bars.iter().filter_map(|bar| bar.missed(score)).collect();
    for text in &missed {
        eprintln!("below the bar: {text}");
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn classify(classifier: &Classifier, text: &str) -> Classification {
    let segment = Segment {
        text,
        origin: Origin::User,
        path: None,
    };
    let context = Context {
        repository: "",
        now: Timestamp::from_unix_seconds(0),
    };
    classifier.classify(&[segment], &context)
}

/// Bytes a microsecond over all texts, the best of many runs: the machine is rarely ours alone.
fn speed(classifier: &Classifier, records: &[Record]) -> f64 {
    let bytes: usize = records.iter().map(|record| record.text.len()).sum();
    let best = (0..RUNS).map(|_| {
        let begun = Instant::now();
        for record in records {
            std::hint::black_box(classify(classifier, &record.text));
        }
        begun.elapsed().as_secs_f64()
    });
    tally::as_f64(bytes) / 1e6 / best.fold(f64::INFINITY, f64::min)
}

const RUNS: usize = 200;
