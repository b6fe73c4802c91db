//! Throughput of the classifier on clean agent traffic of 24 KB and 1 MB. Not a correctness test.

#![allow(missing_docs, reason = "criterion's macro makes undocumented items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use proofroom_canonical::Timestamp;
use proofroom_classify::{ClassificationPolicy, Classifier, Context, Origin, Segment};

const POLICY: &str = include_str!("../policies/classification.toml");
/// Real source, this crate's own, as an agent would send it.
const SOURCE: &str = concat!(
    include_str!("../src/classifier/scan.rs"),
    include_str!("../src/routing/load.rs"),
    include_str!("../src/policy/load.rs")
);

fn requests(criterion: &mut Criterion) {
    let Ok(policy) = ClassificationPolicy::parse(POLICY, "classification.toml") else {
        return;
    };
    let classifier = Classifier::new(&policy);
    let context = Context {
        repository: "acme/web",
        now: Timestamp::from_unix_seconds(0),
    };
    let mut group = criterion.benchmark_group("classify");
    for size in [24_000_usize, 1_000_000] {
        let text: String = SOURCE.chars().cycle().take(size).collect();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &text, |bencher, text| {
            let segment = Segment {
                text,
                origin: Origin::ToolResult,
                path: None,
            };
            bencher.iter(|| classifier.classify(&[segment], &context));
        });
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
