//! What the shim proves of itself: a statement about its keys, the weights, the server's image and the GPUs,
//! bound into a quote that answers the asker's nonce.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use proofroom_attester::{AttestError, Provider, TsmAttester, TsmPaths};
use proofroom_canonical::{Digest, Hex, Nonce, Timestamp};
use proofroom_evidence::{EvidenceError, Quote, ReportData};
use proofroom_serving::{
    KeyConfig, SEALING_PURPOSE, ServingError, ServingReport, ServingStatement,
};

use crate::gpu::GpuError;

/// Makes quotes of the machine.
pub trait Reports: Send + Sync {
    /// A TDX quote that carries `data`. Blocks, maybe for seconds.
    ///
    /// # Errors
    /// [`MachineError`].
    fn quote(&self, data: &ReportData) -> Result<Vec<u8>, MachineError>;
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The kernel made no report.
    #[error("the machine makes no report")]
    Report(#[from] AttestError),
    /// It is no Intel TDX machine.
    #[error("the machine is no Intel TDX trust domain")]
    Kind,
    /// What the machine made is no quote.
    #[error("the machine's report is no quote")]
    Quote(#[from] EvidenceError),
    /// The quote is about something else.
    #[error("the machine's quote carries other data than it was given")]
    OtherData,
    /// The GPUs cannot be shown.
    #[error("the machine's GPUs are not shown")]
    Gpu(#[from] GpuError),
    /// The report cannot be written.
    #[error("the evidence cannot be written")]
    Write(#[from] ServingError),
}

impl MachineError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Report(error) => error.code(),
            Self::Kind => "report-provider-unknown",
            Self::Quote(error) => error.code(),
            Self::OtherData => "report-other-data",
            Self::Gpu(error) => error.code(),
            Self::Write(error) => error.code(),
        }
    }
}

impl Reports for Mutex<TsmAttester> {
    fn quote(&self, data: &ReportData) -> Result<Vec<u8>, MachineError> {
        let attester = self.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(attester.report(data)?.outblob)
    }
}

/// This machine's quotes, by the kernel's configfs-tsm or by what is at `reports`.
///
/// # Errors
/// `report-provider-unknown` where the machine is no TDX guest, and the attester's codes.
pub fn machine(reports: Option<PathBuf>) -> Result<Box<dyn Reports>, MachineError> {
    let default = TsmPaths::default();
    let attester = TsmAttester::start(TsmPaths {
        report: reports.unwrap_or(default.report),
        ..default
    })?;
    match attester.provider() {
        Provider::Tdx => Ok(Box::new(Mutex::new(attester))),
        Provider::SevSnp => Err(MachineError::Kind),
    }
}

/// What every statement of one run says.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub(crate) tls_spki: Digest,
    pub(crate) receipt_key: Hex<32>,
    pub(crate) sealing_key: KeyConfig,
    pub(crate) model: String,
    pub(crate) weights: Digest,
    pub(crate) image: Digest,
    pub(crate) seconds: u32,
}

impl Claims {
    /// The report for a nonce. Blocking.
    pub(crate) fn report(
        &self,
        reports: &dyn Reports,
        nonce: Nonce,
        gpu_evidence: Option<String>,
        now: Timestamp,
    ) -> Result<Vec<u8>, MachineError> {
        let statement = ServingStatement {
            purpose: SEALING_PURPOSE.to_owned(),
            nonce,
            tls_spki_sha256: self.tls_spki,
            receipt_key: self.receipt_key,
            key_config: Some(self.sealing_key.to_hex()),
            model: self.model.clone(),
            weights: self.weights,
            image: self.image,
            gpu_evidence: gpu_evidence.as_deref().map(Digest::of),
            not_after: now.after_seconds(self.seconds),
        };
        let statement = statement.to_text()?;
        let quote = quote(reports, &ReportData::of_statement(statement.as_bytes()))?;
        let report = ServingReport {
            statement,
            quote,
            gpu_evidence,
        };
        Ok(report.to_bytes()?)
    }
}

fn quote(reports: &dyn Reports, data: &ReportData) -> Result<Vec<u8>, MachineError> {
    let made = reports.quote(data)?;
    let carries = Quote::parse(&made)?.claims().report_data;
    match carries == *data.as_bytes() {
        true => Ok(made),
        false => Err(MachineError::OtherData),
    }
}
