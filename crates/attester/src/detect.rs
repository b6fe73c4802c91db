//! Which attester this guest has: TDX before SEV-SNP before a TPM, and words for each that it has
//! not. What the guest finds is what its host shows it; a weaker attester than the session requires
//! is refused by the verifier, not here.

use std::{
    fmt,
    fs::{File, OpenOptions},
    path::PathBuf,
};

use proofroom_evidence::{EvidenceType, Moment, RuntimeEvent};

use crate::{AttestError, Tpm2Attester, TsmAttester, TsmPaths, error::On as _};

/// Where the kernel's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPaths {
    /// Those of confidential machines.
    pub tsm: TsmPaths,
    /// TPM devices, the first that is there is used.
    pub tpm: Vec<PathBuf>,
    /// The boot's event log.
    pub boot_log: PathBuf,
}

impl Default for GuestPaths {
    fn default() -> Self {
        Self {
            tsm: TsmPaths::default(),
            tpm: vec!["/dev/tpmrm0".into(), "/dev/tpm0".into()],
            boot_log: "/sys/kernel/security/tpm0/binary_bios_measurements".into(),
        }
    }
}

/// The attester of this guest.
#[derive(Debug)]
pub enum Attester {
    /// Through configfs-tsm.
    Tsm(TsmAttester),
    /// Through a TPM device.
    Tpm2(Box<Tpm2Attester<File>>),
}

impl Attester {
    /// The type of evidence that it makes.
    #[must_use]
    pub const fn evidence_type(&self) -> EvidenceType {
        match self {
            Self::Tsm(tsm) => tsm.provider().evidence_type(),
            Self::Tpm2(_) => EvidenceType::Tpm2,
        }
    }

    /// Measures an event, before anybody acts on it.
    ///
    /// # Errors
    /// See [`AttestError`].
    pub fn measure(&mut self, name: &str, content: &str) -> Result<(), AttestError> {
        match self {
            Self::Tsm(tsm) => tsm.measure(name, content),
            Self::Tpm2(tpm) => tpm.measure(name, content),
        }
    }

    /// The room evidence that binds `statement`.
    ///
    /// # Errors
    /// See [`AttestError`].
    pub fn attest(&mut self, moment: Moment, statement: &str) -> Result<String, AttestError> {
        match self {
            Self::Tsm(tsm) => tsm.attest(moment, statement),
            Self::Tpm2(tpm) => tpm.attest(moment, statement),
        }
    }

    /// What was measured, in order.
    #[must_use]
    pub fn events(&self) -> &[RuntimeEvent] {
        match self {
            Self::Tsm(tsm) => tsm.events(),
            Self::Tpm2(tpm) => tpm.events(),
        }
    }
}

/// Neither a confidential machine nor one with a TPM that can be used.
#[derive(Debug, thiserror::Error)]
#[error("this guest has no attester: {0}")]
pub struct NoAttester(Reasons);

impl NoAttester {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "no-attester"
    }

    /// Why not, for each kind that was tried.
    #[must_use]
    pub fn reasons(&self) -> &[(&'static str, AttestError)] {
        &self.0.0
    }
}

#[derive(Debug)]
struct Reasons(Vec<(&'static str, AttestError)>);

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (kind, error)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{kind}: {error}")?;
            let source = std::error::Error::source(error);
            if let Some(source) = source {
                write!(f, ": {source}")?;
            }
        }
        Ok(())
    }
}

/// The strongest attester of this guest.
///
/// # Errors
/// [`NoAttester`] with a reason for each kind.
pub fn detect(paths: &GuestPaths) -> Result<Attester, NoAttester> {
    let tsm = match TsmAttester::start(paths.tsm.clone()) {
        Ok(tsm) => return Ok(Attester::Tsm(tsm)),
        Err(error) => ("tdx, sev-snp", error),
    };
    let tpm = match tpm2(paths) {
        Ok(tpm) => return Ok(Attester::Tpm2(Box::new(tpm))),
        Err(error) => ("tpm2", error),
    };
    Err(NoAttester(Reasons(vec![tsm, tpm])))
}

fn tpm2(paths: &GuestPaths) -> Result<Tpm2Attester<File>, AttestError> {
    let mut absent = None;
    for device in &paths.tpm {
        match OpenOptions::new().read(true).write(true).open(device) {
            Ok(file) => return Tpm2Attester::start(file, paths.boot_log.clone()),
            Err(error) => absent = absent.or(Some((device, error))),
        }
    }
    match absent {
        Some((device, error)) => Err(error).on("open", device),
        None => Err(std::io::Error::from(std::io::ErrorKind::NotFound))
            .on("open", std::path::Path::new("no device")),
    }
}
