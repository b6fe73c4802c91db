//! Labelled records, read from lines of JSON, compressed or not.

use std::{fs, io::Read as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use lzma_rust2::XzReader;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Part;

/// One labelled text.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) labels: Vec<String>,
    #[serde(default)]
    pub(super) source: String,
}

impl Record {
    /// Whether nothing in it is sensitive.
    pub(crate) fn is_none(&self) -> bool {
        self.labels.iter().any(|label| label == NONE)
    }

    /// Where it comes from, without what is said of the single item.
    pub(super) fn family(&self) -> &str {
        let source = self.source.as_str();
        source.split([':', '/']).next().unwrap_or(source)
    }

    pub(crate) fn is_in(&self, part: Part) -> bool {
        let first = Sha256::digest(self.id.as_bytes()).first().copied();
        let develop = first.is_some_and(|byte| byte < DEVELOP_BELOW);
        match part {
            Part::All => true,
            Part::Develop => develop,
            Part::Held => !develop,
        }
    }
}

/// Reads all records of `file`.
pub(crate) fn read(file: &Path) -> Result<Vec<Record>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = if file.extension().is_some_and(|extension| extension == "xz") {
        let mut text = String::new();
        XzReader::new(bytes.as_slice(), true)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot unpack {}", file.display()))?;
        text
    } else {
        String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", file.display()))?
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            record(line).with_context(|| format!("{}:{}", file.display(), index + 1))
        })
        .collect()
}

fn record(line: &str) -> Result<Record> {
    let record: Record = serde_json::from_str(line)?;
    ensure!(!record.labels.is_empty(), "a record without labels");
    ensure!(
        !record.is_none() || record.labels.len() == 1,
        "`{NONE}` must be the only label"
    );
    Ok(record)
}

/// The label of what is not sensitive.
pub(super) const NONE: &str = "none";
const DEVELOP_BELOW: u8 = 154;

#[cfg(test)]
mod tests {
    use super::{Part, record};

    #[test]
    fn labels_are_required_and_none_stands_alone() {
        assert!(record(r#"{"id":"a","text":"t","labels":["none"],"source":"x:y"}"#).is_ok());
        for wrong in [
            r#"{"id":"a","text":"t","labels":[]}"#,
            r#"{"id":"a","text":"t","labels":["none","pii"]}"#,
            r#"{"id":"a","labels":["none"]}"#,
        ] {
            assert!(record(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_record_is_in_one_part() {
        let parts = |id: &str| {
            let line = format!(r#"{{"id":"{id}","text":"t","labels":["none"]}}"#);
            let record = record(&line).unwrap();
            (record.is_in(Part::Develop), record.is_in(Part::Held))
        };
        let all: Vec<_> = (0..100).map(|n| parts(&format!("d-{n}"))).collect();
        assert!(all.iter().all(|(develop, held)| develop != held));
        assert!(all.contains(&(true, false)) && all.contains(&(false, true)));
    }
}
