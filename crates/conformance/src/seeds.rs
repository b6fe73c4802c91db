//! Seeds for the fuzz targets of the crates that read evidence, receipts and records: small inputs that a
//! target's parser accepts, made by the simulated platforms. The same bytes each time.

use std::{fs, io, path::Path};

use proofroom_canonical::{Digest, EvidenceLevel, Nonce, SessionId, Timestamp};
use proofroom_evidence::{
    Moment, RoomDocument, RoomEndorsements, RoomEvidence, RuntimeEvent,
    snp::{SigningKey as ChipKey, SnpProduct},
};
use proofroom_record::{
    chain::EventChain,
    dsse::Envelope,
    event::{EventBody, SessionEnd},
};
use proofroom_testkit::{
    gpu::{RimPlan, SimulatedGpus},
    snp::SimulatedAmd,
    td::{boot_log, simulated_boot},
    tee::{QuoteLayout, SimulatedTd, SimulatedTee, written},
    tpm::SimulatedTpm,
};
use proofroom_tlog::{
    Checkpoint, InclusionProof, KeyName, LeafHash, LeafIndex, LeafKind, LogProof, NoteSigner,
    RecordLeaf, RootHash, SignedNote, TreeSize,
};

const NOW: Timestamp = Timestamp::from_unix_millis(1_795_000_000_000);
const SEED: [u8; 32] = [7; 32];

/// The targets that have seeds, each with its own.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let [list, report, rim, token] = gpu_seeds();
    vec![
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
        ("record_envelope", vec![envelope()]),
        ("record_event", events()),
        ("tlog_checkpoint", vec![checkpoint().into_bytes(), leaf()]),
        ("tlog_note", vec![note().to_string().into_bytes(), key()]),
        ("tlog_proof", vec![receipt()]),
        ("verifier_gpu", vec![list]),
    ]
}

/// Writes every seed to `corpus` as libFuzzer expects them: a folder for each target, a file for each seed.
///
/// # Errors
/// The file system's.
pub fn write(corpus: &Path) -> io::Result<usize> {
    let mut count = 0;
    for (target, seeds) in all() {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for seed in seeds {
            fs::write(folder.join(Digest::of(&seed).to_hex()), seed)?;
            count += 1;
        }
    }
    Ok(count)
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
fn gpu_seeds() -> [Vec<u8>; 4] {
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

fn signer() -> NoteSigner {
    let name = written(KeyName::parse("log.example/seeds"));
    written(NoteSigner::from_seed(name, &SEED))
}

fn leaf() -> Vec<u8> {
    let leaf = RecordLeaf {
        kind: LeafKind::ModelRun,
        session: SessionId::from_random([7; 16]),
        digest: Digest::of("record"),
    };
    leaf.to_bytes()
}

fn checkpoint() -> String {
    let root = RootHash::from_node(LeafHash::of(&leaf()).node());
    Checkpoint::new(signer().verifier_key().name(), TreeSize::new(1), root).to_string()
}

fn note() -> SignedNote {
    written(signer().sign(checkpoint()))
}

fn key() -> Vec<u8> {
    signer().verifier_key().to_string().into_bytes()
}

fn receipt() -> Vec<u8> {
    let path = written(InclusionProof::new(Vec::new()));
    let proof = written(LogProof::new(LeafIndex::new(0), path, note()));
    proof.to_string().into_bytes()
}

fn envelope() -> Vec<u8> {
    let key = written(p256::ecdsa::SigningKey::from_slice(&[1; 32]));
    written(Envelope::sign(b"{}", &key).to_bytes())
}

/// Each event of a short session as a line, and all of them.
fn events() -> Vec<Vec<u8>> {
    let mut chain = EventChain::new(SessionId::from_random([7; 16]), Digest::of("binding"));
    let opened = EventBody::SessionOpened {
        agent: "builtin".to_owned(),
        commit: "ab".repeat(20),
        task: Digest::of("task"),
        session_key: Digest::of("key"),
    };
    let closed = EventBody::SessionClosed {
        end: SessionEnd::Completed,
    };
    let lines = [opened, closed].map(|body| {
        let line = written(chain.append(NOW, EvidenceLevel::E3, body));
        line.bytes
    });
    let all = lines.join(&b'\n');
    let [first, last] = lines;
    vec![first, last, [all, b"\n".to_vec()].concat()]
}
