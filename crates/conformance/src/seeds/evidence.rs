//! Seeds of the targets that read evidence, made by the simulated platforms.

use proofroom_canonical::{Digest, Nonce};
use proofroom_evidence::{
    Base64, Moment, RoomDocument, RoomEndorsements, RoomEvidence, RuntimeEvent, VtpmDocument,
    VtpmGuest,
    snp::{SigningKey as ChipKey, SnpProduct},
};
use proofroom_sealing::{AnswerSealer, KeyPair, RequestHead, RequestOpener, seal_request};
use proofroom_testkit::{
    azure::SimulatedParavisor,
    enclave,
    gcp::SimulatedGuest,
    gpu::{RimPlan, SimulatedGpus},
    provider::{SimulatedProvider, aci, tinfoil},
    snp::SimulatedAmd,
    td::{boot_log, simulated_boot},
    tee::{QuoteLayout, SimulatedTd, SimulatedTee, written},
    tpm::SimulatedTpm,
};

use super::{NOW, SEED, Seeds};

pub(super) fn seeds() -> Vec<Seeds> {
    let [list, report, rim, token] = gpus();
    let all = [
        vec![document(), list.clone()],
        quotes(),
        room(),
        snp(),
        vtpm(),
    ];
    vec![
        ("appraise_report", all.concat()),
        ("attester_tpm2", answers()),
        ("evidence_document", vec![document()]),
        ("evidence_event_log", vec![boot_log(&simulated_boot())]),
        ("evidence_gpu_list", vec![list.clone()]),
        ("evidence_gpu_report", vec![report]),
        ("evidence_gpu_rim", vec![rim]),
        ("evidence_gpu_token", vec![token]),
        ("evidence_quote", quotes()),
        ("evidence_room", room()),
        ("evidence_snp", snp()),
        ("evidence_tpm", tpm()),
        ("evidence_vtpm", vtpm()),
        ("provider_receipt", receipts()),
        ("provider_report", providers()),
        ("sealing", sealing()),
        ("serving", serving()),
        ("verifier_gpu", vec![list]),
    ]
}

fn document() -> Vec<u8> {
    let nonce = Nonce::from_random(SEED);
    SimulatedTee::demo().evidence_document(nonce, Digest::of("spki"), "glm-5", NOW)
}

fn quotes() -> Vec<Vec<u8>> {
    [QuoteLayout::V4, QuoteLayout::V5Td10, QuoteLayout::V5Td15]
        .into_iter()
        .map(|layout| {
            let td = SimulatedTd {
                layout,
                ..SimulatedTd::default()
            };
            SimulatedTee::demo().quote(&td, [7; 64])
        })
        .collect()
}

fn booted() -> (SimulatedTpm, RoomEvidence) {
    let mut tpm = SimulatedTpm::boot(SEED, simulated_boot());
    tpm.measure(written(RuntimeEvent::new("boot-config", "{}")));
    let evidence = tpm.evidence(Moment::Start, "{}");
    (tpm, evidence)
}

fn tpm() -> Vec<Vec<u8>> {
    let (tpm, evidence) = booted();
    vec![tpm.public(), evidence.quote, evidence.signature]
}

/// A report of a paravisor, and documents of guests of Azure and of Google.
fn vtpm() -> Vec<Vec<u8>> {
    let paravisor = SimulatedParavisor::from_seed(SEED);
    let hcl_report = paravisor.hcl_report(4, &[]);
    let azure = VtpmGuest::Azure {
        hcl_report: Base64(hcl_report.clone()),
    };
    let azure = VtpmDocument::new(azure, paravisor.quote(&SEED), paravisor.pcrs, None);
    let google = SimulatedGuest::from_seed(SEED, NOW).document(&SEED, [7; 64]);
    vec![hcl_report, written(azure.write()), written(google.write())]
}

fn room() -> Vec<Vec<u8>> {
    let text = written(booted().1.to_text());
    let endorsements = RoomEndorsements::Tpm2 {
        ak_certificate: "certificate".to_owned(),
    };
    let document = written(RoomDocument::write(&text, &endorsements));
    vec![text.into_bytes(), document]
}

fn snp() -> Vec<Vec<u8>> {
    let amd = SimulatedAmd::from_seed(SEED);
    let plan = amd.plan(SnpProduct::Milan, 2, ChipKey::Vcek, NOW);
    let made = amd.make(&plan);
    vec![made.report, made.leaf]
}

/// A list, a report, a reference manifest and a token.
fn gpus() -> [Vec<u8>; 4] {
    let gpus = SimulatedGpus::demo();
    let plan = gpus.plan(1, Nonce::from_random(SEED));
    let plans = std::slice::from_ref(&plan);
    let token = gpus.token_plan(plans, NOW.unix_seconds());
    [
        gpus.list(plans),
        gpus.report(&plan),
        gpus.rim(&RimPlan::driver()),
        gpus.token(&token),
    ]
}

fn providers() -> Vec<Vec<u8>> {
    let provider = SimulatedProvider::demo();
    let (nonce, key) = (Nonce::from_random(SEED), Digest::of("spki"));
    vec![
        provider.report(&provider.plan(nonce, key, NOW)),
        provider.report(&provider.dstack_plan(nonce, key, NOW)),
        enclave::report(&enclave::plan(nonce, key, NOW)),
        aci::report(&aci::plan(nonce, key, NOW)),
        tinfoil::report(&tinfoil::plan(nonce, key, NOW)),
    ]
}

/// A receipt and the session that it cites.
fn receipts() -> Vec<Vec<u8>> {
    let plan = aci::plan(Nonce::from_random([1; 32]), Digest::of("spki"), NOW);
    let session = aci::session(NOW);
    let mut events = aci::events(Digest::of("request"), Digest::of("answer"));
    events.insert(2, aci::verified(&session));
    let receipt = aci::signed(&aci::receipt_key(), aci::receipt(&plan, &events, NOW));
    vec![
        receipt.to_string().into_bytes(),
        session.to_string().into_bytes(),
    ]
}

/// A sealed request, its sealed answer, what is inside either (a request of RFC 9292, and an answer's head), and the key.
fn sealing() -> Vec<Vec<u8>> {
    let key = KeyPair::from_random(&[1; 32]);
    let head = RequestHead {
        method: "GET",
        path: "/v1/models",
    };
    let fields = [("accept", &b"*/*"[..])];
    let sealed = seal_request(&key.config(), &[2; 32], head, fields.into_iter(), b"");
    let (request, _) = written(sealed);
    let mut opener = RequestOpener::new(key.into(), 1000);
    written(opener.push(&request));
    let opened = written(opener.finish());
    let begun = AnswerSealer::begin(opened.answer, &[3; 32], 200, fields.into_iter());
    let (mut sealer, mut answer) = written(begun);
    answer.extend(written(sealer.content(b"{}")));
    answer.extend(written(sealer.finish()));
    let inner = b"\x00\x03GET\x05https\x00\x0a/v1/models\x0b\x06accept\x03*/*\x00\x00".to_vec();
    let head = b"\x03\x40\xc8\x06accept\x03*/*\x00".to_vec();
    let config = KeyPair::from_random(&[1; 32]).config().to_hex();
    vec![request, answer, inner, head, config.as_bytes().to_vec()]
}

/// A report of an enclave, its statement, a receipt, and what that signs.
fn serving() -> Vec<Vec<u8>> {
    let nonce = Nonce::from_random(SEED);
    let mut plan = enclave::plan(nonce, Digest::of("spki"), NOW);
    plan.gpus.clear();
    let text = enclave::receipt_text(nonce, Digest::of("request"), b"answer");
    let receipt = enclave::receipt(&enclave::receipt_key(), &text);
    vec![
        enclave::report(&plan),
        written(plan.statement.to_bytes()),
        written(receipt.to_bytes()),
        receipt.text.into_bytes(),
    ]
}

/// A key, and what a TPM answers where it is asked for one, for its banks and for a register (TPM 2.0
/// Library, part 3: `TPM2_CreatePrimary`, `TPM2_GetCapability`, `TPM2_PCR_Read`).
fn answers() -> Vec<Vec<u8>> {
    let public = booted().0.public();
    let sized = |bytes: &[u8]| {
        let length = written(u16::try_from(bytes.len())).to_be_bytes();
        [&length[..], bytes].concat()
    };
    let key = [
        sized(&public),
        sized(&[1; 55]),
        sized(&[2; 32]),
        vec![0x80, 0x21, 0x40, 0, 0, 0x0b],
        sized(&[3; 32]),
        sized(&[4; 34]),
    ]
    .concat();
    let size = written(u32::try_from(key.len())).to_be_bytes();
    let created = [&[0x80, 0, 0, 1][..], &size, &key, &[0, 0, 1, 0, 0]].concat();
    let selection = [0, 0, 0, 1, 0, 0x0c, 3, 0, 0x80, 0];
    let banks = [&[0, 0, 0, 0, 5][..], &selection].concat();
    let register = [
        &[0, 0, 0, 1][..],
        &selection,
        &[0, 0, 0, 1],
        &sized(&[5; 48]),
    ]
    .concat();
    vec![
        public,
        answer(0x8002, &created),
        answer(0x8001, &banks),
        answer(0x8001, &register),
    ]
}

/// An answer without an error: tag, size, code, body.
fn answer(tag: u16, body: &[u8]) -> Vec<u8> {
    let size = written(u32::try_from(body.len() + 10)).to_be_bytes();
    [&tag.to_be_bytes()[..], &size, &[0; 4], body].concat()
}
