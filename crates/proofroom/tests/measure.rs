//! `proofroom measure` as it is called, on a synthetic image: what it writes, what it compares, and
//! what it refuses by name.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test, with its helpers outside of the test functions"
)]

#[path = "../../measure/src/synthetic.rs"]
mod synthetic;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use proofroom_verifier::{
    ReferenceManifest,
    reference::{Hash256, ReferenceEvent, TdxReference},
};
use serde_json::{Value, json};

/// Writes the synthetic image, and lets `change` change its list.
fn image(directory: &Path, change: impl FnOnce(&mut Value)) {
    let file = |name: &str, bytes: Vec<u8>| {
        fs::write(directory.join(name), &bytes).expect("a file");
        json!({"file": name, "sha256": Hash256::of(&bytes).to_string(), "bytes": bytes.len()})
    };
    let acpi = |name: &str, files: BTreeMap<String, Vec<u8>>| {
        let place = directory.join("acpi").join(name);
        fs::create_dir_all(&place).expect("a directory");
        let mut listed = serde_json::Map::new();
        for (name, bytes) in files {
            fs::write(place.join(&name), &bytes).expect("a file");
            listed.insert(name, Hash256::of(&bytes).to_string().into());
        }
        json!({"qemu": "7.2.22", "vcpus": 1, "memory_mib": 1024,
            "directory": format!("acpi/{name}"), "files": listed})
    };
    let mut list = json!({
        "format": "proofroom.image.v1",
        "kernel": file("vmlinuz", synthetic::kernel()),
        "initrd": file("initrd", synthetic::initrd()),
        "firmware": file("OVMF.fd", synthetic::firmware()),
        "command_line": "quiet",
        "inputs": [],
        "acpi": [acpi("tpm", synthetic::acpi()), acpi("td", synthetic::acpi_of_td())],
    });
    change(&mut list);
    fs::write(directory.join("image.json"), list.to_string()).expect("a file");
}

fn measure(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_proofroom"))
        .args(["measure", "--image"])
        .arg(directory)
        .args(arguments)
        .output()
        .expect("the command starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn manifest(directory: &Path) -> ReferenceManifest {
    let output = measure(directory, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    ReferenceManifest::parse(output.stdout.trim_ascii_end()).expect("a manifest")
}

/// A TCG log of `events`.
fn log(events: &[ReferenceEvent]) -> Vec<u8> {
    let mut contents = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x02\0\0\0".to_vec();
    contents.extend([0x0b, 0, 32, 0, 0x0c, 0, 48, 0, 0]);
    let mut log = vec![0, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend(u32::try_from(contents.len()).expect("small").to_le_bytes());
    log.extend(contents);
    for event in events {
        let kind: u32 = match event.kind.as_str() {
            "EV_SEPARATOR" => 4,
            "EV_EVENT_TAG" => 6,
            "EV_S_CRTM_VERSION" => 8,
            "EV_PLATFORM_CONFIG_FLAGS" => 0x0a,
            "EV_EFI_VARIABLE_DRIVER_CONFIG" => 0x8000_0001,
            "EV_EFI_VARIABLE_BOOT" => 0x8000_0002,
            "EV_EFI_BOOT_SERVICES_APPLICATION" => 0x8000_0003,
            "EV_EFI_ACTION" => 0x8000_0007,
            _ => 0x8000_0008,
        };
        log.extend(event.pcr.to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend([2, 0, 0, 0, 0x0b, 0]);
        log.extend(event.sha256.as_bytes());
        log.extend([0x0c, 0]);
        log.extend(event.sha384.as_bytes());
        log.extend([0; 4]);
    }
    log
}

#[test]
fn a_manifest_is_written_printed_and_told() {
    let place = tempfile::tempdir().expect("a directory");
    image(place.path(), |_| {});
    let out = place.path().join("reference.json");
    let told = measure(place.path(), &["--out", out.to_str().expect("text")]);
    assert_eq!(told.status.code(), Some(0), "{}", said(&told));
    let written = fs::read(&out).expect("written");
    let read = ReferenceManifest::parse(&written).expect("a manifest");
    assert_eq!(read, manifest(place.path()));
    assert_eq!(read.contents().events.len(), 28);
    assert!(matches!(read.contents().tdx, TdxReference::Computed { .. }));
    // Everything in the manifest is told to a person.
    let told = said(&told);
    for event in &read.contents().events {
        assert!(told.contains(&event.what), "{}", event.what);
    }
    for value in read.contents().tpm2.sha384.values() {
        assert!(told.contains(&value.to_string()), "{value}");
    }
}

#[test]
fn a_captured_log_is_the_predicted_one_or_its_first_other_event_is_named() {
    let place = tempfile::tempdir().expect("a directory");
    image(place.path(), |_| {});
    let mut events = manifest(place.path()).contents().events.clone();
    let captured = place.path().join("log");
    let path = captured.to_str().expect("text");
    fs::write(&captured, log(&events)).expect("a file");
    let same = measure(place.path(), &["--check-log", path]);
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));
    assert!(said(&same).contains("all 28 events"));

    events[13].sha384 = events[12].sha384;
    fs::write(&captured, log(&events)).expect("a file");
    let other = measure(place.path(), &["--check-log", path]);
    assert_eq!(other.status.code(), Some(10));
    let words = said(&other);
    assert!(
        words.contains("event 14: its digest is another one"),
        "{words}"
    );

    fs::write(&captured, b"not a log").expect("a file");
    let refused = measure(place.path(), &["--check-log", path]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(
        said(&refused).contains("(log-malformed)"),
        "{}",
        said(&refused)
    );
}

/// The words of a refusal, with exit 64.
fn refusal(spoil: &dyn Fn(&Path), edit: fn(&mut Value)) -> String {
    let place = tempfile::tempdir().expect("a directory");
    image(place.path(), edit);
    spoil(place.path());
    let output = measure(place.path(), &[]);
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    said(&output)
}

#[test]
fn a_file_that_is_not_the_listed_one_is_refused_by_name() {
    for name in ["vmlinuz", "initrd", "OVMF.fd", "acpi/tpm/tables"] {
        let append = |place: &Path| {
            let mut bytes = fs::read(place.join(name)).expect("there");
            bytes.push(0);
            fs::write(place.join(name), bytes).expect("a file");
        };
        let words = refusal(&append, |_| {});
        assert!(
            words.contains("(image-file-differs)") && words.contains(name),
            "{words}"
        );
        let remove = |place: &Path| fs::remove_file(place.join(name)).expect("there");
        let words = refusal(&remove, |_| {});
        assert!(
            words.contains("(file-unreadable)") && words.contains(name),
            "{words}"
        );
    }
}

#[test]
fn a_list_that_cannot_be_used_is_refused_by_code() {
    type Edit = fn(&mut Value);
    let edits: [(Edit, &str, &str); 6] = [
        (
            |list| list["more"] = json!(1),
            "image-malformed",
            "image.json",
        ),
        (
            |list| list["acpi"] = json!([]),
            "shape-not-captured",
            "capture them",
        ),
        (
            |list| list["acpi"][0]["disks"] = json!(1),
            "shape-not-captured",
            "0 layers",
        ),
        (
            |list| list["command_line"] = json!("vga=1"),
            "command-line-unusable",
            "vga=",
        ),
        (
            |list| list["kernel"] = list["initrd"].clone(),
            "kernel-malformed",
            "initrd",
        ),
        (
            |list| list["firmware"] = list["initrd"].clone(),
            "firmware-unsupported",
            "initrd",
        ),
    ];
    for (edit, code, names) in edits {
        let words = refusal(&|_| {}, edit);
        assert!(
            words.contains(&format!("({code})")) && words.contains(names),
            "{words}"
        );
    }
}

#[test]
fn without_tables_of_a_td_the_manifest_says_why_it_has_no_tdx_registers() {
    let place = tempfile::tempdir().expect("a directory");
    image(place.path(), |list| {
        list["acpi"].as_array_mut().expect("a list").truncate(1);
    });
    let read = manifest(place.path());
    let reason = match &read.contents().tdx {
        TdxReference::NotComputed { reason } => reason.as_str(),
        TdxReference::Computed { .. } => "computed",
    };
    assert!(reason.contains("1 vCPUs and 1024 MiB"), "{reason}");
}
