//! The system calls that no safe crate offers, each as one small safe function. The only file in
//! this crate that may use `unsafe`.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use libc::{c_int, c_long, sock_filter};

use crate::filter::NEW_LISTENER;

const WAIT_KILLABLE_RECV: u32 = 1 << 5;
const SET_MODE_FILTER: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`.
const LOG: u32 = 1 << 1;
/// Wider than the `c_int` of the libc crate.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn outcome(returned: c_long) -> io::Result<c_long> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

fn descriptor(returned: c_long) -> io::Result<OwnedFd> {
    let raw = c_int::try_from(outcome(returned)?).map_err(io::Error::other)?;
    #[expect(
        unsafe_code,
        reason = "adopt a descriptor that the kernel just made for us"
    )]
    // SAFETY: the kernel returned it as a new descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Takes over an inherited descriptor and closes it on exec.
pub(crate) fn adopt(number: c_int) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "an inherited descriptor has no owner yet")]
    // SAFETY: F_SETFD fails for a number that is not open. The only caller takes the channel's
    // number, which the launch stage opened for this program, and documents that it is called once.
    unsafe {
        outcome(c_long::from(libc::fcntl(
            number,
            libc::F_SETFD,
            libc::FD_CLOEXEC,
        )))?;
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// Keeps what is in memory, now and from its first use on, out of swap.
pub(crate) fn lock_memory() -> io::Result<()> {
    let all = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    #[expect(unsafe_code, reason = "lock the process's memory")]
    // SAFETY: takes flags and no pointer; what memory holds does not change.
    outcome(c_long::from(unsafe { libc::mlockall(all) })).map(drop)
}

/// Takes a lease of an only opener, for writing, and gives it back.
pub(crate) fn lease(file: BorrowedFd<'_>) -> io::Result<()> {
    for kind in [libc::F_WRLCK, libc::F_UNLCK] {
        #[expect(unsafe_code, reason = "no safe crate takes leases")]
        // SAFETY: the descriptor is open, and the call takes numbers and no pointer.
        outcome(c_long::from(unsafe {
            libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind)
        }))?;
    }
    Ok(())
}

/// Which side of a clone this is.
#[derive(Debug)]
pub(crate) enum Cloned {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// `struct clone_args`, `CLONE_ARGS_SIZE_VER2`.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Copies this process with `CLONE_*` flags and `SIGCHLD`, the copy being born in the version 2
/// group `into` when there is one.
///
/// # Errors
/// Refuses in a multithreaded process: the copy would inherit locks that nobody releases.
pub(crate) fn clone_process(flags: c_int, into: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(io::Error::other(
            "a stage must run before any thread is started",
        ));
    }
    let number = |value: c_int| u64::try_from(value).map_err(io::Error::other);
    let mut arguments = CloneArguments {
        flags: number(flags | libc::CLONE_PIDFD)?,
        ..CloneArguments::default()
    };
    if let Some(group) = into {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = number(group.as_raw_fd())?;
    }
    // With CLONE_PARENT the copy takes over this process's own signal, which is SIGCHLD.
    if flags & libc::CLONE_PARENT == 0 {
        arguments.exit_signal = number(libc::SIGCHLD)?;
    }
    clone_single_threaded(arguments)
}

fn clone_single_threaded(mut arguments: CloneArguments) -> io::Result<Cloned> {
    let mut pidfd: c_int = -1;
    arguments.pidfd =
        u64::try_from((&raw mut pidfd).expose_provenance()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "clone with namespace flags")]
    // SAFETY: no CLONE_VM and no new stack, so this is fork: the child has its own copy of
    // everything. The process has one thread. `pidfd` is valid for the kernel's write, `arguments`
    // for its read.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            mem::size_of_val(&arguments),
        )
    };
    if outcome(pid)? == 0 {
        return Ok(Cloned::Child);
    }
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    Ok(Cloned::Parent {
        pid,
        pidfd: descriptor(c_long::from(pidfd))?,
    })
}

/// The rest of a copy of a *threaded* process that only makes system calls and ends: used by the
/// probe. `body` must not allocate, lock or panic; its result is the exit status.
pub(crate) fn in_forked_child(body: impl FnOnce() -> u8) -> io::Result<u8> {
    #[expect(
        unsafe_code,
        reason = "fork to try a mechanism without changing this process"
    )]
    // SAFETY: the child runs `body`, which by contract only makes system calls, and `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = c_int::from(body());
        #[expect(
            unsafe_code,
            reason = "leave without running the parent's exit handlers"
        )]
        // SAFETY: `_exit` has no preconditions.
        unsafe {
            libc::_exit(status)
        }
    }
    outcome(c_long::from(pid))?;
    let mut status: c_int = 0;
    #[expect(unsafe_code, reason = "wait for the child by its id")]
    // SAFETY: `status` is valid for the kernel's write.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    outcome(c_long::from(waited))?;
    if libc::WIFEXITED(status) {
        return u8::try_from(libc::WEXITSTATUS(status)).map_err(io::Error::other);
    }
    Err(io::Error::other("the trial process was killed"))
}

/// Leaves a copied process at once.
pub(crate) fn leave(status: u8) -> ! {
    #[expect(
        unsafe_code,
        reason = "leave without running exit handlers of the copied process"
    )]
    // SAFETY: `_exit` has no preconditions.
    unsafe {
        libc::_exit(c_int::from(status))
    }
}

/// Moves this process into new namespaces (`CLONE_NEW*`).
pub(crate) fn unshare(flags: c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "unshare namespaces")]
    // SAFETY: only namespace flags are passed; no memory is involved.
    outcome(c_long::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "close what was inherited by accident")]
    // SAFETY: the callers hold no owned descriptor at or above `first` that they use afterwards.
    outcome(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) }).map(drop)
}

/// Makes `fd` the descriptor `number`, kept over exec.
pub(crate) fn place(fd: BorrowedFd<'_>, number: c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "put a descriptor at a fixed number")]
    // SAFETY: dup2 over a number that the callers own; dup2 onto itself keeps CLOEXEC, so that is
    // cleared by fcntl.
    unsafe {
        outcome(c_long::from(libc::dup2(fd.as_raw_fd(), number)))?;
        outcome(c_long::from(libc::fcntl(number, libc::F_SETFD, 0))).map(drop)
    }
}

/// As [`place`], but closed on exec, and owned.
pub(crate) fn place_closed_on_exec(fd: OwnedFd, number: c_int) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() == number {
        return Ok(fd);
    }
    #[expect(unsafe_code, reason = "put a descriptor at a fixed number")]
    // SAFETY: dup3 over a number that the caller owns.
    let placed = unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) };
    descriptor(c_long::from(placed))
}

/// Sets mount attributes (`MOUNT_ATTR_*`) on the mount at `fd`, and below it when `recursive`.
pub(crate) fn set_mount_attributes(
    fd: BorrowedFd<'_>,
    attributes: u64,
    flags: c_int,
) -> io::Result<()> {
    let attr = [attributes, 0, 0, 0];
    #[expect(unsafe_code, reason = "mount_setattr has no wrapper")]
    // SAFETY: `attr` is a `struct mount_attr` (four u64) that outlives the call.
    outcome(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags | libc::AT_EMPTY_PATH,
            attr.as_ptr(),
            mem::size_of_val(&attr),
        )
    })
    .map(drop)
}

/// Brings the loopback interface up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    #[expect(unsafe_code, reason = "interface flags are set by ioctl")]
    // SAFETY: `ifreq` is plain data; its name is NUL-terminated ("lo" and zeros); the ioctls read
    // and write only within it.
    unsafe {
        let mut request: libc::ifreq = mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        outcome(c_long::from(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS as _,
            &raw mut request,
        )))?;
        request.ifr_ifru.ifru_flags |= c_up();
        outcome(c_long::from(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw mut request,
        )))
        .map(drop)
    }
}

/// What KVM answers to `KVM_CHECK_EXTENSION` for a capability's number.
pub(crate) fn kvm_extension(kvm: BorrowedFd<'_>, capability: c_long) -> io::Result<u32> {
    const CHECK_EXTENSION: u64 = 0xAE03;
    #[expect(unsafe_code, reason = "KVM is asked by ioctl")]
    // SAFETY: the argument is a number; the kernel reads and writes no memory of ours.
    let returned = unsafe { libc::ioctl(kvm.as_raw_fd(), CHECK_EXTENSION as _, capability) };
    u32::try_from(outcome(c_long::from(returned))?).map_err(io::Error::other)
}

fn c_up() -> libc::c_short {
    libc::c_short::try_from(libc::IFF_UP).unwrap_or(1)
}

/// Installs a seccomp program on this thread and returns its notification descriptor.
pub(crate) fn install_filter(program: &mut [sock_filter]) -> io::Result<OwnedFd> {
    descriptor(install(program, NEW_LISTENER | WAIT_KILLABLE_RECV)?)
}

/// Installs a further seccomp program on this thread.
pub(crate) fn install_further_filter(program: &mut [sock_filter]) -> io::Result<()> {
    install(program, 0).map(drop)
}

/// Installs a seccomp program on this thread; what it refuses is in the kernel's audit log.
pub(crate) fn install_logged_filter(program: &mut [sock_filter]) -> io::Result<()> {
    install(program, LOG).map(drop)
}

fn install(program: &mut [sock_filter], flags: u32) -> io::Result<c_long> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog {
        len,
        filter: program.as_mut_ptr(),
    };
    #[expect(unsafe_code, reason = "install a seccomp filter")]
    // SAFETY: `program` points to `len` instructions and outlives the call.
    outcome(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })
}

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RawNotification {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) flags: u32,
    pub(crate) number: i32,
    pub(crate) arch: u32,
    pub(crate) instruction: u64,
    pub(crate) args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RawAnswer {
    pub(crate) id: u64,
    pub(crate) value: i64,
    pub(crate) error: i32,
    pub(crate) flags: u32,
}

const NOTIF_RECV: u64 = 0xC050_2100;
const NOTIF_SEND: u64 = 0xC018_2101;
const NOTIF_ID_VALID: u64 = 0x4008_2102;
const NOTIF_SET_FLAGS: u64 = 0x4008_2104;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`, Linux 6.6.
const SYNC_WAKE_UP: u64 = 1;

fn notify_ioctl<T>(fd: BorrowedFd<'_>, request: u64, value: &mut T) -> io::Result<()> {
    #[expect(unsafe_code, reason = "seccomp notifications are ioctls")]
    // SAFETY: the three callers pass the structure whose size the request encodes (80, 24 and 8
    // bytes); the kernel reads and writes only within it.
    outcome(c_long::from(unsafe {
        libc::ioctl(fd.as_raw_fd(), request as _, value as *mut T)
    }))
    .map(drop)
}

/// Has caller and listener wake each other on one processor: while one runs the other waits.
pub(crate) fn wake_in_turn(fd: BorrowedFd<'_>) -> io::Result<()> {
    #[expect(unsafe_code, reason = "seccomp notifications are ioctls")]
    // SAFETY: this request takes its argument by value; no memory is touched.
    outcome(c_long::from(unsafe {
        libc::ioctl(fd.as_raw_fd(), NOTIF_SET_FLAGS as _, SYNC_WAKE_UP)
    }))
    .map(drop)
}

/// Waits for and takes the next notification.
pub(crate) fn take_notification(fd: BorrowedFd<'_>) -> io::Result<RawNotification> {
    let mut taken = RawNotification::default();
    notify_ioctl(fd, NOTIF_RECV, &mut taken)?;
    Ok(taken)
}

/// Answers a notification.
pub(crate) fn answer(fd: BorrowedFd<'_>, mut answer: RawAnswer) -> io::Result<()> {
    notify_ioctl(fd, NOTIF_SEND, &mut answer)
}

/// Succeeds while the notifying thread still waits for this answer.
pub(crate) fn still_waiting(fd: BorrowedFd<'_>, mut id: u64) -> io::Result<()> {
    notify_ioctl(fd, NOTIF_ID_VALID, &mut id)
}

/// Reads another process's memory; returns how many bytes were there.
pub(crate) fn read_memory(pid: i32, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let remote = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(
            usize::try_from(address).map_err(io::Error::other)?,
        ),
        iov_len: into.len(),
    };
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    #[expect(
        unsafe_code,
        reason = "read the memory of the process that made a system call"
    )]
    // SAFETY: `local` is `into`, valid for writes; `remote` is only an address in the other
    // process, which the kernel checks.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// The Landlock ABI of the running kernel.
pub(crate) fn landlock_abi() -> io::Result<i64> {
    #[expect(unsafe_code, reason = "ask for the ABI number")]
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the pointer must be null and is not read.
    outcome(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            1_u32,
        )
    })
}

/// Whether the kernel knows a seccomp action.
pub(crate) fn seccomp_action_known(action: u32) -> io::Result<()> {
    const GET_ACTION_AVAIL: u32 = 2;
    #[expect(unsafe_code, reason = "ask the kernel about an action")]
    // SAFETY: the kernel reads one u32.
    outcome(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            GET_ACTION_AVAIL,
            0_u32,
            &raw const action,
        )
    })
    .map(drop)
}
