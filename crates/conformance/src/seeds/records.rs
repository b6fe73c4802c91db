//! Seeds of the targets that read records, receipts, and what is said between a room and its host.

use proofroom_canonical::{Digest, EvidenceLevel, Nonce, SessionId, json};
use proofroom_evidence::Moment;
use proofroom_record::{
    attest_api::{self, AttestAnswer, AttestRequest, Attested},
    bundle::archive,
    chain::EventChain,
    dsse::Envelope,
    event::{EventBody, SessionEnd},
    gateway::{
        GATEWAY_IDENTITY_PURPOSE, GatewayEvidence, GatewayIdentity, GatewayPolicies, GatewayProof,
    },
    room_api::{
        LimitEffect, Order, OrderKind, OrderReport, OrdersGiven, Person, ReportKind, StandardStream,
    },
};
use proofroom_testkit::tee::written;
use proofroom_tlog::{
    Checkpoint, EntryBundle, InclusionProof, KeyName, LeafHash, LeafIndex, LeafKind, LogProof,
    NoteSigner, RecordLeaf, RootHash, SignedNote, TreeSize,
};

use super::{NOW, SEED, Seeds};

pub(super) fn seeds() -> Vec<Seeds> {
    vec![
        ("record_attest", attest()),
        ("record_bundle", vec![bundle()]),
        ("record_envelope", vec![envelope()]),
        ("record_event", events()),
        ("record_gateway", vec![gateway()]),
        ("record_orders", orders()),
        ("tlog_checkpoint", vec![checkpoint().into_bytes(), leaf()]),
        ("tlog_note", vec![note().to_string().into_bytes(), key()]),
        ("tlog_proof", vec![receipt()]),
        ("tlog_tile_path", tiles()),
    ]
}

/// The frames' contents: the target reads without the length, and a length alone.
fn attest() -> Vec<Vec<u8>> {
    let measure = AttestRequest::Measure {
        name: "boot-config".to_owned(),
        content: "{}".to_owned(),
    };
    let attest = AttestRequest::Attest {
        moment: Moment::Start,
        statement: "{}".to_owned(),
    };
    let answer = AttestAnswer::Ok(Attested {
        evidence: "{}".to_owned(),
    });
    vec![
        written(json::to_bytes(&measure)),
        written(json::to_bytes(&attest)),
        written(json::to_bytes(&answer)),
        written(attest_api::frame(&measure)),
    ]
}

/// An archive with what can be read without the rest.
fn bundle() -> Vec<u8> {
    let log = events().pop().unwrap_or_default();
    let files = [
        (
            "bundle.json",
            br#"{"format":"proofroom.bundle.v1"}"#.to_vec(),
        ),
        ("events.jsonl", log),
        ("records/0.json", envelope()),
        ("log/checkpoint", note().to_string().into_bytes()),
    ];
    let files = files.map(|(name, bytes)| (name.to_owned(), bytes));
    written(archive::write(&files.into()))
}

/// For the target's nonce.
fn gateway() -> Vec<u8> {
    let policies = GatewayPolicies {
        classification: Digest::of("classification"),
        routing: Digest::of("routing"),
        appraisal: Digest::of("appraisal"),
        upstreams: Digest::of("upstreams"),
    };
    let identity = GatewayIdentity {
        purpose: GATEWAY_IDENTITY_PURPOSE.to_owned(),
        nonce: Nonce::from_random(SEED),
        record_key: Digest::of("key"),
        tls_key: Some(Digest::of("tls")),
        policies,
    };
    let text = written(String::from_utf8(written(json::to_bytes(&identity))));
    let evidence = GatewayEvidence {
        identity: text,
        evidence: GatewayProof::None {
            reason: "no TEE".to_owned(),
        },
    };
    written(json::to_bytes(&evidence))
}

/// Orders of each kind, and a report.
fn orders() -> Vec<Vec<u8>> {
    let kinds = [
        OrderKind::Execute {
            argv: vec!["ls".to_owned(), "-l".to_owned()],
            by: Person {
                uid: 1000,
                name: "ada".to_owned(),
            },
        },
        OrderKind::Limit {
            resource: "session-seconds".to_owned(),
            detail: "over".to_owned(),
            effect: LimitEffect::Ends,
        },
        OrderKind::Paused { from: NOW, to: NOW },
    ];
    let orders = (0..)
        .zip(kinds)
        .map(|(number, what)| Order { number, what });
    let given = OrdersGiven {
        orders: orders.collect(),
    };
    let report = OrderReport {
        number: 0,
        what: ReportKind::Output {
            stream: StandardStream::Stdout,
            data: "aGVsbG8=".to_owned(),
        },
    };
    vec![
        written(json::to_bytes(&given)),
        written(json::to_bytes(&report)),
    ]
}

/// Paths, and a bundle of two entries behind its width.
fn tiles() -> Vec<Vec<u8>> {
    let entries = vec![leaf(), b"second".to_vec()];
    let bundle = written(EntryBundle::new(entries)).to_bytes();
    vec![
        b"tile/0/x001/x234/067".to_vec(),
        b"tile/entries/000.p/5".to_vec(),
        [&[2], &bundle[..]].concat(),
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
