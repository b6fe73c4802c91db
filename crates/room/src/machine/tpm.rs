//! The software TPM of one machine: made for it, in a jail of its own, gone with it. The host runs
//! it, so it proves what the host wants it to prove; records call it what it is.

mod relay;
mod state;

use std::{
    ffi::OsString,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use proofroom_attester::tpm2::{Bank, Tpm as Commands, attestation_key};
use proofroom_confine::{
    IdMap,
    launch::{self, Launched},
};

use super::jail;
use crate::{RoomError, SWTPM, error::On as _, groups::Groups, room::Spare, slots::Slot};

/// The machine's one bank: the one that is quoted. Of a measured boot on an emulated processor a sixth was
/// spent on the digests of banks that nobody reads.
const BANK: Bank = Bank::Sha384;
/// How long one command of a TPM may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct SoftwareTpm {
    launched: Launched,
    slot: Slot,
    key: Vec<u8>,
}

impl SoftwareTpm {
    /// Makes a TPM, sees its attestation key, and starts it for a machine: with it comes the
    /// control socket that QEMU inherits.
    pub(super) fn start(spares: [Spare; 2], groups: &Groups) -> Result<(Self, OwnedFd), RoomError> {
        let [for_key, for_machine] = spares;
        let slot = Slot::take()?;
        let [state, again] = state::make(slot.ids)?;
        let key = first_life(for_key, groups, &slot, state)?;
        let (socket, control) = super::pair()?;
        let arguments = [
            "--ctrl",
            "type=unixio,clientfd=3",
            "--flags",
            "not-need-init",
        ];
        let launched = run(for_machine, groups, &slot, again, &arguments, control)?;
        let (for_qemu, qemu) = super::pair()?;
        relay::between(qemu, socket, BANK)?;
        let tpm = Self {
            launched,
            slot,
            key,
        };
        Ok((tpm, for_qemu.into()))
    }

    pub(super) fn attestation_key(&self) -> &[u8] {
        &self.key
    }

    /// The host ids of its jail.
    pub(super) fn ids(&self) -> IdMap {
        self.slot.ids
    }

    /// Ends it, and with its jail the only holder of its state's file system.
    pub(super) fn end(self) -> Result<(), RoomError> {
        self.launched.kill()?;
        self.launched.wait()?;
        if let Some(pid) = launch::process_of(self.slot.ids).on("list", Path::new("/proc"))? {
            let remains = format!("process {pid} runs under its TPM's ids");
            return Err(RoomError::Remains { remains });
        }
        self.slot.give_back()
    }
}

/// The TPM's first life, which only this process speaks to: its bank is chosen and its
/// attestation key is seen. The machine gets it in its second, with the same seeds.
fn first_life(
    spare: Spare,
    groups: &Groups,
    slot: &Slot,
    state: OwnedFd,
) -> Result<Vec<u8>, RoomError> {
    let (ours, theirs) = super::pair()?;
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(&ours, Some(PATIENCE)).on("wait on", Path::new("the TPM's socket"))?;
    }
    let arguments = ["--fd", "3", "--flags", "not-need-init"];
    let launched = run(spare, groups, slot, state, &arguments, theirs)?;
    let mut commands = Commands::new(&ours);
    commands.startup().map_err(RoomError::Tpm)?;
    commands.allocate_banks(&[BANK]).map_err(RoomError::Tpm)?;
    let key = attestation_key(&ours).map_err(RoomError::Tpm)?;
    commands.shutdown().map_err(RoomError::Tpm)?;
    drop(ours);
    launched.kill()?;
    launched.wait()?;
    Ok(key.tpmt_public().to_vec())
}

fn run(
    spare: Spare,
    groups: &Groups,
    slot: &Slot,
    state: OwnedFd,
    arguments: &[&str],
    socket: UnixStream,
) -> Result<Launched, RoomError> {
    let mut program: Vec<OsString> = vec![SWTPM.into(), "socket".into(), "--tpm2".into()];
    program.extend(["--tpmstate", "dir=/tpm", "--terminate"].map(OsString::from));
    program.extend(arguments.iter().map(OsString::from));
    let spec = jail(Vec::new(), vec!["/tpm".into()], program);
    spare.launch(groups, &spec, slot.ids, &[socket.into(), state])
}
