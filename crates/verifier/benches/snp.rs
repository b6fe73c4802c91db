//! How long the appraisal of an SNP report takes: version 3, Milan, signed by a VCEK, with AMD's chain and
//! revocation list. On simulated evidence, whose keys, algorithms and sizes are those of genuine evidence.

#![allow(missing_docs, reason = "criterion's macro makes undocumented items")]
#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use proofroom_canonical::Timestamp;
use proofroom_evidence::snp::{SigningKey, SnpProduct};
use proofroom_testkit::{
    snp::{SNP_SEED, SimulatedAmd},
    tee::simulated_measurement,
};
use proofroom_verifier::{
    PRODUCTION_SNP, SnpAppraisalPolicy, SnpChain, SnpExpectation, Verdict, appraise_snp,
};

fn now() -> Timestamp {
    "2026-12-01T00:00:00.000Z".parse().unwrap()
}

fn snp(criterion: &mut Criterion) {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let evidence = amd.make(&amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, now()));
    let example = PRODUCTION_SNP
        .lines()
        .find(|line| line.starts_with("measurement"))
        .unwrap();
    let text = PRODUCTION_SNP
        .replace("production-snp", "simulated-snp")
        .replace("\"production-upstream\"", "\"simulated\"")
        .replace(
            "amd-ark-milan",
            &amd.root_digest(SnpProduct::Milan).to_string(),
        )
        .replace(
            example,
            &format!("measurement = [\"{}\"]", simulated_measurement("snp")),
        );
    let text = text.split("\n[[match]]").next().unwrap();
    let policy = SnpAppraisalPolicy::parse(text, "simulated-snp.toml").unwrap();
    let judged = || {
        let chain = SnpChain {
            leaf: &evidence.leaf,
            intermediate: &evidence.intermediate,
            root: &evidence.root,
            crl: Some(&evidence.crl),
        };
        let expected = SnpExpectation::Challenge([0x77; 64]);
        appraise_snp(&evidence.report, chain, &policy, expected, now())
    };
    assert_eq!(judged().verdict(), Verdict::Accept);
    criterion.bench_function("snp/appraise", |bencher| {
        bencher.iter(|| black_box(judged()));
    });
}

criterion_group!(benches, snp);
criterion_main!(benches);
