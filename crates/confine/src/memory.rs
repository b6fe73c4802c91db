//! Memory that never reaches swap.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sys;

/// Why a process's memory is not locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryNotLocked {
    /// The system lets this process lock only so much. Beyond it every allocation would fail, so nothing is locked.
    #[error(
        "the process may lock {0} bytes alone; raise the limit (`LimitMEMLOCK=infinity`, `ulimit -l`)"
    )]
    Limited(u64),
    /// The kernel refuses.
    #[error("the kernel does not lock memory")]
    Refused(#[source] io::Error),
}

/// Locks all memory of this process: what it has, and what it will have, from the first use of each page on. Lifts the
/// limit on locked memory first, where the process may do that.
///
/// # Errors
/// [`MemoryNotLocked`]; then nothing is locked.
pub fn lock_memory() -> Result<(), MemoryNotLocked> {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // refused where the process may not; what it has then decides
    if setrlimit(Resource::Memlock, unlimited).is_err()
        && let Some(bytes) = raised()
    {
        return Err(MemoryNotLocked::Limited(bytes));
    }
    sys::lock_memory().map_err(MemoryNotLocked::Refused)
}

/// The limit, once it is as high as this process may make it.
fn raised() -> Option<u64> {
    let maximum = getrlimit(Resource::Memlock).maximum;
    let highest = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Memlock, highest) {
        Ok(()) => maximum,
        Err(_) => getrlimit(Resource::Memlock).current,
    }
}
