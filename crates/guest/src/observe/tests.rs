//! What is answered and what is written down, by path. No room: a workspace in a temporary
//! directory, a journal that nobody takes.

use std::{os::unix::net::UnixStream, path::PathBuf, sync::Arc};

use proofroom_canonical::{Digest, SessionId};
use proofroom_record::event::{Attempt, Observation};

use super::{Files, MAX_ATTEMPTS, Observer, Programs, Seen, Verdict, Watch as _};
use proofroom_signer::FastSigner;

use crate::{channel::Channel, identity, journal::Journal};

const EACCES: Verdict = Verdict::Deny(libc::EACCES);

struct Stage {
    observer: Observer,
    journal: Arc<Journal>,
    workspace: tempfile::TempDir,
    _host: UnixStream,
}

async fn stage(files: Files) -> Stage {
    let (room, host) = UnixStream::pair().unwrap();
    let channel = Channel::over(room).await.unwrap();
    let signer = FastSigner::new(&identity::new_key().unwrap()).unwrap();
    let root = Digest::of("root");
    let session = SessionId::from_random([7; 16]);
    let journal = Arc::new(Journal::new(channel, signer, session, root));
    let workspace = tempfile::tempdir().unwrap();
    let observer = Observer::new(
        Arc::clone(&journal),
        workspace.path().to_owned(),
        vec![PathBuf::from("/srv/toolchain")],
        Arc::<Programs>::default(),
        files,
    );
    Stage {
        observer,
        journal,
        workspace,
        _host: host,
    }
}

impl Stage {
    fn reading(&self, path: &str) -> Verdict {
        self.observer.seen(Seen::Reading(path.into()))
    }

    fn writing(&self, path: &str) -> Verdict {
        self.observer.seen(Seen::Writing(path.into(), "write"))
    }

    fn starting(&self, path: &str) -> Verdict {
        self.observer.seen(Seen::Starting {
            pid: 9,
            path: path.into(),
            argv: vec!["x".to_owned()],
        })
    }

    fn inside(&self, name: &str) -> String {
        self.workspace.path().join(name).display().to_string()
    }
}

fn file(path: &str, access: &str) -> Observation {
    let attempt = Attempt::File {
        path: path.to_owned(),
        access: access.to_owned(),
    };
    Observation::Blocked { attempt, times: 1 }
}

fn secret(path: &str) -> Observation {
    let attempt = Attempt::Secret {
        target: path.to_owned(),
    };
    Observation::Blocked { attempt, times: 1 }
}

#[tokio::test]
async fn what_a_room_shows_may_be_read_without_a_word() {
    let stage = stage(Files::Recorded).await;
    for path in [
        &stage.inside("a"),
        "/",
        "/usr/lib/x",
        "/proofroom/proofroom-guest",
        "/srv/toolchain/bin/cc",
        "/tmp/x",
        "/home/agent/.cache/x",
        "/etc/passwd",
        "/etc/gitconfig",
        "/proc/self/maps",
        "/proc/meminfo",
        "/run/proofroom/agent.sock",
    ] {
        assert_eq!(stage.reading(path), Verdict::Continue, "{path}");
    }
    assert_eq!(stage.journal.waiting(), []);
}

#[tokio::test]
async fn a_search_for_devices_and_kernel_objects_is_told_and_finds_nothing() {
    let stage = stage(Files::Recorded).await;
    for path in [
        "/dev/null",
        "/dev/urandom",
        "/sys",
        "/sys/devices/system/cpu/online",
        "/sys/fs/cgroup/memory.max",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ] {
        assert_eq!(stage.reading(path), Verdict::Continue, "{path}");
    }
    assert_eq!(stage.journal.waiting(), []);
    let absent = ["/dev/no-such-device", "/sys/no/such/object"];
    for path in absent {
        assert_eq!(stage.reading(path), Verdict::Deny(libc::ENOENT), "{path}");
    }
    assert_eq!(stage.reading("/proc/cmdline"), EACCES);
    let told: Vec<_> = absent.iter().map(|path| file(path, "read")).collect();
    assert_eq!(
        stage.journal.waiting(),
        [&told[..], &[secret("/proc/cmdline")]].concat()
    );
}

#[tokio::test]
async fn a_search_for_the_hosts_files_is_blocked_and_told() {
    let stage = stage(Files::Recorded).await;
    let paths = [
        "/root/.ssh/id_rsa",
        "/etc/no-such-file",
        "/var/lib/x",
        "/home/other/.netrc",
        "/srv/toolchain-of-others",
        "/usrx/y",
    ];
    for path in paths {
        assert_eq!(stage.reading(path), EACCES, "{path}");
    }
    let told: Vec<Observation> = paths.map(|path| file(path, "read")).to_vec();
    assert_eq!(stage.journal.waiting(), told);
}

#[tokio::test]
async fn the_first_process_and_the_kernels_memory_are_secrets() {
    let stage = stage(Files::Recorded).await;
    let paths = [
        "/proc/1/environ",
        "/proc/1",
        "/proc/kcore",
        "/proc/kallsyms",
    ];
    for path in paths {
        assert_eq!(stage.reading(path), EACCES, "{path}");
    }
    assert_eq!(stage.reading("/proc/12/status"), Verdict::Continue);
    assert_eq!(stage.writing("/proc/1/mem"), EACCES);
    let mut told: Vec<Observation> = paths.map(secret).to_vec();
    told.push(secret("/proc/1/mem"));
    assert_eq!(stage.journal.waiting(), told);
}

#[tokio::test]
async fn writes_outside_of_the_agents_own_are_blocked_and_told() {
    let stage = stage(Files::Recorded).await;
    for path in [
        &stage.inside("a"),
        "/tmp/x",
        "/home/agent/x",
        "/dev/shm/x",
        "/dev/null",
        "/proc/self/comm",
        "/proc/self/fd/3",
        "/memfd:x (deleted)",
    ] {
        assert_eq!(stage.writing(path), Verdict::Continue, "{path}");
    }
    assert_eq!(stage.journal.waiting(), []);
    let removing = Seen::Writing("/dev/null".into(), "remove");
    assert_eq!(stage.observer.seen(removing), EACCES);
    assert_eq!(stage.journal.waiting(), [file("/dev/null", "remove")]);
    let paths = [
        "/usr/bin/env",
        "/etc/passwd",
        "/dev/sda",
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/self/oom_score_adj",
        "/proc/12/uid_map",
        "/workspace-of-others/x",
        "/etc/x (deleted)",
        "/memfd:x",
    ];
    for path in paths {
        assert_eq!(stage.writing(path), EACCES, "{path}");
    }
    let told: Vec<Observation> = paths.map(|path| file(path, "write")).to_vec();
    assert_eq!(stage.journal.waiting().get(1..), Some(&told[..]));
}

#[tokio::test]
async fn directories_that_are_there_may_be_made_again() {
    let stage = stage(Files::Recorded).await;
    let making = |path: &str| stage.observer.seen(Seen::Making(path.into(), "mkdir"));
    assert_eq!(making("/usr"), Verdict::Continue);
    assert_eq!(making(&stage.inside("new")), Verdict::Continue);
    assert_eq!(making("/new-at-the-top"), EACCES);
    let told = [file("/new-at-the-top", "mkdir")];
    assert_eq!(stage.journal.waiting(), told);
}

#[tokio::test]
async fn a_change_of_mode_is_no_change_of_content() {
    let stage = stage(Files::Recorded).await;
    let path = stage.inside("a");
    std::fs::write(&path, "one").unwrap();
    let altering = |path: &str| stage.observer.seen(Seen::Altering(path.into(), "chmod"));
    assert_eq!(altering(&path), Verdict::Continue);
    assert_eq!(altering("/usr/bin/env"), EACCES);
    std::fs::write(&path, "two").unwrap();
    stage.observer.finish();
    assert_eq!(stage.journal.waiting(), [file("/usr/bin/env", "chmod")]);
}

#[tokio::test]
async fn a_changed_file_is_told_with_both_digests_once() {
    let stage = stage(Files::Recorded).await;
    let path = stage.inside("a");
    std::fs::write(&path, "one").unwrap();
    assert_eq!(stage.writing(&path), Verdict::Continue);
    std::fs::write(&path, "two").unwrap();
    assert_eq!(stage.writing(&path), Verdict::Continue);
    // written to, and the same in the end
    let same = stage.inside("same");
    std::fs::write(&same, "same").unwrap();
    assert_eq!(stage.writing(&same), Verdict::Continue);
    assert_eq!(
        stage.writing(&stage.inside(".git/objects/ab/cd")),
        Verdict::Continue
    );
    stage.observer.finish();
    let told = [Observation::FileChanged {
        path,
        before: Some(Digest::of("one")),
        after: Some(Digest::of("two")),
    }];
    assert_eq!(stage.journal.waiting(), told);
}

#[tokio::test]
async fn programs_that_are_not_there_do_not_start() {
    let stage = stage(Files::Recorded).await;
    assert_eq!(stage.starting("/usr/local/bin/no-such"), Verdict::Continue);
    assert_eq!(stage.starting("/opt2/no-such"), EACCES);
    assert_eq!(stage.journal.waiting(), [file("/opt2/no-such", "read")]);
    let program = stage.inside("program");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    assert_eq!(stage.starting(&program), Verdict::Continue);
    assert_eq!(stage.starting("/memfd:x (deleted)"), Verdict::Continue);
    let started: Vec<(String, Option<Digest>)> = stage.journal.waiting()[1..]
        .iter()
        .map(|seen| match seen {
            Observation::ProcessStarted {
                path, executable, ..
            } => (path.clone(), *executable),
            other => panic!("{other:?}"),
        })
        .collect();
    let own = Some(Digest::of("#!/bin/sh\n"));
    let nameless = ("/memfd:x (deleted)".to_owned(), None);
    assert_eq!(started, [(program, own), nameless]);
    assert_eq!(stage.observer.first_program(), own);
}

#[tokio::test]
async fn repeats_are_counted_and_floods_are_capped() {
    let stage = stage(Files::Recorded).await;
    for _ in 0..5 {
        assert_eq!(stage.reading("/root/x"), EACCES);
    }
    for number in 0..MAX_ATTEMPTS {
        assert_eq!(stage.reading(&format!("/root/{number}")), EACCES);
    }
    assert_eq!(stage.journal.waiting().len(), MAX_ATTEMPTS);
    stage.observer.finish();
    let told = stage.journal.waiting();
    let attempt = Attempt::File {
        path: "/root/x".to_owned(),
        access: "read".to_owned(),
    };
    let repeats = Observation::Blocked { attempt, times: 4 };
    assert_eq!(told[MAX_ATTEMPTS], repeats);
    let Observation::LimitReached { resource, detail } = &told[MAX_ATTEMPTS + 1] else {
        panic!("{told:?}")
    };
    assert_eq!(resource, "events");
    assert!(detail.starts_with("1 further"), "{detail}");
}

#[tokio::test]
async fn the_supervisors_git_changes_files_without_a_word() {
    let stage = stage(Files::Unrecorded).await;
    let path = stage.inside("a");
    assert_eq!(stage.writing(&path), Verdict::Continue);
    std::fs::write(&path, "new").unwrap();
    stage.observer.finish();
    assert_eq!(stage.journal.waiting(), []);
}
