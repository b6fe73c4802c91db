//! The software TPM of one machine: made for it, in a jail of its own, gone with it. The host runs
//! it, so it proves what the host wants it to prove; records call it what it is.

use std::{
    ffi::OsString,
    fs,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt as _, chown},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use proofroom_attester::tpm2::{Bank, Tpm as Commands, attestation_key};
use proofroom_confine::{IdMap, WritableBind, launch::Launched};

use super::jail;
use crate::{RoomError, error::On as _, groups::Groups, room::Spare, slots::Slot};

/// In memory: the seeds of a TPM have no business on a disk.
const PLACE: &str = "/dev/shm";
const PROGRAM: &str = "/usr/bin/swtpm";
/// How long one command of a TPM may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct SoftwareTpm {
    launched: Launched,
    // Before the slot: whoever gets the ids next finds no state of this TPM.
    state: State,
    slot: Slot,
    key: Vec<u8>,
}

/// The directory of a TPM's state; removed with this value.
#[derive(Debug)]
struct State(PathBuf);

impl Drop for State {
    fn drop(&mut self) {
        // what a host that died left is found by its name, see the janitor
        drop(fs::remove_dir_all(&self.0));
    }
}

fn place(ids: IdMap) -> PathBuf {
    Path::new(PLACE).join(format!("proofroom-tpm-{}", ids.agent))
}

/// Removes what a TPM of these ids left, when its host died. Nobody may run under them.
pub(crate) fn forget(ids: IdMap) -> Result<(), RoomError> {
    let place = place(ids);
    // Anybody may make a file of this name here; it must not stop a room.
    let removed = match fs::symlink_metadata(&place) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&place),
        Ok(_) => fs::remove_file(&place),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).on("remove", &place)
        }
        _ => Ok(()),
    }
}

impl SoftwareTpm {
    /// Makes a TPM, sees its attestation key, and starts it for a machine: with it comes the
    /// control socket that QEMU inherits.
    pub(super) fn start(spares: [Spare; 2], groups: &Groups) -> Result<(Self, OwnedFd), RoomError> {
        let [for_key, for_machine] = spares;
        let slot = Slot::take()?;
        // Left by a host that died: its ids were seen to be unused.
        forget(slot.ids)?;
        let state = State(place(slot.ids));
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(&state.0).on("make", &state.0)?;
        let owner = Some(slot.ids.agent);
        chown(&state.0, owner, owner).on("give away", &state.0)?;
        let key = first_life(for_key, groups, &slot, &state)?;
        let (socket, control) = super::pair()?;
        let arguments = [
            "--ctrl",
            "type=unixio,clientfd=3",
            "--flags",
            "not-need-init",
        ];
        let launched = run(for_machine, groups, &slot, &state, &arguments, control)?;
        let tpm = Self {
            launched,
            state,
            slot,
            key,
        };
        Ok((tpm, socket.into()))
    }

    pub(super) fn attestation_key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn end(self) -> Result<(), RoomError> {
        self.launched.kill()?;
        self.launched.wait()?;
        drop(self.state);
        forget(self.slot.ids)?;
        self.slot.give_back()
    }
}

/// The TPM's first life, which only this process speaks to: its banks are chosen and its
/// attestation key is seen. The machine gets it in its second, with the same seeds.
fn first_life(
    spare: Spare,
    groups: &Groups,
    slot: &Slot,
    state: &State,
) -> Result<Vec<u8>, RoomError> {
    let (ours, theirs) = super::pair()?;
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(&ours, Some(PATIENCE)).on("wait on", Path::new("the TPM's socket"))?;
    }
    let arguments = ["--fd", "3", "--flags", "not-need-init"];
    let launched = run(spare, groups, slot, state, &arguments, theirs)?;
    let mut commands = Commands::new(&ours);
    commands.startup().map_err(RoomError::Tpm)?;
    let banks = [Bank::Sha256, Bank::Sha384];
    commands.allocate_banks(&banks).map_err(RoomError::Tpm)?;
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
    state: &State,
    arguments: &[&str],
    socket: UnixStream,
) -> Result<Launched, RoomError> {
    let mut program: Vec<OsString> = vec![PROGRAM.into(), "socket".into(), "--tpm2".into()];
    program.extend(["--tpmstate", "dir=/tpm", "--terminate"].map(OsString::from));
    program.extend(arguments.iter().map(OsString::from));
    let bind = WritableBind {
        source: state.0.clone(),
        target: "/tpm".into(),
    };
    let spec = jail(Vec::new(), vec![bind], program);
    spare.launch(groups, &spec, slot.ids, &[socket.into()])
}
