//! Sessions in virtual machines of their own, on an emulated processor: slow, so few, and each looks
//! at many things. Where QEMU, `swtpm` or the image is missing the tests say so.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use proofroom_canonical::Digest;
use proofroom_e2e::{
    Bundle, Deployment, Process, RoomCommand, git, image_directory, program, repository_root,
    simulated_image_directory, skip,
};
use proofroom_verifier::{ROOM_SIMULATED, ROOM_TDX, RoomAppraisalPolicy};
use serde_json::Value;

const TASK: &str = "The test suite of this repository fails. Fix it and commit the fix.";

#[test]
fn the_demos_session_runs_in_a_virtual_machine_and_is_accepted() {
    let cassette = repository_root().join("crates/testkit/cassettes/demo.json");
    let deployment = Deployment::with_cassette(&cassette);
    let repository = deployment.demo_repository();
    let session = match deployment.machine_session(&repository) {
        Ok(session) => session,
        Err(why) => {
            return skip(
                "the_demos_session_runs_in_a_virtual_machine_and_is_accepted",
                &why,
            );
        }
    };
    let began = Instant::now();
    let bundle = session.task(TASK).run();
    println!("the whole session took {:?}", began.elapsed());
    assert_eq!(bundle.code, Some(0), "{}", bundle.complaint);
    let record = &bundle.session_record()["predicate"];
    assert_eq!(record["isolation"], "vm");
    let mechanisms: Vec<&str> = record["mechanisms"]
        .as_array()
        .expect("mechanisms")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for mechanism in [
        "qemu-tcg-emulated",
        "software-tpm-of-the-host",
        "jail-user-namespace",
        "jail-seccomp-deny-list",
        "jail-executes-once",
        "guest-user-namespace",
        "guest-modules-locked",
        "guest-no-swap",
        "guest-cgroup-v2-memory-pids",
        "guest-cgroup-v2-command-memory",
    ] {
        assert!(
            mechanisms.contains(&mechanism),
            "{mechanism}: {mechanisms:?}"
        );
    }
    assert!(mechanisms.iter().any(|m| m.starts_with("own-kernel-")));
    let branch = record["result"]["reference"].as_str().expect("a branch");
    let log = git(&repository, &["log", "--oneline", branch]);
    assert_eq!(log.lines().count(), 2, "{log}");
    bundle.assert_accepted();
    let verified = Command::new(program("proofroom-verify"))
        .arg(&bundle.path)
        .output()
        .expect("proofroom-verify starts");
    let transcript = String::from_utf8_lossy(&verified.stdout).into_owned();
    for shown in [
        "start: reference-pcr-4",
        "start: runtime-assignment",
        "end: quote-signature",
        "software TPM",
    ] {
        assert!(transcript.contains(shown), "{shown}: {transcript}");
    }
    nothing_is_left();
}

#[test]
fn a_host_that_is_killed_leaves_no_machine_behind() {
    let deployment = Deployment::empty();
    let repository = deployment.repository("work", &[("a", "1")]);
    let session = match deployment.machine_session(&repository) {
        Ok(session) => session,
        Err(why) => return skip("a_host_that_is_killed_leaves_no_machine_behind", &why),
    };
    let mut live = session
        .command(&["sleep", "600"])
        .live()
        .patient(Duration::from_secs(240));
    let id = live.id();
    live.wait_for("an event of the room", |line| line["type"] == "event");
    let processes = live.processes();
    assert!(
        processes.len() >= 2,
        "QEMU and its TPM, but only {processes:?}"
    );
    drop(live.kill());
    // The guest notices that its port is closed, or the janitor ends what did not.
    RoomCommand::new(&deployment, &["sweep"]).success();
    Process::assert_gone(&processes);
    nothing_is_left();
    let bundle = Bundle::at(deployment.state().join(format!("bundles/{id}.proofroom")));
    let record = &bundle.session_record()["predicate"];
    assert_eq!(record["isolation"], "vm");
    assert_eq!(record["end"], "interrupted");
    bundle.assert_accepted();
}

/// No state of a TPM whose machine is gone. Machines of other tests may live beside this one.
fn nothing_is_left() {
    let owners: Vec<u32> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.metadata().ok().map(|metadata| metadata.uid()))
        .collect();
    let left: Vec<String> = fs::read_dir("/dev/shm")
        .expect("/dev/shm")
        .flatten()
        .filter(|entry| {
            let owner = entry.metadata().map(|metadata| metadata.uid());
            owner.is_ok_and(|owner| !owners.contains(&owner))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("proofroom-tpm-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A copy of the image that a test changes after the policy has pinned the genuine one.
struct Swapped {
    deployment: Deployment,
    repository: PathBuf,
    image: PathBuf,
}

impl Swapped {
    fn new() -> Result<Self, String> {
        let genuine = image_directory()?;
        let deployment = Deployment::empty();
        let repository = deployment.repository("work", &[("a", "1")]);
        let image = deployment.path().join("image");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(&genuine)
            .arg(&image)
            .status();
        assert!(copied.expect("cp").success());
        let reference = fs::read(genuine.join("reference.json")).expect("reference.json");
        let pinned = RoomAppraisalPolicy::for_reference(Digest::of(&reference));
        fs::write(deployment.policy().join("room-appraisal.toml"), pinned).expect("policy");
        Ok(Self {
            deployment,
            repository,
            image,
        })
    }

    fn change_manifest(&self, change: impl FnOnce(&mut Value)) {
        let path = self.image.join("image.json");
        let text = fs::read_to_string(&path).expect("image.json");
        let mut manifest: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut manifest);
        fs::write(&path, manifest.to_string()).expect("image.json");
    }

    /// Changes a file of the image, whose own list then names the changed one.
    fn change_part(&self, part: &str, change: impl FnOnce(&mut Vec<u8>)) {
        self.change_manifest(|manifest| {
            let component = &mut manifest[part];
            let path = self.image.join(component["file"].as_str().expect("a name"));
            let mut bytes = fs::read(&path).expect("a part");
            change(&mut bytes);
            fs::write(&path, &bytes).expect("a part");
            component["sha256"] = Digest::of(&bytes).to_hex().into();
            component["bytes"] = bytes.len().into();
        });
    }

    /// No session begins, and these words say why.
    fn refused(&self, words: &[&str]) {
        let session = self
            .deployment
            .machine_session_of(&self.repository, &self.image);
        let ended = session.command(&["true"]).run();
        assert_ne!(ended.code, Some(0));
        assert!(!ended.path.exists(), "a session began");
        let mut said = ended.lines.iter().map(Value::to_string);
        let named = said.any(|line| words.iter().all(|word| line.contains(word)))
            || words.iter().all(|word| ended.complaint.contains(word));
        assert!(named, "{words:?}: {:?} {}", ended.lines, ended.complaint);
    }
}

#[test]
fn a_machine_with_another_command_line_than_the_measured_one_gets_no_session() {
    let name = "a_machine_with_another_command_line_than_the_measured_one_gets_no_session";
    let swapped = match Swapped::new() {
        Ok(swapped) => swapped,
        Err(why) => return skip(name, &why),
    };
    swapped.change_manifest(|manifest| {
        let line = manifest["command_line"].as_str().expect("a command line");
        manifest["command_line"] = format!("{line} init_on_alloc=0").into();
    });
    swapped.refused(&["reference-mismatch", "reference-pcr-9"]);
}

#[test]
fn a_machine_whose_kernel_differs_in_one_byte_gets_no_session() {
    let name = "a_machine_whose_kernel_differs_in_one_byte_gets_no_session";
    let swapped = match Swapped::new() {
        Ok(swapped) => swapped,
        Err(why) => return skip(name, &why),
    };
    swapped.change_part("kernel", |kernel| {
        // The version text, which only people read: the field `kernel_version` of the setup header
        // is its place less 0x200 (Documentation/arch/x86/boot.rst).
        let place = u16::from_le_bytes([kernel[0x20e], kernel[0x20f]]);
        kernel[usize::from(place) + 0x200] ^= 1;
    });
    swapped.refused(&["reference-mismatch", "reference-pcr-4"]);
}

#[test]
fn a_machine_whose_initial_file_system_differs_in_one_bit_gets_no_session() {
    let name = "a_machine_whose_initial_file_system_differs_in_one_bit_gets_no_session";
    let swapped = match Swapped::new() {
        Ok(swapped) => swapped,
        Err(why) => return skip(name, &why),
    };
    // The bit of a zstd frame's header that no decoder may read (RFC 8878 section 3.1.1.1.1.3). A byte
    // more would show in the kernel's setup header first, which has the size.
    swapped.change_part("initrd", |initrd| {
        assert_eq!(initrd[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        initrd[4] ^= 0x10;
    });
    swapped.refused(&["reference-mismatch", "reference-pcr-9"]);
}

#[test]
fn a_machine_with_one_changed_byte_in_a_layer_gets_no_room() {
    let name = "a_machine_with_one_changed_byte_in_a_layer_gets_no_room";
    let swapped = match Swapped::new() {
        Ok(swapped) => swapped,
        Err(why) => return skip(name, &why),
    };
    let layer = swapped.image.join("layers/base/layer.img");
    if !layer.is_file() {
        return skip(name, "the image has no base layer");
    }
    let mut permissions = fs::metadata(&layer).expect("a layer").permissions();
    permissions.set_mode(0o644);
    fs::set_permissions(&layer, permissions).expect("a layer");
    let mut bytes = fs::read(&layer).expect("a layer");
    // In the first block, which is read to mount it, behind everything that the super block has.
    bytes[0x900] ^= 1;
    fs::write(&layer, bytes).expect("a layer");
    swapped.refused(&["the guest gave up (layer-"]);
}

#[test]
fn one_changed_character_of_the_pinned_reference_starts_no_machine() {
    let name = "one_changed_character_of_the_pinned_reference_starts_no_machine";
    let swapped = match Swapped::new() {
        Ok(swapped) => swapped,
        Err(why) => return skip(name, &why),
    };
    let path = swapped.deployment.policy().join("room-appraisal.toml");
    let text = fs::read_to_string(&path).expect("policy");
    let reference = fs::read(swapped.image.join("reference.json")).expect("reference.json");
    let digest = Digest::of(&reference).to_hex();
    let (first, rest) = digest.split_at(1);
    let other = if first == "0" { "1" } else { "0" };
    assert!(text.contains(&digest));
    fs::write(&path, text.replace(&digest, &format!("{other}{rest}"))).expect("policy");
    swapped.refused(&["is not one that room appraisal policy"]);
}

/// Every check that a simulated trust domain has to pass, and the words that must not be missing.
const SHOWN_OF_A_SIMULATED_ROOM: [&str; 10] = [
    "start: pck-chain-root",
    "start: quote-signature",
    "start: mr-config-id",
    "start: reference-rtmr1",
    "start: runtime-boot-config",
    "start: runtime-assignment",
    "start: nonce",
    "end: report-data",
    "end: runtime-replay",
    "SIMULATED",
];

#[test]
fn the_demos_session_runs_in_a_simulated_trust_domain_and_is_never_called_hardware() {
    let name = "the_demos_session_runs_in_a_simulated_trust_domain_and_is_never_called_hardware";
    let image = match simulated_image_directory() {
        Ok(image) => image,
        Err(why) => return skip(name, &why),
    };
    let cassette = repository_root().join("crates/testkit/cassettes/demo.json");
    let deployment = Deployment::with_cassette(&cassette);
    let repository = deployment.demo_repository();
    let collateral = deployment.path().join("collateral");
    let published = Command::new(program("proofroom-simulated-collateral"))
        .arg(&collateral)
        .status();
    assert!(published.expect("it starts").success());
    let session = || {
        deployment
            .machine_session_of(&repository, &image)
            .arguments(&["--collateral".as_ref(), collateral.as_os_str()])
            .task(TASK)
    };
    // Nobody accepts simulated evidence by default.
    let refused = session().run();
    let said = refused.complaint.contains("simulated evidence");
    assert!(said && !refused.path.exists(), "{}", refused.complaint);

    let reference = Digest::of(fs::read(image.join("reference.json")).expect("reference.json"));
    let policy = RoomAppraisalPolicy::pinning(ROOM_SIMULATED, reference);
    fs::write(deployment.policy().join("room-appraisal.toml"), policy).expect("policy");
    let began = Instant::now();
    let bundle = session().run();
    println!("the whole session took {:?}", began.elapsed());
    assert_eq!(
        bundle.code,
        Some(0),
        "{} {:?}",
        bundle.complaint,
        bundle.lines
    );
    let record = bundle.session_record()["predicate"].clone();
    assert_eq!(record["isolation"], "simulated");
    for moment in ["start", "end"] {
        let claim = &record["room_evidence"][moment].to_string();
        assert!(
            claim.contains("tdx") && claim.contains("room-simulated"),
            "{claim}"
        );
    }
    let mechanisms = record["mechanisms"].to_string();
    for mechanism in ["simulated-tdx-module", "qemu-tcg-emulated", "own-kernel-"] {
        assert!(mechanisms.contains(mechanism), "{mechanism}: {mechanisms}");
    }
    for other in ["\"hardware\"", "software-tpm"] {
        assert!(!record.to_string().contains(other), "{other}: {record}");
    }
    bundle.assert_accepted();
    let transcript = verified(&bundle, None);
    for shown in SHOWN_OF_A_SIMULATED_ROOM {
        assert!(transcript.contains(shown), "{shown}: {transcript}");
    }

    // A policy for hardware refuses the same bundle, at the root of its certificates.
    let production = deployment.path().join("room-tdx.toml");
    let policy = RoomAppraisalPolicy::pinning(ROOM_TDX, reference);
    fs::write(&production, policy).expect("policy");
    let transcript = verified(&bundle, Some(&production));
    assert!(transcript.contains("pck-chain-root"), "{transcript}");
    assert!(
        transcript.to_uppercase().contains("REJECTED"),
        "{transcript}"
    );
    nothing_is_left();
}

/// What the verifier prints of a bundle, perhaps under a policy of the auditor's own.
fn verified(bundle: &Bundle, policy: Option<&Path>) -> String {
    let mut verify = Command::new(program("proofroom-verify"));
    verify.arg(&bundle.path);
    if let Some(policy) = policy {
        verify.arg("--room-appraisal-policy").arg(policy);
    }
    let answer = verify.output().expect("proofroom-verify starts");
    assert_eq!(answer.status.success(), policy.is_none(), "{answer:?}");
    String::from_utf8_lossy(&answer.stdout).into_owned()
}
