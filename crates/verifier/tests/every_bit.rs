//! Every single bit of what is signed, in quotes of TDX and reports of NVIDIA devices: flipped, the
//! signature does not hold any more, or is about another message, or the bytes are not even read. Looked at here is the signature
//! alone, which makes every bit affordable; the tests of each kind flip bits in front of the whole
//! appraisal. Reports of SNP and quotes of TPMs are flipped bit by bit in their own tests.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::thread;

use p256::ecdsa::signature::Verifier as _;
use proofroom_canonical::Nonce;
use proofroom_evidence::{
    Quote,
    gpu::{DeviceReport, certificate_chain},
};
use proofroom_testkit::{
    gpu::SimulatedGpus,
    tee::{QuoteLayout, SimulatedTd, SimulatedTee},
};
use x509_cert::{Certificate, der::Decode as _};

const NONCE: Nonce = Nonce::from_random([0x5a; 32]);

/// Asserts that `holds` is true of `whole`, and of no copy with one of its first `bits` bits flipped.
fn no_bit_is_free(whole: &[u8], bits: usize, holds: impl Fn(&[u8]) -> bool + Sync) {
    assert!(holds(whole), "the honest bytes do not hold");
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for first in 0..workers {
            let holds = &holds;
            scope.spawn(move || {
                for bit in (first..bits).step_by(workers) {
                    let mut flipped = whole.to_vec();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    assert!(!holds(&flipped), "bit {bit} is free");
                }
            });
        }
    });
}

#[test]
fn no_bit_of_a_device_report_is_free() {
    let gpus = SimulatedGpus::demo();
    let plan = gpus.plan(1, NONCE);
    let whole = gpus.report(&plan);
    let chain = certificate_chain(gpus.chain(&plan).as_bytes()).unwrap();
    let leaf = Certificate::from_der(&chain[0]).unwrap();
    let info = leaf.tbs_certificate().subject_public_key_info();
    let point = info.subject_public_key.as_bytes().unwrap();
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
    let honest = DeviceReport::parse(&whole).unwrap();
    // Signed part and signature: nothing else is there. A signature over another message is not asked
    // about: it is enough that the message and with it the identity are others.
    no_bit_is_free(&whole, whole.len() * 8, |bytes| {
        DeviceReport::parse(bytes).is_ok_and(|report| {
            let same = report.signed() == honest.signed();
            assert_eq!(same, report.identity() == honest.identity());
            same && p384::ecdsa::Signature::from_slice(report.signature())
                .is_ok_and(|signature| key.verify(report.signed(), &signature).is_ok())
        })
    });
}

#[test]
fn no_bit_of_header_body_and_signature_of_a_quote_is_free() {
    for layout in [QuoteLayout::V4, QuoteLayout::V5Td10, QuoteLayout::V5Td15] {
        let tee = SimulatedTee::demo();
        let td = SimulatedTd {
            layout,
            ..SimulatedTd::default()
        };
        no_bit_of_a_quote_is_free(&tee.quote(&td, [0x5a; 64]));
    }
}

fn no_bit_of_a_quote_is_free(whole: &[u8]) {
    let honest = Quote::parse(whole).unwrap();
    let signed = honest.signed_length();
    // behind the length of the signature data: signature, then attestation key
    let (signature, key) = (signed + 4, signed + 4 + 64);
    let point = [&[4][..], &whole[key..key + 64]].concat();
    let attestation = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
    no_bit_is_free(whole, key * 8, |bytes| {
        Quote::parse(bytes).is_ok_and(|quote| quote.signed_length() == signed)
            && p256::ecdsa::Signature::from_slice(&bytes[signature..key])
                .is_ok_and(|made| attestation.verify(&bytes[..signed], &made).is_ok())
    });
    no_bit_is_free(whole, signed * 8, |bytes| {
        Quote::parse(bytes).is_ok_and(|quote| quote.identity() == honest.identity())
    });
}
