//! Sessions in virtual machines of their own, on an emulated processor: slow, so few, and each looks
//! at many things. Where QEMU, `swtpm` or the image is missing the tests say so.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
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
