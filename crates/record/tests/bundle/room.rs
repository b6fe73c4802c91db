//! A room in a virtual machine with a simulated TPM, or in a simulated trust domain, for bundles: its
//! boot, its reference values, and its evidence of both moments.

use proofroom_canonical::{Digest, IsolationLevel};
use proofroom_evidence::{
    AssignmentEvent, EvidenceType, Moment, RoomDocument, RoomEndorsements, RoomEvidence,
    RuntimeEvent,
};
use proofroom_record::{
    bundle::RoomReference,
    statement::{Binding, RoomEvidenceClaim},
};
use proofroom_testkit::{
    td::{SimulatedRoom, simulated_boot},
    tee::SimulatedTee,
    tpm::{BootEvent, EV_SEPARATOR, SimulatedTpm},
};
use proofroom_verifier::{
    ROOM_SIMULATED, ReferenceManifest, RoomAppraisalPolicy,
    reference::{
        Hash256, Hash384, REFERENCE_FORMAT, Reference, ReferenceEvent, Shape, TdxReference,
        fold_pcrs, rtmr_of,
    },
};
use rcgen::{Issuer, KeyPair};

use super::{RoomKind, at};

const BOOT: [(u32, &[u8]); 4] = [
    (0, b"firmware"),
    (4, b"kernel"),
    (9, b"command line"),
    (9, b"initrd"),
];

pub(crate) fn manifest() -> ReferenceManifest {
    let events: Vec<ReferenceEvent> = BOOT
        .into_iter()
        .map(|(pcr, data)| ReferenceEvent {
            pcr,
            rtmr: rtmr_of(pcr),
            kind: "EV_SEPARATOR".to_owned(),
            sha256: Hash256::of(data),
            sha384: Hash384::of(data),
            what: String::from_utf8_lossy(data).into_owned(),
        })
        .collect();
    ReferenceManifest::new(Reference {
        format: REFERENCE_FORMAT.to_owned(),
        image: Digest::of("image"),
        command_line: "quiet".to_owned(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 1024,
            qemu: "7.2.22".to_owned(),
        },
        components: vec![],
        tpm2: fold_pcrs(&events),
        tdx: TdxReference::NotComputed {
            reason: "a test".to_owned(),
        },
        events,
        layers: vec![],
    })
    .unwrap()
}

const CONFIG: &str = r#"{"shape":{"vcpus":1,"memory_mib":1024},"layers":[]}"#;

/// The room appraisal policy of a deployment with such rooms; none where it is the default.
pub(crate) fn policy(kind: RoomKind) -> Option<String> {
    let manifest = manifest().digest();
    match kind {
        RoomKind::Process => None,
        RoomKind::Vm => Some(RoomAppraisalPolicy::for_reference(manifest)),
        RoomKind::SimulatedTd => Some(RoomAppraisalPolicy::pinning(ROOM_SIMULATED, manifest)),
    }
}

pub(crate) fn level(kind: RoomKind) -> IsolationLevel {
    match kind {
        RoomKind::Process => IsolationLevel::Process,
        RoomKind::Vm => IsolationLevel::Vm,
        RoomKind::SimulatedTd => IsolationLevel::Simulated,
    }
}

pub(crate) fn reference() -> RoomReference {
    RoomReference::Manifest(manifest().bytes().to_vec())
}

/// The TPM of a room that was told what `binding` says.
pub(crate) fn tpm(binding: &Binding) -> SimulatedTpm {
    let boot = BOOT.map(|(pcr, data)| BootEvent {
        pcr,
        kind: EV_SEPARATOR,
        data: data.to_vec(),
    });
    let mut tpm = SimulatedTpm::boot([1; 32], boot.to_vec());
    for event in runtime(binding) {
        tpm.measure(event);
    }
    tpm
}

/// The simulated TD of a room that was told what `binding` says.
fn td(binding: &Binding) -> SimulatedRoom {
    let mut room = SimulatedRoom::boot(SimulatedTee::demo(), CONFIG, simulated_boot());
    for event in runtime(binding) {
        room.measure(event);
    }
    room
}

fn runtime(binding: &Binding) -> [RuntimeEvent; 2] {
    let assignment = AssignmentEvent {
        session: binding.session,
        nonce: binding.nonce,
        repository: "acme".to_owned(),
        commit: binding.commit.clone(),
        agent: "builtin".to_owned(),
        policies: binding.policies.by_name(),
    };
    let assignment = assignment.to_text().unwrap();
    [
        ("boot-config", CONFIG.to_owned()),
        ("assignment", assignment),
    ]
    .map(|(name, content)| RuntimeEvent::new(name, content).unwrap())
}

pub(crate) fn evidence(
    kind: RoomKind,
    binding: &Binding,
    moment: Moment,
    statement: &[u8],
) -> RoomEvidence {
    let statement = std::str::from_utf8(statement).unwrap();
    match kind {
        RoomKind::SimulatedTd => td(binding).evidence(moment, statement),
        RoomKind::Vm | RoomKind::Process => tpm(binding).evidence(moment, statement),
    }
}

pub(crate) fn document(
    binding: &Binding,
    evidence: &RoomEvidence,
    ca: &Issuer<'_, KeyPair>,
) -> Vec<u8> {
    if evidence.kind == EvidenceType::Tdx {
        let room = td(binding);
        return room.document(evidence, &room.plan(at(0)));
    }
    let ak_certificate = tpm(binding).certificate(ca, binding.session, |_| {});
    let endorsements = RoomEndorsements::Tpm2 { ak_certificate };
    RoomDocument::write(&evidence.to_text().unwrap(), &endorsements).unwrap()
}

pub(crate) fn claim(binding: &Binding, evidence: &RoomEvidence) -> RoomEvidenceClaim {
    RoomEvidenceClaim::Attested {
        evidence_type: evidence.kind,
        evidence: Digest::of(evidence.to_text().unwrap()),
        appraisal_policy: match evidence.kind {
            EvidenceType::Tdx => "room-simulated".to_owned(),
            EvidenceType::Tpm2 | EvidenceType::SevSnp => "room-vm".to_owned(),
        },
        policy: binding.policies.room_appraisal,
    }
}

pub(crate) fn none() -> RoomEvidenceClaim {
    RoomEvidenceClaim::None {
        reason: "process room: no attester".to_owned(),
    }
}
