//! QEMU's own parser on the command lines of confidential machines and of machines with a disk for their
//! workspace. The former need QEMU 11 or newer, by `PROOFROOM_QEMU` or on the path; says so aloud where
//! there is none. Nothing boots: without such hardware QEMU must get as far as asking the processor, and
//! no farther.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
};

use proofroom_vmm::{
    Accelerator, CBit, ConfidentialMachine, Disk, HostData, Inherited, KVM_DEVICE, Machine,
    MrConfigId, QuoteService, Shape, Technology, Tpm,
};
use rustix::io::{FdFlags, fcntl_setfd};

const OLDEST: u32 = 11;

fn program() -> OsString {
    env::var_os("PROOFROOM_QEMU").unwrap_or_else(|| "qemu-system-x86_64".into())
}

/// QEMU, if it is new enough.
fn qemu() -> Option<OsString> {
    let program = program();
    let skip = |why: &str| {
        eprintln!(
            "SKIPPED: {program:?} {why}; set PROOFROOM_QEMU to a QEMU {OLDEST} or newer to run this"
        );
        None
    };
    let Ok(answer) = Command::new(&program).arg("--version").output() else {
        return skip("cannot be run");
    };
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let version = text.split("version ").nth(1).unwrap_or_default();
    match version.split('.').next().unwrap_or_default().parse::<u32>() {
        Ok(OLDEST..) => Some(program),
        Ok(_) | Err(_) => skip(&format!(
            "is too old: {}",
            text.lines().next().unwrap_or("?")
        )),
    }
}

/// Our ends and QEMU's, which it inherits: this file starts one QEMU at a time and nothing else.
struct Sockets([(UnixStream, UnixStream); 3]);

impl Sockets {
    fn new() -> Self {
        Self([(); 3].map(|()| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            fcntl_setfd(&theirs, FdFlags::empty()).unwrap();
            (ours, theirs)
        }))
    }

    fn inherited(&self, number: usize) -> Inherited {
        Inherited(self.0[number].1.as_raw_fd())
    }
}

fn machine(files: &Path, sockets: &Sockets) -> Machine {
    let file = |name: &str| {
        let path = files.join(name);
        fs::write(&path, vec![0; 1 << 16]).unwrap();
        path
    };
    Machine {
        accelerator: Accelerator::Kvm,
        shape: Shape {
            vcpus: 1,
            memory_mib: 256,
        },
        firmware: file("firmware"),
        kernel: file("kernel"),
        initrd: file("initrd"),
        command_line: "quiet".to_owned(),
        disks: vec![Disk {
            path: file("layer"),
        }],
        workspace: None,
        tpm: Tpm::Absent,
        boot_port: sockets.inherited(0),
        channel: sockets.inherited(1),
        monitor: sockets.inherited(2),
    }
}

/// The same arguments with KVM's device under the number that it has here; without a device, with
/// QEMU left to miss it.
fn with_device(arguments: &[OsString], device: Option<&File>) -> Vec<OsString> {
    let named = format!("fd={},set=1", KVM_DEVICE.0);
    let texts = arguments.iter().map(|argument| argument.to_str().unwrap());
    let texts = texts.map(|text| match device {
        Some(device) if text == named => format!("fd={},set=1", device.as_raw_fd()),
        None if text == "-add-fd" => "-name".to_owned(),
        None if text == named => "proofroom".to_owned(),
        None if text.starts_with("kvm,device=") => "kvm".to_owned(),
        _ => text.to_owned(),
    });
    texts.map(OsString::from).collect()
}

/// What QEMU says to these arguments before it ends.
fn answer(program: &OsString, arguments: &[OsString]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn qemu_understands_the_confidential_command_lines() {
    let Some(program) = qemu() else { return };
    let files = tempfile::tempdir().unwrap();
    let device = File::options().read(true).write(true).open("/dev/kvm").ok();
    if let Some(device) = &device {
        fcntl_setfd(device, FdFlags::empty()).unwrap();
    }
    let technologies = [
        (
            Technology::Tdx {
                config: MrConfigId::of_boot_config(b"{}"),
                quote_service: QuoteService::Unix(files.path().join("qgs.sock")),
            },
            "TDX",
            "mrconfigid",
        ),
        (
            Technology::Tdx {
                config: MrConfigId::of_boot_config(b"{}"),
                quote_service: QuoteService::Vsock { cid: 2, port: 4050 },
            },
            "TDX",
            "quote-generation-socket",
        ),
        (
            Technology::SevSnp {
                config: HostData::of_boot_config(b"{}"),
                c_bit: CBit::EPYC,
            },
            "SEV-SNP",
            "host-data",
        ),
    ];
    for (technology, name, property) in technologies {
        let sockets = Sockets::new();
        let machine = machine(files.path(), &sockets);
        let machine = ConfidentialMachine::new(machine, technology).unwrap();
        let arguments = with_device(&machine.arguments().unwrap(), device.as_ref());
        let said = answer(&program, &arguments);
        // Parsed as far as the processor: there is no KVM, or it has no such machines.
        let reached = [
            format!("vm-type {name} not supported by KVM"),
            "Could not access KVM kernel module".to_owned(),
        ];
        assert!(reached.iter().any(|words| said.contains(words)), "{said}");

        // The same line with one property misspelt: the parser was reached, and would have refused.
        let misspelt: Vec<OsString> = arguments
            .iter()
            .map(|argument| argument.to_str().unwrap().replace(property, "misspelt"))
            .map(OsString::from)
            .collect();
        let said = answer(&program, &misspelt);
        assert!(said.contains("'misspelt' is unexpected"), "{said}");
    }
}

/// QEMU looks into a kernel before it asks anything else.
fn without_kernel(arguments: &[OsString]) -> Vec<OsString> {
    let options = ["-kernel", "-initrd", "-append"].map(OsString::from);
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if options.contains(argument) {
            rest.next();
        } else {
            kept.push(argument.clone());
        }
    }
    kept
}

/// What the machine of `arguments` answers to a question about its disks before it runs, on `monitor`; or
/// what QEMU says of the arguments.
fn disks_of(
    program: &OsString,
    arguments: &[OsString],
    monitor: &UnixStream,
) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .arg("-S")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = monitor;
    let asked = ["qmp_capabilities", "query-block", "quit"].map(|word| {
        let line = format!("{{\"execute\":\"{word}\"}}\n");
        told.write_all(line.as_bytes())
    });
    drop(asked);
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    if !child.wait().unwrap().success() {
        return Err(said);
    }
    // This process has QEMU's end of the socket as well, so there is no end of file.
    monitor.set_nonblocking(true).unwrap();
    let mut answers = Vec::new();
    drop(told.read_to_end(&mut answers));
    Ok(String::from_utf8(answers).unwrap())
}

#[test]
fn qemu_takes_a_workspace_disk_as_a_descriptor_that_has_no_name() {
    let program = program();
    if Command::new(&program).arg("--version").output().is_err() {
        eprintln!("SKIPPED: {program:?} cannot be run");
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let sockets = Sockets::new();
    let disk = tempfile::tempfile().unwrap();
    disk.set_len(1 << 30).unwrap();
    fcntl_setfd(&disk, FdFlags::empty()).unwrap();
    let machine = Machine {
        accelerator: Accelerator::Tcg,
        workspace: Some(Inherited(disk.as_raw_fd())),
        ..machine(files.path(), &sockets)
    };
    let arguments = without_kernel(&machine.arguments());
    let answers = disks_of(&program, &arguments, &sockets.0[2].0).unwrap();
    let block = answers
        .split("\"device\"")
        .find(|part| part.contains("\"workspace\""));
    let block = block.unwrap_or_else(|| panic!("{answers}"));
    assert!(block.contains("\"ro\": false"), "{block}");
    assert!(block.contains("/dev/fdset/2"), "{block}");

    // The same line with one property misspelt, and with a set that has no descriptor: both are refused.
    for (right, wrong, said) in [
        ("werror=", "werrors=", "werrors"),
        ("/dev/fdset/2", "/dev/fdset/3", "/dev/fdset/3"),
    ] {
        let sockets = Sockets::new();
        let changed = Machine {
            boot_port: sockets.inherited(0),
            channel: sockets.inherited(1),
            monitor: sockets.inherited(2),
            ..machine.clone()
        };
        let changed: Vec<OsString> = without_kernel(&changed.arguments())
            .iter()
            .map(|argument| argument.to_str().unwrap().replace(right, wrong).into())
            .collect();
        let refused = disks_of(&program, &changed, &sockets.0[2].0).unwrap_err();
        assert!(refused.contains(said), "{refused}");
    }
}
