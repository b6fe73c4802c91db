//! What a TPM 2.0 signs and with what: TPMS_ATTEST of a quote, TPMT_SIGNATURE and TPMT_PUBLIC (TCG
//! TPM 2.0 Library, part 2). Elliptic-curve keys on P-256 alone. Nothing here is verified.

use sha2::{Digest as _, Sha256};

use crate::RoomError;

mod public;
mod reader;
#[cfg(test)]
mod tests;

pub use public::{KeyAttributes, TpmKey};

use reader::open;

type Reader<'a> = crate::reader::Reader<'a, RoomError>;

/// The most bytes of a TPMS_ATTEST, TPMT_SIGNATURE or TPMT_PUBLIC that are read.
pub const MAX_TPM_BYTES: usize = 4096;

const GENERATED: u32 = 0xff54_4347;
const ST_ATTEST_QUOTE: u16 = 0x8018;
const ALG_SHA1: u16 = 0x0004;
const ALG_SHA256: u16 = 0x000b;
const ALG_SHA384: u16 = 0x000c;
const ALG_SHA512: u16 = 0x000d;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_ECDSA: u16 = 0x0018;
/// Hash banks that one quote may select.
const MAX_SELECTIONS: u32 = 8;

/// A hash bank of a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bank {
    /// SHA-1. Never judged.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512. Never judged.
    Sha512,
}

impl Bank {
    /// The bank of a TPM_ALG_ID.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            ALG_SHA1 => Some(Self::Sha1),
            ALG_SHA256 => Some(Self::Sha256),
            ALG_SHA384 => Some(Self::Sha384),
            ALG_SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The size of a digest.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// Which PCRs of one bank a quote is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrSelection {
    /// The bank.
    pub bank: Bank,
    /// The PCRs, ascending.
    pub pcrs: Vec<u32>,
}

/// A TPMS_ATTEST of type quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmQuote {
    /// The signing key's qualified name.
    pub qualified_signer: Vec<u8>,
    /// The qualifying data that the caller gave.
    pub qualifying_data: Vec<u8>,
    /// How often the TPM was reset.
    pub reset_count: u32,
    /// How often the TPM was restarted since the last reset.
    pub restart_count: u32,
    /// What it is over.
    pub selections: Vec<PcrSelection>,
    /// Digest of the selected registers, one after the other.
    pub pcr_digest: Vec<u8>,
}

impl TpmQuote {
    /// Reads a TPMS_ATTEST.
    ///
    /// # Errors
    /// `tpm-malformed` unless every length fits exactly; `tpm-magic` when the TPM did not make the
    /// structure itself; `tpm-quote-kind` for another attestation than a quote; `tpm-unsupported`
    /// for unknown banks.
    pub fn parse(bytes: &[u8]) -> Result<Self, RoomError> {
        let mut reader = open("TPMS_ATTEST", bytes)?;
        let magic = reader.be_u32()?;
        if magic != GENERATED {
            return Err(RoomError::TpmMagic(magic));
        }
        let kind = reader.be_u16()?;
        if kind != ST_ATTEST_QUOTE {
            return Err(RoomError::TpmQuoteKind(kind));
        }
        let qualified_signer = reader.tpm2b()?.to_vec();
        let qualifying_data = reader.tpm2b()?.to_vec();
        reader.take(8)?; // clock
        let reset_count = reader.be_u32()?;
        let restart_count = reader.be_u32()?;
        reader.take(1 + 8)?; // safe, firmware version
        let selections = selections(&mut reader)?;
        let pcr_digest = reader.tpm2b()?.to_vec();
        reader.finish()?;
        Ok(Self {
            qualified_signer,
            qualifying_data,
            reset_count,
            restart_count,
            selections,
            pcr_digest,
        })
    }
}

fn selections(reader: &mut Reader<'_>) -> Result<Vec<PcrSelection>, RoomError> {
    let count = reader.be_u32()?;
    if count > MAX_SELECTIONS {
        return Err(reader.cut());
    }
    (0..count)
        .map(|_| {
            let id = reader.be_u16()?;
            let bank = Bank::from_id(id).ok_or(RoomError::TpmUnsupported("PCR bank", id))?;
            let size = reader.u8()?;
            let mask = reader.take(size.into())?;
            let bits = mask
                .iter()
                .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
            let pcrs = (0..).zip(bits).filter(|(_, bit)| *bit == 1);
            let pcrs = pcrs.map(|(pcr, _)| pcr).collect();
            Ok(PcrSelection { bank, pcrs })
        })
        .collect()
}

/// A TPMT_SIGNATURE by ECDSA on P-256 with SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmSignature {
    /// r, big-endian.
    pub r: [u8; 32],
    /// s, big-endian.
    pub s: [u8; 32],
}

impl TpmSignature {
    /// Reads a TPMT_SIGNATURE.
    ///
    /// # Errors
    /// `tpm-rsa` for RSA signatures, `tpm-unsupported` for other schemes and hashes,
    /// `tpm-malformed` unless every length fits exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, RoomError> {
        let mut reader = open("TPMT_SIGNATURE", bytes)?;
        match reader.be_u16()? {
            ALG_ECDSA => {}
            ALG_RSASSA | ALG_RSAPSS => return Err(RoomError::TpmRsa("signature")),
            other => return Err(RoomError::TpmUnsupported("signature scheme", other)),
        }
        reader.expect("signature hash", ALG_SHA256)?;
        let (r, s) = (reader.number()?, reader.number()?);
        reader.finish()?;
        Ok(Self { r, s })
    }
}

/// A TPMT_SIGNATURE with SHA-256 by a key of either kind, as virtual TPMs of clouds make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VtpmSignature {
    /// ECDSA on P-256.
    Ecdsa(TpmSignature),
    /// RSASSA-PKCS1-v1_5.
    Rsa(Vec<u8>),
}

impl VtpmSignature {
    /// Reads a TPMT_SIGNATURE.
    ///
    /// # Errors
    /// `tpm-rsa` for RSASSA-PSS, `tpm-unsupported` for other schemes and hashes, `tpm-malformed` unless every length fits exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, RoomError> {
        let mut reader = open("TPMT_SIGNATURE", bytes)?;
        if reader.be_u16()? != ALG_RSASSA {
            return TpmSignature::parse(bytes).map(Self::Ecdsa);
        }
        reader.expect("signature hash", ALG_SHA256)?;
        let signature = reader.tpm2b()?.to_vec();
        reader.finish()?;
        Ok(Self::Rsa(signature))
    }
}

/// SHA-256 over the values of a quote's registers, in the order of its selection: what a TPM with a
/// SHA-256 signature scheme puts into the quote.
#[must_use]
pub fn pcr_digest<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let values = values.into_iter();
    values
        .fold(Sha256::new(), Sha256::chain_update)
        .finalize()
        .into()
}
