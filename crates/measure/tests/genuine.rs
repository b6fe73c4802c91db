//! The event log of a genuine TD, whose quote Intel's root signs, against a prediction. The evidence
//! is not part of the repository: `PROOFROOM_EVIDENCE_DIR`, or `../shared/evidence` beside it; says
//! what it skips. The TD's kernel, tables and initrd are not public, so the prediction is made of a
//! synthetic image, and the events of these inputs differ, and no others.

#![expect(
    clippy::expect_used,
    reason = "a test, with its helpers outside of the test function"
)]

use std::path::{Path, PathBuf};

use proofroom_measure::{
    AcpiTables, Boot, Firmware, Kernel, KernelInputs, Machine, PageOrder, TdBoot,
};
use proofroom_testkit::image as synthetic;
use proofroom_verifier::reference::{Hash384, fold_rtmrs};
use serde_json::Value;

const REPORT: &str = "dstack/verifier_fixtures_quote-report.json";
/// Where RTMR0 to RTMR3 are in a quote: header of 48 bytes, then 328 bytes of the TD's report.
const RTMRS: usize = 48 + 328;

fn directory() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PROOFROOM_EVIDENCE_DIR") {
        return Some(named.into());
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip(3) // this crate, `crates`, the repository
        .map(|parent| parent.join("shared/evidence"))
        .find(|candidate| candidate.is_dir())
}

fn predicted() -> TdBoot {
    let (firmware, kernel, initrd) = (
        synthetic::firmware(),
        synthetic::kernel(),
        synthetic::initrd(),
    );
    let firmware = Firmware::parse(&firmware).expect("good");
    let inputs = KernelInputs {
        kernel: Kernel::parse(&kernel).expect("good"),
        initrd: &initrd,
        command_line: "quiet",
    };
    let machine = Machine::new(65536, "9.2.1").expect("good");
    let boot = Boot::new(&firmware, &inputs, machine).expect("good");
    let acpi = AcpiTables::new(synthetic::acpi_of_td()).expect("good");
    boot.as_td(&acpi, PageOrder::TwoPass).expect("good")
}

#[test]
fn a_genuine_tds_log_has_the_predicted_events() {
    let found = directory().and_then(|place| std::fs::read(place.join(REPORT)).ok());
    let Some(report) = found else {
        eprintln!("SKIPPED: no genuine evidence `{REPORT}`; set PROOFROOM_EVIDENCE_DIR");
        return;
    };
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let log: Vec<Value> = serde_json::from_str(&text(&report["event_log"])).expect("a list");
    // RTMR3 is software's.
    let log: Vec<&Value> = log.iter().filter(|event| event["imr"] != 3).collect();
    let predicted = predicted();
    assert_eq!(log.len(), predicted.events.len());

    let mut logged = predicted.events.clone();
    let mut other = Vec::new();
    for (event, genuine) in logged.iter_mut().zip(log) {
        assert_eq!(
            genuine["imr"].as_u64(),
            event.rtmr.map(u64::from),
            "{}",
            event.what
        );
        let digest: Hash384 = text(&genuine["digest"]).parse().expect("a digest");
        if digest != event.sha384 {
            other.push(
                event
                    .what
                    .split([':', ','])
                    .next()
                    .expect("words")
                    .to_owned(),
            );
        }
        event.sha384 = digest;
    }
    // The synthetic firmware has its own configuration volume and names its DXE volume otherwise.
    assert_eq!(
        other,
        [
            "firmware",
            "ACPI",
            "ACPI",
            "ACPI",
            "kernel",
            "variable `Boot0000`",
            "command line",
            "initrd"
        ]
    );
    // The same sum of the genuine digests is what the quote says.
    let quote = hex::decode(text(&report["quote"])).expect("hex");
    for (number, register) in fold_rtmrs(&logged).iter().enumerate() {
        let at = RTMRS + 48 * number;
        assert_eq!(register.as_bytes(), &quote[at..at + 48], "RTMR{number}");
    }
}
