//! The emulated machine: boots, prints its event log and registers on its serial line, and is then
//! asked for its firmware configuration files through QEMU's test channel.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_verifier::reference::PREDICTED_PCRS;

const QEMU: &str = "qemu-system-x86_64";
const BUSYBOX: &str = "/bin/busybox";
/// An emulated boot takes 10 s alone, and several times that beside a build.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a boot left behind.
pub(crate) struct Booted {
    pub(crate) log: Vec<u8>,
    pub(crate) registers: BTreeMap<(String, u32), String>,
    pub(crate) acpi: BTreeMap<String, Vec<u8>>,
    pub(crate) qemu: String,
}

/// Whether all programs are there.
pub(crate) fn programs() -> Result<(), String> {
    for program in [QEMU, "swtpm", "swtpm_setup"] {
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| format!("{program}: {error}"))?;
    }
    let busybox = fs::read(BUSYBOX).map_err(|error| format!("{BUSYBOX}: {error}"))?;
    // A program that needs a loader names it right behind its headers.
    let dynamic = busybox.iter().take(4096).copied().collect::<Vec<u8>>();
    let dynamic = dynamic.windows(8).any(|window| window == b"ld-linux");
    if dynamic {
        return Err(format!("{BUSYBOX} is not static"));
    }
    Ok(())
}

/// An initrd whose first process prints log and registers, and waits.
pub(crate) fn initrd() -> Vec<u8> {
    let pcrs = PREDICTED_PCRS.map(|pcr| pcr.to_string()).join(" ");
    let script = format!(
        "#!/bin/busybox sh\n\
         b=/bin/busybox\n\
         $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev; $b mount -t securityfs s /sys/kernel/security\n\
         echo # the firmware's last line on this terminal has no end\n\
         for bank in sha256 sha384; do for pcr in {pcrs}; do\n\
         echo \"PCR $bank $pcr $($b cat /sys/class/tpm/tpm0/pcr-$bank/$pcr)\"; done; done\n\
         echo LOG; $b base64 /sys/kernel/security/tpm0/binary_bios_measurements; echo END\n\
         while true; do $b sleep 60; done\n"
    );
    let mut archive = Vec::new();
    for directory in ["bin", "dev", "sys"] {
        entry(&mut archive, directory, 0o040_755, &[]);
    }
    let busybox = fs::read(BUSYBOX).expect("checked before");
    entry(&mut archive, "bin/busybox", 0o100_755, &busybox);
    entry(&mut archive, "init", 0o100_755, script.as_bytes());
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

/// A file of a `newc` archive.
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, contents: &[u8]) {
    let (size, name_size) = (contents.len(), name.len() + 1);
    let header = format!(
        "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}",
        archive.len(),
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        0
    );
    archive.extend(header.as_bytes());
    archive.extend(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(contents);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a kernel says that executed a breakpoint of its own while it patched itself, which QEMU's emulator lets
/// happen now and then: nothing that is measured is to blame.
const EMULATORS_FAULT: &str = "Oops: int3";
const TRIES: usize = 3;

/// Boots `initrd` with the kernel and firmware of `image`; again where the emulator failed the kernel.
pub(crate) fn boot(
    image: &Path,
    initrd: &[u8],
    command_line: &str,
    memory_mib: u32,
    arguments: &[&str],
) -> Booted {
    let boot = || boot_once(image, initrd, command_line, memory_mib, arguments);
    let booted = std::iter::repeat_with(boot).take(TRIES).find_map(|booted| {
        if booted.is_none() {
            eprintln!("the emulator failed the kernel ({EMULATORS_FAULT}); booting again");
        }
        booted
    });
    booted.expect("a boot that the emulator does not fail")
}

fn boot_once(
    image: &Path,
    initrd: &[u8],
    command_line: &str,
    memory_mib: u32,
    arguments: &[&str],
) -> Option<Booted> {
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| scratch.path().join(name).display().to_string();
    fs::write(at("initrd"), initrd).expect("a file");
    let _tpm = software_tpm(scratch.path());
    let mut qemu = Command::new(QEMU);
    qemu.args([
        "-accel",
        "tcg",
        "-machine",
        "q35,smm=off",
        "-cpu",
        "max",
        "-nodefaults",
    ]);
    qemu.args([
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-serial",
        "stdio",
    ]);
    qemu.args(["-m", &memory_mib.to_string(), "-append", command_line]);
    qemu.arg("-kernel").arg(image.join("vmlinuz"));
    qemu.arg("-bios").arg(image.join("OVMF.fd"));
    qemu.args(["-initrd", &at("initrd")]);
    qemu.args([
        "-chardev",
        &format!("socket,id=tpm,path={}", at("tpm.socket")),
    ]);
    qemu.args([
        "-tpmdev",
        "emulator,id=tpm0,chardev=tpm",
        "-device",
        "tpm-crb,tpmdev=tpm0",
    ]);
    qemu.args([
        "-qtest",
        &format!("unix:{},server=on,wait=off", at("test.socket")),
    ]);
    qemu.args(["-qtest-log", "/dev/null"]);
    qemu.args(arguments);
    let child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("QEMU starts");
    let mut child = Running(child);
    let serial = child.0.stdout.take().expect("piped");
    let said = until_end(BufReader::new(serial))?;
    Some(Booted {
        log: log(&said),
        registers: said.iter().filter_map(|line| register(line)).collect(),
        acpi: configuration_files(Path::new(&at("test.socket"))),
        qemu: version(),
    })
}

/// QEMU's version: the word after `version`.
fn version() -> String {
    let said = Command::new(QEMU)
        .arg("--version")
        .output()
        .expect("checked before");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut words = said
        .split_whitespace()
        .skip_while(|word| *word != "version");
    words.nth(1).expect("a version").to_owned()
}

fn software_tpm(scratch: &Path) -> Running {
    let state = scratch.join("tpm");
    fs::create_dir(&state).expect("a directory");
    let made = Command::new("swtpm_setup")
        .args(["--tpm2", "--pcr-banks", "sha256,sha384", "--tpmstate"])
        .arg(format!("dir://{}", state.display()))
        .stdout(Stdio::null())
        .status()
        .expect("swtpm_setup starts");
    assert!(made.success(), "swtpm_setup failed");
    let socket = scratch.join("tpm.socket");
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init"])
        .arg("--tpmstate")
        .arg(format!("dir={}", state.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm starts");
    let running = Running(child);
    let start = Instant::now();
    while !socket.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "swtpm makes no socket"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

/// What the guest says until its log ends; none where the emulator failed its kernel.
fn until_end(mut serial: BufReader<impl std::io::Read + Send + 'static>) -> Option<Vec<String>> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = Vec::new();
        while serial
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            if send.send(text).is_err() {
                break;
            }
        }
    });
    let start = Instant::now();
    let mut said: Vec<String> = Vec::new();
    while said.last().is_none_or(|line| line != "END") {
        let left = PATIENCE.saturating_sub(start.elapsed());
        match lines.recv_timeout(left) {
            Ok(line) => said.push(line),
            Err(_) if said.iter().any(|line| line.contains(EMULATORS_FAULT)) => return None,
            Err(error) => panic!("the guest did not get to its end ({error}): {said:#?}"),
        }
    }
    Some(said)
}

fn log(said: &[String]) -> Vec<u8> {
    let lines = said.iter().skip_while(|line| *line != "LOG").skip(1);
    let text: String = lines
        .take_while(|line| *line != "END")
        .map(String::as_str)
        .collect();
    STANDARD.decode(text).expect("base64")
}

fn register(line: &str) -> Option<((String, u32), String)> {
    let mut words = line.strip_prefix("PCR ")?.split(' ');
    let (bank, pcr) = (words.next()?, words.next()?.parse().ok()?);
    Some(((bank.to_owned(), pcr), words.next()?.to_lowercase()))
}

/// The ACPI files, read from the firmware configuration device (QEMU, `docs/specs/fw_cfg.rst`).
/// They were made final when the firmware read them.
fn configuration_files(socket: &Path) -> BTreeMap<String, Vec<u8>> {
    const DIRECTORY: u16 = 0x19;
    let mut channel = TestChannel::connect(socket);
    let count = channel.file(DIRECTORY, 4);
    let count = usize::from(count[3]);
    let directory = channel.file(DIRECTORY, 4 + 64 * count);
    let mut files = BTreeMap::new();
    for (name, path) in [
        ("table-loader", "etc/table-loader"),
        ("rsdp", "etc/acpi/rsdp"),
        ("tables", "etc/acpi/tables"),
        ("tpm-log", "etc/tpm/log"),
    ] {
        let entry = directory[4..].chunks_exact(64).find(|entry| {
            let name = entry[8..]
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default();
            name == path.as_bytes()
        });
        let entry = entry.unwrap_or_else(|| panic!("QEMU has no `{path}`"));
        let size = u32::from_be_bytes(entry[..4].try_into().expect("4 bytes"));
        let key = u16::from_be_bytes(entry[4..6].try_into().expect("2 bytes"));
        files.insert(
            name.to_owned(),
            channel.file(key, usize::try_from(size).expect("small")),
        );
    }
    files
}

struct TestChannel(BufReader<UnixStream>);

impl TestChannel {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("QEMU's test channel");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, words: &str) -> String {
        let stream = self.0.get_mut();
        stream
            .write_all(format!("{words}\n").as_bytes())
            .expect("QEMU listens");
        loop {
            let mut line = String::new();
            assert!(
                self.0.read_line(&mut line).expect("QEMU answers") > 0,
                "QEMU is gone"
            );
            if let Some(answer) = line.strip_prefix("OK") {
                return answer.trim().to_owned();
            }
            assert!(!line.starts_with("FAIL"), "{words}: {line}");
        }
    }

    /// A file by DMA: the request lies at 4 KiB, the contents come to 1 MiB. The guest is of no
    /// further use afterwards.
    fn file(&mut self, key: u16, size: usize) -> Vec<u8> {
        const SELECT_AND_READ: u32 = 0x0a;
        let control = (u32::from(key) << 16) | SELECT_AND_READ;
        self.ask(&format!(
            "write 0x1000 16 0x{control:08x}{size:08x}{:016x}",
            0x10_0000
        ));
        // The address of the request, big-endian: 0x1000.
        self.ask("outl 0x514 0x0");
        self.ask("outl 0x518 0x00100000");
        let answer = self.ask(&format!("read 0x100000 {size}"));
        hex::decode(answer.trim_start_matches("0x")).expect("hex")
    }
}
