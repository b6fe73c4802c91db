//! Logs: form, and the first difference by name.

use proofroom_verifier::reference::{Hash256, Hash384, ReferenceEvent, rtmr_of};

use super::{BootLog, first_difference};

fn predicted() -> Vec<ReferenceEvent> {
    [
        (4, "EV_SEPARATOR", "a"),
        (9, "EV_EVENT_TAG", "b"),
        (1, "EV_PLATFORM_CONFIG_FLAGS", "c"),
    ]
    .map(|(pcr, kind, content)| ReferenceEvent {
        pcr,
        rtmr: rtmr_of(pcr),
        kind: kind.to_owned(),
        sha256: Hash256::of(content.as_bytes()),
        sha384: Hash384::of(content.as_bytes()),
        what: content.to_owned(),
    })
    .to_vec()
}

fn header() -> Vec<u8> {
    let mut contents = b"Spec ID Event03\0".to_vec();
    contents.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    contents.extend(2u32.to_le_bytes());
    for (id, size) in [(0x0bu16, 32u16), (0x0c, 48)] {
        contents.extend(id.to_le_bytes());
        contents.extend(size.to_le_bytes());
    }
    contents.push(0);
    let mut log = 0u32.to_le_bytes().to_vec();
    log.extend(3u32.to_le_bytes());
    log.extend([0; 20]);
    log.extend(u32::try_from(contents.len()).expect("small").to_le_bytes());
    log.extend(contents);
    log
}

fn log(events: &[ReferenceEvent]) -> Vec<u8> {
    let mut log = header();
    for event in events {
        let (kind, _) = super::KINDS
            .iter()
            .find(|(_, name)| *name == event.kind)
            .expect("known");
        log.extend(event.pcr.to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend(2u32.to_le_bytes());
        log.extend(0x0bu16.to_le_bytes());
        log.extend(event.sha256.as_bytes());
        log.extend(0x0cu16.to_le_bytes());
        log.extend(event.sha384.as_bytes());
        log.extend(3u32.to_le_bytes());
        log.extend([1, 2, 3]);
    }
    log
}

#[test]
fn a_log_as_predicted_has_no_difference() {
    let log = BootLog::parse(&log(&predicted())).expect("good");
    assert_eq!(log.events().len(), 3);
    assert_eq!(first_difference(&predicted(), &log), None);
}

#[test]
fn the_first_difference_is_named() {
    let difference = |change: &dyn Fn(&mut Vec<ReferenceEvent>)| {
        let mut logged = predicted();
        change(&mut logged);
        let log = BootLog::parse(&log(&logged)).expect("good");
        let found = first_difference(&predicted(), &log).expect("a difference");
        (found.number, found.problem)
    };
    let digest = "its digest is another one";
    assert_eq!(difference(&|e| e[1].sha384 = Hash384::ZERO), (2, digest));
    assert_eq!(difference(&|e| e[1].sha256 = Hash256::ZERO), (2, digest));
    assert_eq!(difference(&|e| e[0].pcr = 5), (1, "it is of another PCR"));
    assert_eq!(
        difference(&|e| e[2].kind = "EV_ACTION".to_owned()),
        (3, "it is of another type")
    );
    assert_eq!(difference(&|e| e.swap(0, 1)).0, 1);
    assert_eq!(
        difference(&|e| drop(e.pop())),
        (3, "the log ends before it")
    );
    let more = "the log goes on where the boot should have ended";
    assert_eq!(difference(&|e| e.push(e[0].clone())), (4, more));
}

#[test]
fn what_is_not_a_log_is_refused() {
    let good = log(&predicted());
    let code = |bytes: &[u8]| BootLog::parse(bytes).expect_err("refused").code();
    assert_eq!(code(&[]), "log-malformed");
    assert_eq!(code(&vec![0; super::MAX_LOG_BYTES + 1]), "input-too-large");
    let start = header().len();
    for end in start + 1..good.len() {
        let whole = (end - start).is_multiple_of(103);
        assert_eq!(BootLog::parse(&good[..end]).is_ok(), whole, "{end}");
    }
    for (at, value) in [
        (4, 4u8),           // header of another type
        (33, b'x'),         // another signature
        (56, 0),            // no bank
        (start + 8, 1),     // one digest of two banks
        (start + 12, 0x0c), // SHA-384 twice
        (start + 12, 0x0d), // a bank that the header does not name
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(code(&bad), "log-malformed", "{at}");
    }
}
