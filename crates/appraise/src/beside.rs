//! What lies beside the evidence: endorsements, and what the relying party itself knows.

use proofroom_canonical::Nonce;
use proofroom_evidence::{Challenge, Collateral, REPORT_DATA_BYTES};
use proofroom_record::statement::{Binding, Closing};
use proofroom_verifier::{Freshness, QuoteExpectation};

/// Everything that is not evidence and not policy. Whatever is absent is not evaluated.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Intel's word on the platform, where the evidence has none with it.
    pub collateral: Option<Collateral>,
    /// Certificates of an SNP report, PEM or DER, in any order.
    pub certificates: Vec<Vec<u8>>,
    /// AMD's revocation list, DER.
    pub crl: Option<Vec<u8>>,
    /// Reference manifests of drivers.
    pub driver_rims: Vec<Vec<u8>>,
    /// Reference manifests of BIOSes.
    pub bios_rims: Vec<Vec<u8>>,
    /// Tokens of NVIDIA's attestation service.
    pub tokens: Vec<Vec<u8>>,
    /// The key set that tokens are verified with.
    pub jwks: Option<Vec<u8>>,
    /// What the evidence must answer.
    pub expected: Expected,
    /// The session whose room is appraised.
    pub room: Option<RoomSession>,
}

/// What the relying party expects to find bound by the evidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// The nonce that it sent.
    pub nonce: Option<Nonce>,
    /// Report data, for evidence without a statement of its own, where it is not that of a [`Challenge`]
    /// with the nonce.
    pub report_data: Option<[u8; REPORT_DATA_BYTES]>,
    /// When that was made.
    pub made: Made,
}

/// When what is expected was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Made {
    /// For this very exchange.
    #[default]
    ForThisExchange,
    /// Some time ago: it can be compared, but shows no freshness.
    Archived,
}

/// What the relying party has of a session.
#[derive(Clone, Debug)]
pub struct RoomSession {
    /// The exact bytes of the binding statement.
    pub binding_bytes: Vec<u8>,
    /// The binding statement.
    pub binding: Binding,
    /// The closing statement, for the evidence of a session's end.
    pub closing: Option<Closing>,
    /// The agent, as the access policy names it.
    pub agent: String,
    /// The deployment's CA certificate, PEM; without it no attestation key of a TPM is certified.
    pub deployment_ca: Vec<u8>,
}

impl Expected {
    pub(crate) const fn freshness(&self) -> Freshness {
        match (self.nonce, self.made) {
            (Some(nonce), Made::ForThisExchange) => Freshness::Challenge(nonce),
            _ => Freshness::ArchiveAudit,
        }
    }

    /// What evidence without a statement of its own must carry.
    pub(crate) fn report_data(&self) -> Option<[u8; REPORT_DATA_BYTES]> {
        let challenged = || Some(*Challenge::new(self.nonce?).report_data().as_bytes());
        self.report_data.or_else(challenged)
    }

    pub(crate) fn of_quote(&self) -> QuoteExpectation {
        match (self.report_data(), self.made) {
            (Some(data), Made::ForThisExchange) => QuoteExpectation::Challenge(data),
            (Some(data), Made::Archived) => QuoteExpectation::ArchiveAudit(data),
            (None, _) => QuoteExpectation::NotSupplied,
        }
    }
}
