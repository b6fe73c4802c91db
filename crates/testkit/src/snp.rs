//! A simulated AMD platform: root, signing keys, chip keys, revocation list and SNP reports of every
//! version and product, format-true and derived from a seed, so that the production verifier runs on
//! them unchanged. Proves nothing about hardware: whoever knows the seed can sign any report. Every
//! certificate says `SIMULATED`.

mod keys;
mod pki;
mod report;

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::snp::{SigningKey, SnpProduct};

use crate::tee::simulated_measurement;
use keys::{ChipKey, RsaKey};

/// The seed of tests. Public on purpose: everybody can sign with it, so evidence under it proves
/// nothing.
pub const SNP_SEED: [u8; 32] = *b"proofroom simulated SNP, seed 01";

/// Serial number of the certificate of the ASK, as its bytes.
pub const ASK_SERIAL: &[u8] = &[2];
/// Serial number of the certificate of the ASVK, as its bytes.
pub const ASVK_SERIAL: &[u8] = &[3];
/// Serial number of the certificate of a VLEK, as its bytes. That of a VCEK is 0, as AMD's are.
pub const VLEK_SERIAL: &[u8] = &[4];
/// The provider that the simulated VLEK was loaded for.
pub const CSP_ID: &str = "simulated-provider";

/// A simulated vendor with all its keys, made from one seed.
#[derive(Debug)]
pub struct SimulatedAmd {
    ark: RsaKey,
    ask: RsaKey,
    asvk: RsaKey,
    vcek: ChipKey,
    vlek: ChipKey,
}

/// What a report says, field by field, in the bytes that it has.
#[derive(Clone, Debug)]
pub struct ReportPlan {
    /// `VERSION`.
    pub version: u32,
    /// `GUEST_SVN`.
    pub guest_svn: u32,
    /// `POLICY`.
    pub policy: u64,
    /// `VMPL`.
    pub vmpl: u32,
    /// `SIGNATURE_ALGO`.
    pub algorithm: u32,
    /// `PLATFORM_INFO`.
    pub platform: u64,
    /// `AUTHOR_KEY_EN`, `MASK_CHIP_KEY` and `SIGNING_KEY`.
    pub flags: u32,
    /// `REPORT_DATA`.
    pub report_data: [u8; 64],
    /// `MEASUREMENT`.
    pub measurement: [u8; 48],
    /// `HOST_DATA`.
    pub host_data: [u8; 32],
    /// `ID_KEY_DIGEST`.
    pub id_key_digest: [u8; 48],
    /// `AUTHOR_KEY_DIGEST`.
    pub author_key_digest: [u8; 48],
    /// `REPORT_ID_MA`.
    pub report_id_ma: [u8; 32],
    /// Family, model and stepping; not written in version 2.
    pub cpu: [u8; 3],
    /// `CHIP_ID`.
    pub chip_id: [u8; 64],
    /// `CURRENT_TCB`.
    pub current_tcb: [u8; 8],
    /// `REPORTED_TCB`.
    pub reported_tcb: [u8; 8],
    /// `COMMITTED_TCB`.
    pub committed_tcb: [u8; 8],
    /// `LAUNCH_TCB`.
    pub launch_tcb: [u8; 8],
}

/// What the certificate of the chip key says.
#[derive(Clone, Debug)]
pub struct VekPlan {
    /// The subject's common name.
    pub common_name: String,
    /// The product's name, with a stepping in a VCEK's.
    pub product_name: String,
    /// The TCB, in the layout of the product.
    pub tcb: [u8; 8],
    /// The chip's id.
    pub hardware_id: Option<Vec<u8>>,
    /// The provider.
    pub csp_id: Option<String>,
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
    /// Whether it claims to be a CA.
    pub ca: bool,
    /// Whether it has a critical extension that nobody knows.
    pub unknown_critical: bool,
}

/// What the root's revocation list says.
#[derive(Clone, Debug)]
pub struct CrlPlan {
    /// Serial numbers of what is revoked.
    pub revoked: Vec<Vec<u8>>,
    /// From when it holds.
    pub this_update: Timestamp,
    /// Until when it holds.
    pub next_update: Option<Timestamp>,
    /// Signed by the signing key of VCEKs instead of the root.
    pub foreign: bool,
}

/// Everything that goes into one report with its chain. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct SnpPlan {
    /// The product whose root and signing keys are used.
    pub product: SnpProduct,
    /// Which kind of key signs the report.
    pub key: SigningKey,
    /// The report.
    pub report: ReportPlan,
    /// The certificate of the chip key.
    pub vek: VekPlan,
    /// Whether the certificate of the signing key is a CA's.
    pub intermediate_ca: bool,
    /// The revocation list.
    pub crl: CrlPlan,
}

/// A report with its chain, as a relying party gets them.
#[derive(Clone, Debug)]
pub struct SnpEvidence {
    /// The report.
    pub report: Vec<u8>,
    /// The chip key's certificate, DER.
    pub leaf: Vec<u8>,
    /// The signing key's certificate, DER.
    pub intermediate: Vec<u8>,
    /// The root certificate, DER.
    pub root: Vec<u8>,
    /// The root's revocation list, DER.
    pub crl: Vec<u8>,
}

impl SimulatedAmd {
    /// The vendor of `seed`: the same seed makes the same keys. Takes seconds, for their primes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            ark: RsaKey::derive(&seed, "ark"),
            ask: RsaKey::derive(&seed, "ask"),
            asvk: RsaKey::derive(&seed, "asvk"),
            vcek: ChipKey::derive(&seed, "vcek"),
            vlek: ChipKey::derive(&seed, "vlek"),
        }
    }

    /// The root certificate of `product`, DER.
    #[must_use]
    pub fn root(&self, product: SnpProduct) -> Vec<u8> {
        pki::root(&self.ark, product)
    }

    /// SHA-256 of the root certificate of `product`, as an appraisal policy names it.
    #[must_use]
    pub fn root_digest(&self, product: SnpProduct) -> Digest {
        Digest::of(self.root(product))
    }

    /// A plan whose report an appraisal at `now` accepts.
    #[must_use]
    pub fn plan(
        &self,
        product: SnpProduct,
        version: u32,
        key: SigningKey,
        now: Timestamp,
    ) -> SnpPlan {
        let later = |days: i64| Timestamp::from_unix_seconds(now.unix_seconds() + days * 86_400);
        let report = ReportPlan::good(product, version, key);
        let vlek = key == SigningKey::Vlek;
        let used = if product == SnpProduct::Turin { 8 } else { 64 };
        SnpPlan {
            product,
            key,
            vek: VekPlan {
                common_name: format!("SEV-{}", key.as_str()),
                product_name: if vlek {
                    product.to_string()
                } else {
                    format!("{product}-B0")
                },
                tcb: report.reported_tcb,
                hardware_id: (!vlek).then(|| report.chip_id.iter().copied().take(used).collect()),
                csp_id: vlek.then(|| CSP_ID.to_owned()),
                not_before: later(-30),
                not_after: later(365),
                ca: false,
                unknown_critical: false,
            },
            report,
            intermediate_ca: true,
            crl: CrlPlan {
                revoked: Vec::new(),
                this_update: later(-1),
                next_update: Some(later(30)),
                foreign: false,
            },
        }
    }

    /// Report, certificates and revocation list of a plan.
    #[must_use]
    pub fn make(&self, plan: &SnpPlan) -> SnpEvidence {
        SnpEvidence {
            report: self.report(plan),
            leaf: pki::leaf(self, plan),
            intermediate: pki::intermediate(self, plan),
            root: self.root(plan.product),
            crl: pki::revocation_list(self, plan),
        }
    }

    /// The report of a plan alone.
    #[must_use]
    pub fn report(&self, plan: &SnpPlan) -> Vec<u8> {
        self.signed(plan, plan.report.to_bytes())
    }

    /// `body`, the signed part of a report, with its signature: for what a plan does not say.
    #[must_use]
    pub fn signed(&self, plan: &SnpPlan, body: Vec<u8>) -> Vec<u8> {
        report::sign(self.chip_key(plan.key), body)
    }

    fn chip_key(&self, key: SigningKey) -> &ChipKey {
        match key {
            SigningKey::Vlek => &self.vlek,
            SigningKey::Vcek | SigningKey::None => &self.vcek,
        }
    }
}

impl ReportPlan {
    /// A well-configured guest on an up-to-date platform.
    fn good(product: SnpProduct, version: u32, key: SigningKey) -> Self {
        let (cpu, tcb) = match product {
            SnpProduct::Milan => ([0x19, 0x01, 0x01], [4, 0, 0, 0, 0, 0, 24, 219]),
            SnpProduct::Genoa => ([0x19, 0x11, 0x01], [9, 0, 0, 0, 0, 0, 23, 84]),
            SnpProduct::Turin => ([0x1a, 0x02, 0x01], [1, 1, 1, 4, 0, 0, 0, 75]),
        };
        let mut chip_id = [0x5a; 64];
        if product == SnpProduct::Turin {
            chip_id.iter_mut().skip(8).for_each(|byte| *byte = 0);
        }
        let alias_check_complete = if version > 2 { 1 << 5 } else { 0 };
        Self {
            version,
            guest_svn: 1,
            policy: 1 << 16 | 1 << 17,
            vmpl: 0,
            algorithm: 1,
            platform: 1 | 1 << 2 | alias_check_complete,
            flags: if key == SigningKey::Vlek { 1 << 2 } else { 0 },
            report_data: [0x77; 64],
            measurement: *simulated_measurement("snp").as_bytes(),
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id_ma: [0xff; 32],
            cpu,
            chip_id,
            current_tcb: tcb,
            reported_tcb: tcb,
            committed_tcb: tcb,
            launch_tcb: tcb,
        }
    }
}
