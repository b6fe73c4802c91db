//! The attacks, run as the agent inside a room. Each prints one line per attempt, `blocked` with the
//! errno or `SUCCEEDED`; the test judges.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::AsRawFd as _,
    process::{Command, ExitCode},
};

use libc::c_long;

pub(crate) fn run(name: &str, rest: &[&str]) -> ExitCode {
    match (name, rest) {
        ("syscalls", names) => names.iter().for_each(|name| syscall(name)),
        ("write", paths) => paths.iter().for_each(|path| {
            say(
                path,
                File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)
                    .map(drop),
            );
        }),
        ("read", paths) => paths
            .iter()
            .for_each(|path| say(path, fs::read(path).map(drop))),
        ("link", [from, to]) => say("link", fs::hard_link(from, to)),
        ("connect", [to]) => say("connect", std::net::TcpStream::connect(to).map(drop)),
        ("bind", [at]) => say("bind", std::net::TcpListener::bind(at).map(drop)),
        ("forks", []) => forks(),
        ("fill", [path]) => fill(path),
        ("inodes", [path]) => inodes(path),
        ("descriptors", []) => descriptors(),
        ("memory", [mebibytes]) => memory(mebibytes),
        ("hold", [mebibytes, until]) => hold(mebibytes, until),
        ("nameless", [mebibytes]) => nameless(mebibytes),
        ("segments", [bytes, count]) => segments(bytes, count),
        ("orphan", []) => orphan(),
        ("exec-memfd", [program]) => exec_memfd(program),
        ("garbage", []) => garbage(),
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

fn say(what: &str, result: io::Result<()>) {
    let line = match result {
        Ok(()) => format!("{what}: SUCCEEDED\n"),
        Err(e) => format!("{what}: blocked {}\n", e.raw_os_error().unwrap_or(0)),
    };
    drop(io::stdout().write_all(line.as_bytes()));
}

fn returned(value: c_long) -> io::Result<()> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// One raw call by name, with arguments that would work for a privileged caller.
#[expect(
    clippy::too_many_lines,
    reason = "one arm per attack reads best as one table"
)]
fn syscall(name: &str) {
    let root = CString::new("/").unwrap_or_default();
    let tmp = CString::new("/tmp").unwrap_or_default();
    let own = CString::new("/proc/self/exe").unwrap_or_default();
    let own = own.as_ptr() as c_long;
    let (root, tmp) = (root.as_ptr() as c_long, tmp.as_ptr() as c_long);
    let mut buffer = [0_u64; 64];
    let memory = buffer.as_mut_ptr() as c_long;
    let (number, args): (c_long, [c_long; 6]) = match name {
        "mount-remount" => (libc::SYS_mount, [0, root, 0, 0x20, 0, 0]),
        "mount-bind" => (libc::SYS_mount, [root, tmp, 0, 0x1000, 0, 0]),
        "umount2" => (libc::SYS_umount2, [tmp, 2, 0, 0, 0, 0]),
        "pivot_root" => (libc::SYS_pivot_root, [tmp, tmp, 0, 0, 0, 0]),
        "chroot" => (libc::SYS_chroot, [tmp, 0, 0, 0, 0, 0]),
        "open_tree" => (libc::SYS_open_tree, [-100, root, 1, 0, 0, 0]),
        "fsopen" => (libc::SYS_fsopen, [tmp, 0, 0, 0, 0, 0]),
        "mount_setattr" => (libc::SYS_mount_setattr, [-100, root, 0, memory, 32, 0]),
        "unshare-user" => (libc::SYS_unshare, [0x1000_0000, 0, 0, 0, 0, 0]),
        "unshare-net" => (libc::SYS_unshare, [0x4000_0000, 0, 0, 0, 0, 0]),
        "setns" => (libc::SYS_setns, [0, 0, 0, 0, 0, 0]),
        "clone-newuser" => (libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0]),
        "clone3" => (libc::SYS_clone3, [memory, 88, 0, 0, 0, 0]),
        "bpf" => (libc::SYS_bpf, [0, memory, 64, 0, 0, 0]),
        "io_uring_setup" => (libc::SYS_io_uring_setup, [4, memory, 0, 0, 0, 0]),
        "userfaultfd" => (libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]),
        "perf_event_open" => (libc::SYS_perf_event_open, [memory, 0, -1, -1, 0, 0]),
        "keyctl" => (libc::SYS_keyctl, [0, -3, 1, 0, 0, 0]),
        "add_key" => (libc::SYS_add_key, [tmp, tmp, memory, 8, -3, 0]),
        "request_key" => (libc::SYS_request_key, [tmp, tmp, 0, -3, 0, 0]),
        "init_module" => (libc::SYS_init_module, [memory, 64, tmp, 0, 0, 0]),
        "finit_module" => (libc::SYS_finit_module, [0, tmp, 0, 0, 0, 0]),
        "kexec_load" => (libc::SYS_kexec_load, [0, 0, 0, 0, 0, 0]),
        "personality" => (libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0]),
        "ptrace" => (libc::SYS_ptrace, [0, 0, 0, 0, 0, 0]),
        "ptrace-parent" => (libc::SYS_ptrace, [16, 1, 0, 0, 0, 0]),
        "process_vm_readv" => (libc::SYS_process_vm_readv, [1, memory, 1, memory, 1, 0]),
        "pidfd_getfd" => (libc::SYS_pidfd_getfd, [0, 0, 0, 0, 0, 0]),
        "name_to_handle_at" => (
            libc::SYS_name_to_handle_at,
            [-100, root, memory, memory, 0, 0],
        ),
        "open_by_handle_at" => (libc::SYS_open_by_handle_at, [-100, memory, 0, 0, 0, 0]),
        "seccomp-listener" => (libc::SYS_seccomp, [1, 8, memory, 0, 0, 0]),
        "tiocsti" => (libc::SYS_ioctl, [0, 0x5412, memory, 0, 0, 0]),
        "memfd_secret" => (libc::SYS_memfd_secret, [0, 0, 0, 0, 0, 0]),
        "syslog" => (libc::SYS_syslog, [3, memory, 64, 0, 0, 0]),
        "fork" => (libc::SYS_fork, [0; 6]),
        "execve" => (libc::SYS_execve, [own, 0, 0, 0, 0, 0]),
        "execveat" => (libc::SYS_execveat, [-100, own, 0, 0, 0, 0]),
        "kill-init" => (libc::SYS_kill, [1, 9, 0, 0, 0, 0]),
        "socket-packet" => (libc::SYS_socket, [17, 3, 768, 0, 0, 0]),
        "socket-netlink" => (libc::SYS_socket, [16, 3, 0, 0, 0, 0]),
        "socket-vsock" => (libc::SYS_socket, [40, 1, 0, 0, 0, 0]),
        "socket-udp" => (libc::SYS_socket, [2, 2, 0, 0, 0, 0]),
        "socket-raw" => (libc::SYS_socket, [2, 3, 1, 0, 0, 0]),
        "socket-mptcp" => (libc::SYS_socket, [2, 1, 262, 0, 0, 0]),
        "socket-alg" => (libc::SYS_socket, [38, 5, 0, 0, 0, 0]),
        "x32-getpid" => (0x4000_0000 | libc::SYS_getpid, [0; 6]),
        "unknown-511" => (511, [0; 6]),
        "compat-socketcall" => return say(name, compat(102)),
        "compat-getpid" => return say(name, compat(20)),
        _ => return say(name, Err(io::Error::other("no such attack"))),
    };
    let [a, b, c, d, e, f] = args;
    #[expect(unsafe_code, reason = "an attack is a raw system call")]
    // SAFETY: pointers are to live buffers; the calls are refused, and none changes our memory
    // beyond `buffer`.
    let value = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    say(name, returned(value));
}

/// A call through the 32-bit ABI. A kernel without it kills the caller.
#[cfg(target_arch = "x86_64")]
fn compat(number: i64) -> io::Result<()> {
    let mut value = number;
    #[expect(unsafe_code, reason = "the 32-bit entry has no wrapper")]
    // SAFETY: `int 0x80` with zero arguments and no pointers; rbx is saved around it and r8 to r11,
    // which the entry clears, are declared.
    unsafe {
        std::arch::asm!(
            "push rbx", "xor ebx, ebx", "int 0x80", "pop rbx",
            inout("rax") value, in("rcx") 0, in("rdx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if value < 0 {
        return Err(io::Error::from_raw_os_error(
            i32::try_from(-value).unwrap_or(0),
        ));
    }
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn compat(_: i64) -> io::Result<()> {
    Err(io::Error::other("no 32-bit ABI"))
}

/// Forks until it is stopped; the children stay.
fn forks() {
    let mut children = 0;
    loop {
        match Command::new("/bin/sleep").arg("1000").spawn() {
            Ok(_) => children += 1,
            Err(e) => {
                drop(writeln!(io::stdout(), "children {children}"));
                return say("fork", Err(e));
            }
        }
    }
}

fn fill(path: &str) {
    let block = vec![1_u8; 1 << 20];
    let mut bytes = 0_u64;
    let result = (|| {
        let mut file = File::create(path)?;
        loop {
            bytes += file.write(&block)? as u64;
        }
    })();
    drop(writeln!(io::stdout(), "bytes {bytes}"));
    say("fill", result);
}

fn inodes(directory: &str) {
    let result = (0_u64..).try_for_each(|n| File::create(format!("{directory}/{n}")).map(drop));
    say("inodes", result);
}

fn descriptors() {
    let mut open = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(e) => break e,
        }
    };
    let count = open.len();
    drop(open);
    drop(writeln!(io::stdout(), "descriptors {count}"));
    say("descriptors", Err(error));
}

fn memory(mebibytes: &str) {
    let mut kept = Vec::new();
    for _ in 0..mebibytes.parse().unwrap_or(0) {
        kept.push(vec![1_u8; 1 << 20]);
    }
    say(
        "memory",
        if kept.is_empty() {
            Err(io::Error::other("no size"))
        } else {
            Ok(())
        },
    );
}

/// A daemon that leaves its parent, its session and its streams.
fn orphan() {
    let daemon = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & setsid -f sleep 1001 </dev/null >/dev/null 2>&1";
    say(
        "orphan",
        Command::new("/bin/sh")
            .args(["-c", daemon])
            .status()
            .map(drop),
    );
}

/// Runs a program from a memory file, by its descriptor.
/// Memory that is used until there is a file of this name; another one says that it is used.
fn hold(mebibytes: &str, until: &str) {
    let size = mebibytes.parse::<usize>().unwrap_or(0) << 20;
    let kept = vec![1_u8; size];
    let held = fs::write("held", "");
    while held.is_ok() && !std::path::Path::new(until).exists() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    say("hold", held.map(|()| drop(kept)));
}

/// Memory of a file without a name, which counts as no process's own.
fn nameless(mebibytes: &str) {
    let made = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::empty());
    let filled = made.map_err(io::Error::from).and_then(|fd| {
        let mut file = File::from(fd);
        let piece = [1; 1 << 16];
        for _ in 0..mebibytes.parse().unwrap_or(0) * 16 {
            file.write_all(&piece)?;
        }
        Ok(())
    });
    say("nameless", filled);
}

/// Segments that stay as long as this process.
fn segments(bytes: &str, count: &str) {
    for number in 1..=count.parse().unwrap_or(0) {
        let size = bytes.parse::<c_long>().unwrap_or(0);
        #[expect(unsafe_code, reason = "an attack is a raw system call")]
        // SAFETY: a number, a size and flags: private, created, and its owner's alone.
        let made = unsafe { libc::syscall(libc::SYS_shmget, 0_i64, size, 0o1600_i64) };
        say(&format!("segment {number}"), returned(made));
    }
}

fn exec_memfd(program: &str) {
    let run = || {
        let fd = rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::empty())?;
        let mut file = File::from(fd);
        file.write_all(&fs::read(program)?)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Command::new(path).status().map(drop)
    };
    say("exec-memfd", run());
}

/// Audited calls with pointers that point nowhere.
fn garbage() {
    let audited = [
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_renameat2,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_unlinkat,
        libc::SYS_truncate,
    ];
    for number in audited {
        for pointer in [0, 1, -1, i64::MIN, 0x7fff_ffff_f000, 0x1000] {
            #[expect(unsafe_code, reason = "an attack is a raw system call")]
            // SAFETY: none of these addresses is mapped, so nothing of ours is read or written.
            let value = unsafe {
                libc::syscall(number, pointer, pointer, pointer, pointer, pointer, pointer)
            };
            say("garbage", returned(value));
        }
    }
}
