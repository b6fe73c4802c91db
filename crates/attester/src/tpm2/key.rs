//! The attestation key: its one template, its public area, and the outer form of what it signs.

use p256::{PublicKey, pkcs8::EncodePublicKey as _};
use sha2::{Digest as _, Sha256};

use super::{Tpm2Error, wire::Reader};

const ALG_SHA256: u16 = 0x0b;
const ALG_NULL: u16 = 0x10;
const ALG_ECDSA: u16 = 0x18;
const ALG_ECC: u16 = 0x23;
const CURVE_P256: u16 = 3;
/// `fixedTPM`, `fixedParent`, `sensitiveDataOrigin`, `userWithAuth`, `restricted`, `sign`: the key was
/// made in this TPM, never leaves it, and signs only what the TPM itself wrote.
const ATTRIBUTES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 16 | 1 << 18;
/// `TPM_GENERATED_VALUE`, before everything that a TPM says about itself.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const ATTEST_QUOTE: u16 = 0x8018;
const COORDINATE_BYTES: usize = 32;
const MAX_PUBLIC_BYTES: usize = 512;

/// The public area of an attestation key of the fixed template, its point on the curve checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AkPublic {
    tpmt_public: Vec<u8>,
    spki_der: Vec<u8>,
}

impl AkPublic {
    /// Reads `TPMT_PUBLIC`; anything but a key of the fixed template is refused.
    ///
    /// # Errors
    /// `tpm-key-unexpected`, or `tpm-answer-truncated` and `tpm-answer-trailing-bytes`.
    pub fn from_tpmt_public(bytes: &[u8]) -> Result<Self, Tpm2Error> {
        if bytes.len() > MAX_PUBLIC_BYTES {
            return Err(Tpm2Error::KeyUnexpected("its public area is too long"));
        }
        let mut reader = Reader::new(bytes);
        let prefix = fixed();
        if reader.take(prefix.len(), "TPMT_PUBLIC")? != prefix {
            return Err(Tpm2Error::KeyUnexpected("it is not of the fixed template"));
        }
        let x = reader.sized("unique.x")?;
        let y = reader.sized("unique.y")?;
        reader.end("TPMT_PUBLIC")?;
        let mut sec1 = vec![4];
        for coordinate in [x, y] {
            // A TPM may leave out leading zero bytes.
            let missing = COORDINATE_BYTES
                .checked_sub(coordinate.len())
                .ok_or(Tpm2Error::KeyUnexpected("its coordinates are too long"))?;
            sec1.extend(std::iter::repeat_n(0, missing));
            sec1.extend_from_slice(coordinate);
        }
        let off_curve = Tpm2Error::KeyUnexpected("its point is not on the curve");
        let key = PublicKey::from_sec1_bytes(&sec1).map_err(|_| off_curve)?;
        let spki = key
            .to_public_key_der()
            .map_err(|_| Tpm2Error::KeyUnexpected("it has no SPKI"))?;
        Ok(Self {
            tpmt_public: bytes.to_vec(),
            spki_der: spki.into_vec(),
        })
    }

    /// `TPMT_PUBLIC`, as the TPM wrote it.
    #[must_use]
    pub fn tpmt_public(&self) -> &[u8] {
        &self.tpmt_public
    }

    /// The DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The TPM's name of the key: the name algorithm, then the digest of the public area.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let mut name = ALG_SHA256.to_be_bytes().to_vec();
        name.extend_from_slice(&Sha256::digest(&self.tpmt_public));
        name
    }
}

/// The template: the fixed part and an empty point.
pub(super) fn template() -> Vec<u8> {
    let mut template = fixed();
    template.extend_from_slice(&[0; 4]);
    template
}

/// Everything of the public area but the point.
fn fixed() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&ALG_ECC.to_be_bytes());
    bytes.extend_from_slice(&ALG_SHA256.to_be_bytes()); // nameAlg
    bytes.extend_from_slice(&ATTRIBUTES.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]); // authPolicy
    for value in [ALG_NULL, ALG_ECDSA, ALG_SHA256, CURVE_P256, ALG_NULL] {
        bytes.extend_from_slice(&value.to_be_bytes()); // symmetric, scheme and its hash, curve, kdf
    }
    bytes
}

/// `TPMT_SIGNATURE` of an ECDSA key over SHA-256.
pub(super) fn read_signature(bytes: &[u8]) -> Result<(), Tpm2Error> {
    let mut reader = Reader::new(bytes);
    for wanted in [ALG_ECDSA, ALG_SHA256] {
        if reader.u16("TPMT_SIGNATURE")? != wanted {
            return Err(Tpm2Error::QuoteUnexpected(
                "its signature is of another kind",
            ));
        }
    }
    for part in ["signatureR", "signatureS"] {
        let have = reader.sized(part)?.len();
        if have == 0 || have > COORDINATE_BYTES {
            return Err(Tpm2Error::QuoteUnexpected(
                "its signature has another length",
            ));
        }
    }
    reader.end("TPMT_SIGNATURE")
}

/// The beginning of `TPMS_ATTEST`: a quote by this TPM over `qualifying`. The rest is the verifier's.
pub(super) fn read_attest(bytes: &[u8], qualifying: &[u8]) -> Result<(), Tpm2Error> {
    let mut reader = Reader::new(bytes);
    if reader.u32("magic")? != GENERATED || reader.u16("type")? != ATTEST_QUOTE {
        return Err(Tpm2Error::QuoteUnexpected("it is another statement"));
    }
    reader.sized("qualifiedSigner")?;
    if reader.sized("extraData")? != qualifying {
        return Err(Tpm2Error::QuoteUnexpected(
            "it carries other qualifying data",
        ));
    }
    Ok(())
}
