//! What a room in confidential hardware needs of this machine, each thing looked for by name. Says what
//! is missing and what to do; that nothing is missing does not promise that a room will start.

mod program;
#[cfg(test)]
mod tests;

use std::{
    fmt, fs,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use proofroom_canonical::IsolationLevel;
use proofroom_confine::probe::kvm_machine_types;
use serde::Serialize;

use program::Qemu;

/// Hardware that keeps a room from its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HardwareBackend {
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    SevSnp,
}

impl HardwareBackend {
    /// Its name on command lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tdx => "tdx",
            Self::SevSnp => "sev-snp",
        }
    }

    /// The level of its rooms, once their evidence is verified.
    #[must_use]
    pub const fn level(self) -> IsolationLevel {
        IsolationLevel::Hardware
    }

    /// Its bit in `KVM_CAP_VM_TYPES`.
    const fn machine_type(self) -> u32 {
        match self {
            Self::SevSnp => 4,
            Self::Tdx => 5,
        }
    }

    const fn qemu_object(self) -> &'static str {
        match self {
            Self::Tdx => "tdx-guest",
            Self::SevSnp => "sev-snp-guest",
        }
    }

    /// The oldest QEMU that was tried with our command line.
    const fn oldest_qemu(self) -> u32 {
        11
    }

    /// The section of the firmware's table that says how it is loaded, as it lies in the file.
    const fn firmware_mark(self) -> [u8; 16] {
        match self {
            // e47a6535-984a-4798-865e-4685a7bf8ec2, TDX metadata
            Self::Tdx => [
                0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf,
                0x8e, 0xc2,
            ],
            // 7255371f-3a3b-4b04-927b-1da6efa8d454, table of kernel hashes
            Self::SevSnp => [
                0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b, 0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8,
                0xd4, 0x54,
            ],
        }
    }
}

impl fmt::Display for HardwareBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where this machine keeps what hardware rooms need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPaths {
    /// `/dev/kvm`.
    pub kvm: PathBuf,
    /// `/dev/sev`.
    pub sev: PathBuf,
    /// `/sys/module`.
    pub modules: PathBuf,
    /// QEMU.
    pub qemu: PathBuf,
    /// Firmware that rooms boot with.
    pub firmware: PathBuf,
    /// The quote generation service.
    pub quote_service: QuoteServiceAt,
}

/// Where the host's quote generation service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuoteServiceAt {
    /// A unix socket.
    Unix(PathBuf),
    /// A vsock port of this host. Nobody can ask whether somebody listens without being a guest.
    Vsock(u32),
}

impl HostPaths {
    /// Where Debian and Intel's packages put things, with the firmware of `image`.
    #[must_use]
    pub fn of_image(image: &Path) -> Self {
        Self {
            kvm: "/dev/kvm".into(),
            sev: "/dev/sev".into(),
            modules: "/sys/module".into(),
            qemu: crate::QEMU.into(),
            firmware: image.join("OVMF.fd"),
            quote_service: QuoteServiceAt::Unix("/var/run/tdx-qgs/qgs.socket".into()),
        }
    }
}

/// One thing that is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// Its stable name.
    pub name: &'static str,
    /// Whether it is there.
    pub state: State,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It was looked at and is there.
    Met(String),
    /// It is not there, or is not what it must be.
    Missing {
        /// What was found instead.
        why: String,
        /// What the machine's owner can do.
        what_to_do: String,
    },
    /// Only a real use would tell.
    NotTried(String),
}

/// Everything that one backend needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HardwareReport {
    /// The backend.
    pub backend: HardwareBackend,
    /// In a fixed order.
    pub requirements: Vec<Requirement>,
}

/// Rooms of this kind cannot start here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no `{backend}` room starts on this machine: {}", list(.missing))]
pub struct BackendUnavailable {
    /// The backend.
    pub backend: HardwareBackend,
    /// Everything that is missing, at least one.
    pub missing: Vec<Requirement>,
}

impl BackendUnavailable {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "backend-unavailable"
    }
}

fn list(missing: &[Requirement]) -> String {
    missing
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Met(detail) | State::NotTried(detail) => write!(f, "{}: {detail}", self.name),
            State::Missing { why, what_to_do } => {
                write!(f, "{}: {why}, {what_to_do}", self.name)
            }
        }
    }
}

impl HardwareReport {
    /// Looks for everything that `backend` needs. Executes QEMU twice, starts no machine.
    #[must_use]
    pub fn of(backend: HardwareBackend, paths: &HostPaths) -> Self {
        let qemu = Qemu::ask(&paths.qemu);
        let mut requirements = vec![
            named(module_name(backend), module(backend, &paths.modules)),
            named("kvm-machine-type", machine_type(backend, &paths.kvm)),
            named("qemu-version", qemu.at_least(backend.oldest_qemu())),
            named("qemu-object", qemu.has_object(backend.qemu_object())),
            named("firmware", firmware(backend, &paths.firmware)),
        ];
        requirements.push(match backend {
            HardwareBackend::Tdx => named("quote-service", quote_service(&paths.quote_service)),
            HardwareBackend::SevSnp => named("sev-device", sev_device(&paths.sev)),
        });
        Self {
            backend,
            requirements,
        }
    }

    /// Nothing is known to be missing.
    ///
    /// # Errors
    /// `backend-unavailable` with everything that is.
    pub fn require(&self) -> Result<(), BackendUnavailable> {
        let missing: Vec<Requirement> = self
            .requirements
            .iter()
            .filter(|requirement| matches!(requirement.state, State::Missing { .. }))
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(BackendUnavailable {
            backend: self.backend,
            missing,
        })
    }
}

/// Whether `program` is a QEMU of this major version or a newer one. Executes it.
#[must_use]
pub fn qemu_at_least(program: &Path, oldest: u32) -> State {
    Qemu::ask(program).at_least(oldest)
}

const fn named(name: &'static str, state: State) -> Requirement {
    Requirement { name, state }
}

const fn module_name(backend: HardwareBackend) -> &'static str {
    match backend {
        HardwareBackend::Tdx => "kvm-intel-tdx",
        HardwareBackend::SevSnp => "kvm-amd-sev-snp",
    }
}

fn module(backend: HardwareBackend, modules: &Path) -> State {
    let (parameter, what_to_do) = match backend {
        HardwareBackend::Tdx => (
            "kvm_intel/parameters/tdx",
            "boot a kernel with CONFIG_INTEL_TDX_HOST (Linux 6.16 or newer; stock Debian kernels lack \
             it) on a processor with TDX, enable TDX in the BIOS and load kvm_intel with tdx=1",
        ),
        HardwareBackend::SevSnp => (
            "kvm_amd/parameters/sev_snp",
            "boot Linux 6.11 or newer on an EPYC of the third generation or newer, enable SEV-SNP in the \
             BIOS and load kvm_amd with sev_snp=1",
        ),
    };
    let path = modules.join(parameter);
    match fs::read_to_string(&path) {
        Ok(text) if matches!(text.trim(), "Y" | "1") => State::Met(format!("{parameter} is on")),
        Ok(text) => missing(
            format!("`{}` is `{}`", path.display(), text.trim()),
            what_to_do,
        ),
        Err(error) => missing(format!("`{}`: {error}", path.display()), what_to_do),
    }
}

fn machine_type(backend: HardwareBackend, kvm: &Path) -> State {
    let bit = backend.machine_type();
    match kvm_machine_types(kvm) {
        Ok(types) if types & (1 << bit) != 0 => {
            State::Met(format!("KVM offers machine type {bit}"))
        }
        Ok(types) => missing(
            format!("KVM offers machine types {types:#x}, without type {bit}"),
            "use the kernel, module and BIOS settings that this backend needs",
        ),
        Err(error) => missing(
            format!("`{}`: {error}", kvm.display()),
            "load KVM and let this user open its device",
        ),
    }
}

/// Firmware without the mark would be loaded as for an ordinary machine and not start.
fn firmware(backend: HardwareBackend, path: &Path) -> State {
    let what_to_do = match backend {
        HardwareBackend::Tdx => "build the room image; its OVMF carries TDX metadata",
        HardwareBackend::SevSnp => {
            "give the room image an OVMF built from OvmfPkg/AmdSev, which checks the kernel's hash"
        }
    };
    // The table ends 32 bytes before the end of the image and is far shorter than a page.
    const TABLE_BYTES: u64 = 4096;
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TABLE_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TABLE_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let mark = backend.firmware_mark();
    match tail() {
        Ok(bytes) if bytes.windows(mark.len()).any(|window| window == mark) => {
            State::Met(format!("`{}`", path.display()))
        }
        Ok(_) => missing(
            format!("`{}` has no metadata for {backend}", path.display()),
            what_to_do,
        ),
        Err(error) => missing(format!("`{}`: {error}", path.display()), what_to_do),
    }
}

fn quote_service(at: &QuoteServiceAt) -> State {
    match at {
        QuoteServiceAt::Unix(path) => match UnixStream::connect(path) {
            Ok(_) => State::Met(format!("`{}` answers", path.display())),
            Err(error) => missing(
                format!("`{}`: {error}", path.display()),
                "start Intel's quote generation service (tdx-qgs) with a unix socket",
            ),
        },
        QuoteServiceAt::Vsock(port) => State::NotTried(format!(
            "vsock port {port}; only a room's first quote tells whether somebody listens"
        )),
    }
}

fn sev_device(path: &Path) -> State {
    match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => State::Met(format!("`{}` can be opened", path.display())),
        Err(error) => missing(
            format!("`{}`: {error}", path.display()),
            "load the ccp module and let this user open the device",
        ),
    }
}

fn missing(why: String, what_to_do: &str) -> State {
    State::Missing {
        why,
        what_to_do: what_to_do.to_owned(),
    }
}
