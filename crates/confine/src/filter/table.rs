//! Which system calls the agent may make, by name. Anything that is not in [`ALLOWED`] and not
//! judged in `filter.rs` goes to the supervisor and is refused there, known to us or not.

/// Number and name of a system call.
pub(crate) type Entry = (libc::c_long, &'static str);

macro_rules! calls {
    ($($name:ident: $number:ident),* $(,)?) => { &[$((libc::$number, stringify!($name))),*] };
}

/// Allowed whatever the arguments: they act on the caller's own memory, threads, descriptors and
/// on files within the limits of Landlock and ownership.
pub(crate) const ALLOWED: &[Entry] = calls! {
    // descriptors
    read: SYS_read, write: SYS_write, readv: SYS_readv, writev: SYS_writev, pread64: SYS_pread64,
    pwrite64: SYS_pwrite64, preadv: SYS_preadv, pwritev: SYS_pwritev, preadv2: SYS_preadv2,
    pwritev2: SYS_pwritev2, close: SYS_close, close_range: SYS_close_range, dup: SYS_dup,
    dup3: SYS_dup3, fcntl: SYS_fcntl, lseek: SYS_lseek, pipe2: SYS_pipe2, flock: SYS_flock,
    fsync: SYS_fsync, fdatasync: SYS_fdatasync, sync_file_range: SYS_sync_file_range,
    ftruncate: SYS_ftruncate, fallocate: SYS_fallocate, fadvise64: SYS_fadvise64,
    readahead: SYS_readahead, sendfile: SYS_sendfile, splice: SYS_splice, tee: SYS_tee,
    copy_file_range: SYS_copy_file_range, syncfs: SYS_syncfs,
    // files: looking, and changing what is one's own
    fstat: SYS_fstat, newfstatat: SYS_newfstatat, statx: SYS_statx, statfs: SYS_statfs,
    fstatfs: SYS_fstatfs, getdents64: SYS_getdents64, faccessat: SYS_faccessat,
    faccessat2: SYS_faccessat2, readlinkat: SYS_readlinkat, getcwd: SYS_getcwd, chdir: SYS_chdir,
    fchdir: SYS_fchdir,
    umask: SYS_umask, getxattr: SYS_getxattr, lgetxattr: SYS_lgetxattr, fgetxattr: SYS_fgetxattr,
    listxattr: SYS_listxattr, llistxattr: SYS_llistxattr, flistxattr: SYS_flistxattr,
    inotify_init1: SYS_inotify_init1, inotify_add_watch: SYS_inotify_add_watch,
    inotify_rm_watch: SYS_inotify_rm_watch,
    // memory
    mmap: SYS_mmap, munmap: SYS_munmap, mprotect: SYS_mprotect, mremap: SYS_mremap,
    madvise: SYS_madvise, brk: SYS_brk, mincore: SYS_mincore, msync: SYS_msync, mlock: SYS_mlock,
    mlock2: SYS_mlock2, munlock: SYS_munlock, mlockall: SYS_mlockall, munlockall: SYS_munlockall,
    memfd_create: SYS_memfd_create, membarrier: SYS_membarrier, pkey_alloc: SYS_pkey_alloc,
    pkey_free: SYS_pkey_free, pkey_mprotect: SYS_pkey_mprotect, mseal: SYS_mseal,
    get_mempolicy: SYS_get_mempolicy,
    // processes and threads (clone is judged by its flags, execve by the supervisor)
    exit: SYS_exit, exit_group: SYS_exit_group, wait4: SYS_wait4, waitid: SYS_waitid,
    getpid: SYS_getpid, getppid: SYS_getppid,
    gettid: SYS_gettid, getpgid: SYS_getpgid, setpgid: SYS_setpgid, getsid: SYS_getsid,
    setsid: SYS_setsid, set_tid_address: SYS_set_tid_address, set_robust_list: SYS_set_robust_list,
    get_robust_list: SYS_get_robust_list, rseq: SYS_rseq, futex: SYS_futex,
    futex_waitv: SYS_futex_waitv,
    pidfd_send_signal: SYS_pidfd_send_signal, getrusage: SYS_getrusage, times: SYS_times,
    getrlimit: SYS_getrlimit, setrlimit: SYS_setrlimit,
    getpriority: SYS_getpriority, ioprio_get: SYS_ioprio_get,
    ioprio_set: SYS_ioprio_set, sched_yield: SYS_sched_yield,
    sched_getaffinity: SYS_sched_getaffinity, sched_setaffinity: SYS_sched_setaffinity,
    sched_getparam: SYS_sched_getparam, sched_setparam: SYS_sched_setparam,
    sched_getscheduler: SYS_sched_getscheduler,
    sched_getattr: SYS_sched_getattr, sched_setattr: SYS_sched_setattr,
    sched_get_priority_max: SYS_sched_get_priority_max,
    sched_get_priority_min: SYS_sched_get_priority_min,
    sched_rr_get_interval: SYS_sched_rr_get_interval, getcpu: SYS_getcpu,
    // identity: asking for it (changing it is audited)
    getuid: SYS_getuid, geteuid: SYS_geteuid, getgid: SYS_getgid, getegid: SYS_getegid,
    getgroups: SYS_getgroups, getresuid: SYS_getresuid, getresgid: SYS_getresgid,
    capget: SYS_capget,
    landlock_create_ruleset: SYS_landlock_create_ruleset,
    landlock_add_rule: SYS_landlock_add_rule,
    landlock_restrict_self: SYS_landlock_restrict_self,
    // signals, time, waiting
    rt_sigaction: SYS_rt_sigaction, rt_sigprocmask: SYS_rt_sigprocmask,
    rt_sigreturn: SYS_rt_sigreturn, rt_sigpending: SYS_rt_sigpending,
    rt_sigtimedwait: SYS_rt_sigtimedwait,
    rt_tgsigqueueinfo: SYS_rt_tgsigqueueinfo, rt_sigsuspend: SYS_rt_sigsuspend,
    sigaltstack: SYS_sigaltstack, signalfd4: SYS_signalfd4, restart_syscall: SYS_restart_syscall,
    clock_gettime: SYS_clock_gettime, clock_getres: SYS_clock_getres,
    clock_nanosleep: SYS_clock_nanosleep, nanosleep: SYS_nanosleep,
    gettimeofday: SYS_gettimeofday, getitimer: SYS_getitimer, setitimer: SYS_setitimer,
    timer_create: SYS_timer_create, timer_settime: SYS_timer_settime,
    timer_gettime: SYS_timer_gettime, timer_getoverrun: SYS_timer_getoverrun,
    timer_delete: SYS_timer_delete, timerfd_create: SYS_timerfd_create,
    timerfd_settime: SYS_timerfd_settime, timerfd_gettime: SYS_timerfd_gettime,
    eventfd2: SYS_eventfd2, epoll_create1: SYS_epoll_create1, epoll_ctl: SYS_epoll_ctl,
    epoll_pwait: SYS_epoll_pwait, epoll_pwait2: SYS_epoll_pwait2, ppoll: SYS_ppoll,
    pselect6: SYS_pselect6,
    // sockets that exist already
    listen: SYS_listen, accept: SYS_accept, accept4: SYS_accept4, recvfrom: SYS_recvfrom,
    recvmsg: SYS_recvmsg, recvmmsg: SYS_recvmmsg, shutdown: SYS_shutdown,
    getsockname: SYS_getsockname, getpeername: SYS_getpeername, getsockopt: SYS_getsockopt,
    setsockopt: SYS_setsockopt,
    // System V and POSIX queues, in the room's own ipc namespace
    shmget: SYS_shmget, shmat: SYS_shmat, shmdt: SYS_shmdt, shmctl: SYS_shmctl,
    semget: SYS_semget, semop: SYS_semop, semctl: SYS_semctl, semtimedop: SYS_semtimedop,
    msgget: SYS_msgget, msgsnd: SYS_msgsnd, msgrcv: SYS_msgrcv, msgctl: SYS_msgctl,
    // the system
    uname: SYS_uname, sysinfo: SYS_sysinfo, getrandom: SYS_getrandom,
};

/// Allowed calls that only x86_64 has.
#[cfg(target_arch = "x86_64")]
pub(crate) const ALLOWED_NATIVE: &[Entry] = calls! {
    stat: SYS_stat, lstat: SYS_lstat, access: SYS_access, readlink: SYS_readlink,
    getdents: SYS_getdents,
    dup2: SYS_dup2, pipe: SYS_pipe, poll: SYS_poll, select: SYS_select, pause: SYS_pause,
    alarm: SYS_alarm, time: SYS_time, fork: SYS_fork, vfork: SYS_vfork, getpgrp: SYS_getpgrp,
    eventfd: SYS_eventfd, signalfd: SYS_signalfd, epoll_create: SYS_epoll_create,
    epoll_wait: SYS_epoll_wait, inotify_init: SYS_inotify_init, arch_prctl: SYS_arch_prctl,
};

/// Allowed calls that only aarch64 has: none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const ALLOWED_NATIVE: &[Entry] = &[];

/// Calls that always go to the supervisor as a record and may be allowed there.
pub(crate) const AUDITED: &[Entry] = calls! {
    openat: SYS_openat, openat2: SYS_openat2, execve: SYS_execve, execveat: SYS_execveat,
    connect: SYS_connect, bind: SYS_bind, sendto: SYS_sendto, unlinkat: SYS_unlinkat,
    renameat: SYS_renameat, renameat2: SYS_renameat2, linkat: SYS_linkat,
    symlinkat: SYS_symlinkat, truncate: SYS_truncate, mknodat: SYS_mknodat,
    mkdirat: SYS_mkdirat, fchmod: SYS_fchmod, fsetxattr: SYS_fsetxattr,
    fremovexattr: SYS_fremovexattr, fchmodat: SYS_fchmodat, fchmodat2: SYS_fchmodat2,
    fchown: SYS_fchown, fchownat: SYS_fchownat, setxattr: SYS_setxattr,
    lsetxattr: SYS_lsetxattr, removexattr: SYS_removexattr, lremovexattr: SYS_lremovexattr,
    setuid: SYS_setuid, setgid: SYS_setgid, setreuid: SYS_setreuid, setregid: SYS_setregid,
    setresuid: SYS_setresuid, setresgid: SYS_setresgid, setgroups: SYS_setgroups,
    setfsuid: SYS_setfsuid, setfsgid: SYS_setfsgid, capset: SYS_capset, utimensat: SYS_utimensat,
};

/// Audited calls that only x86_64 has.
#[cfg(target_arch = "x86_64")]
pub(crate) const AUDITED_NATIVE: &[Entry] = calls! {
    open: SYS_open, creat: SYS_creat, unlink: SYS_unlink, rmdir: SYS_rmdir, rename: SYS_rename,
    link: SYS_link, symlink: SYS_symlink, mknod: SYS_mknod, mkdir: SYS_mkdir, chmod: SYS_chmod,
    chown: SYS_chown, lchown: SYS_lchown, utime: SYS_utime, utimes: SYS_utimes,
    futimesat: SYS_futimesat,
};

/// Audited calls that only aarch64 has: none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const AUDITED_NATIVE: &[Entry] = &[];

/// Calls whose arguments are judged in the filter itself.
pub(crate) const JUDGED: &[Entry] = calls! {
    clone: SYS_clone, clone3: SYS_clone3, socket: SYS_socket, socketpair: SYS_socketpair,
    sendmsg: SYS_sendmsg, sendmmsg: SYS_sendmmsg, ioctl: SYS_ioctl, seccomp: SYS_seccomp,
    personality: SYS_personality, kill: SYS_kill, tkill: SYS_tkill, tgkill: SYS_tgkill,
    pidfd_open: SYS_pidfd_open, prlimit64: SYS_prlimit64, rt_sigqueueinfo: SYS_rt_sigqueueinfo,
    prctl: SYS_prctl, sched_setscheduler: SYS_sched_setscheduler, setpriority: SYS_setpriority,
};

/// Calls whose first argument is a process; the room's own first process is nobody's business.
pub(crate) const ON_PROCESS: &[libc::c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_pidfd_open,
    libc::SYS_prlimit64,
    libc::SYS_rt_sigqueueinfo,
];

/// Names of calls that are refused, so that an event can name them. Being absent here changes
/// nothing but the name.
pub(crate) const REFUSED: &[Entry] = calls! {
    io_uring_setup: SYS_io_uring_setup, io_uring_enter: SYS_io_uring_enter,
    io_uring_register: SYS_io_uring_register, userfaultfd: SYS_userfaultfd, bpf: SYS_bpf,
    perf_event_open: SYS_perf_event_open, keyctl: SYS_keyctl, add_key: SYS_add_key,
    request_key: SYS_request_key, ptrace: SYS_ptrace, process_vm_readv: SYS_process_vm_readv,
    process_vm_writev: SYS_process_vm_writev, process_madvise: SYS_process_madvise,
    pidfd_getfd: SYS_pidfd_getfd, kcmp: SYS_kcmp, mount: SYS_mount, umount2: SYS_umount2,
    pivot_root: SYS_pivot_root, chroot: SYS_chroot, open_tree: SYS_open_tree,
    move_mount: SYS_move_mount, fsopen: SYS_fsopen, fsconfig: SYS_fsconfig,
    fsmount: SYS_fsmount, fspick: SYS_fspick, mount_setattr: SYS_mount_setattr,
    unshare: SYS_unshare, setns: SYS_setns, name_to_handle_at: SYS_name_to_handle_at,
    open_by_handle_at: SYS_open_by_handle_at, kexec_load: SYS_kexec_load,
    kexec_file_load: SYS_kexec_file_load, init_module: SYS_init_module,
    finit_module: SYS_finit_module, delete_module: SYS_delete_module, reboot: SYS_reboot,
    swapon: SYS_swapon, swapoff: SYS_swapoff, sethostname: SYS_sethostname,
    setdomainname: SYS_setdomainname, syslog: SYS_syslog, acct: SYS_acct,
    quotactl: SYS_quotactl, settimeofday: SYS_settimeofday, clock_settime: SYS_clock_settime,
    adjtimex: SYS_adjtimex, clock_adjtime: SYS_clock_adjtime, fanotify_init: SYS_fanotify_init,
    fanotify_mark: SYS_fanotify_mark, memfd_secret: SYS_memfd_secret, vmsplice: SYS_vmsplice,
    move_pages: SYS_move_pages, migrate_pages: SYS_migrate_pages, mbind: SYS_mbind,
    set_mempolicy: SYS_set_mempolicy, vhangup: SYS_vhangup, mq_open: SYS_mq_open,
    remap_file_pages: SYS_remap_file_pages,
};

/// Refused calls that only x86_64 has.
#[cfg(target_arch = "x86_64")]
pub(crate) const REFUSED_NATIVE: &[Entry] = calls! {
    iopl: SYS_iopl, ioperm: SYS_ioperm, modify_ldt: SYS_modify_ldt, uselib: SYS_uselib,
    sysfs: SYS_sysfs, ustat: SYS_ustat, set_thread_area: SYS_set_thread_area,
};

/// Refused calls that only aarch64 has: none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const REFUSED_NATIVE: &[Entry] = &[];

/// What a program in a jail is ended for: no emulator, library or start-up code asks for these.
pub(crate) const ENDS_A_PROGRAM: &[Entry] = calls! {
    ptrace: SYS_ptrace, process_vm_readv: SYS_process_vm_readv,
    process_vm_writev: SYS_process_vm_writev, process_madvise: SYS_process_madvise,
    pidfd_getfd: SYS_pidfd_getfd, kcmp: SYS_kcmp, bpf: SYS_bpf, mount: SYS_mount,
    umount2: SYS_umount2, pivot_root: SYS_pivot_root, chroot: SYS_chroot,
    open_tree: SYS_open_tree, move_mount: SYS_move_mount, fsopen: SYS_fsopen,
    fsconfig: SYS_fsconfig, fsmount: SYS_fsmount, fspick: SYS_fspick,
    mount_setattr: SYS_mount_setattr, unshare: SYS_unshare, setns: SYS_setns,
    open_by_handle_at: SYS_open_by_handle_at, kexec_load: SYS_kexec_load,
    kexec_file_load: SYS_kexec_file_load, init_module: SYS_init_module,
    finit_module: SYS_finit_module, delete_module: SYS_delete_module, reboot: SYS_reboot,
    swapon: SYS_swapon, swapoff: SYS_swapoff, acct: SYS_acct, quotactl: SYS_quotactl,
    quotactl_fd: SYS_quotactl_fd, settimeofday: SYS_settimeofday,
    clock_settime: SYS_clock_settime, sethostname: SYS_sethostname,
    setdomainname: SYS_setdomainname, execveat: SYS_execveat,
};

/// The same, of x86_64 alone.
#[cfg(target_arch = "x86_64")]
pub(crate) const ENDS_NATIVE: &[Entry] = calls! { iopl: SYS_iopl, ioperm: SYS_ioperm };

/// The same, of aarch64 alone: none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const ENDS_NATIVE: &[Entry] = &[];

/// What a program in a jail is refused. Holds what `-sandbox on` with every `deny` of QEMU refuses, less
/// what no kernel has any more (`_sysctl`, `create_module` and their like).
pub(crate) const DENIED: &[Entry] = calls! {
    io_uring_setup: SYS_io_uring_setup, io_uring_enter: SYS_io_uring_enter,
    io_uring_register: SYS_io_uring_register, userfaultfd: SYS_userfaultfd,
    perf_event_open: SYS_perf_event_open, keyctl: SYS_keyctl, add_key: SYS_add_key,
    request_key: SYS_request_key, name_to_handle_at: SYS_name_to_handle_at,
    memfd_secret: SYS_memfd_secret, vmsplice: SYS_vmsplice, move_pages: SYS_move_pages,
    migrate_pages: SYS_migrate_pages, mbind: SYS_mbind, set_mempolicy: SYS_set_mempolicy,
    fanotify_init: SYS_fanotify_init, fanotify_mark: SYS_fanotify_mark, syslog: SYS_syslog,
    vhangup: SYS_vhangup, adjtimex: SYS_adjtimex, clock_adjtime: SYS_clock_adjtime,
    mq_open: SYS_mq_open, remap_file_pages: SYS_remap_file_pages,
    lookup_dcookie: SYS_lookup_dcookie, nfsservctl: SYS_nfsservctl,
    setuid: SYS_setuid, setgid: SYS_setgid, setreuid: SYS_setreuid, setregid: SYS_setregid,
    setresuid: SYS_setresuid, setresgid: SYS_setresgid, setgroups: SYS_setgroups,
    setfsuid: SYS_setfsuid, setfsgid: SYS_setfsgid, capset: SYS_capset, setpgid: SYS_setpgid,
    setsid: SYS_setsid, setpriority: SYS_setpriority, sched_setparam: SYS_sched_setparam,
    sched_setscheduler: SYS_sched_setscheduler, sched_setaffinity: SYS_sched_setaffinity,
    mknodat: SYS_mknodat,
};

/// Refused calls that only x86_64 has.
#[cfg(target_arch = "x86_64")]
pub(crate) const DENIED_NATIVE: &[Entry] = calls! {
    fork: SYS_fork, vfork: SYS_vfork, modify_ldt: SYS_modify_ldt, uselib: SYS_uselib,
    sysfs: SYS_sysfs, ustat: SYS_ustat, mknod: SYS_mknod,
};

/// Refused calls that only aarch64 has: none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const DENIED_NATIVE: &[Entry] = &[];

/// The name of a native call, or `None` when this table does not know it.
pub(crate) fn name(number: libc::c_long) -> Option<&'static str> {
    // Those that are asked for most come first.
    [
        AUDITED,
        AUDITED_NATIVE,
        JUDGED,
        REFUSED,
        REFUSED_NATIVE,
        ALLOWED,
        ALLOWED_NATIVE,
    ]
    .iter()
    .flat_map(|table| table.iter())
    .find(|(known, _)| *known == number)
    .map(|(_, name)| *name)
}
