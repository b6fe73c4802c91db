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

use std::{collections::BTreeMap, sync::LazyLock};

use proofroom_attester::tpm2::AkPublic;
use proofroom_authn::{AccessToken, Algorithm, KeySet};
use proofroom_canonical::Nonce;
use proofroom_conformance::seeds;
use proofroom_egress::{
    EgressPolicy, client_hello,
    dns::{MAX_MESSAGE, Question},
};
use proofroom_evidence::{
    EventLog, EvidenceDocument, HclReport, Quote, RoomDocument, TpmKey, TpmQuote, TpmSignature,
    VtpmDocument,
    gpu::{DetachedEat, DeviceReport, EvidenceList, Rim},
    snp::{SnpReport, VekFacts},
};
use proofroom_layer::LayerDescriptor;
use proofroom_llm::{Api, TraceParent, inspect};
use proofroom_measure::{BootLog, Firmware, ImageList, Kernel, Tdvf};
use proofroom_provider::{Format, platforms_of};
use proofroom_record::{
    bundle::archive,
    chain::parse_event,
    dsse::Envelope,
    gateway::GatewayEvidence,
    room_api::{parse_orders, parse_report},
};
use proofroom_sealing::{AnswerHead, KeyPair, Request, RequestOpener};
use proofroom_serving::{KeyConfig, ReceiptText, ServingReport, ServingStatement, SignedReceipt};
use proofroom_tlog::LogProof;
use proofroom_verifier::ReferenceManifest;

/// What cargo-fuzz makes the entry of a program, as a function: of bytes, of text, or of a byte and bytes.
macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $body:block) => {
        pub(crate) fn run($bytes: &[u8]) $body
    };
    (|$text:ident: &str| $body:block) => {
        pub(crate) fn run(bytes: &[u8]) {
            let $text = crate::text(bytes);
            $body
        }
    };
    (|$input:ident: (u8, &[u8])| $body:block) => {
        pub(crate) fn run(bytes: &[u8]) {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            let $input = (*first, rest);
            $body
        }
    };
}
pub(crate) use fuzz_target;

/// What the fuzzer takes as a text: the bytes up to the first that cannot be one.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes)
        .unwrap_or_else(|error| std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap())
}

#[path = "../../../fuzz/fuzz_targets/appraise_report.rs"]
mod appraise_report;
#[path = "../../../fuzz/fuzz_targets/attester_tpm2.rs"]
mod attester_tpm2;
#[path = "../../../fuzz/fuzz_targets/authn_key_set.rs"]
mod authn_key_set;
#[path = "../../../fuzz/fuzz_targets/authn_proof.rs"]
mod authn_proof;
#[path = "../../../fuzz/fuzz_targets/authn_token.rs"]
mod authn_token;
#[path = "../../../fuzz/fuzz_targets/classify_policy.rs"]
mod classify_policy;
#[path = "../../../fuzz/fuzz_targets/classify_text.rs"]
mod classify_text;
#[path = "../../../fuzz/fuzz_targets/egress_dns.rs"]
mod egress_dns;
#[path = "../../../fuzz/fuzz_targets/egress_hello.rs"]
mod egress_hello;
#[path = "../../../fuzz/fuzz_targets/egress_policy.rs"]
mod egress_policy;
#[path = "../../../fuzz/fuzz_targets/egress_target.rs"]
mod egress_target;
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
#[path = "../../../fuzz/fuzz_targets/evidence_vtpm.rs"]
mod evidence_vtpm;
#[path = "../../../fuzz/fuzz_targets/layer_archive.rs"]
mod layer_archive;
#[path = "../../../fuzz/fuzz_targets/layer_descriptor.rs"]
mod layer_descriptor;
#[path = "../../../fuzz/fuzz_targets/layer_image.rs"]
mod layer_image;
#[path = "../../../fuzz/fuzz_targets/llm_bedrock.rs"]
mod llm_bedrock;
#[path = "../../../fuzz/fuzz_targets/llm_inspect.rs"]
mod llm_inspect;
#[path = "../../../fuzz/fuzz_targets/llm_meter.rs"]
mod llm_meter;
#[path = "../../../fuzz/fuzz_targets/llm_restore.rs"]
mod llm_restore;
#[path = "../../../fuzz/fuzz_targets/llm_traceparent.rs"]
mod llm_traceparent;
#[path = "../../../fuzz/fuzz_targets/llm_translate.rs"]
mod llm_translate;
#[path = "../../../fuzz/fuzz_targets/measure_firmware.rs"]
mod measure_firmware;
#[path = "../../../fuzz/fuzz_targets/measure_inputs.rs"]
mod measure_inputs;
#[path = "../../../fuzz/fuzz_targets/measure_kernel.rs"]
mod measure_kernel;
#[path = "../../../fuzz/fuzz_targets/provider_receipt.rs"]
mod provider_receipt;
#[path = "../../../fuzz/fuzz_targets/provider_report.rs"]
mod provider_report;
#[path = "../../../fuzz/fuzz_targets/record_attest.rs"]
mod record_attest;
#[path = "../../../fuzz/fuzz_targets/record_bundle.rs"]
mod record_bundle;
#[path = "../../../fuzz/fuzz_targets/record_envelope.rs"]
mod record_envelope;
#[path = "../../../fuzz/fuzz_targets/record_event.rs"]
mod record_event;
#[path = "../../../fuzz/fuzz_targets/record_gateway.rs"]
mod record_gateway;
#[path = "../../../fuzz/fuzz_targets/record_orders.rs"]
mod record_orders;
#[path = "../../../fuzz/fuzz_targets/sealing.rs"]
mod sealing;
#[path = "../../../fuzz/fuzz_targets/serving.rs"]
mod serving;
#[path = "../../../fuzz/fuzz_targets/tlog_checkpoint.rs"]
mod tlog_checkpoint;
#[path = "../../../fuzz/fuzz_targets/tlog_note.rs"]
mod tlog_note;
#[path = "../../../fuzz/fuzz_targets/tlog_proof.rs"]
mod tlog_proof;
#[path = "../../../fuzz/fuzz_targets/tlog_tile_path.rs"]
mod tlog_tile_path;
#[path = "../../../fuzz/fuzz_targets/verifier_gpu.rs"]
mod verifier_gpu;

type Target = fn(&[u8]);

static SEEDS: LazyLock<BTreeMap<&str, Vec<Vec<u8>>>> =
    LazyLock::new(|| seeds::all().into_iter().collect());

const TARGETS: [(&str, Target); 49] = [
    ("appraise_report", appraise_report::run),
    ("attester_tpm2", attester_tpm2::run),
    ("authn_key_set", authn_key_set::run),
    ("authn_proof", authn_proof::run),
    ("authn_token", authn_token::run),
    ("classify_policy", classify_policy::run),
    ("classify_text", classify_text::run),
    ("egress_dns", egress_dns::run),
    ("egress_hello", egress_hello::run),
    ("egress_policy", egress_policy::run),
    ("egress_target", egress_target::run),
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
    ("evidence_vtpm", evidence_vtpm::run),
    ("layer_archive", layer_archive::run),
    ("layer_descriptor", layer_descriptor::run),
    ("layer_image", layer_image::run),
    ("llm_bedrock", llm_bedrock::run),
    ("llm_inspect", llm_inspect::run),
    ("llm_meter", llm_meter::run),
    ("llm_restore", llm_restore::run),
    ("llm_traceparent", llm_traceparent::run),
    ("llm_translate", llm_translate::run),
    ("measure_firmware", measure_firmware::run),
    ("measure_inputs", measure_inputs::run),
    ("measure_kernel", measure_kernel::run),
    ("provider_receipt", provider_receipt::run),
    ("provider_report", provider_report::run),
    ("record_attest", record_attest::run),
    ("record_bundle", record_bundle::run),
    ("record_envelope", record_envelope::run),
    ("record_event", record_event::run),
    ("record_gateway", record_gateway::run),
    ("record_orders", record_orders::run),
    ("sealing", sealing::run),
    ("serving", serving::run),
    ("tlog_checkpoint", tlog_checkpoint::run),
    ("tlog_note", tlog_note::run),
    ("tlog_proof", tlog_proof::run),
    ("tlog_tile_path", tlog_tile_path::run),
    ("verifier_gpu", verifier_gpu::run),
];

/// How many bytes a target is given as cuts, and again as changes, and the least and the most of each that
/// a seed is cut or changed into: what a debug build does in seconds.
const BYTES: usize = 1_500_000;
const FEWEST: usize = 40;
const MOST: usize = 400;

#[test]
fn every_seed_whole_cut_and_changed_is_read_without_panic() {
    assert!(SEEDS.keys().eq(TARGETS.iter().map(|(name, _)| name)));
    std::thread::scope(|scope| {
        for ((_, target), seeds) in TARGETS.iter().zip(SEEDS.values()) {
            scope.spawn(move || {
                let count = (BYTES / seeds.concat().len()).clamp(FEWEST, MOST);
                seeds.iter().for_each(|seed| exercise(*target, seed, count));
            });
        }
    });
}

const PROVIDERS: [Format; 5] = [
    Format::NearAi,
    Format::Dstack,
    Format::ProofroomEnclave,
    Format::Aci,
    Format::Tinfoil,
];

#[test]
fn seeds_of_what_clients_show_are_read() {
    for seed in &SEEDS["authn_key_set"] {
        KeySet::parse(seed, &[Algorithm::Es256]).unwrap();
    }
    for seed in &SEEDS["authn_token"] {
        AccessToken::parse(text(seed)).unwrap();
    }
}

#[test]
fn a_seed_is_a_traceparent() {
    let seeds = &SEEDS["llm_traceparent"];
    assert!(seeds.iter().all(|seed| TraceParent::parse(seed).is_some()));
}

#[test]
fn seeds_are_evidence_that_is_read() {
    let seeds = &*SEEDS;
    let all = |name: &str, read: &dyn Fn(&[u8]) -> bool| {
        assert!(seeds[name].iter().all(|seed| read(seed)), "{name}");
    };
    all("egress_hello", &|seed| client_hello(seed).is_ok());
    all("egress_policy", &|seed| {
        std::str::from_utf8(seed).is_ok_and(|text| EgressPolicy::parse(text).is_ok())
    });
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
    all("layer_descriptor", &|seed| {
        LayerDescriptor::parse(seed).is_ok()
    });
    all("llm_inspect", &|seed| {
        Api::ALL.into_iter().any(|api| inspect(api, seed).is_ok())
    });
    all("measure_firmware", &|seed| {
        Firmware::parse(seed).is_ok() && Tdvf::parse(seed).is_ok()
    });
    all("measure_kernel", &|seed| Kernel::parse(seed).is_ok());
    all("provider_report", &|seed| {
        PROVIDERS.iter().any(|of| platforms_of(seed, *of).is_ok())
    });
    all("record_bundle", &|seed| archive::read(seed).is_ok());
    all("record_envelope", &|seed| Envelope::parse(seed).is_ok());
    all("record_gateway", &|seed| {
        GatewayEvidence::read(seed, Nonce::from_random([7; 32]), None).is_ok()
    });
    all("tlog_proof", &|seed| LogProof::parse(seed).is_ok());
    all("egress_dns", &|seed| {
        Question::parse(seed, MAX_MESSAGE).is_ok()
    });
    assert!(RoomDocument::parse(&seeds["evidence_room"][1]).is_ok());
    assert!(SnpReport::parse(&seeds["evidence_snp"][0]).is_ok());
    assert!(VekFacts::parse(&seeds["evidence_snp"][1]).is_ok());
    assert!(TpmKey::parse(&seeds["evidence_tpm"][0]).is_ok());
    assert!(TpmQuote::parse(&seeds["evidence_tpm"][1]).is_ok());
    assert!(TpmSignature::parse(&seeds["evidence_tpm"][2]).is_ok());
    assert!(parse_event(1, &seeds["record_event"][0]).is_ok());
    assert!(parse_orders(&seeds["record_orders"][0]).is_ok());
    assert!(parse_report(&seeds["record_orders"][1]).is_ok());
    assert!(BootLog::parse(&seeds["measure_inputs"][0]).is_ok());
    assert!(ImageList::parse(&seeds["measure_inputs"][1]).is_ok());
    assert!(ReferenceManifest::parse(&seeds["measure_inputs"][3]).is_ok());
    assert!(AkPublic::from_tpmt_public(&seeds["attester_tpm2"][0]).is_ok());
}

#[test]
fn seeds_of_guests_with_a_virtual_tpm_are_what_they_show() {
    let seeds = &*SEEDS;
    assert!(HclReport::parse(&seeds["evidence_vtpm"][0]).is_ok());
    assert!(VtpmDocument::parse(&seeds["evidence_vtpm"][1]).is_ok());
    assert!(VtpmDocument::parse(&seeds["evidence_vtpm"][2]).is_ok());
}

#[test]
fn seeds_of_an_enclave_are_what_it_serves() {
    let seeds = &*SEEDS;
    assert!(ServingReport::parse(&seeds["serving"][0]).is_ok());
    assert!(ServingStatement::parse(&seeds["serving"][1]).is_ok());
    assert!(SignedReceipt::parse(&seeds["serving"][2]).is_ok());
    assert!(ReceiptText::parse(&seeds["serving"][3]).is_ok());
}

#[test]
fn seeds_of_sealed_messages_open() {
    let seeds = &SEEDS["sealing"];
    assert!(Request::parse(seeds[2].clone().into()).is_ok());
    assert!(AnswerHead::parse(&seeds[3]).is_ok());
    assert!(seeds[4].first_chunk().and_then(KeyConfig::parse).is_some());
    let key = KeyPair::from_random(&[1; 32]);
    let mut request = RequestOpener::new(key.into(), 1000);
    request.push(&seeds[0]).unwrap();
    let opened = request.finish().unwrap().request.unwrap();
    assert_eq!(opened.path, "/v1/models");
}

fn exercise(target: Target, seed: &[u8], count: usize) {
    assert!(!seed.is_empty());
    target(seed);
    let step = seed.len().div_ceil(count);
    for end in (0..seed.len()).step_by(step) {
        target(&seed[..end]);
    }
    let mut random = Random(seed.len() as u64);
    for _ in 0..count {
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
