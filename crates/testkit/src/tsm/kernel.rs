//! What the kernel's files do, as a machine without files: which answer each operation has.

use std::collections::BTreeMap;

use proofroom_evidence::Measurement;
use sha2::{Digest as _, Sha384};

use super::{Extends, TsmOptions, TsmProvider};
use crate::tee::SimulatedTee;

/// `TSM_REPORT_INBLOB_MAX`.
const MAX_INBLOB: usize = 64;
/// The names of the registers; a TD's own measurement comes last and cannot be written.
pub(super) const REGISTERS: [&str; 5] = [
    "rtmr0:sha384",
    "rtmr1:sha384",
    "rtmr2:sha384",
    "rtmr3:sha384",
    "mrtd:sha384",
];
const REGISTER_BYTES: usize = 48;
/// An SEV-SNP report has this many bytes, its report data this far in (SEV-SNP ABI §7.3).
const SNP_REPORT_BYTES: usize = 1184;
const SNP_REPORT_DATA: usize = 0x50;

/// The kernel's refusals, by the error numbers that they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// `ENOENT`
    NoEntry,
    /// `EEXIST`
    Exists,
    /// `EINVAL`
    Invalid,
    /// `EFBIG`
    TooBig,
    /// `EACCES`
    Denied,
    /// `EPERM`
    NotPermitted,
}

/// A file in an entry's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReportFile {
    Inblob,
    Outblob,
    Provider,
    Generation,
    Auxblob,
}

impl ReportFile {
    pub(super) const ALL: [Self; 5] = [
        Self::Inblob,
        Self::Outblob,
        Self::Provider,
        Self::Generation,
        Self::Auxblob,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Inblob => "inblob",
            Self::Outblob => "outblob",
            Self::Provider => "provider",
            Self::Generation => "generation",
            Self::Auxblob => "auxblob",
        }
    }

    pub(super) const fn mode(self) -> u16 {
        match self {
            Self::Inblob => 0o200,
            Self::Outblob | Self::Auxblob => 0o400,
            Self::Provider | Self::Generation => 0o444,
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    name: String,
    inblob: Vec<u8>,
    /// The report of this generation.
    outblob: Option<Vec<u8>>,
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Kernel {
    tee: SimulatedTee,
    options: TsmOptions,
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Kernel {
    pub(super) const fn new(tee: SimulatedTee, options: TsmOptions) -> Self {
        Self {
            tee,
            options,
            next: 0,
            entries: BTreeMap::new(),
        }
    }

    pub(super) fn ccel(&self) -> &[u8] {
        &self.options.ccel
    }

    /// The files of every entry: auxiliary data is something that SEV-SNP alone has.
    pub(super) fn files(&self) -> impl Iterator<Item = ReportFile> {
        let auxiliary = self.options.provider == TsmProvider::SevSnp;
        ReportFile::ALL
            .into_iter()
            .filter(move |file| auxiliary || *file != ReportFile::Auxblob)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &str)> {
        self.entries
            .iter()
            .map(|(id, entry)| (*id, entry.name.as_str()))
    }

    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.entries()
            .find(|(_, known)| *known == name)
            .map(|(id, _)| id)
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.entries.contains_key(&id)
    }

    pub(super) fn make(&mut self, name: &str) -> Result<u64, Refused> {
        if self.find(name).is_some() {
            return Err(Refused::Exists);
        }
        let id = self.next;
        self.next += 1;
        let entry = Entry {
            name: name.to_owned(),
            ..Entry::default()
        };
        self.entries.insert(id, entry);
        Ok(id)
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), Refused> {
        let id = self.find(name).ok_or(Refused::NoEntry)?;
        self.entries.remove(&id);
        Ok(())
    }

    /// How much of an `inblob` may be written before it is closed.
    pub(super) fn fits(bytes: usize) -> Result<(), Refused> {
        if bytes > MAX_INBLOB {
            return Err(Refused::TooBig);
        }
        Ok(())
    }

    /// An `inblob` is taken when its file is closed.
    pub(super) fn close_inblob(&mut self, id: u64, bytes: Vec<u8>) -> Result<(), Refused> {
        let entry = self.entries.get_mut(&id).ok_or(Refused::NoEntry)?;
        Self::fits(bytes.len())?;
        entry.inblob = bytes;
        entry.outblob = None;
        entry.generation += 1;
        Ok(())
    }

    pub(super) fn read(&mut self, id: u64, file: ReportFile) -> Result<Vec<u8>, Refused> {
        match file {
            ReportFile::Inblob => Err(Refused::Denied),
            ReportFile::Outblob => self.outblob(id),
            ReportFile::Provider => Ok(match self.options.provider {
                TsmProvider::Tdx => b"tdx_guest\n".to_vec(),
                TsmProvider::SevSnp => b"sev_guest\n".to_vec(),
                TsmProvider::Unknown => b"other_guest\n".to_vec(),
            }),
            ReportFile::Generation => {
                let entry = self.entries.get(&id).ok_or(Refused::NoEntry)?;
                Ok(format!("{}\n", entry.generation).into_bytes())
            }
            ReportFile::Auxblob => Ok(b"SIMULATED certificates".to_vec()),
        }
    }

    /// Made when it is read first, kept until the next `inblob`.
    fn outblob(&mut self, id: u64) -> Result<Vec<u8>, Refused> {
        let entry = self.entries.get_mut(&id).ok_or(Refused::NoEntry)?;
        if let Some(made) = &entry.outblob {
            return Ok(made.clone());
        }
        let data = <[u8; MAX_INBLOB]>::try_from(&*entry.inblob).map_err(|_| Refused::Invalid)?;
        let made = match self.options.provider {
            TsmProvider::Tdx => self.tee.quote(&self.options.td, data),
            TsmProvider::SevSnp => snp_report(data),
            TsmProvider::Unknown => return Err(Refused::Invalid),
        };
        entry.outblob = Some(made.clone());
        if self.options.disturbed > 0 {
            self.options.disturbed -= 1;
            entry.generation += 1;
        }
        Ok(made)
    }

    pub(super) fn register(&self, number: usize) -> Result<Vec<u8>, Refused> {
        let td = &self.options.td;
        let register = td.rtmr.get(number).unwrap_or(&td.mr_td);
        Ok(register.as_bytes().to_vec())
    }

    /// A write to a register extends it.
    pub(super) fn extend(
        &mut self,
        number: usize,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        let Some(register) = self.options.td.rtmr.get_mut(number) else {
            return Err(Refused::NotPermitted);
        };
        if offset != 0 || bytes.len() != REGISTER_BYTES {
            return Err(Refused::Invalid);
        }
        if self.options.extends == Extends::Kept {
            let extended = Sha384::new()
                .chain_update(register.as_bytes())
                .chain_update(bytes)
                .finalize();
            *register = Measurement::from_bytes(extended.into());
        }
        Ok(())
    }
}

fn snp_report(data: [u8; MAX_INBLOB]) -> Vec<u8> {
    let mut report = 2_u32.to_le_bytes().to_vec(); // version
    report.resize(SNP_REPORT_DATA, 0);
    report.extend_from_slice(&data);
    report.resize(SNP_REPORT_BYTES, 0);
    report
}
