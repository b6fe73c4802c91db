//! Attacks by a program in a jail, which has no standard output: the channel is it.

use std::{io, os::fd::AsRawFd as _};

use proofroom_confine::stages;

use crate::attacks;

pub(crate) fn run(names: &[&str]) -> io::Result<()> {
    let channel = stages::take_channel()?;
    #[expect(unsafe_code, reason = "what attacks print goes to the channel")]
    // SAFETY: both numbers are open descriptors, and nobody owns standard output.
    if unsafe { libc::dup2(channel.as_raw_fd(), libc::STDOUT_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    attacks::run("syscalls", names);
    Ok(())
}
