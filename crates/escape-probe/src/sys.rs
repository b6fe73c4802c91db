//! What the standard library does not offer: system calls by number, through every door that the
//! processor has, and copies of this process. The only file here that may use `unsafe`.
//!
//! A system call by number is not safe in Rust's sense. It is called so here because the calls are
//! those of the attempts alone, none of which gives the kernel memory to write to that is not
//! theirs; a probe that crashes is a test that fails.

use std::{ffi::CStr, io};

/// What a system call answers: a value or an error number.
pub(crate) type Answer = Result<usize, i32>;

/// The address of some bytes, as an argument. They must outlive the call.
pub(crate) fn at<T: ?Sized>(memory: &T) -> usize {
    std::ptr::from_ref(memory).cast::<u8>().expose_provenance()
}

/// The address of a C string, as an argument.
pub(crate) fn name(text: &CStr) -> usize {
    text.as_ptr().expose_provenance()
}

/// A negative number as an argument.
pub(crate) const fn minus(number: isize) -> usize {
    number.wrapping_neg().cast_unsigned()
}

/// `AT_FDCWD`.
pub(crate) const HERE: usize = minus(100);

/// A system call through the native door.
pub(crate) fn call(number: libc::c_long, arguments: &[usize]) -> Answer {
    let argument = |place: usize| arguments.get(place).copied().unwrap_or(0);
    let (a, b, c) = (argument(0), argument(1), argument(2));
    let (d, e, f) = (argument(3), argument(4), argument(5));
    #[expect(unsafe_code, reason = "the probe's system calls have no other way")]
    // SAFETY: see the head of this file.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(answer).map_err(|_| last_error())
}

fn last_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A page below 4 GiB, where 32-bit calls find their arguments.
pub(crate) struct LowPage(usize);

impl LowPage {
    const BYTES: usize = 4096;

    pub(crate) fn new() -> Result<Self, i32> {
        let protection = 3; // PROT_READ | PROT_WRITE
        let flags = 0x62; // MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT
        let address = call(
            libc::SYS_mmap,
            &[0, Self::BYTES, protection, flags, minus(1), 0],
        )?;
        Ok(Self(address))
    }

    /// Copies `bytes` to `offset` of the page and returns their address.
    pub(crate) fn put(&self, offset: usize, bytes: &[u8]) -> Result<u32, i32> {
        let fits = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= Self::BYTES);
        if !fits {
            return Err(libc::E2BIG);
        }
        let address = self.0.wrapping_add(offset);
        let target = std::ptr::with_exposed_provenance_mut::<u8>(address);
        #[expect(unsafe_code, reason = "memory of the page is not a Rust object")]
        // SAFETY: the range lies within the page, which is this value's own and mapped writable.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        u32::try_from(address).map_err(|_| libc::EFAULT)
    }
}

/// A system call through the 32-bit door, whose numbers are those of i386.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_32bit(number: u32, arguments: [u32; 5]) -> Answer {
    let [b, c, d, si, di] = arguments;
    let answer: i32;
    #[expect(unsafe_code, reason = "no library offers this door")]
    // SAFETY: see the head of this file. `int 0x80` keeps everything but `eax` and r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg {b:r}, rbx",
            "int 0x80",
            "xchg {b:r}, rbx",
            b = inout(reg) u64::from(b) => _,
            inlateout("eax") number => answer,
            in("ecx") c,
            in("edx") d,
            in("esi") si,
            in("edi") di,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    usize::try_from(answer).map_err(|_| answer.wrapping_neg())
}

/// Other processors have no such door.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn call_32bit(_: u32, _: [u32; 5]) -> Answer {
    Err(libc::ENOSYS)
}

/// An instruction that only a kernel may use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instruction {
    ReadMsr,
    /// Of the time stamp's adjustment, to what it is.
    WriteMsr,
    InPort(u16),
    OutPort(u16),
    Halt,
    /// `tdcall`, which a trust domain's kernel alone may use.
    TrustedCall,
    ReadControl,
    /// `lgdt` would be next; storing is what a user may still ask.
    ClearInterrupts,
}

/// Executes it. Returns only when the processor let it pass.
#[cfg(target_arch = "x86_64")]
pub(crate) fn execute(instruction: Instruction) {
    #[expect(unsafe_code, reason = "instructions have no other way")]
    // SAFETY: each faults for a user; where it did not, it would only read, or wait.
    unsafe {
        match instruction {
            Instruction::ReadMsr => {
                std::arch::asm!("rdmsr", in("ecx") 0x10, out("eax") _, out("edx") _);
            }
            Instruction::WriteMsr => {
                std::arch::asm!("wrmsr", in("ecx") 0x3B, in("eax") 0, in("edx") 0);
            }
            Instruction::InPort(port) => {
                std::arch::asm!("in al, dx", in("dx") port, out("al") _);
            }
            Instruction::OutPort(port) => {
                std::arch::asm!("out dx, al", in("dx") port, in("al") 0_u8);
            }
            // Leaf 16, which no module has.
            Instruction::TrustedCall => {
                std::arch::asm!(".byte 0x66, 0x0F, 0x01, 0xCC", inout("rax") 16_u64 => _);
            }
            Instruction::Halt => std::arch::asm!("hlt"),
            Instruction::ReadControl => std::arch::asm!("mov {0}, cr0", out(reg) _),
            Instruction::ClearInterrupts => std::arch::asm!("cli"),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn execute(_: Instruction) {
    std::process::abort();
}

/// Whose instruction calls the hypervisor.
#[derive(Clone, Copy)]
pub(crate) enum Vendor {
    Intel,
    Amd,
}

/// Calls the hypervisor. Returns only when the processor let it pass, with what was answered.
#[cfg(target_arch = "x86_64")]
pub(crate) fn hypercall(vendor: Vendor, number: i64) -> i64 {
    let answer: i64;
    #[expect(unsafe_code, reason = "instructions have no other way")]
    // SAFETY: the number is of a call that does nothing; the answer comes in `rax`.
    unsafe {
        match vendor {
            Vendor::Intel => {
                std::arch::asm!("vmcall", inout("rax") number => answer);
            }
            Vendor::Amd => {
                std::arch::asm!("vmmcall", inout("rax") number => answer);
            }
        }
    }
    answer
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn hypercall(_: Vendor, _: i64) -> i64 {
    std::process::abort();
}

/// How a copy of this process ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
    NotStarted(i32),
}

/// Runs `work` in a copy of this process, which ends with what it returns.
pub(crate) fn in_copy(work: impl FnOnce() -> u8) -> Ended {
    match start_copy(work) {
        Ok(pid) => wait_for(pid),
        Err(errno) => Ended::NotStarted(errno),
    }
}

/// Starts a copy of this process that runs `work`, and returns its number.
pub(crate) fn start_copy(work: impl FnOnce() -> u8) -> Result<i32, i32> {
    #[expect(unsafe_code, reason = "the standard library does not copy processes")]
    // SAFETY: attempts are made on the only thread, or on threads that hold no lock by then.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = work();
        #[expect(unsafe_code, reason = "a copy must not run this process's destructors")]
        // SAFETY: it ends the copy.
        unsafe {
            libc::_exit(i32::from(code))
        }
    }
    if pid < 0 { Err(last_error()) } else { Ok(pid) }
}

/// Waits for a copy.
pub(crate) fn wait_for(pid: i32) -> Ended {
    let mut status = 0_i32;
    loop {
        #[expect(unsafe_code, reason = "the standard library did not start it")]
        // SAFETY: `status` is a valid place for the call's answer.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if waited == pid {
            break;
        }
        if last_error() != libc::EINTR {
            return Ended::NotStarted(last_error());
        }
    }
    if libc::WIFSIGNALED(status) {
        Ended::Signal(libc::WTERMSIG(status))
    } else {
        Ended::Code(libc::WEXITSTATUS(status))
    }
}

/// Takes over a descriptor that a call by number answered.
pub(crate) fn adopt(number: usize) -> io::Result<std::fs::File> {
    use std::os::fd::FromRawFd as _;
    let number = i32::try_from(number).map_err(io::Error::other)?;
    #[expect(
        unsafe_code,
        reason = "a descriptor that came as a number has no owner yet"
    )]
    // SAFETY: the caller just got it from the kernel.
    Ok(unsafe { std::fs::File::from_raw_fd(number) })
}

/// Writes one byte to each page of memory that the kernel gave out by number.
pub(crate) fn touch(address: usize, bytes: usize) {
    for offset in (0..bytes).step_by(4096) {
        let page = std::ptr::with_exposed_provenance_mut::<u8>(address.wrapping_add(offset));
        #[expect(unsafe_code, reason = "this memory is not a Rust object")]
        // SAFETY: the caller just attached or mapped writable memory of this size there.
        unsafe {
            page.write_volatile(1);
        }
    }
}

/// Ignores a signal from now on, in what is executed too.
pub(crate) fn ignore(signal: i32) {
    #[expect(unsafe_code, reason = "the standard library sets no signal handlers")]
    // SAFETY: no handler is installed.
    unsafe {
        libc::signal(signal, libc::SIG_IGN);
    }
}

/// The bytes that a vector has room for, as the kernel gave them.
pub(crate) fn spare(memory: &mut Vec<u8>) -> &[u8] {
    let spare = memory.spare_capacity_mut();
    let (start, length) = (spare.as_ptr().cast::<u8>(), spare.len());
    // The compiler must not reason from what it never saw written.
    let start = std::hint::black_box(start);
    #[expect(unsafe_code, reason = "reading what was never written is the point")]
    // SAFETY: the range is allocated, and came from `mmap` untouched: it is larger than what the
    // allocator keeps for reuse.
    unsafe {
        std::slice::from_raw_parts(start, length)
    }
}
