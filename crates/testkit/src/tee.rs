//! A simulated Intel TDX platform: a certificate hierarchy, collateral and quotes, format-true and
//! derived from a seed, so that the production verifier runs on them unchanged. Proves nothing
//! about hardware: whoever knows the seed can sign any quote. Every certificate says `SIMULATED`.

mod collateral;
mod keys;
mod pki;
mod quote;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{
    Collateral, EvidenceDocument, KeysetStatement, Measurement, PURPOSE, ReportData,
};
use sha2::{Digest as _, Sha384};

pub use keys::SimulatedKey;
pub(crate) use pki::FMSPC;
pub use pki::SimulatedPki;

/// The seed of the root that `simulated-upstream.toml` names. Public on purpose: everybody can sign
/// with it, so evidence under it proves nothing.
pub const DEMO_SEED: [u8; 32] = *b"proofroom simulated TEE, seed 01";

/// `TDATTRIBUTES` of a well-configured TD: `SEPT_VE_DISABLE` alone.
pub const GOOD_ATTRIBUTES: u64 = 1 << 28;

/// How many seconds of validity [`SimulatedTee::plan`] gives to collateral, after and before now.
const COLLATERAL_SECONDS: i64 = 7 * 24 * 3600;
const COLLATERAL_AGE_SECONDS: i64 = 3600;
/// How many seconds [`SimulatedTee::plan`] lets the keyset statement live.
const KEYSET_SECONDS: i64 = 3600;

/// A simulated platform with all the keys of its vendor, made from one seed.
#[derive(Debug)]
pub struct SimulatedTee {
    pki: SimulatedPki,
}

/// Version and body of a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteLayout {
    /// Version 4: a report of TDX 1.0, which nothing announces.
    V4,
    /// Version 5, body type 2: a report of TDX 1.0.
    V5Td10,
    /// Version 5, body type 3: a report of TDX 1.5, with its current TCB and `MRSERVICETD`.
    V5Td15,
}

/// What a TD is measured as, and how its quote says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedTd {
    /// Version and body of its quote.
    pub layout: QuoteLayout,
    /// `MRSERVICETD`; a report of TDX 1.0 has none.
    pub mr_service_td: Measurement,
    /// `TEETCBSVN`.
    pub tee_tcb_svn: [u8; 16],
    /// `MRSEAM`.
    pub mr_seam: Measurement,
    /// `MRTD`.
    pub mr_td: Measurement,
    /// `MRCONFIGID`.
    pub mr_config_id: Measurement,
    /// `MROWNER`.
    pub mr_owner: Measurement,
    /// `MROWNERCONFIG`.
    pub mr_owner_config: Measurement,
    /// `RTMR0` to `RTMR3`.
    pub rtmr: [Measurement; 4],
    /// `TDATTRIBUTES`.
    pub attributes: u64,
}

impl Default for SimulatedTd {
    fn default() -> Self {
        Self {
            layout: QuoteLayout::V4,
            mr_service_td: Measurement::from_bytes([0; 48]),
            tee_tcb_svn: [5, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            mr_seam: simulated_measurement("mr_seam"),
            mr_td: simulated_measurement("mr_td"),
            mr_config_id: Measurement::from_bytes([0; 48]),
            mr_owner: Measurement::from_bytes([0; 48]),
            mr_owner_config: Measurement::from_bytes([0; 48]),
            rtmr: [
                simulated_measurement("rtmr0"),
                simulated_measurement("rtmr1"),
                simulated_measurement("rtmr2"),
                Measurement::from_bytes([0; 48]),
            ],
            attributes: GOOD_ATTRIBUTES,
        }
    }
}

/// The measurement of a simulated register: SHA-384 of `proofroom SIMULATED <name>`.
#[must_use]
pub fn simulated_measurement(name: &str) -> Measurement {
    Measurement::from_bytes(Sha384::digest(format!("proofroom SIMULATED {name}")).into())
}

/// Which certificate the vendor has revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// None.
    Nothing,
    /// The platform's PCK certificate.
    Pck,
    /// The CA that issued it.
    PlatformCa,
    /// The signer of TCB info and QE identity.
    TcbSigner,
}

/// What the vendor says about the platform's TCB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcbAnswer {
    /// `UpToDate`.
    UpToDate,
    /// `SWHardeningNeeded`, with advisory `SIMULATED-SA-00001`.
    SwHardeningNeeded,
    /// `OutOfDate`, with advisory `SIMULATED-SA-00001`.
    OutOfDate,
    /// `Revoked`.
    Revoked,
    /// No level that the platform meets.
    NoMatch,
}

/// Everything that goes into one evidence document. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the statement says. Its bytes are what the quote binds.
    pub statement: KeysetStatement,
    /// The TD that is quoted.
    pub td: SimulatedTd,
    /// Report data other than the statement's digest.
    pub report_data: Option<[u8; 64]>,
    /// From when TCB info, QE identity and revocation lists hold.
    pub collateral_from: Timestamp,
    /// Until when TCB info and QE identity hold.
    pub collateral_until: Timestamp,
    /// Until when the revocation lists hold.
    pub revocation_until: Timestamp,
    /// What is revoked.
    pub revoked: Revoked,
    /// What the TCB info says.
    pub tcb: TcbAnswer,
    /// The platform that the TCB info is about; that of the PCK certificate is `514d00000000`.
    pub tcb_fmspc: [u8; 6],
    /// The PCEID that the TCB info is about; that of the PCK certificate is `0000`.
    pub tcb_pce_id: &'static str,
    /// The `id` of the QE identity: `TD_QE`, or `QE` for the SGX kind.
    pub qe_identity: &'static str,
}

impl SimulatedTee {
    /// The platform of `seed`: the same seed makes the same root, byte for byte.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            pki: SimulatedPki::from_seed(seed),
        }
    }

    /// The platform of [`DEMO_SEED`], whose root `simulated-upstream.toml` names.
    #[must_use]
    pub fn demo() -> Self {
        Self::from_seed(DEMO_SEED)
    }

    /// SHA-256 of the root certificate's DER, as an appraisal policy names it.
    #[must_use]
    pub fn root_digest(&self) -> Digest {
        Digest::of(self.pki.root_der())
    }

    /// A plan whose document an appraisal at `now` accepts.
    #[must_use]
    pub fn plan(&self, nonce: Nonce, tls_spki: Digest, model: &str, now: Timestamp) -> Plan {
        let later = |seconds| Timestamp::from_unix_seconds(now.unix_seconds() + seconds);
        Plan {
            statement: KeysetStatement {
                purpose: PURPOSE.to_owned(),
                nonce,
                tls_spki_sha256: tls_spki,
                model: model.to_owned(),
                not_after: later(KEYSET_SECONDS),
            },
            td: SimulatedTd::default(),
            report_data: None,
            collateral_from: later(-COLLATERAL_AGE_SECONDS),
            collateral_until: later(COLLATERAL_SECONDS),
            revocation_until: later(COLLATERAL_SECONDS),
            revoked: Revoked::Nothing,
            tcb: TcbAnswer::UpToDate,
            tcb_fmspc: pki::FMSPC,
            tcb_pce_id: "0000",
            qe_identity: "TD_QE",
        }
    }

    /// The evidence document of a plan, as the bytes that an upstream serves.
    #[must_use]
    pub fn document(&self, plan: &Plan) -> Vec<u8> {
        let statement = written(plan.statement.to_bytes());
        let report_data = plan
            .report_data
            .unwrap_or_else(|| *ReportData::of_statement(&statement).as_bytes());
        let quote = self.quote(&plan.td, report_data);
        written(EvidenceDocument::write(
            &statement,
            &quote,
            &self.collateral(plan),
        ))
    }

    /// The evidence document that an honest upstream with this TLS key serves for `nonce` at `now`.
    #[must_use]
    pub fn evidence_document(
        &self,
        nonce: Nonce,
        tls_spki: Digest,
        model: &str,
        now: Timestamp,
    ) -> Vec<u8> {
        self.document(&self.plan(nonce, tls_spki, model, now))
    }

    /// A quote of `td` carrying `report_data`, laid out as `td` says.
    #[must_use]
    pub fn quote(&self, td: &SimulatedTd, report_data: [u8; 64]) -> Vec<u8> {
        quote::sign(&self.pki, td, &report_data)
    }

    /// The vendor's collateral under `plan`.
    #[must_use]
    pub fn collateral(&self, plan: &Plan) -> Collateral {
        collateral::publish(&self.pki, plan)
    }
}

/// The value of something that only fails if this crate itself is wrong.
#[expect(
    clippy::panic,
    reason = "a test double: no input of its caller leads here"
)]
pub fn written<T, E: std::fmt::Display>(made: Result<T, E>) -> T {
    match made {
        Ok(value) => value,
        Err(error) => panic!("simulated TEE: {error}"),
    }
}
