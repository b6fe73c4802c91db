//! How long the appraisal of a TDX quote takes, beside `dcap-qvl` alone on the same quote, and what its
//! parts take: all signatures, those that only the quote can bring, and everything that is no signature.
//! On the simulated platform's evidence, and on a genuine quote where `PROOFROOM_EVIDENCE_DIR` has it.
//! `dcap-qvl` takes the collateral whole at every quote; the last two parts say what a verifier that keeps
//! verified collateral could come down to.

#![allow(missing_docs, reason = "criterion's macro makes undocumented items")]
#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]
#![expect(clippy::print_stdout, reason = "a bench prints what it counted")]

use std::{hint::black_box, sync::Mutex};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use dcap_qvl::{
    QuoteCollateralV3, QuotePolicy,
    config::{Config, CryptoProvider},
    configs::RingConfig,
    crypto::RingCrypto,
    signature::DerSigEncoder,
    verify::QuoteVerifier,
    x509::X509CertBackend,
};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{Collateral, EvidenceDocument, Quote};
use proofroom_testkit::tee::SimulatedTee;
use proofroom_verifier::{
    AppraisalPolicy, CheckName, Freshness, Outcome, PRODUCTION_UPSTREAM, QuoteExpectation,
    SIMULATED_UPSTREAM, Verdict, appraise, appraise_quote,
};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

#[path = "../tests/support/evidence.rs"]
mod evidence;

const NONCE: Nonce = Nonce::from_random([7; 32]);

fn simulated(criterion: &mut Criterion) {
    let now = "2026-12-01T00:00:00.000Z".parse().unwrap();
    let document = SimulatedTee::demo().evidence_document(NONCE, Digest::of("key"), "model", now);
    let policy = AppraisalPolicy::parse(SIMULATED_UPSTREAM, "simulated-upstream.toml").unwrap();
    let judged = || appraise(&document, &policy, Freshness::Challenge(NONCE), now);
    assert_eq!(judged().verdict(), Verdict::Accept);
    let parsed = EvidenceDocument::parse(&document).unwrap();
    let mut group = criterion.benchmark_group("tdx-simulated");
    group.bench_function("appraise-document", |bencher| {
        bencher.iter(|| black_box(judged()));
    });
    parts(&mut group, parsed.quote_bytes(), parsed.collateral(), now);
    group.finish();
}

/// The shipped policy pins no measurement of this TD, so that its appraisal ends in a refusal; but it has
/// made every check by then.
fn genuine(criterion: &mut Criterion) {
    let (Some(quote), Some(collateral)) = (
        evidence::read("dcap-qvl/tdx_quote"),
        evidence::read("dcap-qvl/tdx_quote_collateral.json"),
    ) else {
        return;
    };
    let now = "2025-06-19T10:32:28.000Z".parse().unwrap();
    let policy = AppraisalPolicy::parse(PRODUCTION_UPSTREAM, "production-upstream.toml").unwrap();
    let judge = |collateral: &Collateral| {
        let expected = QuoteExpectation::NotSupplied;
        appraise_quote(&quote, Some(collateral), &policy, expected, now)
    };
    let parse = || serde_json::from_slice::<Collateral>(&collateral).unwrap();
    let parsed = parse();
    let passed = |name| {
        let appraisal = judge(&parsed);
        let mut checks = appraisal.checks().iter();
        checks.any(|check| check.name == name && check.outcome == Outcome::Pass)
    };
    assert!(passed(CheckName::QuoteSignature) && passed(CheckName::TcbStatus));
    let mut group = criterion.benchmark_group("tdx-genuine");
    group.bench_function("appraise-quote", |bencher| {
        bencher.iter(|| black_box(judge(&parse())));
    });
    parts(&mut group, &quote, &parsed, now);
    group.finish();
}

/// `dcap-qvl` alone, and its parts.
fn parts(
    group: &mut BenchmarkGroup<'_, WallTime>,
    quote: &[u8],
    collateral: &Collateral,
    now: Timestamp,
) {
    let at = u64::try_from(now.unix_seconds()).unwrap();
    let root = Quote::parse(quote)
        .unwrap()
        .pck_chain()
        .unwrap()
        .pop()
        .unwrap();
    let collateral = to_qvl(collateral);
    group.bench_function("dcap-qvl-alone", |bencher| {
        bencher.iter(|| verify::<RingConfig>(quote, &collateral, &root, at));
    });
    let all = signatures(quote, &collateral, &root, at);
    let (kept, of_quote): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|one| one.is_in(&collateral));
    println!(
        "{} signatures: {} of the collateral, {} of the quote",
        all.len(),
        kept.len(),
        of_quote.len()
    );
    for (name, some) in [
        ("all-signatures", &all),
        ("signatures-of-the-quote", &of_quote),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| check(some)));
    }
    group.bench_function("dcap-qvl-without-signatures", |bencher| {
        bencher.iter(|| verify::<WithoutSignatures>(quote, &collateral, &root, at));
    });
}

fn verify<C: Config>(quote: &[u8], collateral: &QuoteCollateralV3, root: &[u8], at: u64) {
    let verified = QuoteVerifier::<C>::new_with_config(root.to_vec()).verify_with_policy(
        quote,
        collateral.clone(),
        at,
        &QuotePolicy::claims_only(at),
    );
    black_box(verified.unwrap());
}

/// A signature that `dcap-qvl` asked for.
#[derive(Clone)]
struct Signature {
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Signature {
    /// Whether the collateral holds what is signed.
    fn is_in(&self, collateral: &QuoteCollateralV3) -> bool {
        let chains = [
            &collateral.pck_crl_issuer_chain,
            &collateral.tcb_info_issuer_chain,
            &collateral.qe_identity_issuer_chain,
        ];
        let mut held = vec![
            collateral.root_ca_crl.clone(),
            collateral.pck_crl.clone(),
            collateral.tcb_info.clone().into_bytes(),
            collateral.qe_identity.clone().into_bytes(),
        ];
        for chain in chains {
            held.extend(
                pem::parse_many(chain)
                    .unwrap()
                    .into_iter()
                    .map(pem::Pem::into_contents),
            );
        }
        held.iter().any(|bytes| {
            bytes
                .windows(self.message.len())
                .any(|window| window == self.message)
        })
    }
}

fn check(signatures: &[Signature]) {
    for one in signatures {
        let valid = p256().verify_signature(&one.key, &one.message, &one.signature);
        assert!(valid.is_ok());
    }
}

/// Every signature that `dcap-qvl` checks on a quote, in its order.
fn signatures(
    quote: &[u8],
    collateral: &QuoteCollateralV3,
    root: &[u8],
    at: u64,
) -> Vec<Signature> {
    SEEN.lock().unwrap().clear();
    verify::<Recorded>(quote, collateral, root, at);
    std::mem::take(&mut *SEEN.lock().unwrap())
}

static SEEN: Mutex<Vec<Signature>> = Mutex::new(Vec::new());

fn p256() -> &'static dyn SignatureVerificationAlgorithm {
    RingCrypto::sig_algo()
}

/// Checks as ever, and notes what it was asked.
#[derive(Debug)]
struct Recorded;

/// Checks no signature at all: only to see what the rest costs.
#[derive(Debug)]
struct WithoutSignatures;

impl SignatureVerificationAlgorithm for Recorded {
    fn verify_signature(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        SEEN.lock().unwrap().push(Signature {
            key: key.to_vec(),
            message: message.to_vec(),
            signature: signature.to_vec(),
        });
        p256().verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        p256().public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        p256().signature_alg_id()
    }
}

impl SignatureVerificationAlgorithm for WithoutSignatures {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        p256().public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        p256().signature_alg_id()
    }
}

macro_rules! with_algorithm {
    ($config:ident) => {
        impl Config for $config {
            type X509 = X509CertBackend;
            type SigEncoder = DerSigEncoder;
            type Crypto = Self;
        }

        impl CryptoProvider for $config {
            fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
                &$config
            }

            fn sha256(data: &[u8]) -> [u8; 32] {
                RingCrypto::sha256(data)
            }

            fn sha384(data: &[u8]) -> [u8; 48] {
                RingCrypto::sha384(data)
            }
        }
    };
}

with_algorithm!(Recorded);
with_algorithm!(WithoutSignatures);

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

criterion_group!(benches, simulated, genuine);
criterion_main!(benches);
