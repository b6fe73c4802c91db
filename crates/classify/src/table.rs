//! A TOML table that is read key by key: every key must be known, every value of the right type,
//! and every mistake is reported, not only the first.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use toml::{Table, Value};

use crate::{label::is_name, problem::Problems};

/// Largest policy file read; a hundred times what a careful team writes.
pub(crate) const MAX_POLICY_BYTES: usize = 1 << 20;

/// Parses the whole file and reads its `version`, which must be 1.
pub(crate) fn parse_file(text: &str, problems: &mut Problems) -> Option<Reader> {
    if text.len() > MAX_POLICY_BYTES {
        let size = text.len();
        problems.add(
            "file",
            "too-large",
            format!("{size} bytes; at most {MAX_POLICY_BYTES} are read"),
        );
        return None;
    }
    match text.parse::<Table>() {
        Ok(table) => {
            let mut reader = Reader::new(String::new(), table);
            match reader.table.remove("version") {
                Some(Value::Integer(1)) => {}
                Some(_) => problems.add("version", "wrong-version", "only version 1 is known"),
                None => problems.add("version", "missing-key", "write `version = 1`"),
            }
            Some(reader)
        }
        Err(error) => {
            let line = error.span().map(|span| {
                1 + text
                    .bytes()
                    .take(span.start)
                    .filter(|b| *b == b'\n')
                    .count()
            });
            let place = line.map_or_else(|| "file".to_owned(), |line| format!("line {line}"));
            problems.add(&place, "not-toml", error.message().replace('\n', " "));
            None
        }
    }
}

/// One table on its way to being read. What is left at [`Reader::finish`] is unknown.
#[derive(Debug)]
pub(crate) struct Reader {
    at: String,
    table: Table,
}

impl Reader {
    fn new(at: String, table: Table) -> Self {
        Self { at, table }
    }

    /// Where this table stands in the file.
    pub(crate) fn at(&self) -> &str {
        if self.at.is_empty() { "file" } else { &self.at }
    }

    /// Adds the table's own id to its place, once it is known.
    pub(crate) fn place(&mut self, id: &str) {
        self.at = format!("{} (`{id}`)", self.at);
    }

    fn place_of(&self, key: &str) -> String {
        if self.at.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.at)
        }
    }

    fn wrong_type(&self, key: &str, wanted: &str, problems: &mut Problems) {
        problems.add(
            &self.place_of(key),
            "wrong-type",
            format!("must be {wanted}"),
        );
    }

    /// A text that may be absent.
    pub(crate) fn text(&mut self, key: &str, problems: &mut Problems) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) => Some(text),
            _ => {
                self.wrong_type(key, "a string", problems);
                None
            }
        }
    }

    /// A whole number that must be there; one that no `u32` holds is the largest.
    pub(crate) fn required_number(&mut self, key: &str, problems: &mut Problems) -> Option<u32> {
        match self.table.remove(key) {
            Some(Value::Integer(number)) => Some(u32::try_from(number).unwrap_or(u32::MAX)),
            Some(_) => {
                self.wrong_type(key, "a whole number", problems);
                None
            }
            None => {
                problems.add(self.at(), "missing-key", format!("`{key}` must be given"));
                None
            }
        }
    }

    /// A text that must be there and say something.
    pub(crate) fn required_text(&mut self, key: &str, problems: &mut Problems) -> Option<String> {
        let present = self.table.contains_key(key);
        let text = self.text(key, problems);
        if !present || text.as_deref().is_some_and(|t| t.trim().is_empty()) {
            problems.add(
                self.at(),
                "missing-key",
                format!("`{key}` must be given and must not be empty"),
            );
            return None;
        }
        text
    }

    /// The table's `id`: lower-case letters, digits and `-`. Problems name the table by it.
    pub(crate) fn id(&mut self, problems: &mut Problems) -> Option<String> {
        let id = self.required_text("id", problems)?;
        if is_name(&id) {
            self.place(&id);
            Some(id)
        } else {
            problems.add(
                self.at(),
                "bad-id",
                format!("id `{id}` must be lower-case letters, digits and `-`"),
            );
            None
        }
    }

    /// A list of texts; absent is an empty list.
    pub(crate) fn texts(&mut self, key: &str, problems: &mut Problems) -> Vec<String> {
        match self.table.remove(key) {
            None => Vec::new(),
            Some(Value::Array(values)) => {
                let mut texts = Vec::new();
                for value in values {
                    match value {
                        Value::String(text) if !text.is_empty() => texts.push(text),
                        _ => self.wrong_type(key, "a list of strings that are not empty", problems),
                    }
                }
                texts
            }
            Some(_) => {
                self.wrong_type(key, "a list of strings", problems);
                Vec::new()
            }
        }
    }

    /// A list of texts that must be there and hold at least one.
    pub(crate) fn required_texts(&mut self, key: &str, problems: &mut Problems) -> Vec<String> {
        let texts = self.texts(key, problems);
        if texts.is_empty() {
            problems.add(
                self.at(),
                "missing-key",
                format!("`{key}` must list at least one"),
            );
        }
        texts
    }

    /// A sub-table that may be absent.
    pub(crate) fn child(&mut self, key: &str, problems: &mut Problems) -> Option<Self> {
        match self.table.remove(key)? {
            Value::Table(table) => Some(Self::new(self.place_of(key), table)),
            _ => {
                self.wrong_type(key, "a table", problems);
                None
            }
        }
    }

    /// A list of tables; absent is an empty list.
    pub(crate) fn children(&mut self, key: &str, problems: &mut Problems) -> Vec<Self> {
        let place = self.place_of(key);
        match self.table.remove(key) {
            None => Vec::new(),
            Some(Value::Array(values)) => {
                let mut readers = Vec::new();
                for (index, value) in values.into_iter().enumerate() {
                    match value {
                        Value::Table(table) => {
                            readers.push(Self::new(format!("{place}[{}]", index + 1), table));
                        }
                        _ => self.wrong_type(key, "a list of tables", problems),
                    }
                }
                readers
            }
            Some(_) => {
                self.wrong_type(key, "a list of tables", problems);
                Vec::new()
            }
        }
    }

    /// Every remaining key with its text, for tables whose keys the author chooses.
    pub(crate) fn rest_texts(mut self, problems: &mut Problems) -> Vec<(String, String)> {
        let keys: Vec<String> = self.table.keys().cloned().collect();
        let read = |key: String| self.text(&key, problems).map(|text| (key, text));
        keys.into_iter().filter_map(read).collect()
    }

    /// Every remaining key with its list of texts.
    pub(crate) fn rest_lists(mut self, problems: &mut Problems) -> Vec<(String, Vec<String>)> {
        let keys: Vec<String> = self.table.keys().cloned().collect();
        let read = |key: String| (key.clone(), self.required_texts(&key, problems));
        keys.into_iter().map(read).collect()
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for key in self.table.keys() {
            problems.add(
                self.at(),
                "unknown-key",
                format!("`{key}` is not a key of this table; remove or correct it"),
            );
        }
    }
}

/// What a glob is matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GlobKind {
    /// Names of models, upstreams and regions: letter case counts, `*` matches anything.
    Name,
    /// Paths and repositories where a match raises: letter case is ignored, `*` and `?` stay
    /// within one `/` component, `**` crosses them.
    Path,
    /// Paths where a match excuses: as [`GlobKind::Path`], but letter case counts.
    ExactPath,
}

/// Globs over paths or names, in the text the author wrote.
#[derive(Clone, Debug)]
pub(crate) struct Globs {
    written: Vec<String>,
    set: GlobSet,
    /// Whether one of the patterns matches everything, which then nobody tries.
    any: bool,
}

impl Globs {
    /// Compiles `patterns`.
    pub(crate) fn parse(
        kind: GlobKind,
        patterns: Vec<String>,
        at: &str,
        problems: &mut Problems,
    ) -> Self {
        let mut builder = GlobSetBuilder::new();
        for pattern in &patterns {
            match glob(kind, pattern) {
                Ok(glob) => {
                    builder.add(glob);
                }
                Err(error) => problems.add(
                    at,
                    "bad-glob",
                    format!("glob `{pattern}`: {}", error.kind()),
                ),
            }
        }
        let set = builder.build().unwrap_or_else(|error| {
            problems.add(at, "bad-glob", format!("{}", error.kind()));
            GlobSet::empty()
        });
        let all = |p: &String| p == "**" || (p == "*" && kind == GlobKind::Name);
        Self {
            any: patterns.iter().any(all),
            written: patterns,
            set,
        }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.any || self.set.is_match(text)
    }

    /// The patterns, as the author wrote them.
    pub(crate) fn written(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(String::as_str)
    }

    pub(crate) const fn any(&self) -> bool {
        self.any
    }

    /// Whether everything `other` matches is matched here too, as far as the written patterns
    /// show: true only when it is certain.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.any()
            || other
                .written
                .iter()
                .all(|pattern| self.written.contains(pattern) || self.covers_literal(pattern))
    }

    /// The patterns that match one text alone, as far as the written patterns show: their own.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.written().filter(|pattern| is_literal(pattern))
    }

    fn covers_literal(&self, pattern: &str) -> bool {
        is_literal(pattern) && self.matches(pattern)
    }
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{', '\\'])
}

fn glob(kind: GlobKind, pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern)
        .literal_separator(kind != GlobKind::Name)
        .case_insensitive(kind == GlobKind::Path)
        .build()
}

#[cfg(test)]
mod tests {
    use super::{GlobKind, Globs};
    use crate::problem::Problems;

    #[test]
    fn what_is_taken_to_match_everything_does() {
        for (kind, pattern) in [
            (GlobKind::Name, "*"),
            (GlobKind::Name, "**"),
            (GlobKind::Path, "**"),
            (GlobKind::ExactPath, "**"),
        ] {
            let mut problems = Problems::new("f");
            let globs = Globs::parse(kind, vec![pattern.to_owned()], "at", &mut problems);
            assert!(globs.any());
            for text in ["", "a", "A/b", "/a", "a/", ".a", "a\nb", "a\\b", "\u{e9}"] {
                assert!(globs.set.is_match(text), "{pattern} {text:?}");
            }
        }
        let mut problems = Problems::new("f");
        let path = Globs::parse(GlobKind::Path, vec!["*".to_owned()], "at", &mut problems);
        assert!(!path.any() && path.matches("a") && !path.matches("a/b"));
    }
}
