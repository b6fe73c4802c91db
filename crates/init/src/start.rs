//! From the kernel's handing over to the machine's end, in the order that the evidence relies on:
//! configuration in, measured, then acted upon.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::ExitCode,
};

use proofroom_attester::{Attester, GuestPaths, detect};
use proofroom_canonical::json;
use proofroom_record::attest_api::BOOT_CONFIG_EVENT;
use proofroom_room::Room;
use proofroom_vmm::{
    BOOT_PORT, CHANNEL_PORT,
    boot::{self, BOOT_FORMAT, BootConfig, Order, Purpose, Report},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    system::{RebootCommand, reboot},
};

use crate::{
    InitError, attest, capture, disks,
    error::On as _,
    harden, inner, layers,
    mounts::{self, Modules},
    ports, pump,
    verity::Layers,
    workspace::{self, Caps, Workspace},
};

/// Where the attest socket lies in the machine; the room sees it under `/proofroom`.
const SOCKET_DIRECTORY: &str = "/run/attest";

/// Where the image keeps the blocks that a workspace's file system begins with.
const TEMPLATE: &str = "/workspace.template";

/// Runs the machine from its first instruction in user space to its end. Returns only when even
/// powering off failed.
pub fn main() -> ExitCode {
    let ended = run();
    if let Err(error) = &ended {
        // The kernel's console is all that is left when there is no boot port.
        drop(writeln!(
            std::io::stderr(),
            "proofroom: {}: {}",
            error.code(),
            chain(error)
        ));
    }
    rustix::fs::sync();
    match reboot(RebootCommand::PowerOff) {
        // The first process must not end before the machine: the kernel would panic.
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(70),
    }
}

fn run() -> Result<(), InitError> {
    mounts::kernel_views()?;
    let mut port = ports::open(BOOT_PORT)?;
    let done = with_port(&mut port);
    // A host that is gone hears nothing.
    if let Err(error) = &done
        && is_heard(&port)
    {
        let report = Report::Failed {
            code: error.code().to_owned(),
            message: chain(error),
        };
        drop(boot::write_frame(&mut port, &report));
        wait_until_read(&port);
    }
    done
}

fn with_port(port: &mut File) -> Result<(), InitError> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    say(
        port,
        &Report::Up {
            kernel: kernel.trim_end().to_owned(),
        },
    )?;
    let text = boot::read_frame(port).map_err(InitError::Boot)?;
    let config: BootConfig = boot::parse(&text).map_err(InitError::Boot)?;
    if config.format != BOOT_FORMAT {
        return Err(InitError::Configuration("its format is unknown"));
    }
    // Measured as one spelling only, so that its digest says everything about it.
    if json::to_bytes(&config).ok().as_deref() != Some(text.as_slice()) {
        return Err(InitError::Configuration("it is not canonical JSON"));
    }
    match config.purpose {
        Purpose::Canary => {
            say(port, &Report::Canary {})?;
            wait_until_read(port);
            Ok(())
        }
        Purpose::Capture => {
            Modules::Capture.load()?;
            let files = capture::firmware_files()?;
            say(port, &Report::Capture { files })?;
            wait_until_read(port);
            Ok(())
        }
        Purpose::Room => room(port, &config, &text),
    }
}

fn room(port: &mut File, config: &BootConfig, text: &[u8]) -> Result<(), InitError> {
    Modules::Room.load()?;
    let mut attester = attester()?;
    let content = String::from_utf8_lossy(text);
    attester
        .measure(BOOT_CONFIG_EVENT, &content)
        .map_err(|error| InitError::NotMeasured(BOOT_CONFIG_EVENT, error))?;
    mix_entropy(&config.entropy)?;
    let layers = layers::assemble(&config.layers)?;
    let disk = workspace_disk(config)?;
    let (disk, workspace) = disk.map_or((None, None), |(disk, mount)| (Some(disk), Some(mount)));
    mounts::control_groups()?;
    let channel = ports::open(CHANNEL_PORT)?;
    let system = mounts::enter_new_root(layers.as_ref().map(Layers::tree))?;
    let mut mechanisms = harden::harden(Path::new("/proc/sys"))?;
    mechanisms.extend(
        disk.iter()
            .map(|_| "guest-encrypted-workspace-disk".to_owned()),
    );
    let room = start_room(config, system, workspace, attester)?;
    mechanisms.push(inner::spare_supervisor(&room.1)?.to_owned());
    mechanisms.extend(room.1.mechanisms().iter().cloned());
    let (socket, room) = room;
    pump::pump(&channel, &socket).on("pump", "the channel")?;
    drop(socket);
    say(port, &Report::Ready { mechanisms })?;
    let ended = outlive(port, room);
    // Also when the host is gone: nothing waits to be written to its disk, and the key not for the machine's end.
    let workspace = disk.map(end);
    let mut how = ended?;
    // A block that is not the layer's was an error for whoever read it; the host hears of it too.
    if let Some(Err(error)) = layers.as_ref().map(Layers::intact) {
        how = format!("{how} {}: {}", error.code(), chain(&error));
    }
    if let Some(workspace) = workspace {
        how = format!("{how} {workspace}");
    }
    say(port, &Report::Ended { how })?;
    wait_until_read(port);
    Ok(())
}

/// The workspace's disk, where the configuration names one; its modules are loaded in no other machine.
fn workspace_disk(config: &BootConfig) -> Result<Option<(Workspace, OwnedFd)>, InitError> {
    let Some(disk) = &config.workspace_disk else {
        return Ok(None);
    };
    Modules::WorkspaceDisk.load()?;
    let device = disks::wait_for(disk.unit.into())?;
    let caps = Caps {
        bytes: config.limits.workspace_bytes,
        inodes: config.limits.inodes,
    };
    let made = workspace::make(&device, disk.bytes, caps, Path::new(TEMPLATE))?;
    Ok(Some(made))
}

/// What came of the workspace's disk, for the host: in its last words.
fn end(disk: Workspace) -> String {
    let errors = match disk.errors() {
        0 => String::new(),
        errors => format!("workspace-disk-errors:{errors} "),
    };
    match disk.erase() {
        Ok(()) => format!("{errors}workspace-key-erased"),
        Err(error) => format!(
            "{errors}workspace-key-left-to-the-machines-end: {}",
            chain(&error)
        ),
    }
}

/// The machine's attester. Machines with a TPM need no drivers for other kinds; whether the kind is
/// the one that the session requires is the verifier's to say.
fn attester() -> Result<Attester, InitError> {
    let paths = GuestPaths::default();
    if !paths.tpm.iter().any(|device| device.exists()) {
        Modules::Confidential.load()?;
        mounts::attestation_views();
    }
    Ok(detect(&paths)?)
}

fn start_room(
    config: &BootConfig,
    system: Vec<std::path::PathBuf>,
    workspace: Option<OwnedFd>,
    attester: Attester,
) -> Result<(std::os::unix::net::UnixStream, Room), InitError> {
    let directory = Path::new(SOCKET_DIRECTORY);
    fs::create_dir_all(directory).on("make", directory)?;
    let path = directory.join("attest.sock");
    // The room's ids are known once it runs; until then nobody but this process may connect.
    let listener = attest::listen(&path)?;
    let mut room = inner::start(&config.limits, system, workspace, directory)?;
    let supervisor = room.ids().supervisor;
    attest::hand_over(&path, supervisor)?;
    attest::serve(listener, supervisor, attester).on("serve", &path)?;
    let socket = room
        .take_channel()
        .ok_or(InitError::Configuration("the room inside has no channel"))?;
    Ok((socket, room))
}

/// Nothing rests on the host's randomness: the kernel's pool takes it as additional input.
fn mix_entropy(hex_bytes: &str) -> Result<(), InitError> {
    let bytes = hex::decode(hex_bytes)
        .map_err(|_| InitError::Configuration("`entropy` is not hexadecimal"))?;
    let pool = Path::new("/dev/urandom");
    fs::write(pool, bytes).on("write", pool)
}

/// Waits for the room's end, carries out the host's orders meanwhile, and ends the room when the
/// host is gone.
fn outlive(port: &mut File, room: Room) -> Result<String, InitError> {
    loop {
        let (ended, ordered) = {
            let pidfd = room.pidfd();
            let mut fds = [
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
                PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).on("wait for", "the room"),
            }
            let [room, port] = fds.map(|fd| !fd.revents().is_empty());
            (room, port)
        };
        if ended {
            let observed = room.destroy().map_err(InitError::Room)?;
            let facts: Vec<&str> = observed
                .facts
                .iter()
                .map(|seen| seen.fact.as_str())
                .collect();
            return Ok(facts.join(" "));
        }
        if ordered {
            let order = boot::read_frame(port).and_then(|frame| boot::parse::<Order>(&frame));
            match order {
                Ok(Order::Close) => room.ask_to_close().map_err(InitError::Room)?,
                // The host is gone or speaks nonsense: without it nothing can be recorded.
                Err(error) => {
                    room.destroy().map_err(InitError::Room)?;
                    return Err(InitError::Boot(error));
                }
            }
        }
    }
}

fn say(port: &mut File, report: &Report) -> Result<(), InitError> {
    boot::write_frame(port, report)
        .map(drop)
        .map_err(InitError::Boot)
}

/// Whether the host's side of the port is open. While it is not, the kernel keeps a writer waiting, for ever when
/// the host is gone, and the machine would not end.
fn is_heard(port: impl AsFd) -> bool {
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(port.as_fd(), PollFlags::OUT)];
    let answered = poll(&mut fds, Some(&now)).is_ok();
    let [port] = fds.map(|fd| fd.revents());
    answered && port.contains(PollFlags::OUT) && !port.contains(PollFlags::HUP)
}

/// A port's buffers go with the machine: the host closes the port when it has read the last words.
fn wait_until_read(port: &File) {
    let second = rustix::event::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(port.as_fd(), PollFlags::HUP)];
    // Whatever it answers, the machine ends next.
    let _answer = poll(&mut fds, Some(&second));
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        words.push_str(": ");
        words.push_str(&source.to_string());
        next = source.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::is_heard;

    #[test]
    fn a_port_is_heard_for_as_long_as_its_other_side_is_open() {
        let (port, host) = UnixStream::pair().unwrap();
        assert!(is_heard(&port));
        drop(host);
        assert!(!is_heard(&port));
    }
}
