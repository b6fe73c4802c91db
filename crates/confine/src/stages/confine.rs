//! The `confine` stage: a pid and mount namespace of its own, then everything that a command is
//! denied, then the command.

use std::{
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::fcntl_dupfd_cloexec,
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    net::SendFlags,
    process::{
        DumpableBehavior, Gid, Resource, Rlimit, Uid, WaitOptions, set_dumpable_behavior,
        setrlimit, wait,
    },
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
        set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{Copied, first_of_namespace, report, start};
use crate::{
    AGENT_ID, AddressSpace, AgentCommand, CommandLimits, NameService,
    control::{Control, Message},
    error::{AtStep as _, StageFailure},
    filter, landlock_rules,
    sys::{self, Cloned},
};

const NOT_EXECUTED: u8 = 127;

pub(super) fn run(control: &Control) -> Result<(), ()> {
    let (command, stdio) = report(control, start::<AgentCommand>(control))?;
    let flags = libc::CLONE_PARENT | libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    let group = report(control, memory_group(&command))?;
    let copied = first_of_namespace(control, flags, group.as_ref().map(OwnedFd::as_fd));
    match report(control, copied)? {
        Copied::Original(opener) => report(control, opener.open(&[])),
        Copied::First(gate) => {
            drop(gate.pass());
            if group.is_some() {
                report(control, hide_the_other_groups())?;
            }
            drop(group);
            first_process(control, &command, stdio)
        }
    }
}

/// The group into which the command is born; none in rooms that have one for everything. One that is there
/// and cannot be opened, or entered, is an error.
fn memory_group(command: &AgentCommand) -> Result<Option<OwnedFd>, StageFailure> {
    let path = command.expendable.group();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match open(&path, flags, Mode::empty()) {
        Ok(group) => Ok(Some(group)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error).at("open the command's memory group"),
    }
}

/// Seen from now on, the command's group is the root of all.
fn hide_the_other_groups() -> Result<(), StageFailure> {
    sys::unshare(libc::CLONE_NEWCGROUP).at("hide the other commands' groups")
}

/// The first process of the command's pid namespace: starts the command, reaps orphans, and by its
/// own end kills whatever is left.
fn first_process(control: &Control, command: &AgentCommand, stdio: Vec<OwnedFd>) -> Result<(), ()> {
    report(control, private_proc())?;
    let cloned = sys::clone_process(0, None).at("fork the command");
    match report(control, cloned)? {
        Cloned::Child => {
            if let Err(failure) = become_agent(control, command, stdio) {
                drop(control.send(&Message::Failed(failure), &[]));
            }
            sys::leave(NOT_EXECUTED)
        }
        Cloned::Parent { pid, .. } => {
            drop(stdio);
            report(control, give_up_privileges())?;
            let message = reap_until(pid);
            control.send(&message, &[]).map_err(drop)
        }
    }
}

fn private_proc() -> Result<(), StageFailure> {
    rustix::process::setsid().at("start a session")?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .at("make the mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, c"hidepid=2").map_err(|e| {
        StageFailure::mechanism("private-procfs", e, "the room's /proc must not be covered")
    })
}

fn give_up_privileges() -> Result<(), StageFailure> {
    set_no_new_privs(true).at("set no_new_privs")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at("become non-dumpable")?;
    set_capabilities(None, no_capabilities()).at("drop capabilities")
}

fn reap_until(command: i32) -> Message {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == command => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Message::Exited { code },
                    (None, Some(signal)) => Message::Killed { signal },
                    (None, None) => Message::Exited {
                        code: i32::from(NOT_EXECUTED),
                    },
                };
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => {
                return Message::Exited {
                    code: i32::from(NOT_EXECUTED),
                };
            }
        }
    }
}

/// Returns only with a failure; after the filter is in force every step is itself filtered.
fn become_agent(
    control: &Control,
    command: &AgentCommand,
    stdio: Vec<OwnedFd>,
) -> Result<(), StageFailure> {
    rustix::process::setsid().at("start a session")?;
    let control = place_descriptors(control, stdio)?;
    // Under memory pressure the agent goes first, the supervisor's audit last.
    std::fs::write("/proc/self/oom_score_adj", command.expendable.score())
        .at("mark the agent for the OOM killer")?;
    limit(&command.limits)?;
    become_unprivileged()?;
    std::env::set_current_dir(&command.cwd).at("enter the working directory")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    landlock_rules::restrict(command)?;
    let mechanisms = mechanisms()?;
    let mut program =
        filter::program(command.file_audit, &command.names).at("assemble the filter")?;
    let listener = sys::install_filter(&mut program).map_err(|e| {
        StageFailure::mechanism(
            "seccomp-notify",
            e,
            "use Linux 5.19 or newer with CONFIG_SECCOMP",
        )
    })?;
    let mark = SendFlags::from_bits_retain(filter::HANDING_OVER);
    control
        .send_marked(&Message::Confined { mechanisms }, &[listener.as_fd()], mark)
        .at("report")?;
    drop(listener);
    if command.names != NameService::Absent {
        let mut handed_over = filter::handed_over().at("assemble the filter")?;
        sys::install_further_filter(&mut handed_over).at("close the filter")?;
    }
    let Some((name, arguments)) = command.argv.split_first() else {
        return Err(StageFailure::step("execute", "`argv` is empty"));
    };
    let error = Command::new(name)
        .args(arguments)
        .env_clear()
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .exec();
    let failure = StageFailure::step("execute", format!("`{}`: {error}", name.display()));
    drop(control.send(&Message::Failed(failure), &[]));
    sys::leave(NOT_EXECUTED)
}

/// Standard streams at 0 to 2, the control socket at 3 until exec, nothing else.
fn place_descriptors(control: &Control, stdio: Vec<OwnedFd>) -> Result<Control, StageFailure> {
    let streams = <[OwnedFd; 3]>::try_from(stdio)
        .map_err(|_| StageFailure::step("start", "three standard streams are needed"))?;
    let high = fcntl_dupfd_cloexec(control.fd(), 32).at("place the control socket")?;
    let streams = streams.map(|fd| fcntl_dupfd_cloexec(&fd, 32).map(|high| (fd, high)));
    for (number, stream) in (0..).zip(streams) {
        let (low, high) = stream.at("place a standard stream")?;
        sys::place(high.as_fd(), number).at("place a standard stream")?;
        // Their numbers are closed or replaced below.
        std::mem::forget((low, high));
    }
    let placed = sys::place_closed_on_exec(high, 3).at("place the control socket")?;
    debug_assert_eq!(placed.as_raw_fd(), 3);
    sys::close_from(4).at("close what is left")?;
    Ok(Control::over(placed))
}

fn limit(limits: &CommandLimits) -> Result<(), StageFailure> {
    let mut all = vec![
        // too small for a core file, and the one value at which no core handler of the host's starts
        (Resource::Core, 1),
        (Resource::Nofile, limits.open_files),
        (Resource::Nproc, limits.processes),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Memlock, 8 << 20),
        // Nobody in a room goes before its supervisor.
        (Resource::Rtprio, 0),
        (Resource::Nice, 0),
    ];
    if let AddressSpace::Bytes(bytes) = limits.address_space {
        all.push((Resource::As, bytes));
    }
    for (resource, value) in all {
        // A stricter limit of the host's stays.
        let hard = rustix::process::getrlimit(resource)
            .maximum
            .unwrap_or(u64::MAX)
            .min(value);
        setrlimit(
            resource,
            Rlimit {
                current: Some(hard),
                maximum: Some(hard),
            },
        )
        .at(&format!("limit {resource:?}"))?;
    }
    Ok(())
}

fn become_unprivileged() -> Result<(), StageFailure> {
    super::bound_capabilities(CapabilitySet::empty())?;
    clear_ambient_capability_set().at("clear the ambient set")?;
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED;
    set_capabilities_secure_bits(bits).at("lock the secure bits")?;
    let (uid, gid) = (Uid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID));
    set_thread_groups(&[]).at("leave all groups")?;
    set_thread_res_gid(gid, gid, gid).at("become the agent's group")?;
    set_thread_res_uid(uid, uid, uid).at("become the agent")?;
    set_capabilities(None, no_capabilities()).at("drop capabilities")?;
    set_no_new_privs(true).at("set no_new_privs")
}

fn no_capabilities() -> CapabilitySets {
    let none = CapabilitySet::empty();
    CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    }
}

fn mechanisms() -> Result<Vec<String>, StageFailure> {
    let abi = sys::landlock_abi().at("ask for the landlock ABI")?;
    let mut names: Vec<String> = [
        "agent-uid",
        "agent-pid-namespace",
        "agent-procfs-hidepid",
        "no-capabilities",
        "no-new-privs",
        "rlimits",
        "seccomp-allow-list",
        "seccomp-notify",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(format!("landlock-abi-{abi}"));
    Ok(names)
}
