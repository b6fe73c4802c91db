//! The fuzz targets without a fuzzer: the very files of `fuzz/fuzz_targets/`, given every seed, each seed cut
//! short, and changed seeds that are the same in every run. A target panics where something does not hold.

#![allow(
    unused_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::unwrap_used,
    reason = "the targets are tests, and programs of their own: what does not hold ends them"
)]

// the targets say `libfuzzer_sys::fuzz_target!`
extern crate self as libfuzzer_sys;

use std::collections::BTreeMap;

use proofroom_conformance::seeds;
use proofroom_evidence::{
    EventLog, EvidenceDocument, Quote, RoomDocument, TpmKey, TpmQuote, TpmSignature,
    gpu::{DetachedEat, DeviceReport, EvidenceList, Rim},
    snp::{SnpReport, VekFacts},
};
use proofroom_record::{chain::parse_event, dsse::Envelope};
use proofroom_tlog::LogProof;

/// What cargo-fuzz makes the entry of a program, as a function.
macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $body:block) => {
        pub(crate) fn run($bytes: &[u8]) $body
    };
}
pub(crate) use fuzz_target;

#[path = "../../../fuzz/fuzz_targets/evidence_document.rs"]
mod evidence_document;
#[path = "../../../fuzz/fuzz_targets/evidence_event_log.rs"]
mod evidence_event_log;
#[path = "../../../fuzz/fuzz_targets/evidence_gpu_list.rs"]
mod evidence_gpu_list;
#[path = "../../../fuzz/fuzz_targets/evidence_gpu_report.rs"]
mod evidence_gpu_report;
#[path = "../../../fuzz/fuzz_targets/evidence_gpu_rim.rs"]
mod evidence_gpu_rim;
#[path = "../../../fuzz/fuzz_targets/evidence_gpu_token.rs"]
mod evidence_gpu_token;
#[path = "../../../fuzz/fuzz_targets/evidence_quote.rs"]
mod evidence_quote;
#[path = "../../../fuzz/fuzz_targets/evidence_room.rs"]
mod evidence_room;
#[path = "../../../fuzz/fuzz_targets/evidence_snp.rs"]
mod evidence_snp;
#[path = "../../../fuzz/fuzz_targets/evidence_tpm.rs"]
mod evidence_tpm;
#[path = "../../../fuzz/fuzz_targets/record_envelope.rs"]
mod record_envelope;
#[path = "../../../fuzz/fuzz_targets/record_event.rs"]
mod record_event;
#[path = "../../../fuzz/fuzz_targets/tlog_checkpoint.rs"]
mod tlog_checkpoint;
#[path = "../../../fuzz/fuzz_targets/tlog_note.rs"]
mod tlog_note;
#[path = "../../../fuzz/fuzz_targets/tlog_proof.rs"]
mod tlog_proof;
#[path = "../../../fuzz/fuzz_targets/verifier_gpu.rs"]
mod verifier_gpu;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 16] = [
    ("evidence_document", evidence_document::run),
    ("evidence_event_log", evidence_event_log::run),
    ("evidence_gpu_list", evidence_gpu_list::run),
    ("evidence_gpu_report", evidence_gpu_report::run),
    ("evidence_gpu_rim", evidence_gpu_rim::run),
    ("evidence_gpu_token", evidence_gpu_token::run),
    ("evidence_quote", evidence_quote::run),
    ("evidence_room", evidence_room::run),
    ("evidence_snp", evidence_snp::run),
    ("evidence_tpm", evidence_tpm::run),
    ("record_envelope", record_envelope::run),
    ("record_event", record_event::run),
    ("tlog_checkpoint", tlog_checkpoint::run),
    ("tlog_note", tlog_note::run),
    ("tlog_proof", tlog_proof::run),
    ("verifier_gpu", verifier_gpu::run),
];

/// The most inputs that a seed is cut into and changed into: what a debug build does in seconds.
const MOST_CUTS: usize = 400;
const CHANGES: usize = 400;

#[test]
fn every_seed_whole_cut_and_changed_is_read_without_panic() {
    let seeds = seeds::all();
    assert!(
        seeds
            .iter()
            .map(|(name, _)| name)
            .eq(TARGETS.iter().map(|(name, _)| name))
    );
    std::thread::scope(|scope| {
        for ((_, target), (_, seeds)) in TARGETS.iter().zip(&seeds) {
            scope.spawn(move || seeds.iter().for_each(|seed| exercise(*target, seed)));
        }
    });
}

#[test]
fn seeds_are_evidence_that_is_read() {
    let seeds: BTreeMap<_, _> = seeds::all().into_iter().collect();
    let all = |name: &str, read: &dyn Fn(&[u8]) -> bool| {
        assert!(seeds[name].iter().all(|seed| read(seed)), "{name}");
    };
    all("evidence_document", &|seed| {
        EvidenceDocument::parse(seed).is_ok()
    });
    all("evidence_event_log", &|seed| EventLog::parse(seed).is_ok());
    all("evidence_gpu_list", &|seed| {
        EvidenceList::parse(seed).is_ok()
    });
    all("evidence_gpu_report", &|seed| {
        DeviceReport::parse(seed).is_ok()
    });
    all("evidence_gpu_rim", &|seed| Rim::parse(seed).is_ok());
    all("evidence_gpu_token", &|seed| {
        DetachedEat::parse(seed).is_ok()
    });
    all("evidence_quote", &|seed| Quote::parse(seed).is_ok());
    all("record_envelope", &|seed| Envelope::parse(seed).is_ok());
    all("tlog_proof", &|seed| LogProof::parse(seed).is_ok());
    assert!(RoomDocument::parse(&seeds["evidence_room"][1]).is_ok());
    assert!(SnpReport::parse(&seeds["evidence_snp"][0]).is_ok());
    assert!(VekFacts::parse(&seeds["evidence_snp"][1]).is_ok());
    assert!(TpmKey::parse(&seeds["evidence_tpm"][0]).is_ok());
    assert!(TpmQuote::parse(&seeds["evidence_tpm"][1]).is_ok());
    assert!(TpmSignature::parse(&seeds["evidence_tpm"][2]).is_ok());
    assert!(parse_event(1, &seeds["record_event"][0]).is_ok());
}

fn exercise(target: Target, seed: &[u8]) {
    assert!(!seed.is_empty());
    target(seed);
    let step = seed.len().div_ceil(MOST_CUTS);
    for end in (0..seed.len()).step_by(step) {
        target(&seed[..end]);
    }
    let mut random = Random(seed.len() as u64);
    for _ in 0..CHANGES {
        target(&changed(seed, &mut random));
    }
}

/// One to four changes: a bit turned, a byte replaced, a stretch taken out or doubled.
fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + random.below(64)).min(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => bytes[at] = b"{}[]\",:0-\n"[random.below(10)],
            3 => drop(bytes.splice(at..end, [])),
            _ => {
                let stretch = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, stretch));
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}
