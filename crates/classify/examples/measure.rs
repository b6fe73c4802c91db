//! Prints recall and false positives on labelled development data. Not a test: the data lives
//! outside the repository, and without it nothing is measured.
//!
//! `PROOFROOM_CLASSIFY_DIR` names a directory with `dev.jsonl.xz` and `dev-requests.jsonl.xz`;
//! `--show missed` and `--show raised` list record ids and rules, never texts.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "the figures are the purpose, and a missing JSON key reads as null"
)]

use std::{collections::BTreeMap, path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result};
use proofroom_canonical::Timestamp;
use proofroom_classify::{
    Classification, ClassificationPolicy, Classifier, Context, Origin, Segment,
};

const POLICY: &str = include_str!("../policies/classification.toml");

#[derive(Default)]
struct Tally {
    records: usize,
    found: usize,
    highest: usize,
}

fn main() -> Result<()> {
    let directory =
        std::env::var("PROOFROOM_CLASSIFY_DIR").unwrap_or_else(|_| "../shared/classify".to_owned());
    let show = std::env::args().skip_while(|a| a != "--show").nth(1);
    let policy = ClassificationPolicy::parse(POLICY, "classification.toml")
        .map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let classifier = Classifier::new(&policy);
    for name in ["dev.jsonl.xz", "dev-requests.jsonl.xz"] {
        let path = Path::new(&directory).join(name);
        if path.exists() {
            measure(&classifier, &path, show.as_deref())?;
        } else {
            println!("{}: not there, nothing measured", path.display());
        }
    }
    Ok(())
}

fn measure(classifier: &Classifier, path: &Path, show: Option<&str>) -> Result<()> {
    let unpacked = Command::new("xz").arg("-dc").arg(path).output()?;
    let lines = String::from_utf8(unpacked.stdout)?;
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut bytes = 0;
    let mut spent = std::time::Duration::ZERO;
    for line in lines.lines() {
        let record: serde_json::Value = serde_json::from_str(line)?;
        let text = record["text"].as_str().context("a record without text")?;
        let labels: Vec<&str> = record["labels"]
            .as_array()
            .context("a record without labels")?
            .iter()
            .filter_map(|label| label.as_str())
            .collect();
        let begun = Instant::now();
        let result = classify(classifier, text);
        spent += begun.elapsed();
        bytes += text.len();
        let source = record["source"].as_str().unwrap_or("?");
        let family = source.split([':', '/']).next().unwrap_or(source);
        let found = result.findings.iter().any(|finding| counts(&finding.rule));
        let highest = result.label == classifier.policy().levels().highest();
        for label in &labels {
            for key in [(*label).to_owned(), format!("{label} from {family}")] {
                let tally = tallies.entry(key).or_default();
                tally.records += 1;
                tally.found += usize::from(found);
                tally.highest += usize::from(highest);
            }
        }
        let wanted = match show {
            Some("missed") => !labels.contains(&"none") && !found,
            Some("raised") => labels.contains(&"none") && found,
            _ => false,
        };
        if wanted {
            let rules: Vec<&str> = result.findings.iter().map(|f| f.rule.as_str()).collect();
            println!("{} {labels:?} {source} {rules:?}", record["id"]);
        }
    }
    report(path, &tallies, bytes, spent);
    Ok(())
}

fn classify(classifier: &Classifier, text: &str) -> Classification {
    let segment = Segment {
        text,
        origin: Origin::User,
        path: None,
    };
    let now = Timestamp::from_unix_seconds(0);
    classifier.classify(
        &[segment],
        &Context {
            repository: "",
            now,
        },
    )
}

/// A published test card is not a finding that anybody labelled.
fn counts(rule: &str) -> bool {
    rule != "payment-card-test"
}

fn report(
    path: &Path,
    tallies: &BTreeMap<String, Tally>,
    bytes: usize,
    spent: std::time::Duration,
) {
    println!("\n{}", path.display());
    println!(
        "{:<34} {:>7} {:>7} {:>8} {:>8}",
        "label", "records", "found", "share", "highest"
    );
    for (label, tally) in tallies {
        let percent = u32::try_from(tally.found * 1000 / tally.records.max(1)).unwrap_or(0);
        println!(
            "{label:<34} {:>7} {:>7} {:>7.1}% {:>8}",
            tally.records,
            tally.found,
            f64::from(percent) / 10.0,
            tally.highest
        );
    }
    let micros = spent.as_micros().max(1);
    println!(
        "{bytes} bytes in {micros} us, {} MB/s",
        bytes as u128 / micros
    );
}
