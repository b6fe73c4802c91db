//! A simulated TPM 2.0 with a measured boot: registers, TCG event log, attestation key and quotes,
//! format-true and derived from a seed, so that the production verifier runs on them unchanged.
//! Proves nothing: whoever knows the seed can sign any quote.

use proofroom_canonical::SessionId;
use proofroom_evidence::{EvidenceType, Moment, RoomEvidence, RuntimeEvent, pcr_digest};
use rcgen::{
    CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, date_time_ymd,
};
use sha2::{Digest as _, Sha256, Sha384};

pub use crate::event_log::{BootEvent, EV_SEPARATOR};
use crate::{
    event_log::{self, LogBank},
    tee::SimulatedKey,
};

/// Attributes of a restricted signing key that its TPM made and keeps (TPMA_OBJECT).
pub const GOOD_ATTRIBUTES: u32 = 0x0005_0072;
/// The PCRs that rooms quote.
pub const QUOTED: [u32; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15];

const ENDORSEMENT: [u8; 4] = [0x40, 0, 0, 0x0b];
const REGISTERS: usize = 24;

/// A TPM after its boot. Change fields to make what must be refused.
#[derive(Debug)]
pub struct SimulatedTpm {
    key: SimulatedKey,
    boot: Vec<BootEvent>,
    runtime: Vec<RuntimeEvent>,
    /// TPMA_OBJECT of the attestation key.
    pub attributes: u32,
    /// The mark that quotes begin with.
    pub magic: u32,
    /// The PCRs that quotes are over.
    pub quoted: Vec<u32>,
    /// The hierarchy that the key says it is a primary of.
    pub hierarchy: [u8; 4],
}

impl SimulatedTpm {
    /// The TPM of `seed`, booted through `boot`.
    #[must_use]
    pub fn boot(seed: [u8; 32], boot: Vec<BootEvent>) -> Self {
        Self {
            key: SimulatedKey::derive(&seed, "tpm-attestation-key"),
            boot,
            runtime: Vec::new(),
            attributes: GOOD_ATTRIBUTES,
            magic: 0xff54_4347,
            quoted: QUOTED.to_vec(),
            hierarchy: ENDORSEMENT,
        }
    }

    /// Extends a runtime event into PCR 15.
    pub fn measure(&mut self, event: RuntimeEvent) {
        self.runtime.push(event);
    }

    /// The attestation key.
    #[must_use]
    pub const fn key(&self) -> &SimulatedKey {
        &self.key
    }

    /// TPMT_PUBLIC of the attestation key.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        let mut public = Vec::new();
        public.extend(0x0023_u16.to_be_bytes()); // ECC
        public.extend(0x000b_u16.to_be_bytes()); // name by SHA-256
        public.extend(self.attributes.to_be_bytes());
        public.extend([0, 0]); // no policy
        // no symmetric algorithm; ECDSA with SHA-256; P-256; no key derivation
        for word in [0x0010_u16, 0x0018, 0x000b, 0x0003, 0x0010] {
            public.extend(word.to_be_bytes());
        }
        let (x, y) = self.key.coordinates().split_at(32);
        put_sized(&mut public, x);
        put_sized(&mut public, y);
        public
    }

    /// The TCG2 event log of the boot, with the sha256 and the sha384 bank.
    #[must_use]
    pub fn boot_log(&self) -> Vec<u8> {
        event_log::write(0, &[LogBank::Sha256, LogBank::Sha384], &self.boot)
    }

    /// TPMS_ATTEST of a quote with `qualifying` data.
    #[must_use]
    pub fn attest(&self, qualifying: &[u8]) -> Vec<u8> {
        let mut attest = self.magic.to_be_bytes().to_vec();
        attest.extend(0x8018_u16.to_be_bytes());
        put_sized(&mut attest, &self.qualified_name());
        put_sized(&mut attest, qualifying);
        attest.extend(1234_u64.to_be_bytes()); // clock
        attest.extend([0; 8]); // resets, restarts
        attest.push(1); // safe
        attest.extend([0; 8]); // firmware version
        attest.extend(1_u32.to_be_bytes());
        attest.extend(0x000c_u16.to_be_bytes());
        let mut mask = [0_u8; 3];
        for pcr in &self.quoted {
            if let Some(byte) = mask.get_mut(usize::try_from(pcr / 8).unwrap_or(usize::MAX)) {
                *byte |= 1 << (pcr % 8);
            }
        }
        attest.push(3);
        attest.extend(mask);
        let registers = self.registers();
        let values = self
            .quoted
            .iter()
            .filter_map(|pcr| registers.get(usize::try_from(*pcr).ok()?))
            .map(<[u8; 48]>::as_slice);
        put_sized(&mut attest, &pcr_digest(values));
        attest
    }

    /// TPMT_SIGNATURE over `attest`.
    #[must_use]
    pub fn sign(&self, attest: &[u8]) -> Vec<u8> {
        let raw = self.key.sign_raw(attest);
        let mut signature = Vec::new();
        signature.extend(0x0018_u16.to_be_bytes());
        signature.extend(0x000b_u16.to_be_bytes());
        let (r, s) = raw.split_at(32);
        put_sized(&mut signature, r);
        put_sized(&mut signature, s);
        signature
    }

    /// Room evidence about `statement`.
    #[must_use]
    pub fn evidence(&self, moment: Moment, statement: &str) -> RoomEvidence {
        let mut evidence = RoomEvidence {
            kind: EvidenceType::Tpm2,
            moment,
            statement: statement.to_owned(),
            quote: Vec::new(),
            signature: Vec::new(),
            key: self.public(),
            boot_log: self.boot_log(),
            runtime: self.runtime.clone(),
        };
        evidence.quote = self.attest(&evidence.bound_qualifying_data());
        evidence.signature = self.sign(&evidence.quote);
        evidence
    }

    /// The attestation key's certificate as a deployment's CA issues it; `change` makes what must be
    /// refused.
    #[must_use]
    pub fn certificate(
        &self,
        ca: &Issuer<'_, impl rcgen::SigningKey>,
        session: SessionId,
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "Proofroom software TPM of the host");
        // 2.5.4.5: serialNumber
        name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), session.to_string());
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2049, 12, 31);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // tcg-kp-AIKCertificate
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3])];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        crate::tee::written(params.signed_by(&self.key, ca)).pem()
    }

    fn registers(&self) -> [[u8; 48]; REGISTERS] {
        let mut registers = [[0; 48]; REGISTERS];
        let mut extend = |pcr: u32, digest: [u8; 48]| {
            let index = usize::try_from(pcr).unwrap_or(usize::MAX);
            if let Some(register) = registers.get_mut(index) {
                *register = Sha384::new_with_prefix(*register)
                    .chain_update(digest)
                    .finalize()
                    .into();
            }
        };
        for event in self.boot.iter().filter(|event| event.kind != 3) {
            extend(event.pcr, Sha384::digest(&event.data).into());
        }
        for event in &self.runtime {
            extend(15, event.sha384());
        }
        registers
    }

    fn qualified_name(&self) -> Vec<u8> {
        let sha256 = [0x00, 0x0b];
        let name = [&sha256[..], &Sha256::digest(self.public())].concat();
        let qualified = Sha256::new_with_prefix(self.hierarchy)
            .chain_update(name)
            .finalize();
        [&sha256[..], &qualified].concat()
    }
}

/// A critical extension that no verifier knows, for certificates that must be refused.
#[must_use]
pub fn unknown_extension() -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    extension
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}
