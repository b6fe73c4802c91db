//! A room that attests through configfs-tsm, the kernel's one interface to reports of confidential
//! machines (`Documentation/ABI/testing/configfs-tsm-report`), and measures into RTMR3 where the
//! machine is an Intel TD (`Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest`).

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use proofroom_evidence::{EvidenceType, Moment, ReportData, RoomEvidence, RuntimeEvent};
use sha2::{Digest as _, Sha384};

use crate::{
    AttestError,
    error::{self, On as _},
    tpm2_attester::MAX_BOOT_LOG_BYTES,
};

/// Where the kernel's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsmPaths {
    /// The directory in which a directory is made for each report.
    pub report: PathBuf,
    /// The TD's measurement registers.
    pub measurements: PathBuf,
    /// The data of the CC event log, an ACPI table.
    pub ccel: PathBuf,
}

impl Default for TsmPaths {
    fn default() -> Self {
        Self {
            report: "/sys/kernel/config/tsm/report".into(),
            measurements: "/sys/devices/virtual/misc/tdx_guest/measurements".into(),
            ccel: "/sys/firmware/acpi/tables/data/CCEL".into(),
        }
    }
}

/// Who makes the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// `tdx_guest`: outblobs are Intel TDX quotes.
    Tdx,
    /// `sev_guest`: outblobs are AMD SEV-SNP reports.
    SevSnp,
}

impl Provider {
    /// The type of evidence that it makes.
    #[must_use]
    pub const fn evidence_type(self) -> EvidenceType {
        match self {
            Self::Tdx => EvidenceType::Tdx,
            Self::SevSnp => EvidenceType::SevSnp,
        }
    }
}

/// A report of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// TD quote or SNP report.
    pub outblob: Vec<u8>,
    /// What the host adds, such as certificates. Empty where the provider has none.
    pub auxblob: Vec<u8>,
}

/// The most bytes of a report and of what the host adds to it.
pub const MAX_BLOB_BYTES: usize = 64 * 1024;
/// Bytes of an RTMR, and of every write to one.
const REGISTER_BYTES: usize = 48;
const RTMR3: &str = "rtmr3:sha384";
/// Decimal digits and a line end.
const MAX_GENERATION_BYTES: usize = 24;
const MAX_PROVIDER_BYTES: usize = 64;
/// How often a report that somebody disturbs is begun anew.
const TRIES: usize = 5;

/// Attests through configfs-tsm.
#[derive(Debug)]
pub struct TsmAttester {
    paths: TsmPaths,
    provider: Provider,
    events: Vec<RuntimeEvent>,
}

impl TsmAttester {
    /// Asks the kernel who makes reports here, by making a directory for one.
    ///
    /// # Errors
    /// `attester-file` where the kernel has no such interface or no provider,
    /// `report-provider-unknown` for another kind of machine.
    pub fn start(paths: TsmPaths) -> Result<Self, AttestError> {
        let provider = Entry::make(&paths.report)?.provider()?;
        Ok(Self {
            paths,
            provider,
            events: Vec::new(),
        })
    }

    /// Who makes the reports.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        self.provider
    }

    /// What was measured, in order.
    #[must_use]
    pub fn events(&self) -> &[RuntimeEvent] {
        &self.events
    }

    /// Extends the event into RTMR3, and looks that the register holds it.
    ///
    /// # Errors
    /// `runtime-register-missing` on a machine that has none, `register-not-extended`,
    /// `room-evidence-member` for an unusable event, `attester-file`.
    pub fn measure(&mut self, name: &str, content: &str) -> Result<(), AttestError> {
        let event = RuntimeEvent::new(name, content)?;
        if self.provider == Provider::SevSnp {
            return Err(AttestError::NoRuntimeRegister(event.name));
        }
        let path = self.paths.measurements.join(RTMR3);
        let digest = event.sha384();
        let expected = Sha384::new()
            .chain_update(register(&path)?)
            .chain_update(digest)
            .finalize();
        write_once(&path, &digest)?;
        if register(&path)?.as_slice() != expected.as_slice() {
            return Err(AttestError::NotExtended { path });
        }
        self.events.push(event);
        Ok(())
    }

    /// The room evidence that binds `statement`.
    ///
    /// # Errors
    /// `report-disturbed`, `attester-file`, `attester-file-too-large`, `attester-file-content`, and
    /// `room-evidence-malformed` for evidence larger than any that is read.
    pub fn attest(&mut self, moment: Moment, statement: &str) -> Result<String, AttestError> {
        let report = self.report(&ReportData::of_statement(statement.as_bytes()))?;
        let boot_log = match self.provider {
            Provider::Tdx => error::read(&self.paths.ccel, MAX_BOOT_LOG_BYTES)?,
            Provider::SevSnp => Vec::new(), // its launch digest covers the boot; there is no log
        };
        let evidence = RoomEvidence {
            kind: self.provider.evidence_type(),
            moment,
            statement: statement.to_owned(),
            quote: report.outblob,
            signature: Vec::new(),
            key: Vec::new(),
            boot_log,
            runtime: self.events.clone(),
        };
        Ok(evidence.to_text()?)
    }

    /// A report that carries `data`.
    ///
    /// # Errors
    /// As [`TsmAttester::attest`].
    pub fn report(&self, data: &ReportData) -> Result<Report, AttestError> {
        for _ in 0..TRIES {
            let entry = Entry::make(&self.paths.report)?;
            let provider = entry.provider()?;
            if provider != self.provider {
                return Err(AttestError::Content {
                    path: entry.file("provider"),
                    problem: format!("`{provider:?}`, not `{:?}` as before", self.provider),
                });
            }
            if let Some(report) = entry.report(data)? {
                return Ok(report);
            }
        }
        Err(AttestError::Disturbed {
            path: self.paths.report.clone(),
            tries: TRIES,
        })
    }
}

/// A directory that the kernel made for one report; removed with this value.
struct Entry(PathBuf);

impl Drop for Entry {
    fn drop(&mut self) {
        // Nobody is served by an error about a report that was made: the entry is this room's alone
        // and ends with its machine.
        fs::remove_dir(&self.0).ok();
    }
}

impl Entry {
    fn make(root: &Path) -> Result<Self, AttestError> {
        // Names of entries that another thread or process has are skipped.
        for number in 0..=u16::MAX {
            let path = root.join(format!("proofroom-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).on("make a report at", &path),
            }
        }
        Err(AttestError::Disturbed {
            path: root.to_owned(),
            tries: usize::from(u16::MAX),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn provider(&self) -> Result<Provider, AttestError> {
        match self.text("provider", MAX_PROVIDER_BYTES)?.as_str() {
            "tdx_guest" => Ok(Provider::Tdx),
            "sev_guest" => Ok(Provider::SevSnp),
            other => Err(AttestError::ProviderUnknown(other.to_owned())),
        }
    }

    /// `None` if somebody else wrote into this entry between our write and our read.
    fn report(&self, data: &ReportData) -> Result<Option<Report>, AttestError> {
        let before = self.generation()?;
        write_once(&self.file("inblob"), data.as_bytes())?;
        let outblob = match error::read(&self.file("outblob"), MAX_BLOB_BYTES) {
            Ok(bytes) => bytes,
            Err(AttestError::File { source, .. }) if source.kind() == ErrorKind::WouldBlock => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let aux = self.file("auxblob");
        let auxblob = match error::read(&aux, MAX_BLOB_BYTES) {
            Ok(bytes) => bytes,
            Err(AttestError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        if self.generation()? != before.wrapping_add(1) {
            return Ok(None);
        }
        if outblob.is_empty() {
            return Err(AttestError::Content {
                path: self.file("outblob"),
                problem: "nothing".to_owned(),
            });
        }
        Ok(Some(Report { outblob, auxblob }))
    }

    /// How often the entry was written to.
    fn generation(&self) -> Result<u64, AttestError> {
        let text = self.text("generation", MAX_GENERATION_BYTES)?;
        text.parse().map_err(|_| AttestError::Content {
            path: self.file("generation"),
            problem: format!("`{text}`, not a number"),
        })
    }

    fn text(&self, name: &str, max: usize) -> Result<String, AttestError> {
        let path = self.file(name);
        let bytes = error::read(&path, max)?;
        String::from_utf8(bytes)
            .map(|text| text.trim_end_matches('\n').to_owned())
            .map_err(|_| AttestError::Content {
                path,
                problem: "bytes that are not text".to_owned(),
            })
    }
}

fn register(path: &Path) -> Result<[u8; REGISTER_BYTES], AttestError> {
    let bytes = error::read(path, REGISTER_BYTES)?;
    <[u8; REGISTER_BYTES]>::try_from(bytes).map_err(|bytes| AttestError::Content {
        path: path.to_owned(),
        problem: format!("{} bytes, not the 48 of a register", bytes.len()),
    })
}

/// One write at offset zero of a file that is there: what the kernel takes as one value.
fn write_once(path: &Path, bytes: &[u8]) -> Result<(), AttestError> {
    let mut file: File = OpenOptions::new().write(true).open(path).on("open", path)?;
    let written = file.write(bytes).on("write", path)?;
    if written != bytes.len() {
        return Err(AttestError::Content {
            path: path.to_owned(),
            problem: format!("{written} of the {} bytes written", bytes.len()),
        });
    }
    Ok(())
}
