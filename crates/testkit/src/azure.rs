//! A SIMULATED paravisor of Azure's, with the virtual TPM that it runs: its key is derived from a seed that
//! anybody may know. Makes what a guest behind it would show, but for the report of the hardware.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20::{ChaCha20Rng, rand_core::SeedableRng as _};
use rsa::{
    PrivateKey, PublicKey, pkcs1v15,
    signature::{SignatureEncoding as _, Signer as _},
    traits::PublicKeyParts as _,
};
use sha2::{Digest as _, Sha256};

use crate::tee::written;

const HARDWARE_BYTES: usize = 1184;
const REQUEST_BYTES: u32 = 20;

/// A paravisor and its virtual TPM.
pub struct SimulatedParavisor {
    key: PrivateKey,
    /// The SHA-256 bank.
    pub pcrs: [[u8; 32]; 24],
}

impl std::fmt::Debug for SimulatedParavisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedParavisor(..)")
    }
}

impl SimulatedParavisor {
    /// The paravisor of `seed`, after a boot that measured one thing into each of PCR 0 to 7.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let mut pcrs = [[0; 32]; 24];
        for (number, pcr) in (0_u8..8).zip(&mut pcrs) {
            *pcr = Sha256::digest([number]).into();
        }
        Self {
            key: written(PrivateKey::new(&mut random, 2048)),
            pcrs,
        }
    }

    /// The runtime data, which names the attestation key.
    #[must_use]
    pub fn runtime(&self) -> String {
        let public = PublicKey::from(&self.key);
        let [n, e] =
            [public.n_bytes(), public.e_bytes()].map(|number| URL_SAFE_NO_PAD.encode(number));
        format!(
            r#"{{"keys":[{{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"{e}","n":"{n}"}}],"vm-configuration":{{"secure-boot":true}},"user-data":""}}"#
        )
    }

    /// What the hardware must be asked to report: SHA-256 of the runtime data, then zeros.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        let mut data = [0; 64];
        for (place, byte) in data.iter_mut().zip(Sha256::digest(self.runtime())) {
            *place = byte;
        }
        data
    }

    /// The paravisor's report around `hardware`; `kind` is 2 for SNP and 4 for TDX.
    #[must_use]
    pub fn hcl_report(&self, kind: u32, hardware: &[u8]) -> Vec<u8> {
        let runtime = self.runtime();
        let size = u32::try_from(runtime.len()).unwrap_or_default();
        let mut bytes = b"HCLA".to_vec();
        bytes.extend(
            [2_u32, 0, 2, 0, 0, 0, 0]
                .into_iter()
                .flat_map(u32::to_le_bytes),
        );
        bytes.extend(
            hardware
                .iter()
                .copied()
                .chain(std::iter::repeat(0))
                .take(HARDWARE_BYTES),
        );
        let request = [size.saturating_add(REQUEST_BYTES), 1, kind, 1, size];
        bytes.extend(request.into_iter().flat_map(u32::to_le_bytes));
        bytes.extend_from_slice(runtime.as_bytes());
        bytes
    }

    /// A TPMS_ATTEST over `nonce` and every register, and its signature.
    #[must_use]
    pub fn quote(&self, nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let attest = attest(nonce, &self.pcrs);
        let signature = self.sign(&attest);
        (attest, signature)
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let key = pkcs1v15::SigningKey::<Sha256>::new(self.key.clone());
        key.sign(message).to_vec()
    }
}

/// A TPMS_ATTEST of a quote that answers `nonce`, over every register of the SHA-256 bank.
pub(crate) fn attest(nonce: &[u8], pcrs: &[[u8; 32]; 24]) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap_or_default();
        [&length.to_be_bytes()[..], bytes].concat()
    };
    let digest = Sha256::digest(pcrs.concat());
    [
        b"\xffTCG\x80\x18".to_vec(),
        sized(&[&[0, 0x0b][..], &[7; 32]].concat()),
        sized(nonce),
        vec![0; 8 + 4 + 4 + 1 + 8],
        vec![0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0xff],
        sized(&digest),
    ]
    .concat()
}
