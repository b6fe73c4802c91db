//! Event logs of the kit: what another implementation read from them, and what adds up to a quote.

use std::collections::BTreeMap;

use proofroom_evidence::{Bank, EventLog, Quote};
use serde_json::Value;
use sha2::{Digest as _, Sha384};

use super::{Row, bytes, read, text};

/// Logs with what the kit's source read from them.
const READ: [&str; 4] = [
    "trustee/eventlog/CCEL_data_ovmf",
    "trustee/eventlog/CCEL_data_grub",
    "trustee/eventlog/CCEL_data_grub_gke",
    "trustee/eventlog/CCEL_AAEL_alibabacloud",
];
/// Logs without.
const REPLAYED: [&str; 2] = [
    "dstack/cc-eventlog_samples_ccel.bin",
    "dstack/cc-eventlog_samples_tpm_eventlog.bin",
];
const REPORT: &str = "dstack/verifier_fixtures_quote-report.json";
/// `DSTACK_RUNTIME_EVENT`: an event of RTMR3 whose digest covers name and payload.
const RUNTIME_EVENT: u64 = 0x0800_0001;

pub(super) fn rows() -> Vec<Row> {
    let read = READ.iter().map(|file| as_read(file));
    let replayed = REPLAYED.iter().map(|file| replays(file));
    let cut = READ.iter().map(|file| cut(file));
    read.chain(replayed).chain(cut).chain(dstack()).collect()
}

fn row(files: String, expected: &str, got: String) -> Row {
    Row {
        files,
        at: "any time".to_owned(),
        agrees: got == expected,
        expected: expected.to_owned(),
        got,
    }
}

/// Register and digest of every event are those that the other implementation read.
fn as_read(file: &str) -> Row {
    let beside = format!("{file}_out.json");
    let wanted: Value = serde_json::from_slice(&read(&beside).unwrap()).unwrap();
    let wanted: Vec<(u64, String)> = wanted["uefi_event_logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let index = event["index"].as_u64().unwrap();
            (index, text(&event["digests"][0], "digest"))
        })
        .collect();
    let got = match EventLog::parse(&read(file).unwrap()) {
        Err(error) => error.code().to_owned(),
        Ok(log) => {
            let found: Vec<(u64, String)> = log
                .events()
                .iter()
                .map(|event| {
                    let digest = event.digests.get(&Bank::Sha384).unwrap();
                    (event.register.into(), hex::encode(digest))
                })
                .collect();
            let same = found == wanted;
            let word = if same { "as" } else { "unlike" };
            format!("{} events, {word} the other reader's", found.len())
        }
    };
    let expected = format!("{} events, as the other reader's", wanted.len());
    row(format!("`{file}` with `{beside}`"), &expected, got)
}

fn replays(file: &str) -> Row {
    let log = EventLog::parse(&read(file).unwrap());
    let got = match log.and_then(|log| {
        if log.banks().contains(&Bank::Sha384) {
            log.replay_sha384().map(|registers| registers.len())
        } else {
            log.replay_sha256().map(|registers| registers.len())
        }
    }) {
        Ok(0) => "replays to nothing".to_owned(),
        Ok(_) => "replays".to_owned(),
        Err(error) => error.code().to_owned(),
    };
    row(format!("`{file}`"), "replays", got)
}

/// Ends in the middle of its last event.
fn cut(file: &str) -> Row {
    let whole = read(file).unwrap();
    let end = whole.iter().rposition(|byte| ![0, 0xff].contains(byte));
    let cut = &whole[..end.unwrap()];
    let got = match EventLog::parse(cut) {
        Ok(_) => "read".to_owned(),
        Err(error) => error.code().to_owned(),
    };
    row(
        format!("`{file}`, cut in its last event"),
        "boot-log-malformed",
        got,
    )
}

/// A register and what was extended into it.
type Events = Vec<(usize, Vec<u8>)>;

/// What is done to a log, by which change, and what comes of it.
type Change = (&'static str, fn(&mut Events), &'static str);

fn dstack() -> Vec<Row> {
    let report: Value = serde_json::from_slice(&read(REPORT).unwrap()).unwrap();
    let quote = Quote::parse(&hex::decode(text(&report, "quote")).unwrap()).unwrap();
    let log: Vec<Value> = match report["event_log"].as_str() {
        Some(text) => serde_json::from_str(text).unwrap(),
        None => serde_json::from_value(report["event_log"].clone()).unwrap(),
    };
    let events: Events = log
        .iter()
        .map(|event| {
            let register = usize::try_from(event["imr"].as_u64().unwrap()).unwrap();
            (register, hex::decode(text(event, "digest")).unwrap())
        })
        .collect();
    let mut rows = vec![row(
        format!("`{REPORT}`, digests of RTMR3 events"),
        "all cover their content",
        covered(&log).to_owned(),
    )];
    let changes: [Change; 5] = [
        ("event log", |_| {}, "adds up to RTMR0 to RTMR3"),
        (
            "last event dropped",
            |all| drop(all.pop()),
            "does not add up",
        ),
        (
            "last events swapped",
            |all| {
                let last = all.len() - 1;
                all.swap(last, last - 1);
            },
            "does not add up",
        ),
        (
            "last event twice",
            |all| all.push(all.last().unwrap().clone()),
            "does not add up",
        ),
        (
            "first event edited",
            |all| all[0].1[0] ^= 1,
            "does not add up",
        ),
    ];
    for (what, change, expected) in changes {
        let mut changed = events.clone();
        change(&mut changed);
        let got = if replay(&changed) == quote.claims().rtmr.map(|register| *register.as_bytes()) {
            "adds up to RTMR0 to RTMR3"
        } else {
            "does not add up"
        };
        rows.push(row(format!("`{REPORT}`, {what}"), expected, got.to_owned()));
    }
    rows
}

fn replay(events: &Events) -> [[u8; 48]; 4] {
    let mut registers: BTreeMap<usize, [u8; 48]> = BTreeMap::new();
    for (register, digest) in events {
        let value = registers.entry(*register).or_insert([0; 48]);
        *value = Sha384::digest([&value[..], digest].concat()).into();
    }
    [0, 1, 2, 3].map(|register| registers.get(&register).copied().unwrap_or([0; 48]))
}

/// SHA-384 of type, name and payload, with colons between them.
fn covered(log: &[Value]) -> &'static str {
    let mut runtime = log
        .iter()
        .filter(|event| event["event_type"] == RUNTIME_EVENT)
        .peekable();
    if runtime.peek().is_none() {
        return "there are none";
    }
    let holds = |event: &Value| {
        let kind = u32::try_from(RUNTIME_EVENT).unwrap().to_le_bytes();
        let payload = hex::decode(text(event, "event_payload")).unwrap();
        let name = text(event, "event");
        let content = [&kind[..], b":", name.as_bytes(), b":", &payload].concat();
        hex::encode(Sha384::digest(content)) == text(event, "digest")
    };
    if runtime.all(holds) {
        "all cover their content"
    } else {
        "one does not cover its content"
    }
}

/// The collateral of a day on which the kit's source kept no revocation lists.
pub(super) fn without_lists() -> Row {
    let file = "dcap-qvl/history/3d2dc6c_tdx_quote_collateral_b0c06f_2025-03_noCRL.json";
    let read = serde_json::from_slice::<proofroom_evidence::Collateral>(&bytes(file));
    let got = match read {
        Ok(_) => "read".to_owned(),
        Err(error) if error.to_string().contains("missing field") => "no collateral".to_owned(),
        Err(error) => error.to_string(),
    };
    row(format!("`{file}`"), "no collateral", got)
}
