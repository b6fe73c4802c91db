//! What keeps prompts in this process's memory: nobody may read it from outside, no crash writes it to a disk, and
//! nothing of it is swapped out.

use std::fs;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

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
    #[error("the machine has swap, or does not say that it has none")]
    Swap,
}

impl HardenError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Process(_) => "process-hardening",
            Self::Swap => "memory-swappable",
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
    Ok(())
}

/// Makes sure that the machine has no swap.
///
/// # Errors
/// `memory-swappable`.
pub fn no_swap() -> Result<(), HardenError> {
    let swaps = fs::read_to_string(SWAPS).map_err(|_| HardenError::Swap)?;
    match has_swap(&swaps) {
        true => Err(HardenError::Swap),
        false => Ok(()),
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
