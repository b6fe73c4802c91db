//! Counts by label and by source, and the two ways in which they are printed.

use std::{collections::BTreeMap, fmt::Write as _};

use proofroom_classify::{Classification, ClassificationPolicy};
use serde_json::{Value, json};

use super::records::{NONE, Record};

/// How many records, how many raised, how many of these to the highest level.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) records: usize,
    pub(super) raised: usize,
    pub(super) highest: usize,
}

/// The score of one file.
#[derive(Default)]
pub(super) struct Score {
    labels: BTreeMap<String, Tally>,
    sources: BTreeMap<(String, String), Tally>,
    /// All records that are not `none`.
    planted: Tally,
    pub(super) megabytes_per_second: f64,
}

impl Tally {
    fn add(&mut self, raised: bool, highest: bool) {
        self.records += 1;
        self.raised += usize::from(raised);
        self.highest += usize::from(highest);
    }

    /// Share of the records that were raised; nothing where there are none.
    pub(super) fn share(self) -> Option<f64> {
        (self.records > 0).then(|| as_f64(self.raised) / as_f64(self.records))
    }

    fn highest_share(self) -> Option<f64> {
        (self.records > 0).then(|| as_f64(self.highest) / as_f64(self.records))
    }

    fn to_json(self) -> Value {
        json!({"records": self.records, "raised": self.raised, "restricted": self.highest,
            "share": self.share()})
    }
}

impl Score {
    /// Counts a record and returns whether it was raised above the default level.
    pub(super) fn add(
        &mut self,
        record: &Record,
        result: &Classification,
        policy: &ClassificationPolicy,
    ) -> bool {
        let raised = result.label > policy.default_label();
        let highest = result.label == policy.levels().highest();
        for label in &record.labels {
            let source = (label.clone(), record.family().to_owned());
            self.labels
                .entry(label.clone())
                .or_default()
                .add(raised, highest);
            self.sources.entry(source).or_default().add(raised, highest);
        }
        if !record.is_none() {
            self.planted.add(raised, highest);
        }
        raised
    }

    /// Recall of a label; nothing where the file has no such record.
    pub(super) fn recall(&self, label: &str) -> Option<f64> {
        self.labels.get(label).filter(|_| label != NONE)?.share()
    }

    /// Share of all sensitive records that were raised.
    pub(super) fn found(&self) -> Option<f64> {
        self.planted.share()
    }

    pub(super) fn false_positive_rate(&self) -> Option<f64> {
        self.labels.get(NONE)?.share()
    }

    pub(super) fn restricted_false_positive_rate(&self) -> Option<f64> {
        self.labels.get(NONE)?.highest_share()
    }

    pub(super) fn to_json(&self) -> Value {
        let recall: BTreeMap<&str, Option<f64>> = self
            .labels
            .keys()
            .filter(|label| *label != NONE)
            .map(|label| (label.as_str(), self.recall(label)))
            .collect();
        let mut sources: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
        for ((label, source), tally) in &self.sources {
            sources
                .entry(label)
                .or_default()
                .insert(source, tally.to_json());
        }
        json!({
            "recall": recall,
            "found": self.planted.to_json(),
            "clean": self.labels.get(NONE).map(|tally| tally.to_json()),
            "false_positive_rate": self.false_positive_rate(),
            "restricted_false_positive_rate": self.restricted_false_positive_rate(),
            "sources": sources,
            "megabytes_per_second": self.megabytes_per_second,
        })
    }

    pub(super) fn to_table(&self) -> String {
        let mut table = String::from(
            "| label | source | records | raised | share | restricted |\n|---|---|---|---|---|---|\n",
        );
        for (label, tally) in &self.labels {
            row(&mut table, label, "all", *tally);
            for ((of, source), part) in &self.sources {
                if of == label {
                    row(&mut table, label, source, *part);
                }
            }
        }
        row(&mut table, "all but none", "all", self.planted);
        let speed = self.megabytes_per_second;
        // a String takes every write
        writeln!(table, "\n{speed:.0} MB/s on one core, the best of 200 runs").unwrap_or_default();
        table
    }
}

fn row(table: &mut String, label: &str, source: &str, tally: Tally) {
    let share = tally.share().unwrap_or_default() * 100.0;
    let (records, raised, highest) = (tally.records, tally.raised, tally.highest);
    writeln!(
        table,
        "| {label} | {source} | {records} | {raised} | {share:.1} % | {highest} |"
    )
    .unwrap_or_default();
}

/// Counts are far below 2^32.
pub(super) fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
