//! Event logs: genuine ones of several firmwares as they come, and what must be refused.

use proptest::prelude::*;

use super::{EventLog, MAX_EVENT_LOG_BYTES};
use crate::{Bank, RoomError, genuine};

fn code(refused: Result<EventLog, RoomError>) -> &'static str {
    refused.unwrap_err().code()
}

/// A log of two banks and one event.
fn small() -> Vec<u8> {
    let mut log = vec![0; 4];
    log.extend(3_u32.to_le_bytes());
    log.extend([0; 20]);
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0c, 0, 48, 0, 0]);
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    log.extend(4_u32.to_le_bytes());
    log.extend(4_u32.to_le_bytes());
    log.extend([1, 0, 0, 0, 0x0c, 0]);
    log.extend([5; 48]);
    log.extend([2, 0, 0, 0, 8, 8]);
    log
}

const EVENT: usize = 32 + 33;

#[test]
fn a_small_log_is_replayed() {
    let log = EventLog::parse(&small()).unwrap();
    assert_eq!(log.events().len(), 1);
    assert_eq!(log.banks(), [Bank::Sha384]);
    let registers = log.replay_sha384().unwrap();
    assert_eq!(registers.keys().copied().collect::<Vec<u32>>(), [4]);
    assert_eq!(log.replay_sha256().unwrap_err().code(), "boot-log-bank");
    for padding in [vec![], vec![0; 100], vec![0xff; 100]] {
        let padded = [small(), padding].concat();
        assert_eq!(EventLog::parse(&padded).unwrap(), log);
    }
}

#[test]
fn what_no_firmware_writes_is_refused() {
    for cut in (1..small().len()).filter(|cut| *cut != EVENT) {
        let bytes = small();
        let refused = EventLog::parse(bytes.get(..cut).unwrap());
        assert_eq!(code(refused), "boot-log-malformed", "cut at {cut}");
    }
    for (at, byte) in [
        (0, 2),             // header in another register
        (4, 4),             // header of another type
        (33, b'x'),         // another Spec ID
        (56, 0),            // no bank
        (56, 9),            // more banks than there are
        (60, 0x12),         // an unknown algorithm
        (62, 32),           // a size that is not the algorithm's
        (64, 1),            // vendor data that is not there
        (EVENT, 24),        // no such register
        (EVENT + 8, 2),     // more digests than banks
        (EVENT + 12, 0x0b), // a digest of another bank
        (EVENT + 62, 3),    // data that is not there
    ] {
        let mut bytes = small();
        bytes[at] = byte;
        assert_eq!(code(EventLog::parse(&bytes)), "boot-log-malformed", "{at}");
    }
    let mixed = [small(), vec![0xff; 50], vec![0]].concat();
    assert_eq!(code(EventLog::parse(&mixed)), "boot-log-malformed");
    let large = vec![0; MAX_EVENT_LOG_BYTES + 1];
    assert_eq!(code(EventLog::parse(&large)), "boot-log-too-large");
}

#[test]
fn a_log_of_the_largest_size_is_read_in_one_pass() {
    // Events without digests' variety: as many as fit, then filling that ends in another byte.
    let mut bytes = small();
    let event = bytes.get(EVENT..).unwrap().to_vec();
    while bytes.len() + event.len() <= MAX_EVENT_LOG_BYTES - 100 {
        bytes.extend_from_slice(&event);
    }
    let started = std::time::Instant::now();
    assert!(EventLog::parse(&bytes).unwrap().events().len() > 10_000);
    bytes.resize(MAX_EVENT_LOG_BYTES - 1, 0);
    bytes.push(1);
    assert_eq!(code(EventLog::parse(&bytes)), "boot-log-malformed");
    // a second is a hundred times what one pass takes unoptimised
    assert!(started.elapsed().as_secs() < 5);
}

/// The logs with the reading of another implementation beside them.
const LOGS: [(&str, Option<&str>); 6] = [
    ("dstack/cc-eventlog_samples_tpm_eventlog.bin", None),
    ("dstack/cc-eventlog_samples_ccel.bin", None),
    (
        "trustee/eventlog/CCEL_data_ovmf",
        Some("trustee/eventlog/CCEL_data_ovmf_out.json"),
    ),
    (
        "trustee/eventlog/CCEL_data_grub",
        Some("trustee/eventlog/CCEL_data_grub_out.json"),
    ),
    (
        "trustee/eventlog/CCEL_data_grub_gke",
        Some("trustee/eventlog/CCEL_data_grub_gke_out.json"),
    ),
    (
        "trustee/eventlog/CCEL_AAEL_alibabacloud",
        Some("trustee/eventlog/CCEL_AAEL_alibabacloud_out.json"),
    ),
];

#[test]
fn genuine_logs_of_several_firmwares_are_read_as_others_read_them() {
    for (name, reading) in LOGS {
        let Some(bytes) = genuine::read(name) else {
            continue;
        };
        let log = EventLog::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(log.replay_sha384().unwrap().len() > 1, "{name}");
        let Some(reading) = reading.and_then(genuine::read) else {
            continue;
        };
        let reading: serde_json::Value = serde_json::from_slice(&reading).unwrap();
        let wanted = reading["uefi_event_logs"].as_array().unwrap();
        // theirs ends before the last event of some of these logs
        let more = log.events().len().checked_sub(wanted.len());
        assert!(matches!(more, Some(0 | 1)), "{name}: {more:?}");
        for (event, wanted) in log.events().iter().zip(wanted) {
            let digest = wanted["digests"][0]["digest"].as_str().unwrap();
            assert_eq!(hex::encode(&event.digests[&Bank::Sha384]), digest, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(EventLog::parse(&bytes));
        let mut behind = small();
        behind.extend(bytes);
        if let Ok(log) = EventLog::parse(&behind) {
            drop(log.replay_sha384());
        }
    }
}
