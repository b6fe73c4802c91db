//! `proofroom measure` as it is called, on a synthetic image: what it writes, what it compares, and
//! what it refuses by name.

#![expect(
    clippy::expect_used,
    reason = "a test, with its helpers outside of the test functions"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use p256::{
    ecdsa::SigningKey,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
};
use proofroom_canonical::Timestamp;
use proofroom_testkit::image as synthetic;
use proofroom_verifier::{
    ROOM_VM, ReferenceManifest, RoomAppraisalPolicy,
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

/// A P-256 private key of a maker (scalar 0x0101..01), and the options that name it.
fn maker(directory: &Path) -> (SigningKey, Vec<String>) {
    let key = SigningKey::from_slice(&[1; 32]).expect("a key");
    let path = directory.join("maker.pem");
    let pem = key.to_pkcs8_pem(LineEnding::LF).expect("PEM");
    fs::write(&path, pem.as_bytes()).expect("a file");
    let out = directory.join("reference.release.json");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let options = [
        "--name",
        "room",
        "--release",
        "7",
        "--expires",
        "2999-01-01",
    ];
    let options = options.map(str::to_owned).into_iter();
    let files = [
        "--sign".to_owned(),
        text(&path),
        "--release-out".to_owned(),
        text(&out),
    ];
    (key, options.chain(files).collect())
}

#[test]
fn a_release_is_signed_and_accepted_by_a_policy_that_names_its_maker() {
    let place = tempfile::tempdir().expect("a directory");
    image(place.path(), |_| {});
    let (key, options) = maker(place.path());
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let told = measure(place.path(), &options);
    assert_eq!(told.status.code(), Some(0), "{}", said(&told));
    let release = fs::read(place.path().join("reference.release.json")).expect("written");
    let pem = key
        .verifying_key()
        .to_public_key_pem(LineEnding::LF)
        .expect("PEM");
    let policy = |minimum: u32| {
        let shipped = ROOM_VM
            .lines()
            .filter(|line| !line.starts_with("references"));
        let shipped: Vec<&str> = shipped.collect();
        let text = format!(
            "{}\nreferences = []\n[[signed_reference]]\nname = \"room\"\nmin_version = {minimum}\nkey = \"\"\"{pem}\"\"\"\n",
            shipped.join("\n")
        );
        RoomAppraisalPolicy::parse(&text, "room.toml").expect("a policy")
    };
    let now = Timestamp::from_unix_seconds(jiff::Timestamp::now().as_second() + 1);
    let pinned = policy(7).with_reference(&release, now).expect("accepted");
    assert_eq!(pinned.reference(), &manifest(place.path()));
    let refused = policy(8).with_reference(&release, now).expect_err("older");
    assert_eq!(refused.code(), "release-downgrade");
}

#[test]
fn a_release_needs_its_key_its_name_and_an_end_that_lies_ahead() {
    let place = tempfile::tempdir().expect("a directory");
    image(place.path(), |_| {});
    let (_, options) = maker(place.path());
    let with = |from: &str, to: &str| {
        let options: Vec<&str> = options
            .iter()
            .map(|one| if one == from { to } else { one })
            .collect();
        let output = measure(place.path(), &options);
        (output.status.code(), said(&output))
    };
    let (code, words) = with("2999-01-01", "2020-01-01");
    assert!(code == Some(64) && words.contains("(bad-time)"), "{words}");
    let key = place.path().join("maker.pem");
    fs::write(&key, "no key").expect("a file");
    let (code, words) = with("room", "room");
    assert!(
        code == Some(64) && words.contains("(release-key)"),
        "{words}"
    );
    let alone = measure(place.path(), &["--sign", "maker.pem"]);
    assert_ne!(alone.status.code(), Some(0), "{}", said(&alone));
    assert!(!place.path().join("reference.release.json").exists());
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
