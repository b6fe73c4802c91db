//! A double of the kernel's configfs-tsm and of the TDX measurement registers, mounted by FUSE, whose
//! quotes are those of the simulated TEE. For an attester it is the real thing; what it signs proves
//! nothing. Differs from the kernel in one point: everything lies under one directory.

mod filesystem;
mod kernel;
#[cfg(test)]
mod tests;

use std::{io, path::Path};

use proofroom_evidence::Measurement;

use crate::{
    td,
    tee::{SimulatedTd, SimulatedTee},
};

/// How the double behaves.
#[derive(Clone, Debug)]
pub struct TsmOptions {
    /// What `provider` says.
    pub provider: TsmProvider,
    /// The TD at its start; its RTMRs are what registers begin with.
    pub td: SimulatedTd,
    /// The CC event log, shown as `CCEL`.
    pub ccel: Vec<u8>,
    /// Into how many reports somebody else writes between their `inblob` and `outblob`.
    pub disturbed: usize,
    /// What becomes of writes to registers.
    pub extends: Extends,
}

/// What `provider` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsmProvider {
    /// `tdx_guest`.
    Tdx,
    /// `sev_guest`. Its reports have the form of an SEV-SNP report and no signature at all.
    SevSnp,
    /// A machine that nobody knows.
    Unknown,
}

/// What becomes of writes to registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extends {
    /// They extend the register.
    Kept,
    /// They are answered as if, and lost.
    Lost,
}

impl Default for TsmOptions {
    fn default() -> Self {
        Self {
            provider: TsmProvider::Tdx,
            td: SimulatedTd::default(),
            ccel: Vec::new(),
            disturbed: 0,
            extends: Extends::Kept,
        }
    }
}

impl TsmOptions {
    /// The double of a room's TD that was started for the boot configuration of this MRCONFIGID, with
    /// the boot that `room-simulated.toml` pins, its log included.
    #[must_use]
    pub fn room(mr_config_id: Measurement) -> Self {
        let boot = td::simulated_boot();
        Self {
            td: td::booted(&boot, mr_config_id),
            ccel: td::boot_log(&boot),
            ..Self::default()
        }
    }
}

/// The mounted double; unmounted when this value goes.
#[derive(Debug)]
pub struct TsmDouble {
    _session: fuser::BackgroundSession,
}

impl TsmDouble {
    /// Mounts `report/`, `measurements/` and `CCEL` over the directory `at`.
    ///
    /// # Errors
    /// The kernel's answer, `EPERM` or `ENODEV` where this user may not mount or there is no FUSE.
    pub fn mount(at: &Path, tee: SimulatedTee, options: TsmOptions) -> io::Result<Self> {
        let filesystem = filesystem::Filesystem::new(kernel::Kernel::new(tee, options));
        let session = fuser::spawn_mount(filesystem, at, &config())?;
        Ok(Self { _session: session })
    }

    /// Mounts as [`TsmDouble::mount`] and serves until it is unmounted.
    ///
    /// # Errors
    /// As [`TsmDouble::mount`].
    pub fn serve(at: &Path, tee: SimulatedTee, options: TsmOptions) -> io::Result<()> {
        let filesystem = filesystem::Filesystem::new(kernel::Kernel::new(tee, options));
        fuser::mount(filesystem, at, &config())
    }
}

fn config() -> fuser::Config {
    let mut config = fuser::Config::default();
    config.mount_options = vec![fuser::MountOption::FSName("SIMULATED-tsm".to_owned())];
    config
}
