//! What can be wrong with the logs of a room, whatever machine it is: edits of honest evidence after
//! it was quoted, and rooms that measured something else than they must.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{Nonce, SessionId};
use proofroom_evidence::{RoomEvidence, RuntimeEvent};
use proofroom_testkit::event_log::{BootEvent, EV_SEPARATOR};

use super::{Failure, assigned, boot_config, measured, runtime};

/// `head -c 100000 /dev/zero | gzip -9n`
const GZIP: &str = "H4sIAAAAAAACA+3BMQEAAADCoPVPbQ0PoAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIBXA32VEdSghgEA";

/// Name, title, what was done, what comes of it.
pub(super) type About = (&'static str, &'static str, &'static str, Failure);

/// What a machine answers to lies about its boot, about what it measured since, and to a log that is
/// none; the register of runtime events and one that is none of a boot's.
pub(super) struct Codes {
    pub(super) boot: Failure,
    pub(super) runtime: Failure,
    pub(super) runtime_register: u32,
}

const MALFORMED: Failure = Some(("boot-log", "boot-log-malformed"));

type Boot = fn(&mut Vec<BootEvent>);

/// Boot logs that say something else than what was quoted, event by event.
#[rustfmt::skip]
pub(super) fn boots(codes: &Codes) -> Vec<(About, Boot)> {
    let row = |name, title, change, edit: Boot| ((name, title, change, codes.boot), edit);
    vec![
        row("boot-event-dropped", "A boot log without one of its events", "event 4 removed from the log", |log| drop(log.remove(3))),
        row("boot-event-last-dropped", "A boot log without its last event", "last event removed from the log", |log| drop(log.pop())),
        row("boot-events-reordered", "Two events of one register in the other order", "events 5 and 6 exchanged in the log", |log| log.swap(4, 5)),
        row("boot-event-duplicated", "A boot event twice", "event 6 twice in the log", |log| log.extend(log.last().cloned())),
        row("boot-event-edited", "A boot event that was edited, with a digest that fits", "event 6 is about another initrd", |log| edit_last(log)),
        row("boot-event-added", "A boot event that nothing measured", "an event added to the log", |log| log.push(extra(log))),
        row("boot-event-of-another-register", "A boot event in another register", "event 6 says the register of event 3", |log| move_last(log)),
    ]
}

fn edit_last(log: &mut [BootEvent]) {
    if let Some(event) = log.last_mut() {
        event.data = b"another initrd".to_vec();
    }
}

fn extra(log: &[BootEvent]) -> BootEvent {
    BootEvent {
        pcr: log.last().map_or(0, |event| event.pcr),
        kind: EV_SEPARATOR,
        data: b"extra".to_vec(),
    }
}

fn move_last(log: &mut [BootEvent]) {
    let register = log.get(2).map(|event| event.pcr);
    if let (Some(event), Some(register)) = (log.last_mut(), register) {
        event.pcr = register;
    }
}

type Bytes = fn(&mut Vec<u8>, &Codes);

/// The last event of the honest log has the six bytes `initrd` as data, behind a length of four.
const LAST_DATA: usize = 6;
const LAST_DIGEST: usize = LAST_DATA + 4;

/// Boot logs whose bytes were changed.
#[rustfmt::skip]
pub(super) fn bytes(codes: &Codes) -> Vec<(About, Bytes)> {
    let bad = |name, title, change, edit: Bytes| ((name, title, change, MALFORMED), edit);
    let register = Some(("boot-log", "boot-log-runtime-register"));
    vec![
        (("boot-digest-lies", "The digest of an event says something else than its payload", "last bit of the last event's SHA-384 digest flipped", codes.boot), |log, _| flip_from_end(log, LAST_DIGEST)),
        (("boot-payload-lies", "The payload of an event says something else than its digest: what was measured is the digest, and nobody judges by the payload", "last bit of the last event's data flipped", None), |log, _| flip_from_end(log, 0)),
        (("boot-log-filled", "A log in a larger buffer", "100 zero bytes added", None), |log, _| log.extend([0; 100])),
        bad("boot-log-trailing-byte", "A byte behind the log that is no filling", "0x01 added", |log, _| log.push(1)),
        bad("boot-log-truncated", "A log that ends in an event", "last byte removed", |log, _| { log.pop(); }),
        bad("boot-log-empty", "No log", "removed", |log, _| log.clear()),
        bad("boot-log-gzip", "A log that would have to be unpacked first: none is, so there is no bomb", "replaced by 100,000 zero bytes, as gzip packs them", |log, _| *log = STANDARD.decode(GZIP).unwrap_or_default()),
        bad("boot-log-register-24", "An event for a register that no machine has", "an event added for register 24", |log, _| append_event(log, 24)),
        (("boot-log-of-runtime-register", "A boot log that extends the register of runtime events", "an event added for that register", register), |log, codes| append_event(log, codes.runtime_register)),
    ]
}

fn flip_from_end(bytes: &mut [u8], distance: usize) {
    if let Some(byte) = bytes.iter_mut().rev().nth(distance) {
        *byte ^= 1;
    }
}

/// Appends a copy of the last event that names `register`.
fn append_event(log: &mut Vec<u8>, register: u32) {
    // the event begins with register, type and number of digests; each digest has an algorithm's id
    let banks = if log.windows(2).filter(|id| *id == [0x0b, 0]).count() > 1 {
        2 + 32
    } else {
        0
    };
    let length = 12 + banks + 2 + 48 + LAST_DIGEST;
    let start = log.len().saturating_sub(length);
    let mut event = log.get(start..).unwrap_or_default().to_vec();
    for (place, byte) in event.iter_mut().zip(register.to_le_bytes()) {
        *place = byte;
    }
    log.extend(event);
}

type Evidence = fn(&mut RoomEvidence);

/// Runtime events that say something else than what was quoted. Their digests are computed from them,
/// so that none can lie beside its payload.
#[rustfmt::skip]
pub(super) fn edits(codes: &Codes) -> Vec<(About, Evidence)> {
    let row = |name, title, change, edit: Evidence| ((name, title, change, codes.runtime), edit);
    vec![
        row("event-dropped", "A runtime event dropped", "the last removed", |e| drop(e.runtime.pop())),
        row("assignment-dropped", "The assignment dropped", "the second removed", |e| drop(e.runtime.remove(1))),
        row("events-dropped", "All runtime events dropped", "all removed", |e| e.runtime.clear()),
        row("events-reordered", "Runtime events in another order", "second and third exchanged", |e| e.runtime.swap(1, 2)),
        row("event-duplicated", "A runtime event twice", "the last doubled", |e| e.runtime.extend(e.runtime.last().cloned())),
        row("event-edited", "A runtime event edited", "content of the last changed", |e| rewrite(e, 2, |event| event.content.push('!'))),
        row("event-renamed", "A runtime event under another name", "name of the last changed", |e| rewrite(e, 2, |event| event.name.push('x'))),
        row("name-and-content-shifted", "The boundary between name and content moved", "a byte moved from content to name", |e| rewrite(e, 2, |event| { event.name = "workspacer".to_owned(); event.content = "eady".to_owned(); })),
        row("event-added-after-the-last", "An event that was never measured, after the room was ready", "an event added", |e| e.runtime.push(runtime("workspace", "changed"))),
    ]
}

fn rewrite(evidence: &mut RoomEvidence, index: usize, edit: impl FnOnce(&mut RuntimeEvent)) {
    if let Some(event) = evidence.runtime.get_mut(index) {
        edit(event);
    }
}

type Measured = fn() -> Vec<RuntimeEvent>;

/// What rooms measured and quoted that no room may have.
#[rustfmt::skip]
pub(super) fn measurements(config_first: Failure) -> Vec<(About, Measured)> {
    let wrong = |code| Some(("runtime-assignment", code));
    let again = wrong("assignment-missing");
    vec![
        (("only-what-must-be", "The two events that a room must measure, and no other", "the third not measured", None), || measured().into_iter().take(2).collect()),
        (("event-after-ready", "More events after the room was ready: a room may go on measuring", "a fourth measured", None), || with(|all| all.push(runtime("workspace", "changed")))),
        (("second-assignment", "A second assignment: whoever could give one could redirect the room", "the assignment measured twice", again), || with(|all| all.push(assigned(|_| ())))),
        (("second-boot-config", "A second boot configuration", "the boot configuration measured again", again), || with(|all| all.push(runtime("boot-config", boot_config())))),
        (("assignment-third", "An assignment that comes after something else", "the third event measured before the second", again), || with(|all| all.swap(1, 2))),
        (("assignment-first", "An assignment before the boot configuration", "first and second exchanged", config_first), || with(|all| all.swap(0, 1))),
        (("assignment-malformed", "An assignment that is none", "`{}` measured", wrong("assignment-malformed")), || with(|all| replace(all, 1, runtime("assignment", "{}")))),
        (("assignment-spaced", "An assignment in another spelling", "a space added", wrong("assignment-malformed")), || with(|all| respell(all))),
        (("assignment-of-another-session", "The assignment of another session", "another session", wrong("assignment-mismatch")), || with(|all| replace(all, 1, assigned(|a| a.session = SessionId::from_random([6; 16]))))),
        (("assignment-of-another-commit", "The assignment of another commit", "another commit", wrong("assignment-mismatch")), || with(|all| replace(all, 1, assigned(|a| a.commit = "cd".repeat(20))))),
        (("assignment-of-another-agent", "The assignment of another agent", "another agent", wrong("assignment-mismatch")), || with(|all| replace(all, 1, assigned(|a| a.agent = "other".to_owned())))),
        (("assignment-without-a-policy", "An assignment under fewer policies", "no policies", wrong("assignment-mismatch")), || with(|all| replace(all, 1, assigned(|a| a.policies.clear())))),
        (("nonce-of-another-exchange", "The nonce of another exchange", "another nonce", Some(("nonce", "nonce-mismatch"))), || with(|all| replace(all, 1, assigned(|a| a.nonce = Nonce::from_random([1; 32]))))),
    ]
}

fn with(edit: impl FnOnce(&mut Vec<RuntimeEvent>)) -> Vec<RuntimeEvent> {
    let mut all = measured();
    edit(&mut all);
    all
}

fn replace(all: &mut [RuntimeEvent], index: usize, event: RuntimeEvent) {
    if let Some(place) = all.get_mut(index) {
        *place = event;
    }
}

fn respell(all: &mut [RuntimeEvent]) {
    if let Some(event) = all.get_mut(1) {
        event.content = event.content.replacen(':', ": ", 1);
    }
}

type Text = fn(String) -> String;

/// Evidence whose text says more than evidence can.
#[rustfmt::skip]
pub(super) fn texts() -> Vec<(About, Text)> {
    let malformed = |name, title, change, edit: Text| ((name, title, change, Some(("document-parse", "room-document-malformed"))), edit);
    vec![
        malformed("event-with-a-digest", "A runtime event that brings its digest along: the digest field cannot lie because there is none", "member `digest` added", |t| t.replacen("\"name\":\"workspace\"", "\"digest\":\"00\",\"name\":\"workspace\"", 1)),
        malformed("evidence-spaced", "Evidence in another spelling", "a space added", |t| t.replacen(':', ": ", 1)),
        malformed("evidence-duplicate-member", "A member twice", "`moment` twice", |t| t.replacen('{', "{\"moment\":\"start\",", 1)),
        malformed("evidence-without-a-log", "Evidence without the member for its boot log", "`boot_log` renamed", |t| t.replacen("\"boot_log\"", "\"boot_lag\"", 1)),
    ]
}
