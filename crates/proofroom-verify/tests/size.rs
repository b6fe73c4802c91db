//! How much of our code an auditor runs: the lines of every function that is linked into `proofroom-verify`,
//! from its first to its last, without blank lines and comments. Told by the program's own line tables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: what does not hold ends it"
)]

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs,
    num::NonZero,
    path::{Path, PathBuf},
};

use gimli::{Dwarf, EndianSlice, LineRow, LittleEndian};
use object::{Object as _, ObjectSection as _};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;
type Unit<'a> = gimli::Unit<Bytes<'a>>;

/// No more than this (docs/promises.md) is linked of what judges every bundle.
const MAX_LINES: usize = 8_000;
/// No more than this is linked besides, for bundles whose runs rest on providers in their own formats (docs/adr/0058 and 0062).
const MAX_PROVIDER_LINES: usize = 7_100;
/// Where that lies: formats and policies of providers, what judges their bare quotes, their devices and AMD's reports,
/// and what records state of them. Nothing of it runs for a bundle without a run on a provider, but for the reading of
/// the directory that an auditor names with `--provider-policies`.
const OF_PROVIDERS: [&str; 8] = [
    "crates/provider/",
    "crates/serving/",
    "/src/gpu",
    "/src/snp",
    "crates/verifier/src/quote",
    "crates/record/src/ladder/provider.rs",
    "crates/record/src/statement/provider.rs",
    "crates/proofroom-verify/src/providers.rs",
];
/// Crates without which nothing is verified: their absence would mean that nothing was counted.
const NEVER_ABSENT: [&str; 7] = [
    "canonical",
    "evidence",
    "proofroom-verify",
    "provider",
    "record",
    "tlog",
    "verifier",
];

#[test]
fn what_an_auditor_runs_of_our_code_is_small() {
    let program = fs::read(env!("CARGO_BIN_EXE_proofroom-verify")).unwrap();
    let mut per_crate: BTreeMap<String, usize> = BTreeMap::new();
    let mut of_providers = 0;
    for (file, lines) in linked_lines(&program) {
        let Some(name) = crate_of(&file) else {
            continue;
        };
        let count = code_lines(&file, &lines);
        if std::env::var_os("PROOFROOM_SIZE_BY_FILE").is_some() {
            println!("{count:6} {}", file.display());
        }
        *per_crate.entry(name).or_default() += count;
        let path = file.display().to_string();
        if OF_PROVIDERS.iter().any(|place| path.contains(place)) {
            of_providers += count;
        }
    }
    let all: usize = per_crate.values().sum();
    let total = all - of_providers;
    for (name, lines) in &per_crate {
        println!("{lines:6} {name}");
    }
    println!(
        "{total:6} lines of our functions are linked for every bundle, of at most {MAX_LINES}"
    );
    println!("{of_providers:6} lines besides for providers, of at most {MAX_PROVIDER_LINES}");
    for name in NEVER_ABSENT {
        assert!(per_crate.contains_key(name), "nothing of `{name}` was seen");
    }
    assert!(total <= MAX_LINES, "{total} lines");
    assert!(of_providers <= MAX_PROVIDER_LINES, "{of_providers} lines");
}

/// Per source file, the lines between a linked function's first and last.
fn linked_lines(program: &[u8]) -> BTreeMap<PathBuf, BTreeSet<u64>> {
    let file = object::File::parse(program).unwrap();
    let sections = gimli::DwarfSections::load(|id| {
        let section = file.section_by_name(id.name());
        Ok::<_, object::Error>(match section {
            Some(section) => section.uncompressed_data()?,
            None => Cow::Borrowed(&[][..]),
        })
    });
    let sections = sections.unwrap();
    let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
    let mut linked = BTreeMap::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next().unwrap() {
        let unit = dwarf.unit(header).unwrap();
        add_functions(&dwarf, &unit, &mut linked);
    }
    linked
}

/// A function is a sequence of the line table: each has a section of its own. One that the linker left out
/// begins at address zero.
fn add_functions(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &Unit<'_>,
    linked: &mut BTreeMap<PathBuf, BTreeSet<u64>>,
) {
    let Some(program) = unit.line_program.clone() else {
        return;
    };
    let mut rows = program.rows();
    let mut function: Option<Function> = None;
    while let Some((_, row)) = rows.next_row().unwrap() {
        let known = function.get_or_insert_with(|| Function::beginning(row));
        if !row.end_sequence() {
            known.widen(row);
            continue;
        }
        let Some(ended) = function.take().filter(|ended| ended.address != 0) else {
            continue;
        };
        let path = path_of(dwarf, unit, ended.file);
        let lines = linked.entry(path).or_default();
        lines.extend(ended.first..=ended.last);
    }
}

/// The lines of one function. What it has from macros and inlined functions stands elsewhere, and is theirs.
struct Function {
    address: u64,
    file: u64,
    first: u64,
    last: u64,
}

impl Function {
    fn beginning(row: &LineRow) -> Self {
        let line = row.line().map_or(0, NonZero::get);
        Self {
            address: row.address(),
            file: row.file_index(),
            first: line,
            last: line,
        }
    }

    fn widen(&mut self, row: &LineRow) {
        let line = row.line().map_or(0, NonZero::get);
        if row.file_index() == self.file {
            self.last = self.last.max(line);
        }
    }
}

fn path_of(dwarf: &Dwarf<Bytes<'_>>, unit: &Unit<'_>, index: u64) -> PathBuf {
    let header = unit.line_program.as_ref().unwrap().header();
    let file = header.file(index).unwrap();
    let text = |value| {
        let text = dwarf.attr_string(unit, value).unwrap();
        text.to_string_lossy().into_owned()
    };
    let mut path = PathBuf::from(unit.comp_dir.unwrap().to_string_lossy().into_owned());
    if let Some(directory) = file.directory(header) {
        path.push(text(directory));
    }
    path.push(text(file.path_name()));
    path
}

/// The crate of a file of ours.
fn crate_of(file: &Path) -> Option<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let inside = file.strip_prefix(crates).ok()?;
    let name = inside.components().next()?;
    Some(name.as_os_str().to_string_lossy().into_owned())
}

/// How many of these lines hold more than space and a comment.
fn code_lines(file: &Path, lines: &BTreeSet<u64>) -> usize {
    let text = fs::read_to_string(file).unwrap();
    let is_code = |line: &str| !line.is_empty() && !line.starts_with("//");
    (1..)
        .zip(text.lines())
        .filter(|(number, line)| lines.contains(number) && is_code(line.trim()))
        .count()
}
