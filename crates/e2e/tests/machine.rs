//! Sessions in virtual machines of their own, on an emulated processor: slow, so few, and each looks
//! at many things. Where QEMU, `swtpm` or the image is missing the tests say so.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::Command,
    time::{Duration, Instant},
};

use proofroom_canonical::Digest;
use proofroom_e2e::{
    Bundle, Deployment, Process, RoomCommand, git, image_directory, program, repository_root, skip,
};
use proofroom_verifier::RoomAppraisalPolicy;
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

#[test]
fn a_machine_with_another_command_line_than_the_measured_one_gets_no_session() {
    let name = "a_machine_with_another_command_line_than_the_measured_one_gets_no_session";
    let deployment = Deployment::empty();
    let repository = deployment.repository("work", &[("a", "1")]);
    let image = match image_directory() {
        Ok(image) => image,
        Err(why) => return skip(name, &why),
    };
    // The host swaps what boots, after the policy has pinned what should.
    let swapped = deployment.path().join("image");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(&image)
        .arg(&swapped)
        .status();
    assert!(copied.expect("cp").success());
    let path = swapped.join("image.json");
    let text = fs::read_to_string(&path).expect("image.json");
    let mut manifest: Value = serde_json::from_str(&text).expect("JSON");
    let line = manifest["command_line"]
        .as_str()
        .expect("a command line")
        .to_owned();
    manifest["command_line"] = format!("{line} init_on_alloc=0").into();
    fs::write(&path, manifest.to_string()).expect("image.json");
    let reference = fs::read(image.join("reference.json")).expect("reference.json");
    let pinned = RoomAppraisalPolicy::for_reference(Digest::of(&reference));
    fs::write(deployment.policy().join("room-appraisal.toml"), pinned).expect("policy");
    let session = deployment.machine_session_of(&repository, &swapped);
    let ended = session.command(&["true"]).run();
    assert_ne!(ended.code, Some(0));
    assert!(!ended.path.exists(), "a session began");
    let said = ended.lines.iter().any(|line| {
        let text = line.to_string();
        text.contains("reference-mismatch") && text.contains("reference-pcr-9")
    });
    assert!(said, "{:?} {}", ended.lines, ended.complaint);
}
