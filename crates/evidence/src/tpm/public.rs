//! TPMT_PUBLIC of an elliptic-curve key, and the names that a TPM derives from it.

use sha2::{Digest as _, Sha256, Sha384};

use super::{ALG_ECDSA, ALG_SHA256, ALG_SHA384, open};
use crate::RoomError;

const ALG_RSA: u16 = 0x0001;
const ALG_ECC: u16 = 0x0023;
const ALG_NULL: u16 = 0x0010;
const CURVE_P256: u16 = 0x0003;
/// TPM_RH_ENDORSEMENT
const ENDORSEMENT: [u8; 4] = [0x40, 0, 0, 0x0b];

/// TPMA_OBJECT of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAttributes(u32);

impl KeyAttributes {
    const FIXED_TPM: u32 = 1 << 1;
    const FIXED_PARENT: u32 = 1 << 4;
    const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    const RESTRICTED: u32 = 1 << 16;
    const DECRYPT: u32 = 1 << 17;
    const SIGN: u32 = 1 << 18;

    /// Whether a key with these attributes was made by its TPM, never leaves it, and signs nothing
    /// that looks like a quote but quotes of the TPM itself.
    #[must_use]
    pub const fn is_attestation_key(self) -> bool {
        const NEEDED: u32 = KeyAttributes::FIXED_TPM
            | KeyAttributes::FIXED_PARENT
            | KeyAttributes::SENSITIVE_DATA_ORIGIN
            | KeyAttributes::RESTRICTED
            | KeyAttributes::SIGN;
        self.0 & NEEDED == NEEDED && self.0 & Self::DECRYPT == 0
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// A TPM's key on P-256 that signs with ECDSA and SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmKey {
    attributes: KeyAttributes,
    point: Vec<u8>,
    name: Vec<u8>,
}

impl TpmKey {
    /// Reads a TPMT_PUBLIC.
    ///
    /// # Errors
    /// `tpm-rsa` for RSA keys, `tpm-unsupported` for other curves, schemes and name hashes,
    /// `tpm-malformed` unless every length fits exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, RoomError> {
        let mut reader = open("TPMT_PUBLIC", bytes)?;
        match reader.be_u16()? {
            ALG_ECC => {}
            ALG_RSA => return Err(RoomError::TpmRsa("key")),
            other => return Err(RoomError::TpmUnsupported("key type", other)),
        }
        let name_hash = reader.be_u16()?;
        let attributes = KeyAttributes(reader.be_u32()?);
        reader.tpm2b()?; // authorization policy: part of the name
        reader.expect("symmetric algorithm", ALG_NULL)?;
        reader.expect("signature scheme", ALG_ECDSA)?;
        reader.expect("signature hash", ALG_SHA256)?;
        reader.expect("curve", CURVE_P256)?;
        reader.expect("key derivation", ALG_NULL)?;
        let (x, y) = (reader.number()?, reader.number()?);
        reader.finish()?;
        Ok(Self {
            attributes,
            point: [&[4][..], &x, &y].concat(),
            name: named(name_hash, &[bytes])?,
        })
    }

    /// What the key may do.
    #[must_use]
    pub const fn attributes(&self) -> KeyAttributes {
        self.attributes
    }

    /// The public point, SEC1 uncompressed.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// The key's name: hash algorithm and digest of its public area.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The qualified name that the key has as a primary of the endorsement hierarchy.
    ///
    /// # Errors
    /// `tpm-unsupported`, which no parsed key causes.
    pub fn endorsement_name(&self) -> Result<Vec<u8>, RoomError> {
        let hash = self.name.first_chunk().copied();
        let hash = hash.map_or(0, u16::from_be_bytes);
        named(hash, &[&ENDORSEMENT, &self.name])
    }
}

fn named(hash: u16, parts: &[&[u8]]) -> Result<Vec<u8>, RoomError> {
    let whole = parts.concat();
    let digest = match hash {
        ALG_SHA256 => Sha256::digest(whole).to_vec(),
        ALG_SHA384 => Sha384::digest(whole).to_vec(),
        other => return Err(RoomError::TpmUnsupported("name hash", other)),
    };
    Ok([&hash.to_be_bytes()[..], &digest].concat())
}
