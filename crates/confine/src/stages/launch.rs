//! The `launch` stage: new namespaces, the room's root, then the supervisor as its first process.

use std::{
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags, open, openat},
    io::fcntl_dupfd_cloexec,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    process::{Gid, Uid},
    thread::{
        CapabilitySet, LinkNameSpaceType, move_into_link_name_space, set_no_new_privs,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{Copied, first_of_namespace, report, start};
use crate::{
    AGENT_ID, CHANNEL_FD, Rights, RoomSpec,
    control::{Control, GroupKind, Message},
    error::{AtStep as _, StageFailure},
    filter::jail,
    room_root::{self, Sources},
    sys,
};

const NAMESPACES: [(&str, libc::c_int); 7] = [
    ("user-namespace", libc::CLONE_NEWUSER),
    ("mount-namespace", libc::CLONE_NEWNS),
    ("pid-namespace", libc::CLONE_NEWPID),
    ("net-namespace", libc::CLONE_NEWNET),
    ("ipc-namespace", libc::CLONE_NEWIPC),
    ("uts-namespace", libc::CLONE_NEWUTS),
    ("cgroup-namespace", libc::CLONE_NEWCGROUP),
];

const ENABLE_NAMESPACE: &str = "enable it in the kernel; if unprivileged user namespaces are \
    restricted (kernel.apparmor_restrict_unprivileged_userns, user.max_*_namespaces), allow them \
    for proofroom";

/// What the supervisor keeps: it makes namespaces and mounts for commands, changes ids, reads the
/// memory of those that call, owns the files it makes, and answers for names on their usual ports.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_ADMIN);

/// Above every number that a room's descriptors have.
const HIGH: i32 = 20;

pub(super) fn run(control: &Control) -> Result<(), ()> {
    let Prepared {
        spec,
        inherited,
        sources,
        group,
        own_namespaces,
    } = report(control, prepare(control))?;
    let copied = first_of_namespace(
        control,
        libc::CLONE_PARENT,
        group.as_ref().map(OwnedFd::as_fd),
    );
    match report(control, copied)? {
        Copied::Original(opener) => {
            // Takes as long as building the root, so it is done beside it.
            let opened =
                network(&own_namespaces).and_then(|network| opener.open(&[network.as_fd()]));
            report(control, opened)
        }
        Copied::First(gate) => {
            drop((group, own_namespaces));
            let built = first_process(&spec, &sources);
            let network = gate.pass();
            let done = built
                .and_then(|()| enter_network(network))
                .and_then(|()| give_up_privileges(spec.rights))
                .and_then(|()| execute(control, &spec, inherited));
            report(control, done)
        }
    }
}

/// The room's network: a namespace with nothing but a loopback interface.
fn network(own_namespaces: &OwnedFd) -> Result<OwnedFd, StageFailure> {
    let missing = |e: &dyn std::fmt::Display| {
        StageFailure::mechanism("net-namespace", e.to_string(), ENABLE_NAMESPACE)
    };
    sys::unshare(libc::CLONE_NEWNET).map_err(|e| missing(&e))?;
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .at("open a socket")?;
    sys::loopback_up(socket.as_fd()).at("bring the loopback up")?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(own_namespaces, "net", flags, Mode::empty()).map_err(|e| missing(&e))
}

fn enter_network(mut fds: Vec<OwnedFd>) -> Result<(), StageFailure> {
    let Some(namespace) = fds.pop() else {
        return Err(StageFailure::step("enter the network", "no namespace came"));
    };
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).at("enter the network")
}

struct Prepared {
    spec: RoomSpec,
    inherited: Vec<OwnedFd>,
    sources: Sources,
    group: Option<OwnedFd>,
    /// `/proc/self/ns`, which has no name any more once the first process has changed the root.
    own_namespaces: OwnedFd,
}

fn prepare(control: &Control) -> Result<Prepared, StageFailure> {
    let group = join_groups(control)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own_namespaces = open("/proc/self/ns", flags, Mode::empty()).at("open own namespaces")?;
    enter_namespaces()?;
    control
        .send(&Message::MapMe, &[])
        .at("ask for the id maps")?;
    let (spec, mut inherited): (RoomSpec, Vec<OwnedFd>) = start(control)?;
    let kept = inherited.len().saturating_sub(spec.mounts.len());
    if kept == 0 {
        return Err(StageFailure::step("start", "no channel came"));
    }
    let mounts = inherited.split_off(kept);
    // Needs no maps, so it is done while they are written.
    let sources = Sources::take(&spec, mounts)?;
    let (Message::Mapped, _) = control.expect("mapped").at("wait for the id maps")? else {
        return Err(StageFailure::step("id maps", "`mapped` was expected"));
    };
    Ok(Prepared {
        spec,
        inherited,
        sources,
        group,
        own_namespaces,
    })
}

/// Enters the version 1 groups; returns the version 2 group, into which the first process is born.
fn join_groups(control: &Control) -> Result<Option<OwnedFd>, StageFailure> {
    let (Message::Join { groups }, fds) = control.expect("join").at("join")? else {
        return Err(StageFailure::step("join", "`join` was expected"));
    };
    if groups.len() != fds.len() {
        return Err(StageFailure::step(
            "join",
            "a group's descriptor is missing",
        ));
    }
    let mut born_in = None;
    for (kind, fd) in groups.into_iter().zip(fds) {
        match kind {
            GroupKind::Tasks => {
                rustix::io::write(&fd, b"0").map_err(|e| {
                    StageFailure::mechanism(
                        "resource-group",
                        e,
                        "let proofroom write the `tasks` file of groups that it makes",
                    )
                })?;
            }
            GroupKind::Directory if born_in.is_none() => born_in = Some(fd),
            GroupKind::Directory => {
                return Err(StageFailure::step("join", "two version 2 groups"));
            }
        }
    }
    Ok(born_in)
}

fn enter_namespaces() -> Result<(), StageFailure> {
    // The cgroup namespace comes later: its root is the group that the process is in by then.
    // The network comes later too, beside the building of the root: it takes longest.
    let later = libc::CLONE_NEWCGROUP | libc::CLONE_NEWNET;
    let all = NAMESPACES.iter().fold(0, |flags, (_, flag)| flags | flag) & !later;
    let Err(error) = sys::unshare(all) else {
        return Ok(());
    };
    // One by one, to name the one that is refused.
    for (name, flag) in NAMESPACES {
        sys::unshare(flag).map_err(|e| StageFailure::mechanism(name, e, ENABLE_NAMESPACE))?;
    }
    Err(StageFailure::mechanism(
        "namespaces",
        error,
        "look at the kernel's log",
    ))
}

/// Builds the room around the first process.
fn first_process(spec: &RoomSpec, sources: &Sources) -> Result<(), StageFailure> {
    rustix::process::setsid().at("start a session")?;
    sys::unshare(libc::CLONE_NEWCGROUP).map_err(|e| {
        StageFailure::mechanism("cgroup-namespace", e, "enable CONFIG_CGROUPS in the kernel")
    })?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at("become the room's group 0")?;
    set_thread_groups(&[]).at("leave the host's groups")?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at("become the room's user 0")?;
    room_root::build(sources, spec)?;
    rustix::system::sethostname(b"room").at("name the room")
}

fn give_up_privileges(rights: Rights) -> Result<(), StageFailure> {
    match rights {
        Rights::Supervisor => super::bound_capabilities(KEPT)?,
        Rights::Program => {
            super::bound_capabilities(CapabilitySet::empty())?;
            let (user, group) = (Uid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID));
            set_thread_res_gid(group, group, group).at("leave the room's group 0")?;
            set_thread_groups(&[]).at("leave every group")?;
            // Leaving uid 0 drops every capability that is left.
            set_thread_res_uid(user, user, user).at("leave the room's user 0")?;
        }
    }
    set_no_new_privs(true).at("set no_new_privs")
}

/// Puts a foreign program under the jail's filters; the listener is for the host, which lets it be
/// executed, once. The supervisor has none: it filters the commands that it confines.
fn filtered(rights: Rights) -> Result<Option<OwnedFd>, StageFailure> {
    if rights == Rights::Supervisor {
        return Ok(None);
    }
    let missing = |e| {
        StageFailure::mechanism(
            "seccomp-filter",
            e,
            "use Linux 5.19 or newer with CONFIG_SECCOMP_FILTER",
        )
    };
    let mut once = jail::execute_once().at("assemble a filter")?;
    let mut denied = jail::deny_list().at("assemble a filter")?;
    let listener = sys::install_filter(&mut once).map_err(missing)?;
    sys::install_logged_filter(&mut denied).map_err(missing)?;
    Ok(Some(listener))
}

/// Executes the supervisor: returns only with a failure.
fn execute(
    control: &Control,
    spec: &RoomSpec,
    inherited: Vec<OwnedFd>,
) -> Result<(), StageFailure> {
    let mut mechanisms: Vec<String> = NAMESPACES.map(|(name, _)| name.to_owned()).to_vec();
    mechanisms.extend(["private-root", "private-procfs", "tmpfs-size-limits"].map(str::to_owned));
    // Out of the way of the fixed numbers; from here on only these and the standard streams.
    let high = fcntl_dupfd_cloexec(control.fd(), HIGH).at("place the control socket")?;
    let mut number = CHANNEL_FD;
    let mut placed = Vec::new();
    for fd in inherited {
        placed.push(fcntl_dupfd_cloexec(&fd, HIGH).at("place the channel")?);
        // Given up to `place` and `close_from`, which work by number.
        std::mem::forget(fd);
    }
    for fd in placed {
        sys::place(fd.as_fd(), number).at("place the channel")?;
        std::mem::forget(fd);
        number += 1;
    }
    let control = Control::over(sys::place_closed_on_exec(high, number).at("place")?);
    sys::close_from(number.unsigned_abs() + 1).at("close what is left")?;
    let listener = filtered(spec.rights)?;
    if listener.is_some() {
        mechanisms.extend(["seccomp-deny-list", "executes-once"].map(str::to_owned));
    }
    let listener: Vec<_> = listener.iter().map(OwnedFd::as_fd).collect();
    control
        .send(&Message::Built { mechanisms }, &listener)
        .at("report")?;
    let Some((program, arguments)) = spec.supervisor.split_first() else {
        return Err(StageFailure::step(
            "supervisor",
            "its command line is empty",
        ));
    };
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .exec();
    // The caller's control socket has lost its number to the channel.
    let failure = StageFailure::step("execute the supervisor", error);
    drop(control.send(&Message::Failed(failure), &[]));
    sys::leave(70)
}
