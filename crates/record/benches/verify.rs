//! How long the ladder takes for a long session: 10,000 events.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a test: what does not hold ends it"
)]

#[path = "../tests/bundle/fixture.rs"]
mod fixture;

use criterion::{Criterion, criterion_group, criterion_main};
use proofroom_record::ladder::{Anchors, Verdict, verify_bundle, write_bundle};

fn verify(c: &mut Criterion) {
    // 13 events of the fixture and two for each file read
    let fixture = fixture::Fixture {
        fillers: 4_994,
        ..fixture::Fixture::default()
    };
    let bytes = write_bundle(&fixture.parts()).unwrap();
    let (anchors, now) = (Anchors::from_bundle(), fixture::at(86_400));
    assert_eq!(
        verify_bundle(&bytes, &anchors, now).verdict,
        Verdict::Accepted
    );
    let name = format!("verify a bundle of 10001 events, {} bytes", bytes.len());
    c.bench_function(&name, |b| b.iter(|| verify_bundle(&bytes, &anchors, now)));
}

criterion_group!(benches, verify);
criterion_main!(benches);
