//! Speed of the classifier: a text that repeats, texts of which none comes twice, and, where they
//! lie beside the repository, the development requests. Not a correctness test.

#![allow(missing_docs, reason = "criterion's macro makes undocumented items")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark's figures are its output"
)]

use std::{
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lzma_rust2::XzReader;
use proofroom_canonical::{Digest, Hasher, Timestamp};
use proofroom_classify::{
    ClassificationPolicy, Classifier, Context, Origin, Segment, SessionVerdicts, Source,
};

const POLICY: &str = include_str!("../policies/classification.toml");
/// Real source, this crate's own, as an agent would send it.
const SOURCE: &str = concat!(
    include_str!("../src/classifier/scan.rs"),
    include_str!("../src/routing/load.rs"),
    include_str!("../src/policy/load.rs")
);

const CONTEXT: Context<'static> = Context {
    repository: "acme/web",
    now: Timestamp::from_unix_seconds(0),
};

fn classify(classifier: &Classifier, text: &str) {
    black_box(classifier.classify(&[segment(text)], &CONTEXT));
}

const fn segment(text: &str) -> Segment<'_> {
    Segment {
        text,
        origin: Origin::ToolResult,
        path: None,
    }
}

fn requests(criterion: &mut Criterion) {
    let Ok(policy) = ClassificationPolicy::parse(POLICY, "classification.toml") else {
        return;
    };
    let classifier = Classifier::new(&policy);
    let begun = Instant::now();
    classifier.warm(2);
    if env::var_os(EACH).is_some() {
        for (name, times) in first_readings(&classifier) {
            let times: Vec<String> = times.iter().map(|t| t.as_nanos().to_string()).collect();
            println!("{EACH}{name}:{}", times.join(" "));
        }
        return;
    }
    println!("made warm in {:?}", begun.elapsed());
    for (name, times) in first_readings(&classifier) {
        println!("24 kB of {name}, each once: {}", shares(times));
    }
    nothing();
    each_texts_median();
    turns(&classifier);
    let mut group = criterion.benchmark_group("classify");
    for size in [24_000_usize, 1_000_000] {
        let text: String = SOURCE.chars().cycle().take(size).collect();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &text, |bencher, text| {
            bencher.iter(|| classify(&classifier, text));
        });
    }
    let different = repository_source(1_000_000);
    group.throughput(Throughput::Bytes(different.len() as u64));
    group.bench_function("source of 1 MB, no part twice", |bencher| {
        bencher.iter(|| classify(&classifier, &different));
    });
    match development_requests() {
        Some(texts) => {
            let bytes: usize = texts.iter().map(String::len).sum();
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function("development requests", |bencher| {
                bencher.iter(|| texts.iter().for_each(|text| classify(&classifier, text)));
            });
        }
        None => eprintln!("no development requests (PROOFROOM_CLASSIFY_DIR): not measured"),
    }
    group.finish();
}

/// The times of texts of 24 kB that were not seen before, each once: criterion repeats, so it cannot tell.
fn first_readings(classifier: &Classifier) -> Vec<(&'static str, Vec<Duration>)> {
    let mut all = vec![(
        "this repository's source",
        cold(classifier, &repository_source(usize::MAX)),
    )];
    if let Some(texts) = development_requests() {
        let texts = texts.concat();
        let elsewhere = || cold(classifier, &texts);
        let elsewhere = thread::scope(|scope| scope.spawn(elsewhere).join());
        let elsewhere = elsewhere.unwrap_or_default();
        all.push(("development requests, another thread", elsewhere));
        all.push(("development requests", cold(classifier, &texts)));
    }
    all
}

fn cold(classifier: &Classifier, all: &str) -> Vec<Duration> {
    let characters: Vec<char> = all.chars().collect();
    let texts: Vec<String> = characters
        .chunks_exact(24_000)
        .map(|part| part.iter().collect())
        .collect();
    let time = |text: &String| {
        let begun = Instant::now();
        classify(classifier, text);
        begun.elapsed()
    };
    texts.iter().map(time).collect()
}

fn shares(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len().saturating_sub(1) * share / 100);
    let at = |share| at(share).copied().unwrap_or_default();
    let (p50, p99, most) = (at(50), at(99), at(100));
    format!(
        "{} times, p50 {p50:?}, p99 {p99:?}, most {most:?}",
        times.len()
    )
}

/// What the machine takes out of a loop that is as long as a text takes and does nothing: whatever is above its own
/// median here is not the classifier's.
fn nothing() {
    let spin = |rounds: u32| {
        let begun = Instant::now();
        black_box((0..rounds).fold(1_u64, |number, _| black_box(number.wrapping_mul(3))));
        begun.elapsed()
    };
    let known: u32 = 1 << 20;
    let wanted = u128::from(known) * 60_000 / spin(known).as_nanos().max(1);
    let rounds = u32::try_from(wanted).unwrap_or(u32::MAX);
    for times in [43, 340] {
        let times = (0..times).map(|_| spin(rounds)).collect();
        println!("a loop that does nothing: {}", shares(times));
    }
}

/// Of each text the median of several first readings, each in a process of its own: what the machine does beside it
/// hits another text each time.
fn each_texts_median() {
    let runs: Vec<Vec<(String, Vec<u64>)>> = (0..RUNS).filter_map(|_| first_elsewhere()).collect();
    let Some(first) = runs.first() else {
        return;
    };
    for (place, (name, texts)) in first.iter().enumerate() {
        let of_text = |text: usize| {
            let times = runs.iter().filter_map(|run| run.get(place)?.1.get(text));
            let mut times: Vec<u64> = times.copied().collect();
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied();
            Duration::from_nanos(median.unwrap_or_default())
        };
        let medians = (0..texts.len()).map(of_text).collect();
        println!(
            "24 kB of {name}, of each the median of {} processes: {}",
            runs.len(),
            shares(medians)
        );
    }
}

/// What [`first_readings`] says in another process.
fn first_elsewhere() -> Option<Vec<(String, Vec<u64>)>> {
    let mut command = Command::new(env::current_exe().ok()?);
    let output = command.env(EACH, "1").arg("--bench").output().ok()?;
    let output = String::from_utf8(output.stdout).ok()?;
    let line = |line: &str| {
        let (name, times) = line.strip_prefix(EACH)?.split_once(':')?;
        let times = times.split(' ').filter_map(|time| time.parse().ok());
        Some((name.to_owned(), times.collect()))
    };
    Some(output.lines().filter_map(line).collect())
}

/// Set where a process tells the times of its first readings and nothing else.
const EACH: &str = "PROOFROOM_BENCH_EACH";
const RUNS: usize = 9;

/// A conversation of 1 MB in turns of 2 kB that goes on by another turn, a hundred times: whole, and
/// in a session that knows the earlier turns.
fn turns(classifier: &Classifier) {
    let source = repository_source(1_200_000);
    let all: Vec<char> = source.chars().collect();
    let texts: Vec<String> = all
        .chunks_exact(2_000)
        .map(|t| t.iter().collect())
        .collect();
    let segments: Vec<Segment<'_>> = texts.iter().map(|text| segment(text)).collect();
    let verdicts = SessionVerdicts::new([7; 32]);
    let known = segments.get(..500).unwrap_or_default();
    black_box(classifier.classify_in_session(known, &CONTEXT, &verdicts));
    let lengths = 501..segments.len().min(601);
    let time = |turn: &dyn Fn(&[Segment<'_>])| {
        let times = lengths.clone().map(|length| {
            let begun = Instant::now();
            turn(segments.get(..length).unwrap_or_default());
            begun.elapsed()
        });
        let mut times: Vec<Duration> = times.collect();
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        (at(50).unwrap_or_default(), at(99).unwrap_or_default())
    };
    let (p50, p99) = time(&|turns| {
        black_box(classifier.classify_in_session(turns, &CONTEXT, &verdicts));
    });
    println!("2 kB more in 1 MB, earlier turns known: p50 {p50:?}, p99 {p99:?}");
    read_from(classifier, &segments);
    let (p50, p99) = time(&|turns| {
        black_box(classifier.classify(turns, &CONTEXT));
    });
    println!("the same, every turn scanned: p50 {p50:?}, p99 {p99:?}");
}

/// The same as a gateway asks it: a digest of the request's bytes was taken as they arrived, for the record, and
/// on the way the digests of its beginnings. What that adds to the digest is told apart.
fn read_from(classifier: &Classifier, segments: &[Segment<'_>]) {
    let verdicts = SessionVerdicts::new([7; 32]);
    let (mut whole, mut marked, mut classified) = (Vec::new(), Vec::new(), Vec::new());
    for length in 500..segments.len().min(601) {
        let turns = segments.get(..length).unwrap_or_default();
        let body: String = turns.iter().map(|turn| turn.text).collect();
        let begun = Instant::now();
        black_box(Digest::of(&body));
        whole.push(begun.elapsed());
        let begun = Instant::now();
        let beginnings = beginnings_of(body.as_bytes());
        marked.push(begun.elapsed());
        let mut end = 0;
        let ends: Vec<usize> = turns
            .iter()
            .map(|turn| {
                end += turn.text.len();
                end
            })
            .collect();
        let source = Source {
            reading: "texts",
            beginning: &|place| {
                let end = ends.get(place)?;
                beginnings.get(end.div_ceil(BEGINNING) - 1).copied()
            },
        };
        let begun = Instant::now();
        black_box(classifier.classify_from(&source, turns, &CONTEXT, &verdicts));
        classified.push(begun.elapsed());
    }
    // the first turn is the conversation, of which nothing was known
    classified.remove(0);
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        (at(50).unwrap_or_default(), at(99).unwrap_or_default())
    };
    let ((p50, p99), whole, marked) = (
        median(&mut classified),
        median(&mut whole).0,
        median(&mut marked).0,
    );
    println!("the same, read from a known beginning: p50 {p50:?}, p99 {p99:?}");
    println!("its SHA-256: p50 {whole:?}, with those of its beginnings {marked:?}");
}

/// The digests of the first 16 KiB, 32 KiB and so on, and last that of all.
fn beginnings_of(body: &[u8]) -> Vec<Digest> {
    let mut hasher = Hasher::new();
    let steps = body.chunks(BEGINNING);
    steps
        .map(|step| {
            hasher.update(step);
            hasher.clone().finish()
        })
        .collect()
}

const BEGINNING: usize = 16 << 10;

/// The first `limit` characters of all Rust files of the repository's crates, in order of their
/// paths.
fn repository_source(limit: usize) -> String {
    let mut files = Vec::new();
    rust_files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        &mut files,
    );
    files.sort();
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let mut all = String::new();
    for text in texts {
        if all.len() >= limit {
            break;
        }
        all.push_str(&text);
    }
    all.chars().take(limit).collect()
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}

/// The texts of `dev-requests.jsonl.xz`, where the directory with the labelled data is.
fn development_requests() -> Option<Vec<String>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/classify");
    let directory = env::var_os("PROOFROOM_CLASSIFY_DIR").map_or(beside, PathBuf::from);
    let file = fs::File::open(directory.join("dev-requests.jsonl.xz")).ok()?;
    let lines = std::io::read_to_string(XzReader::new(file, true)).ok()?;
    let text = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).ok()?;
        record.get("text")?.as_str().map(str::to_owned)
    };
    lines.lines().map(text).collect()
}

criterion_group!(benches, requests);
criterion_main!(benches);
