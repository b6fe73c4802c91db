//! A SIMULATED Google: the authorities that certify attestation keys of virtual TPMs, and such a TPM, with keys
//! derived from a seed that anybody may know. Makes what a guest would show, but for what its hardware says.

use chacha20::{ChaCha20Rng, rand_core::SeedableRng as _};
use proofroom_canonical::Digest;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyUsagePurpose,
    PKCS_RSA_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey, date_time_ymd,
};
use rsa::{
    PrivateKey, PublicKey, pkcs1v15,
    signature::{SignatureEncoding as _, Signer as _},
    traits::PublicKeyParts as _,
};
use sha2::{Digest as _, Sha256};

use crate::{
    azure::attest,
    der::{der, integer, sequence},
    event_log::{self, BootEvent, LogBank},
    tee::{SimulatedKey, written},
};

mod guest;

pub use guest::SimulatedGuest;

/// Google's arc: the instance that a certificate is about.
const INSTANCE: [u64; 10] = [1, 3, 6, 1, 4, 1, 11_129, 2, 1, 21];
const REGISTERS: usize = 24;

/// The project of the simulated instance.
pub const PROJECT: &str = "simulated-project";

/// RSA-2048 with PKCS #1 v1.5 and SHA-256, as Google's authorities sign.
#[derive(Clone)]
pub struct SimulatedRsaKey {
    key: PrivateKey,
    public: Vec<u8>,
}

impl SimulatedRsaKey {
    /// The key of `label` under `seed`.
    #[must_use]
    pub fn derive(seed: &[u8; 32], label: &str) -> Self {
        let seed = Sha256::new_with_prefix(seed).chain_update(label);
        let mut random = ChaCha20Rng::from_seed(seed.finalize().into());
        let key = written(PrivateKey::new(&mut random, 2048));
        let public = PublicKey::from(&key);
        Self {
            public: sequence(&[&integer(&public.n_bytes()), &integer(&public.e_bytes())]),
            key,
        }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let key = pkcs1v15::SigningKey::<Sha256>::new(self.key.clone());
        key.sign(message).to_vec()
    }
}

impl std::fmt::Debug for SimulatedRsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedRsaKey(..)")
    }
}

impl PublicKeyData for SimulatedRsaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for SimulatedRsaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.signature(message))
    }
}

/// What the certificate of an attestation key says. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct AkPlan {
    /// The project of the instance.
    pub project: String,
    /// Whether the instance is of production; none where the certificate does not say.
    pub production: Option<bool>,
    /// Whether it names an instance at all.
    pub instance: bool,
    /// The years from whose beginning and until whose beginning it holds.
    pub years: (i32, i32),
    /// What the key is for.
    pub usage: KeyUsagePurpose,
}

impl Default for AkPlan {
    fn default() -> Self {
        Self {
            project: PROJECT.to_owned(),
            production: Some(true),
            instance: true,
            years: (2020, 2049),
            usage: KeyUsagePurpose::DigitalSignature,
        }
    }
}

/// The root and the authority under it.
#[derive(Debug)]
pub struct SimulatedGoogle {
    ca: Issuer<'static, SimulatedRsaKey>,
    /// The authority's certificate, then the root's; DER.
    above: [Vec<u8>; 2],
}

impl SimulatedGoogle {
    /// The authorities of `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let root_params = ca("SIMULATED EK/AK CA Root", 1, 1);
        let root_key = SimulatedRsaKey::derive(&seed, "google root");
        let root = written(root_params.self_signed(&root_key));
        let root_issuer = Issuer::new(root_params, root_key);
        let ca_params = ca("SIMULATED EK/AK CA Intermediate", 2, 0);
        let ca_key = SimulatedRsaKey::derive(&seed, "google intermediate");
        let between = written(ca_params.signed_by(&ca_key, &root_issuer));
        Self {
            ca: Issuer::new(ca_params, ca_key),
            above: [between.der().to_vec(), root.der().to_vec()],
        }
    }

    /// SHA-256 of the root certificate, as a policy names it.
    #[must_use]
    pub fn root_digest(&self) -> Digest {
        let [_, root] = &self.above;
        Digest::of(root)
    }

    /// The certificates from `key`'s to the root's, DER.
    #[must_use]
    pub fn certificates(&self, key: &impl PublicKeyData, plan: &AkPlan) -> Vec<Vec<u8>> {
        let mut params = named("SIMULATED instance", 3);
        params.not_before = date_time_ymd(plan.years.0, 1, 1);
        params.not_after = date_time_ymd(plan.years.1, 1, 1);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![plan.usage];
        if plan.instance {
            let extension = CustomExtension::from_oid_content(&INSTANCE, instance(plan));
            params.custom_extensions = vec![extension];
        }
        let leaf = written(params.signed_by(key, &self.ca));
        let [between, root] = self.above.clone();
        vec![leaf.der().to_vec(), between, root]
    }
}

fn named(common_name: &str, serial: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, common_name);
    let organization = "Proofroom SIMULATED, proves nothing";
    name.push(DnType::OrganizationName, organization);
    params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    params.use_authority_key_identifier_extension = true;
    params
}

fn ca(common_name: &str, serial: u8, path_length: u8) -> CertificateParams {
    let mut params = named(common_name, serial);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The extension's value, as Google lays it out.
fn instance(plan: &AkPlan) -> Vec<u8> {
    let text = |text: &str| der(0x0c, text.as_bytes());
    let production = plan
        .production
        .map(|is| der(0x01, &[if is { 0xff } else { 0 }]));
    let production = production.map(|is| der(0xa1, &is)).unwrap_or_default();
    let security = sequence(&[&der(0xa0, &integer(&[0])), &production]);
    sequence(&[
        &text("simulated-zone-1"),
        &integer(&[0x01, 0x23]),
        &text(&plan.project),
        &integer(&[0x45, 0x67]),
        &text("simulated-instance"),
        &der(0xa0, &security),
    ])
}

/// The attestation key of a virtual TPM.
#[derive(Clone, Debug)]
pub enum AkKey {
    /// On P-256.
    Ecdsa(SimulatedKey),
    /// RSA-2048.
    Rsa(SimulatedRsaKey),
}

impl PublicKeyData for AkKey {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Ecdsa(key) => key.der_bytes(),
            Self::Rsa(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Ecdsa(key) => key.algorithm(),
            Self::Rsa(key) => key.algorithm(),
        }
    }
}

/// A virtual TPM after a boot. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct SimulatedVtpm {
    /// The attestation key.
    pub key: AkKey,
    /// What the boot measured.
    pub boot: Vec<BootEvent>,
}

impl SimulatedVtpm {
    /// A TPM that measured one thing into each of PCR 0 to 7.
    #[must_use]
    pub fn booted(key: AkKey) -> Self {
        let event = |pcr: u32| BootEvent {
            pcr,
            kind: event_log::EV_SEPARATOR,
            data: pcr.to_be_bytes().to_vec(),
        };
        Self {
            key,
            boot: (0..8).map(event).collect(),
        }
    }

    /// The SHA-256 bank.
    #[must_use]
    pub fn pcrs(&self) -> [[u8; 32]; REGISTERS] {
        let mut pcrs = [[0; 32]; REGISTERS];
        for event in &self.boot {
            if let Some(pcr) = usize::try_from(event.pcr)
                .ok()
                .and_then(|pcr| pcrs.get_mut(pcr))
            {
                let extended = Sha256::new_with_prefix(*pcr);
                *pcr = extended
                    .chain_update(Sha256::digest(&event.data))
                    .finalize()
                    .into();
            }
        }
        pcrs
    }

    /// The event log, with the SHA-256 and the SHA-384 bank.
    #[must_use]
    pub fn event_log(&self) -> Vec<u8> {
        event_log::write(0, &[LogBank::Sha256, LogBank::Sha384], &self.boot)
    }

    /// A TPMS_ATTEST over `nonce` and every register, and its TPMT_SIGNATURE.
    #[must_use]
    pub fn quote(&self, nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let attest = attest(nonce, &self.pcrs());
        let signature = self.sign(&attest);
        (attest, signature)
    }

    /// A TPMT_SIGNATURE.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let sized = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).unwrap_or_default();
            [&length.to_be_bytes()[..], bytes].concat()
        };
        match &self.key {
            AkKey::Ecdsa(key) => {
                let raw = key.sign_raw(message);
                let (r, s) = raw.split_at(32);
                [vec![0, 0x18, 0, 0x0b], sized(r), sized(s)].concat()
            }
            AkKey::Rsa(key) => [vec![0, 0x14, 0, 0x0b], sized(&key.signature(message))].concat(),
        }
    }
}
