//! The `proofroom` command.

#![forbid(unsafe_code)]

mod commands;

use std::{alloc::System, process::ExitCode};

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zeroizing_alloc::ZeroAlloc;

/// Prompts and answers pass through buffers of the HTTP, TLS and JSON libraries, which wipe nothing:
/// whatever is freed is overwritten before anybody else can get it.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    if let Err(error) = no_core_dumps() {
        return commands::failed(&error);
    }
    commands::run(&arguments)
}

/// Prompts pass through this process's memory; none of them may reach a disk when it crashes. One
/// byte is too small for a core file, and is the value at which the kernel starts no core handler
/// either: it does not obey zero there (core(5), `fs/coredump.c`).
fn no_core_dumps() -> Result<(), commands::Failure> {
    let now = getrlimit(Resource::Core);
    let most = now.maximum.unwrap_or(1).min(1);
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Core, limit)
        .map_err(|error| commands::Failure::new(commands::UNAVAILABLE, "core-dumps", error))
}
