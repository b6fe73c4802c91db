//! Rooms in a simulated trust domain. What is an upstream's too has its cases there; here is one of
//! each kind, and all that a room has of its own.

use proofroom_evidence::{
    Measurement, Moment, RoomDocument, RoomEndorsements, RoomEvidence, RuntimeEvent,
};
use proofroom_testkit::{
    event_log::BootEvent,
    td::{self, SimulatedRoom},
    tee::{Plan, SimulatedTee, TcbAnswer, simulated_measurement, written},
};

use super::{
    Case, Failure, Machine, NOW, Row, STATEMENT, as_text, boot, boot_config, case, logs, measured,
};
use proofroom_verifier::reference::rtmr_of;

const MACHINE: Machine = Machine {
    policy: "tdx",
    made: "made: a room in the simulated platform of the published demonstration seed",
    clause: "room-evidence.md section 6",
};
const CODES: logs::Codes = logs::Codes {
    boot: Some(("boot-log-replay", "boot-log-mismatch")),
    runtime: Some(("runtime-replay", "runtime-events-mismatch")),
    runtime_register: 4,
};

pub(super) fn mr_td() -> Measurement {
    simulated_measurement("mr_td")
}

fn booted() -> Vec<BootEvent> {
    // RTMR0 has number 1 in a CC event log
    boot(|pcr| rtmr_of(pcr).map_or(0, |rtmr| u32::from(rtmr) + 1))
}

fn room(boot: Vec<BootEvent>, runtime: Vec<RuntimeEvent>) -> SimulatedRoom {
    let mut room = SimulatedRoom::boot(SimulatedTee::demo(), &boot_config(), boot);
    runtime.into_iter().for_each(|event| room.measure(event));
    room
}

fn evidence(room: &SimulatedRoom) -> RoomEvidence {
    room.evidence(Moment::Start, STATEMENT)
}

fn of_room(room: &SimulatedRoom) -> Vec<u8> {
    room.document(&evidence(room), &room.plan(NOW))
}

pub(super) fn cases() -> Vec<Case> {
    let honest = room(booted(), measured());
    let good = evidence(&honest);
    let row = |(name, title, change, failure): logs::About, document| Row {
        name,
        title,
        change,
        failure,
        document,
    };
    let edited = |edit: &dyn Fn(&mut RoomEvidence)| {
        let mut changed = good.clone();
        edit(&mut changed);
        honest.document(&changed, &honest.plan(NOW))
    };
    let mut rows = vec![row(
        ("accepted", "A room that booted its image", "", None),
        of_room(&honest),
    )];
    rows.extend(logs::boots(&CODES).into_iter().map(|(about, edit)| {
        let mut events = booted();
        edit(&mut events);
        row(about, edited(&|e| e.boot_log = td::boot_log(&events)))
    }));
    rows.extend(
        logs::bytes(&CODES)
            .into_iter()
            .map(|(about, edit)| row(about, edited(&|e| edit(&mut e.boot_log, &CODES)))),
    );
    rows.extend(
        logs::edits(&CODES)
            .into_iter()
            .map(|(about, edit)| row(about, edited(&edit))),
    );
    let first = Some(("mr-config-id", "mr-config-id-mismatch"));
    let measured = logs::measurements(first).into_iter();
    rows.extend(measured.map(|(about, events)| row(about, of_room(&room(booted(), events())))));
    rows.extend(logs::texts().into_iter().map(|(about, edit)| {
        let collateral =
            RoomEndorsements::Tdx(Box::new(SimulatedTee::demo().collateral(&honest.plan(NOW))));
        row(
            about,
            written(RoomDocument::write(&as_text(&good, edit), &collateral)),
        )
    }));
    rows.extend(own());
    rows.extend(vendors());
    let mut cases: Vec<Case> = rows.into_iter().map(|row| case(MACHINE, row)).collect();
    cases.push(under_tpm2(of_room(&honest)));
    cases
}

fn under_tpm2(document: Vec<u8>) -> Case {
    let machine = Machine {
        policy: "tpm2",
        ..MACHINE
    };
    let row = Row {
        name: "td",
        title: "A quote of a TD, where the policy asks for a software TPM",
        change: "policy tpm2",
        failure: Some(("evidence-type", "evidence-type-refused")),
        document,
    };
    case(machine, row)
}

#[rustfmt::skip]
fn own() -> Vec<Row> {
    let row = |name, title, change, check, code, edit: fn(&mut SimulatedRoom)| {
        let mut room = room(booted(), measured());
        edit(&mut room);
        let failure: Failure = Some((check, code));
        Row { name, title, change, failure, document: of_room(&room) }
    };
    let evidence = |name, title, change, failure: (&'static str, &'static str), statement: &str, edit: fn(&mut RoomEvidence)| {
        let room = room(booted(), measured());
        let mut evidence = room.evidence(Moment::Start, statement);
        edit(&mut evidence);
        Row { name, title, change, failure: Some(failure), document: room.document(&evidence, &room.plan(NOW)) }
    };
    vec![
        row("promised-another-configuration", "A room that booted with another configuration than its host promised", "another MRCONFIGID", "mr-config-id", "mr-config-id-mismatch", |room| room.td.mr_config_id = simulated_measurement("other")),
        row("another-module", "A TDX module that the policy does not list", "another MRSEAM", "mr-seam", "mr-seam-mismatch", |room| room.td.mr_seam = simulated_measurement("other")),
        row("another-mrtd", "Other firmware", "another MRTD", "reference-mrtd", "reference-mismatch", |room| room.td.mr_td = simulated_measurement("other")),
        row("owner-set", "A TD that somebody configured beside the host of rooms", "MROWNER set", "mr-owner", "mr-owner-set", |room| room.td.mr_owner = simulated_measurement("other")),
        row("td-debug", "A debug TD", "DEBUG set", "td-attributes", "td-debug", |room| room.td.attributes |= 1),
        evidence("statement-of-another-session", "A quote that binds another statement", "another statement quoted", ("statement", "statement-mismatch"), "{}", |_| ()),
        evidence("statement-swapped", "The session's statement beside a quote that binds another", "statement exchanged after quoting", ("report-data", "report-data-mismatch"), "{}", |e| e.statement = STATEMENT.to_owned()),
        evidence("key-beside-the-quote", "A signing key beside a quote that has its own inside", "`key` not empty", ("document-parse", "room-document-malformed"), STATEMENT, |e| e.key = vec![4; 65]),
        evidence("signature-beside-the-quote", "A signature beside a quote that has its own inside", "`signature` not empty", ("document-parse", "room-document-malformed"), STATEMENT, |e| e.signature = vec![4; 64]),
        evidence("of-another-type", "A quote of a TD that says it is a report of SEV-SNP", "type `sev-snp`", ("document-parse", "room-evidence-unsupported"), STATEMENT, |e| e.kind = proofroom_evidence::EvidenceType::SevSnp),
    ]
}

#[rustfmt::skip]
fn vendors() -> Vec<Row> {
    let row = |name, title, change, check, code, edit: fn(&mut Plan)| {
        let room = room(booted(), measured());
        let mut plan = room.plan(NOW);
        edit(&mut plan);
        Row { name, title, change, failure: Some((check, code)), document: room.document(&evidence(&room), &plan) }
    };
    vec![
        row("collateral-late", "Collateral that has expired", "expired a second ago", "collateral-time", "collateral-expired", |plan| plan.collateral_until = proofroom_canonical::Timestamp::from_unix_seconds(NOW.unix_seconds() - 1)),
        row("status-out-of-date", "An out-of-date platform", "the vendor's TCB info", "tcb-status", "tcb-status-refused", |plan| plan.tcb = TcbAnswer::OutOfDate),
    ]
}
