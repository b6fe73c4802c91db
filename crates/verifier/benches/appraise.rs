//! How long an appraisal takes: SNP, and TDX side by side with `dcap-qvl` alone on the same quote. On
//! simulated evidence, whose keys, algorithms and sizes are those of genuine evidence.

#![allow(missing_docs, reason = "criterion's macro makes undocumented items")]
#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dcap_qvl::{QuoteCollateralV3, QuotePolicy, configs::RustCryptoConfig, verify::QuoteVerifier};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{
    Collateral, EvidenceDocument,
    snp::{SigningKey, SnpProduct},
};
use proofroom_testkit::{
    snp::{SNP_SEED, SimulatedAmd},
    tee::{SimulatedTee, simulated_measurement},
};
use proofroom_verifier::{
    AppraisalPolicy, Freshness, PRODUCTION_SNP, SIMULATED_UPSTREAM, SnpAppraisalPolicy, SnpChain,
    SnpExpectation, Verdict, appraise, appraise_snp,
};

const NONCE: Nonce = Nonce::from_random([7; 32]);

fn now() -> Timestamp {
    "2026-12-01T00:00:00.000Z".parse().unwrap()
}

fn tdx(criterion: &mut Criterion) {
    let tee = SimulatedTee::demo();
    let document = tee.evidence_document(NONCE, Digest::of("key"), "model", now());
    let policy = AppraisalPolicy::parse(SIMULATED_UPSTREAM, "simulated-upstream.toml").unwrap();
    let judged = || appraise(&document, &policy, Freshness::Challenge(NONCE), now());
    assert_eq!(judged().verdict(), Verdict::Accept);

    let parsed = EvidenceDocument::parse(&document).unwrap();
    let quote = parsed.quote_bytes();
    let root = parsed.quote().unwrap().pck_chain().unwrap().pop().unwrap();
    let collateral = to_qvl(parsed.collateral());
    let seconds = u64::try_from(now().unix_seconds()).unwrap();
    let alone = || {
        QuoteVerifier::<RustCryptoConfig>::new_with_config(root.clone())
            .verify_with_policy(
                quote,
                collateral.clone(),
                seconds,
                &QuotePolicy::claims_only(seconds),
            )
            .unwrap()
    };
    let mut group = criterion.benchmark_group("tdx");
    group.bench_function("appraise", |bencher| bencher.iter(|| black_box(judged())));
    group.bench_function("dcap-qvl-alone", |bencher| {
        bencher.iter(|| black_box(alone()));
    });
    group.finish();
}

fn to_qvl(collateral: &Collateral) -> QuoteCollateralV3 {
    let collateral = collateral.clone();
    QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain,
        root_ca_crl: collateral.root_ca_crl,
        pck_crl: collateral.pck_crl,
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain,
        tcb_info: collateral.tcb_info,
        tcb_info_signature: collateral.tcb_info_signature,
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain,
        qe_identity: collateral.qe_identity,
        qe_identity_signature: collateral.qe_identity_signature,
        pck_certificate_chain: None,
    }
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

criterion_group!(benches, tdx, snp);
criterion_main!(benches);
