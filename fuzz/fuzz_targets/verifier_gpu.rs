//! Any bytes as evidence, manifest, token and key set: no panic, and nothing is accepted.

#![no_main]

use std::sync::LazyLock;

use proofroom_canonical::Timestamp;
use proofroom_verifier::{
    Freshness, Verdict,
    gpu::{GpuEndorsements, GpuPolicy, PRODUCTION_GPU, appraise_gpus},
};

static POLICY: LazyLock<GpuPolicy> =
    LazyLock::new(|| GpuPolicy::parse(PRODUCTION_GPU, "production-gpu.toml").expect("shipped"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let files = [bytes.to_vec()];
    let endorsements = GpuEndorsements {
        driver_rims: &files,
        bios_rims: &files,
        tokens: &files,
        jwks: Some(bytes),
    };
    let now = Timestamp::from_unix_seconds(1_795_000_000);
    let appraisal = appraise_gpus(bytes, endorsements, &POLICY, Freshness::ArchiveAudit, now);
    assert_ne!(appraisal.verdict(), Verdict::Accept);
});
