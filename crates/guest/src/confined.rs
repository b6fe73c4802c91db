//! The spawner of real rooms: every command through the `confine` stage, its system calls answered by
//! a watch on a thread of its own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use proofroom_confine::{
    AgentCommand as Confinement, Call, CommandLimits, ConfineError, ConfinedCommand,
    Ended as ConfinedEnd, Errno, FileAudit, FinalLink, Loopback, NameService, Notification,
    Notifications, PathArgument, SocketAddress, SocketKind, StageProgram, Stdio, Suggestion, Ways,
};
use proofroom_record::{
    event::Attempt,
    room_api::{LoopbackUse, OpenAudit},
};

use crate::{
    names::{Directory, Leads},
    observe::{Seen, Verdict, Watch},
    spawn::{AgentCommand, Ended, Running, SpawnError, Spawner, Streams},
};

/// `O_ACCMODE` and the flags that make an open a write.
const WRITES: u64 = 0o3 | 0o100 | 0o1000;
/// `O_NOFOLLOW`.
const KEEPS_LINK: u64 = 0o400_000;
/// `O_CREAT` and `O_EXCL`: together they refuse a link.
const NEW_FILE: u64 = 0o300;
/// `S_IFCHR`, which `S_IFBLK` includes and pipes, sockets and files do not.
const DEVICE: u64 = 0o020_000;

/// What `localhost` stands for; the other loopback addresses are nobody's.
const LOCALHOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
/// Where the agent's own sockets are.
const OWN_SOCKETS: [&str; 4] = ["/tmp", "/workspace", "/home/agent", "/dev/shm"];
/// Services that the C library looks for in every program, and never finds in a room.
const SOUGHT_SOCKETS: [&str; 5] = [
    "/dev/log",
    "/run/nscd",
    "/run/systemd/userdb",
    "/var/lib/sss/pipes",
    "/var/run/nscd",
];

/// Starts commands through the `confine` stage of the running program.
#[derive(Debug)]
pub struct Confined {
    stage: StageProgram,
    mechanisms: Mutex<Vec<String>>,
    socket: PathBuf,
    ways: Arc<Ways>,
}

impl Confined {
    /// A spawner whose commands may reach `socket` and the channel's port, nothing else.
    ///
    /// # Errors
    /// [`SpawnError`] when the running program cannot be found.
    pub fn new(socket: &Path) -> Result<Self, SpawnError> {
        Ok(Self {
            stage: StageProgram::itself().map_err(refused)?,
            mechanisms: Mutex::default(),
            socket: socket.to_owned(),
            ways: Arc::new(Ways::of_this_room()),
        })
    }
}

impl Spawner for Confined {
    fn spawn(
        &self,
        command: &AgentCommand,
        streams: Streams,
        watch: Arc<dyn Watch>,
    ) -> Result<Box<dyn Running>, SpawnError> {
        let stdio = Stdio {
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let loopback = loopback(command.rules.loopback);
        let names = command.names.clone();
        let command = confinement(command);
        let running = ConfinedCommand::spawn(&command, &stdio, &self.stage).map_err(refused)?;
        // The command's ends of the pipes are its own alone.
        drop(stdio);
        let mut mechanisms = self
            .mechanisms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for mechanism in running.mechanisms() {
            if !mechanisms.contains(mechanism) {
                mechanisms.push(mechanism.clone());
            }
        }
        drop(mechanisms);
        let notifications = running.notifications().try_clone().map_err(refused)?;
        let running = Arc::new(running);
        let tree = Arc::clone(&running);
        let socket = self.socket.clone();
        let ways = Arc::clone(&self.ways);
        std::thread::spawn(move || {
            let reach = Reach {
                socket,
                loopback,
                names,
            };
            if answer_all(&notifications, watch.as_ref(), &reach, &ways).is_err() {
                // Calls that nobody answers would wait for ever.
                drop(tree.kill());
            }
        });
        Ok(Box::new(Handle(running)))
    }

    fn mechanisms(&self) -> Vec<String> {
        self.mechanisms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The rules of a session in the confinement's words.
fn confinement(command: &AgentCommand) -> Confinement {
    let rules = &command.rules;
    let (argv, env) = (command.argv.clone(), command.env.clone());
    Confinement {
        limits: CommandLimits {
            open_files: rules.open_files,
            processes: rules.processes,
            file_bytes: rules.file_bytes,
            ..CommandLimits::default()
        },
        loopback: loopback(rules.loopback),
        names: command
            .names
            .as_ref()
            .map_or(NameService::Absent, |names| names.service()),
        file_audit: match rules.file_audit {
            OpenAudit::EveryOpen => FileAudit::EveryOpen,
            OpenAudit::Writes => FileAudit::Writes,
        },
        expendable: command.expendable,
        ..Confinement::new(argv, env, command.cwd.clone())
    }
}

const fn loopback(rule: LoopbackUse) -> Loopback {
    match rule {
        LoopbackUse::ChannelOnly => Loopback::ChannelOnly,
        LoopbackUse::TestServers => Loopback::TestServers,
    }
}

struct Handle(Arc<ConfinedCommand>);

impl Running for Handle {
    fn kill(&self) {
        // A tree that is gone already is what is wanted.
        drop(self.0.kill());
    }

    fn wait(&self) -> Result<Ended, SpawnError> {
        Ok(match self.0.wait().map_err(refused)? {
            ConfinedEnd::Exited(code) => Ended::Exited(code),
            ConfinedEnd::Killed(signal) => Ended::Killed(signal),
            ConfinedEnd::NotStarted(reason) => Ended::NotStarted(reason),
            ConfinedEnd::TreeKilled => Ended::Killed(libc::SIGKILL),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn refused(error: ConfineError) -> SpawnError {
    SpawnError {
        code: error.code().to_owned(),
        reason: error.to_string(),
    }
}

fn answer_all(
    notifications: &Notifications,
    watch: &dyn Watch,
    reach: &Reach,
    ways: &Ways,
) -> Result<(), ConfineError> {
    while let Some(notification) = notifications.next()? {
        let verdict = match translate(&notification, reach, ways) {
            (one, None) => watch.seen(one),
            (one, Some(other)) => match watch.seen(one) {
                Verdict::Continue => watch.seen(other),
                denied @ Verdict::Deny(_) => denied,
            },
        };
        match verdict {
            Verdict::Continue if notification.call.is_allowable() => {
                notifications.allow(&notification)?;
            }
            Verdict::Continue => notifications.deny(&notification, Errno(libc::EPERM))?,
            Verdict::Deny(errno) => notifications.deny(&notification, Errno(errno))?,
        }
    }
    Ok(())
}

/// A notification in the watch's words; a rename and a link are two.
#[expect(
    clippy::too_many_lines,
    reason = "one arm for each kind of call: split up, nobody would see that none is missing"
)]
fn translate(notification: &Notification, reach: &Reach, ways: &Ways) -> (Seen, Option<Seen>) {
    let last = |link| move |path: &PathArgument| notification.resolve(path, link, ways);
    let (followed, kept) = (last(FinalLink::Followed), last(FinalLink::Kept));
    let writing = |path: &PathArgument, how| Seen::Writing(kept(path), how);
    let errno = match notification.suggestion() {
        Suggestion::Deny(errno) => errno.0,
        Suggestion::Allow => libc::EACCES,
    };
    let refused = |attempt| Seen::Refused { attempt, errno };
    let seen = match &notification.call {
        Call::Open { path, flags } => {
            let link = if flags & KEEPS_LINK == 0 && flags & NEW_FILE != NEW_FILE {
                FinalLink::Followed
            } else {
                FinalLink::Kept
            };
            let path = notification.resolve(path, link, ways);
            match stranger(&path, |number| notification.sees_process(number)) {
                Some(attempt) => Seen::Refused {
                    attempt,
                    errno: libc::ENOENT,
                },
                None if flags & WRITES != 0 => Seen::Writing(path, "write"),
                None => Seen::Reading(path),
            }
        }
        Call::Execute { path, argv, .. } => Seen::Starting {
            pid: u32::try_from(notification.pid).unwrap_or(0),
            path: followed(path),
            argv: argv
                .iter()
                .map(|one| one.to_string_lossy().into_owned())
                .collect(),
        },
        Call::Connect { address } => match reach.connecting(address) {
            None => Seen::Ordinary,
            Some(target) => refused(Attempt::Network { target }),
        },
        // Nothing is sent when one of them is refused, so that one is what there is to tell.
        Call::SendTo { addresses } => match addresses.iter().find_map(|to| reach.connecting(to)) {
            None => Seen::Ordinary,
            Some(target) => refused(Attempt::Network { target }),
        },
        Call::Bind { address, socket }
            if notification.suggestion() == Suggestion::Allow
                && reach.may_bind(address, *socket) =>
        {
            Seen::Ordinary
        }
        Call::Bind { address, .. } => refused(Attempt::Network {
            target: format!("bind {}", name_of(address)),
        }),
        Call::Remove { path } => writing(path, "remove"),
        Call::Truncate { path } => Seen::Writing(followed(path), "truncate"),
        Call::MakeNode { path, mode } if mode & DEVICE != 0 => refused(Attempt::File {
            path: kept(path).to_string_lossy().into_owned(),
            access: "make device".to_owned(),
        }),
        Call::MakeNode { path, .. } => writing(path, "make"),
        Call::Symlink { path, .. } => writing(path, "link"),
        Call::Change { path, link } => match notification.syscall.as_str() {
            "mkdir" | "mkdirat" => Seen::Making(kept(path), "mkdir"),
            how => Seen::Altering(notification.resolve(path, *link, ways), kind_of_change(how)),
        },
        Call::Rename { from, to } => {
            return (writing(from, "rename"), Some(writing(to, "rename")));
        }
        Call::HardLink { from, to, link } => {
            let from = Seen::Writing(notification.resolve(from, *link, ways), "link");
            return (from, Some(writing(to, "link")));
        }
        Call::Socket {
            family,
            kind,
            protocol,
        } => refused(Attempt::Network {
            target: format!("socket family {family} kind {kind} protocol {protocol}"),
        }),
        Call::Ordinary => Seen::Ordinary,
        Call::Refused { .. }
        | Call::Identity
        | Call::ForeignAbi { .. }
        | Call::Unreadable { .. } => refused(attempt_by_name(&notification.syscall)),
        _ => refused(Attempt::Syscall {
            name: notification.syscall.clone(),
        }),
    };
    (seen, None)
}

fn kind_of_change(call: &str) -> &'static str {
    if call.contains("chmod") {
        "chmod"
    } else if call.contains("chown") {
        "chown"
    } else if call.contains("utime") {
        "times"
    } else {
        "xattr"
    }
}

/// The attempt to look at a process that the caller cannot see, when the path is one.
fn stranger(path: &Path, sees: impl Fn(u32) -> bool) -> Option<Attempt> {
    let inside = path.strip_prefix("/proc").ok()?;
    let number: u32 = inside.iter().next()?.to_str()?.parse().ok()?;
    // The room's first process is the watch's business.
    (number != 1 && !sees(number)).then(|| Attempt::Process {
        target: path.to_string_lossy().into_owned(),
    })
}

fn attempt_by_name(name: &str) -> Attempt {
    match name {
        "ptrace" | "process_vm_readv" | "process_vm_writev" | "pidfd_getfd" | "kcmp" | "kill"
        | "tkill" | "tgkill" | "pidfd_open" | "prlimit64" | "rt_sigqueueinfo" => Attempt::Process {
            target: name.to_owned(),
        },
        "mount" | "umount2" | "pivot_root" | "open_tree" | "move_mount" | "fsopen"
        | "mount_setattr" | "fsconfig" | "fsmount" | "fspick" | "chroot" => Attempt::File {
            path: name.to_owned(),
            access: "mount".to_owned(),
        },
        _ => Attempt::Syscall {
            name: name.to_owned(),
        },
    }
}

/// What commands reach with sockets.
struct Reach {
    /// The agent's socket.
    socket: PathBuf,
    /// What they may do on the room's loopback.
    loopback: Loopback,
    /// Where names lead, if somebody answers for them.
    names: Option<Arc<Directory>>,
}

impl Reach {
    /// What is blocked of an address; `None` for the channel's port, for the agent's socket, for
    /// sockets between the agent's own processes, for names and their resolver, and for test servers
    /// where they are allowed.
    fn connecting(&self, address: &SocketAddress) -> Option<String> {
        match address {
            SocketAddress::Internet(to) => self.connecting_to(*to),
            SocketAddress::UnixPath(path) if *path == self.socket => None,
            SocketAddress::UnixPath(path) => {
                let nothing = OWN_SOCKETS.iter().chain(&SOUGHT_SOCKETS);
                let told = path.is_absolute() && !nothing.into_iter().any(|d| path.starts_with(d));
                told.then(|| name_of(address))
            }
            // The room's network namespace is its own: abstract names reach the agent's processes only.
            SocketAddress::UnixAbstract(_) | SocketAddress::UnixUnnamed => None,
            SocketAddress::Other { family: 0 } => None,
            SocketAddress::Other { .. } => Some(name_of(address)),
        }
    }

    fn connecting_to(&self, to: std::net::SocketAddr) -> Option<String> {
        let names = self.names.as_ref();
        match names.map_or(Leads::Elsewhere, |names| names.leads(to)) {
            Leads::ToTheSupervisor => return None,
            Leads::ToNothing(told) => return Some(told),
            Leads::Elsewhere => {}
        }
        let ip = to.ip().to_canonical();
        let allowed = match self.loopback {
            Loopback::ChannelOnly => {
                LOCALHOST.contains(&ip) && to.port() == proofroom_confine::CHANNEL_PORT
            }
            Loopback::TestServers => ip.is_loopback() || ip.is_unspecified(),
        };
        (!allowed).then(|| format!("ip {to}"))
    }

    /// Landlock judges TCP ports and names of sockets by itself and leaves no trace; and it does not
    /// know UDP. A program that asks the resolver by itself may take any port for the answer.
    fn may_bind(&self, address: &SocketAddress, socket: SocketKind) -> bool {
        let at = match address {
            SocketAddress::Internet(at) => at,
            SocketAddress::UnixPath(path) => {
                return !path.is_absolute() || OWN_SOCKETS.iter().any(|own| path.starts_with(own));
            }
            _ => return true,
        };
        let for_an_answer =
            self.names.is_some() && socket == SocketKind::Datagram && at.port() == 0;
        self.loopback == Loopback::TestServers || for_an_answer
    }
}

fn name_of(address: &SocketAddress) -> String {
    match address {
        SocketAddress::Internet(to) => format!("ip {to}"),
        SocketAddress::UnixPath(path) => format!("unix {}", path.display()),
        SocketAddress::UnixAbstract(name) => format!("unix @{}", String::from_utf8_lossy(name)),
        SocketAddress::UnixUnnamed => "unix".to_owned(),
        SocketAddress::Other { family } => format!("family {family}"),
    }
}

#[cfg(test)]
mod tests;
