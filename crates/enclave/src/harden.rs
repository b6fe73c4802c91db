//! What keeps prompts in this process's memory: nobody may read it from outside, no crash writes it to a disk, and
//! nothing of it is swapped out.

use std::fs;

use proofroom_confine::{MemoryNotLocked, lock_memory};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::config::Swap;

/// Where the kernel lists its swap areas, after a line of headings.
const SWAPS: &str = "/proc/swaps";

/// Why memory cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardenError {
    /// The kernel refuses a limit.
    #[error("the process cannot be made unreadable from outside")]
    Process(#[from] rustix::io::Errno),
    /// Memory could be written to a disk.
    #[error("the machine may have swap, and memory is not locked")]
    Swap(#[source] MemoryNotLocked),
}

impl HardenError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Process(_) => "process-hardening",
            Self::Swap(_) => "memory-swappable",
        }
    }
}

/// Makes this process unreadable from outside, before it has any key.
///
/// # Errors
/// `process-hardening`.
pub fn harden() -> Result<(), HardenError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // One byte is too small for a core file, and is the value at which the kernel starts no core handler
    // either: it does not obey zero there (core(5)).
    let most = getrlimit(Resource::Core).maximum.unwrap_or(1).min(1);
    let core = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Core, core)?;
    // every client has a connection of its own, and each of these one to the server
    let most = getrlimit(Resource::Nofile).maximum;
    let files = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, files)?;
    Ok(())
}

/// Why prompts do not reach swap, or that they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Memory is locked.
    Locked,
    /// Memory is not locked, and the machine has no swap.
    WithoutSwap,
    /// They may, and the configuration tolerates it.
    Swappable,
}

impl Kept {
    /// As the program says it when it is ready.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::WithoutSwap => "without-swap",
            Self::Swappable => "swappable",
        }
    }
}

/// Locks memory, or finds that the machine has no swap.
///
/// # Errors
/// `memory-swappable` where neither is so, unless that is tolerated.
pub fn keep_from_swap(swap: Swap) -> Result<Kept, HardenError> {
    let Err(why) = lock_memory() else {
        return Ok(Kept::Locked);
    };
    let swaps = fs::read_to_string(SWAPS);
    match (swaps.is_ok_and(|swaps| !has_swap(&swaps)), swap) {
        (true, _) => Ok(Kept::WithoutSwap),
        (false, Swap::Tolerated) => Ok(Kept::Swappable),
        (false, Swap::Refused) => Err(HardenError::Swap(why)),
    }
}

fn has_swap(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::has_swap;

    #[test]
    fn a_swap_area_is_seen_below_the_headings() {
        let headings = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!has_swap(headings));
        assert!(has_swap(&format!(
            "{headings}/dev/vda2 partition\t999\t0\t-2\n"
        )));
    }
}
