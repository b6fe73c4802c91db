//! What a running command's system calls become: an answer at once, and events. It is the record;
//! the boundary is the kernel's (Landlock, namespaces, ownership), which judges the real objects.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use proofroom_canonical::{Digest, Hasher};
use proofroom_confine::{NAME_SWITCH, RESOLVER_FILE};
use proofroom_record::event::{Attempt, Observation};

use crate::{journal::Journal, redact};

/// The most processes whose start one session writes down.
const MAX_PROCESSES: usize = 2_000;
/// The most different blocked attempts that one command writes down.
const MAX_ATTEMPTS: usize = 256;
/// The most changed files that one command writes down.
const MAX_CHANGED: usize = 2_000;
/// Files larger than this are not hashed.
const MAX_HASHED_BYTES: u64 = 256 * 1024 * 1024;
/// The most bytes of one process's arguments that are written down.
const MAX_ARGV_BYTES: usize = 4096;

/// Directories at the root that a command may read besides its own. Looking in vain in them is what programs
/// do.
const SYSTEM: [&str; 8] = [
    "bin",
    "lib",
    "lib32",
    "lib64",
    "opt",
    "sbin",
    "usr",
    "proofroom",
];
/// What programs look for below `/etc` and never find in a room; everything else that is not there
/// was somebody's search for the host's.
const SOUGHT_IN_ETC: [&str; 24] = [
    "apt",
    "bash.bashrc",
    "ca-certificates",
    "default",
    "environment",
    "gai.conf",
    "gitattributes",
    "gitconfig",
    "gnutls",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.preload",
    "locale.alias",
    "localtime",
    "mime.types",
    "nodejs",
    "npmrc",
    "pip.conf",
    "profile",
    "protocols",
    "services",
    "ssl",
    "terminfo",
];
/// What run-times look for below `/sys`, which no room has: processors, memory, their own group.
const SOUGHT_IN_SYS: [&str; 3] = ["devices/system", "fs/cgroup", "kernel/mm"];
/// Files of `/proc` that tell about the kernel, its memory, or the machine's disks and devices.
const KERNEL_FILES: [&str; 32] = [
    "acpi",
    "bus",
    "cmdline",
    "config.gz",
    "consoles",
    "diskstats",
    "dma",
    "driver",
    "interrupts",
    "iomem",
    "ioports",
    "irq",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "locks",
    "modules",
    "mtrr",
    "partitions",
    "sched_debug",
    "scsi",
    "slabinfo",
    "swaps",
    "sysrq-trigger",
    "timer_list",
    "tty",
    "vmallocinfo",
];
/// Directories that a command may write, besides the workspace.
const SCRATCH: [&str; 3] = ["/tmp", "/home/agent", "/dev/shm"];
/// Devices that a command may write to.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty"];
/// The channel's face for agents that speak over a socket file.
const AGENT_SOCKET: &str = "/run/proofroom/agent.sock";
/// Who vouches for hosts outside.
const AUTHORITIES: &str = "/run/proofroom/authorities.pem";
/// What the supervisor says to whom.
const OF_THE_SUPERVISOR: [&str; 4] = [AGENT_SOCKET, AUTHORITIES, NAME_SWITCH, RESOLVER_FILE];

/// A system call that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A file is about to be opened for reading.
    Reading(PathBuf),
    /// A file is about to be opened for writing, created, removed or replaced; the word says which.
    Writing(PathBuf, &'static str),
    /// A directory is about to be made.
    Making(PathBuf, &'static str),
    /// What is known about a file is about to change: its mode, owner or attributes.
    Altering(PathBuf, &'static str),
    /// A program is about to start.
    Starting {
        /// Process id in the room.
        pid: u32,
        /// The program.
        path: PathBuf,
        /// Its arguments.
        argv: Vec<String>,
    },
    /// The confinement refuses this, whatever is answered.
    Refused {
        /// What was tried.
        attempt: Attempt,
        /// What the caller is told.
        errno: i32,
    },
    /// Nothing to write down.
    Ordinary,
}

/// The answer to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel carries it out, under the room's boundary.
    Continue,
    /// The caller gets this error.
    Deny(i32),
}

/// Decides and records the system calls of commands. Called from threads of the spawner's.
pub trait Watch: Send + Sync {
    /// Answers one call, at once.
    fn seen(&self, call: Seen) -> Verdict;
}

/// The watch of one command.
#[derive(Debug)]
pub struct Observer {
    journal: Arc<Journal>,
    workspace: PathBuf,
    readable: Vec<PathBuf>,
    seen: Mutex<Tally>,
    programs: Arc<Programs>,
    files: Files,
}

/// Whether changed files are written down one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They are.
    Recorded,
    /// They are not: the supervisor's own git, whose commit names all of them.
    Unrecorded,
}

#[derive(Debug, Default)]
struct Tally {
    attempts: BTreeMap<Attempt, u64>,
    dropped: u64,
    changed: BTreeMap<PathBuf, Option<Digest>>,
    first_program: Option<Digest>,
}

/// Digests of programs that were started in this session, by file.
#[derive(Debug, Default)]
pub struct Programs {
    known: Mutex<HashMap<(u64, u64, i64, u64), Digest>>,
    started: Mutex<usize>,
}

impl Observer {
    /// A watch that writes to `journal`. `readable` are directories of the host that the room shows.
    #[must_use]
    pub fn new(
        journal: Arc<Journal>,
        workspace: PathBuf,
        readable: Vec<PathBuf>,
        programs: Arc<Programs>,
        files: Files,
    ) -> Self {
        Self {
            journal,
            workspace,
            readable,
            seen: Mutex::default(),
            programs,
            files,
        }
    }

    /// Digest of the first program that the command started.
    #[must_use]
    pub fn first_program(&self) -> Option<Digest> {
        self.tally().first_program
    }

    /// Notes what only the end of the command shows: repeats, and files that changed.
    pub fn finish(&self) {
        let tally = std::mem::take(&mut *self.tally());
        for (attempt, times) in tally.attempts {
            if times > 1 {
                let times = times.saturating_sub(1);
                self.journal.note(Observation::Blocked { attempt, times });
            }
        }
        if tally.dropped > 0 {
            self.journal.note(Observation::LimitReached {
                resource: "events".to_owned(),
                detail: format!("{} further blocked attempts or changes", tally.dropped),
            });
        }
        for (path, before) in tally.changed {
            let after = digest_of(&path);
            if after != before {
                let path = path.to_string_lossy().into_owned();
                self.journal.note(Observation::FileChanged {
                    path,
                    before,
                    after,
                });
            }
        }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blocked(&self, attempt: Attempt, errno: i32) -> Verdict {
        let mut tally = self.tally();
        if let Some(times) = tally.attempts.get_mut(&attempt) {
            *times = times.saturating_add(1);
        } else if tally.attempts.len() < MAX_ATTEMPTS {
            tally.attempts.insert(attempt.clone(), 1);
            self.journal
                .note(Observation::Blocked { attempt, times: 1 });
        } else {
            tally.dropped = tally.dropped.saturating_add(1);
        }
        Verdict::Deny(errno)
    }

    fn blocked_file(&self, path: &Path, access: &str) -> Verdict {
        let attempt = Attempt::File {
            path: path.to_string_lossy().into_owned(),
            access: access.to_owned(),
        };
        self.blocked(attempt, libc::EACCES)
    }

    fn reading(&self, path: &Path) -> Verdict {
        // Nearly all, so this is asked for first.
        if is_of_the_system(path) {
            return Verdict::Continue;
        }
        if let Ok(inside) = path.strip_prefix("/proc") {
            return self.process_file(path, inside);
        }
        let visible = path.starts_with(&self.workspace)
            || SCRATCH.iter().any(|root| path.starts_with(root))
            || self.readable.iter().any(|root| path.starts_with(root))
            || path == Path::new("/")
            || OF_THE_SUPERVISOR.iter().any(|file| path == Path::new(file))
            || is_nameless(path);
        if visible || harmless_in_etc(path) || harmless_in_sys(path) {
            return Verdict::Continue;
        }
        if path.starts_with("/dev") || path.starts_with("/sys") {
            return self.absent_of_the_machine(path);
        }
        self.blocked_file(path, "read")
    }

    /// Devices and the kernel's objects: what the room has may be opened; the rest is not there, and
    /// who looks for it is told so, and written down.
    fn absent_of_the_machine(&self, path: &Path) -> Verdict {
        if path.symlink_metadata().is_ok() {
            return Verdict::Continue;
        }
        let path = path.to_string_lossy().into_owned();
        let access = "read".to_owned();
        self.blocked(Attempt::File { path, access }, libc::ENOENT)
    }

    /// A command's own processes are its own; the first one is the confinement's.
    fn process_file(&self, path: &Path, inside: &Path) -> Verdict {
        let first = inside.iter().next().and_then(|name| name.to_str());
        if first != Some("1") && !first.is_some_and(|name| KERNEL_FILES.contains(&name)) {
            return Verdict::Continue;
        }
        let target = path.to_string_lossy().into_owned();
        self.blocked(Attempt::Secret { target }, libc::EACCES)
    }

    fn writing(&self, path: &Path, access: &str) -> Verdict {
        let verdict = self.altering(path, access);
        // git's object files come by the thousand and are in the commit's own digest
        let objects = self.workspace.join(".git").join("objects");
        if verdict == Verdict::Continue
            && self.files == Files::Recorded
            && path.starts_with(&self.workspace)
            && !path.starts_with(objects)
        {
            self.changing(path);
        }
        verdict
    }

    fn altering(&self, path: &Path, access: &str) -> Verdict {
        if let Ok(inside) = path.strip_prefix("/proc")
            && is_of_a_process(inside)
        {
            let verdict = self.process_file(path, inside);
            if verdict != Verdict::Continue || may_be_written(inside) {
                return verdict;
            }
            return self.blocked_file(path, access);
        }
        let own = path.starts_with(&self.workspace)
            || SCRATCH.iter().any(|root| path.starts_with(root))
            || (is_of_its_content(access)
                && DEVICES.iter().any(|device| path == Path::new(device)))
            || is_nameless(path);
        if own {
            return Verdict::Continue;
        }
        self.blocked_file(path, access)
    }

    /// `mkdir -p` walks through directories that are there.
    fn making(&self, path: &Path, access: &str) -> Verdict {
        if path.symlink_metadata().is_ok() {
            return Verdict::Continue;
        }
        self.altering(path, access)
    }

    fn changing(&self, path: &Path) {
        let mut tally = self.tally();
        if tally.changed.contains_key(path) {
            return;
        }
        if tally.changed.len() < MAX_CHANGED {
            tally.changed.insert(path.to_owned(), digest_of(path));
        } else {
            tally.dropped = tally.dropped.saturating_add(1);
        }
    }

    fn starting(&self, pid: u32, path: &Path, argv: &[String]) -> Verdict {
        // Searching PATH tries names that are not there: nothing starts, nothing is told.
        if path.symlink_metadata().is_err() && !is_nameless(path) {
            return self.reading(path);
        }
        self.started(pid, path, argv);
        Verdict::Continue
    }

    fn started(&self, pid: u32, path: &Path, argv: &[String]) {
        let executable = self.programs.digest(path);
        let mut tally = self.tally();
        if tally.first_program.is_none() {
            tally.first_program = executable;
        }
        drop(tally);
        let mut started = self
            .programs
            .started
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *started = started.saturating_add(1);
        match (*started).cmp(&MAX_PROCESSES) {
            std::cmp::Ordering::Less => self.journal.note(Observation::ProcessStarted {
                pid,
                path: path.to_string_lossy().into_owned(),
                executable,
                argv: cut(redact::arguments(argv)),
            }),
            std::cmp::Ordering::Equal => self.journal.note(Observation::LimitReached {
                resource: "processes".to_owned(),
                detail: format!("further starts than {MAX_PROCESSES} are not written"),
            }),
            std::cmp::Ordering::Greater => {}
        }
    }
}

impl Watch for Observer {
    fn seen(&self, call: Seen) -> Verdict {
        match call {
            Seen::Reading(path) => self.reading(&path),
            Seen::Writing(path, access) => self.writing(&path, access),
            Seen::Making(path, access) => self.making(&path, access),
            Seen::Altering(path, access) => self.altering(&path, access),
            Seen::Starting { pid, path, argv } => self.starting(pid, &path, &argv),
            Seen::Refused { attempt, errno } => self.blocked(attempt, errno),
            Seen::Ordinary => Verdict::Continue,
        }
    }
}

impl Programs {
    fn digest(&self, path: &Path) -> Option<Digest> {
        let meta = path.metadata().ok()?;
        let file = (meta.dev(), meta.ino(), meta.mtime_nsec(), meta.size());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known.get(&file) {
            return Some(*digest);
        }
        let digest = digest_of(path)?;
        known.insert(file, digest);
        Some(digest)
    }
}

/// Whether a path, in which neither `..` nor links are, begins with one of the system's directories.
fn is_of_the_system(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && matches!(parts.next(), Some(Component::Normal(top)) if SYSTEM.iter().any(|name| top == *name))
}

/// Whether a path below `/proc` is a process's; the others are the kernel's settings.
fn is_of_a_process(inside: &Path) -> bool {
    let first = inside.iter().next().and_then(|name| name.to_str());
    first.is_some_and(|name| name == "self" || name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Landlock lets nobody write to a process's files: not its name, which run-times try to set and do
/// without, and nothing that would be for the record, as its share in a lack of memory. Descriptors
/// are what they lead to.
fn may_be_written(inside: &Path) -> bool {
    let name = inside.iter().nth(1).and_then(|name| name.to_str());
    matches!(name, None | Some("fd" | "comm" | "task"))
}

/// Whether a change is one of what a file holds, or of when; the others would make another file of it.
fn is_of_its_content(access: &str) -> bool {
    matches!(access, "write" | "truncate" | "times")
}

/// A memory file or a pipe, reached by a descriptor that the caller has.
fn is_nameless(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.starts_with("/proc/self/fd/")
        || (text.starts_with("/memfd:") && text.ends_with(" (deleted)"))
}

/// Whether a path below `/etc` is there, or is one that programs look for everywhere.
fn harmless_in_etc(path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix("/etc") else {
        return false;
    };
    let first = inside.iter().next().and_then(|name| name.to_str());
    path.symlink_metadata().is_ok() || first.is_none_or(|name| SOUGHT_IN_ETC.contains(&name))
}

/// Whether a path below `/sys` is one that run-times look for everywhere.
fn harmless_in_sys(path: &Path) -> bool {
    path.strip_prefix("/sys").is_ok_and(|inside| {
        inside.as_os_str().is_empty() || SOUGHT_IN_SYS.iter().any(|known| inside.starts_with(known))
    })
}

/// Digest of a regular file of bounded size; of a symbolic link, nothing.
fn digest_of(path: &Path) -> Option<Digest> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let real = path.canonicalize().ok()?;
    let mut file = File::from(open(real, flags, Mode::empty()).ok()?);
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > MAX_HASHED_BYTES {
        return None;
    }
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer).ok()?;
        if count == 0 {
            return Some(hasher.finish());
        }
        hasher.update(buffer.get(..count)?);
    }
}

fn cut(argv: Vec<String>) -> Vec<String> {
    let mut left = MAX_ARGV_BYTES;
    let mut kept = Vec::new();
    for argument in argv {
        if argument.len() > left {
            kept.push("[cut]".to_owned());
            break;
        }
        left = left.saturating_sub(argument.len());
        kept.push(argument);
    }
    kept
}

#[cfg(test)]
mod tests;
