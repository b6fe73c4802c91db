//! Cases of `room`: evidence of rooms whose machine has a software TPM or is a simulated TD. What the
//! logs say is most of it: an event dropped, moved, doubled, edited, added or measured twice.

use proofroom_canonical::{Digest, Nonce, SessionId, Timestamp};
use proofroom_evidence::{AssignmentEvent, Moment, RoomDocument, RoomEvidence, RuntimeEvent};
use proofroom_testkit::{
    event_log::{BootEvent, EV_SEPARATOR},
    tee::written,
};
use proofroom_verifier::{
    ROOM_SIMULATED, ReferenceManifest, RoomAppraisalPolicy,
    reference::{
        Hash256, Hash384, REFERENCE_FORMAT, Reference, ReferenceEvent, ReferenceLayer, Shape,
        TdxReference, fold_pcrs, fold_rtmrs, rtmr_of,
    },
};

use super::Case;
use crate::{Answer, Expectation, Verdict, vector::RawRequest};

mod logs;
mod release;
mod tdx;
mod tpm2;

const STAGE: &str = "room";
/// The clause on signed reference values.
const MANIFEST: &str = "measure.md, Release";
/// 2026-11-23T12:00:00Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_435_200);
const NONCE: Nonce = Nonce::from_random([0x5a; 32]);
const STATEMENT: &str = r#"{"purpose":"proofroom.session-binding.v1","vector":true}"#;
/// By PCR. Of a TD, each goes to the RTMR of its PCR.
const BOOT: [(u32, &str); 6] = [
    (1, "hand-off block"),
    (7, "secure boot"),
    (4, "kernel"),
    (5, "exit boot services"),
    (9, "command line"),
    (9, "initrd"),
];

/// Files that the cases share, by name.
pub(super) fn shared() -> Vec<(String, Vec<u8>)> {
    let manifest = manifest();
    let policy = |text: &str| RoomAppraisalPolicy::pinning(text, manifest.digest()).into_bytes();
    let expected = |moment| {
        let mut bytes = written(serde_json::to_vec_pretty(&expectation(moment)));
        bytes.push(b'\n');
        bytes
    };
    vec![
        ("reference.json".to_owned(), manifest.bytes().to_vec()),
        (
            "policies/tpm2.toml".to_owned(),
            policy(proofroom_verifier::ROOM_VM),
        ),
        (
            "policies/tpm2-release.toml".to_owned(),
            release::policy().into_bytes(),
        ),
        ("policies/tdx.toml".to_owned(), policy(&by_manifest())),
        ("deployment-ca.pem".to_owned(), tpm2::ca_pem().into_bytes()),
        ("session.json".to_owned(), expected(Moment::Start)),
    ]
}

/// The simulated policy without registers of its own: it takes them from the manifest, as one for
/// hardware does.
fn by_manifest() -> String {
    let (before, rest) = ROOM_SIMULATED
        .split_once("[simulated]")
        .unwrap_or((ROOM_SIMULATED, ""));
    let (_, after) = rest.split_once("[tcb]").unwrap_or_default();
    format!("{before}[tcb]{after}")
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = tpm2::cases();
    cases.extend(tdx::cases());
    cases.extend(release::cases());
    cases
}

/// A kind of machine.
#[derive(Clone, Copy)]
struct Machine {
    policy: &'static str,
    made: &'static str,
    clause: &'static str,
}

/// What must come of a case: nothing, or check and code.
type Failure = Option<(&'static str, &'static str)>;

/// What is asked about, and what for.
struct Row {
    name: &'static str,
    title: &'static str,
    change: &'static str,
    failure: Failure,
    document: Vec<u8>,
}

fn case(machine: Machine, row: Row) -> Case {
    Case {
        stage: STAGE,
        name: format!("{}-{}", machine.policy, row.name),
        title: row.title.to_owned(),
        clauses: vec![machine.clause.to_owned()],
        provenance: match row.change {
            "" => machine.made.to_owned(),
            change => format!("{}; {change}", machine.made),
        },
        request: RawRequest::Room {
            at: NOW,
            policy: format!("../policies/{}.toml", machine.policy),
            reference: "../reference.json".to_owned(),
            deployment_ca: "../deployment-ca.pem".to_owned(),
            session: "../session.json".to_owned(),
            document: "document.json".to_owned(),
            fill_boot_log_to: None,
        },
        expected: expected(&row.document, row.failure),
        files: vec![("document.json", row.document)],
    }
}

fn expected(document: &[u8], failure: Failure) -> Answer {
    Answer {
        verdict: failure.map_or(Verdict::Accept, |_| Verdict::Reject),
        check: failure.map(|(check, _)| check.to_owned()),
        code: failure.map(|(_, code)| code.to_owned()),
        identity: RoomDocument::parse(document)
            .ok()
            .map(|document| document.evidence_digest().to_string()),
        tcb: None,
    }
}

fn session() -> SessionId {
    SessionId::from_random([5; 16])
}

fn assignment() -> AssignmentEvent {
    AssignmentEvent {
        session: session(),
        nonce: NONCE,
        repository: "acme".to_owned(),
        commit: "ab".repeat(20),
        agent: "builtin".to_owned(),
        policies: [("access".to_owned(), Digest::of("access"))].into(),
    }
}

fn expectation(moment: Moment) -> Expectation {
    let assignment = assignment();
    Expectation {
        moment,
        statement: STATEMENT.to_owned(),
        session: assignment.session,
        nonce: NONCE,
        agent: assignment.agent,
        commit: assignment.commit,
        policies: assignment.policies,
    }
}

fn boot_config() -> String {
    let root = Hash256::of(b"root");
    format!(
        r#"{{"shape":{{"vcpus":1,"memory_mib":1024}},"layers":[{{"name":"git","root":"{root}"}}]}}"#
    )
}

fn runtime(name: &str, content: impl Into<String>) -> RuntimeEvent {
    written(RuntimeEvent::new(name, content))
}

fn assigned(change: impl FnOnce(&mut AssignmentEvent)) -> RuntimeEvent {
    let mut event = assignment();
    change(&mut event);
    runtime("assignment", written(event.to_text()))
}

/// What an honest room measures: two events that it must, and one that it may.
fn measured() -> Vec<RuntimeEvent> {
    vec![
        runtime("boot-config", boot_config()),
        assigned(|_| ()),
        runtime("workspace", "ready"),
    ]
}

fn boot(register_of: impl Fn(u32) -> u32) -> Vec<BootEvent> {
    let event = |(pcr, data): (u32, &str)| BootEvent {
        pcr: register_of(pcr),
        kind: EV_SEPARATOR,
        data: data.as_bytes().to_vec(),
    };
    BOOT.into_iter().map(event).collect()
}

pub(crate) fn manifest() -> ReferenceManifest {
    let event = |(pcr, data): (u32, &str)| ReferenceEvent {
        pcr,
        rtmr: rtmr_of(pcr),
        kind: "EV_SEPARATOR".to_owned(),
        sha256: Hash256::of(data.as_bytes()),
        sha384: Hash384::of(data.as_bytes()),
        what: data.to_owned(),
    };
    let events: Vec<ReferenceEvent> = BOOT.into_iter().map(event).collect();
    let [rtmr0, rtmr1, rtmr2] = fold_rtmrs(&events);
    written(ReferenceManifest::new(Reference {
        format: REFERENCE_FORMAT.to_owned(),
        image: Digest::of("image"),
        command_line: "quiet".to_owned(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 1024,
            qemu: "10.0.2".to_owned(),
        },
        components: Vec::new(),
        tpm2: fold_pcrs(&events),
        tdx: TdxReference::Computed {
            mrtd: Hash384::from_bytes(*tdx::mr_td().as_bytes()),
            rtmr0,
            rtmr1,
            rtmr2,
            events: events.clone(),
        },
        events,
        layers: vec![ReferenceLayer {
            name: "git".to_owned(),
            root: Hash256::of(b"root"),
            image: Hash256::of(b"layer"),
        }],
    }))
}

/// A text as evidence, for what no attester writes.
fn as_text(evidence: &RoomEvidence, edit: impl FnOnce(String) -> String) -> String {
    edit(written(evidence.to_text()))
}
