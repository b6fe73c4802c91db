//! How long the appraisal of eight simulated GPUs with manifests and tokens takes. Not a correctness
//! test.

#![allow(missing_docs, reason = "criterion's macro makes undocumented items")]

use criterion::{Criterion, criterion_group, criterion_main};
use proofroom_canonical::{Nonce, Timestamp};
use proofroom_testkit::gpu::{RimPlan, SimulatedGpus};
use proofroom_verifier::{
    Freshness, Verdict,
    gpu::{GpuEndorsements, GpuPolicy, SIMULATED_GPU, appraise_gpus},
};

fn appraisal(criterion: &mut Criterion) {
    let nonce = Nonce::from_random([1; 32]);
    let now = Timestamp::from_unix_seconds(1_795_000_000);
    let gpus = SimulatedGpus::demo();
    let plans: Vec<_> = (1..=8).map(|number| gpus.plan(number, nonce)).collect();
    let list = gpus.list(&plans);
    let driver_rims = [gpus.rim(&RimPlan::driver())];
    let bios_rims = [gpus.rim(&RimPlan::bios())];
    let tokens = [gpus.token(&gpus.token_plan(&plans, now.unix_seconds()))];
    let jwks = gpus.jwks();
    let eight = ["\"GH100\""; 8].join(", ");
    let text = SIMULATED_GPU.replace("count = 2", "count = 8").replace(
        "\"GH100\", \"GH100\"]\nissuer",
        &format!("{eight}]\nissuer"),
    );
    let Ok(policy) = GpuPolicy::parse(&text, "simulated-gpu.toml") else {
        return;
    };
    let judge = |tokens: &[Vec<u8>]| {
        let endorsements = GpuEndorsements {
            driver_rims: &driver_rims,
            bios_rims: &bios_rims,
            tokens,
            jwks: Some(&jwks),
        };
        appraise_gpus(
            &list,
            endorsements,
            &policy,
            Freshness::Challenge(nonce),
            now,
        )
    };
    assert_eq!(judge(&tokens).verdict(), Verdict::Accept);
    let mut group = criterion.benchmark_group("eight-gpus");
    group.bench_function("manifests", |bencher| bencher.iter(|| judge(&[])));
    group.bench_function("manifests-and-tokens", |bencher| {
        bencher.iter(|| judge(&tokens))
    });
    group.finish();
}

criterion_group!(benches, appraisal);
criterion_main!(benches);
