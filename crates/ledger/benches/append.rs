//! Durable appends a second at group sizes 1, 64 and 1,024: real `fdatasync`, 100-byte leaves,
//! integration running beside it. The directory is the system's temporary one unless
//! `PROOFROOM_BENCH_DIRECTORY` names another; a memory file system would measure nothing.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run should stop"
)]

use std::{path::PathBuf, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use proofroom_canonical::Timestamp;
use proofroom_ledger::{Ledger, LedgerOptions};
use proofroom_tlog::{KeyName, NoteSigner};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    appends(&mut criterion);
    criterion.final_summary();
}

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append-durable-100-bytes");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    for size in [1_u64, 64, 1024] {
        let parent = std::env::var_os("PROOFROOM_BENCH_DIRECTORY")
            .map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::tempdir_in(parent).expect("a directory to write to");
        let ledger = Ledger::open(options(&directory)).expect("a new ledger");
        group.throughput(Throughput::Elements(size));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| append_group(&ledger, size));
        });
        ledger.close().expect("all leaves integrated");
    }
}

fn append_group(ledger: &Ledger, size: u64) {
    let waiting: Vec<_> = (0..size)
        .map(|_| ledger.append(vec![0x5a; 100]).expect("room in the queue"))
        .collect();
    for appending in waiting {
        appending.wait().expect("a durable leaf");
    }
}

fn options(directory: &tempfile::TempDir) -> LedgerOptions {
    let name = KeyName::parse("log.example/bench").expect("a key name");
    let signer = NoteSigner::from_seed(name, &[1; 32]).expect("a key");
    LedgerOptions::new(
        directory.path(),
        signer,
        Arc::new(|| Timestamp::from_unix_seconds(0)),
    )
}
