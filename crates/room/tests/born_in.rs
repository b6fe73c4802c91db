//! Version 2 groups: the room's first process is born in its group. Needs root and a writable
//! version 2 hierarchy; without them it says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::{
    fs::{self, File},
    io::Read as _,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
};

use proofroom_confine::{
    IdMap, MapWriter, ReadOnlyBind, Rights, RoomLimits, RoomSpec, StageProgram,
    launch::{Group, Launcher},
};
use proofroom_room::Diagnostics;

/// Below where this test's process is, so that the right to move between the two is its own.
fn group() -> Option<(PathBuf, String)> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let name = format!("proofroom-born-in-{}", std::process::id());
    let line = format!("0::{}/{name}", own.trim_end_matches('/'));
    let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(|root| Path::new(root).join(own.trim_start_matches('/')))
        .find(|path| path.join("cgroup.controllers").exists())?;
    let directory = root.join(name);
    fs::create_dir(&directory).ok()?;
    Some((directory, line))
}

#[test]
fn the_first_process_is_born_in_a_version_2_group() {
    let root = rustix::process::geteuid().is_root();
    let Some((directory, line)) = root.then(group).flatten() else {
        println!("SKIPPED: no writable version 2 group hierarchy");
        return;
    };
    let stage = PathBuf::from(env!("CARGO_BIN_EXE_confine-probe"));
    let spec = RoomSpec {
        system: ["/usr", "/bin", "/lib", "/lib64"]
            .map(PathBuf::from)
            .to_vec(),
        read_only: vec![ReadOnlyBind {
            source: stage.clone(),
            target: "/proofroom/guest".into(),
        }],
        mounts: Vec::new(),
        devices: Vec::new(),
        rights: Rights::Supervisor,
        etc: Vec::new(),
        supervisor: vec!["/proofroom/guest".into(), "supervise".into()],
        environment: Vec::new(),
        limits: RoomLimits::default(),
        diagnostics: Diagnostics::Discard,
    };
    let ids = IdMap {
        supervisor: 1_999_998,
        agent: 1_999_999,
        writer: MapWriter::Root,
    };
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let entrance = Group::Directory(File::open(&directory).unwrap().into());
    let room = Launcher::spawn(&StageProgram::at(stage), Diagnostics::Discard)
        .unwrap()
        .enter(&[entrance])
        .unwrap()
        .start(&spec, ids, &[OwnedFd::from(theirs)])
        .unwrap();
    ours.read_exact(&mut [0]).unwrap();
    let member = fs::read_to_string(format!("/proc/{}/cgroup", room.pid())).unwrap();
    let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
    room.kill().unwrap();
    room.wait().unwrap();
    drop(room);
    // the kernel lets go of the last process a little after it was reaped
    let gone = (0..200).any(|_| {
        fs::remove_dir(&directory).is_ok() || {
            std::thread::sleep(std::time::Duration::from_millis(1));
            false
        }
    });
    assert!(member.lines().any(|found| found == line), "{member}");
    assert_eq!(members.lines().count(), 1, "{members}");
    assert!(gone, "the group is still there");
}
