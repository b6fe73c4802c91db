//! Intel TDX quotes, versions 4 and 5, taken apart by their lengths (Intel DCAP quoting library API,
//! appendices A.3 and A.4). SGX quotes and unknown bodies are refused. Nothing here is verified.

use std::fmt;

use proofroom_canonical::{Digest, Hex};

use crate::{EvidenceError, PckFacts, pck};

type Reader<'a> = crate::reader::Reader<'a, EvidenceError>;

/// The most bytes of a quote that are read. Genuine TDX quotes have about 5,000.
pub const MAX_QUOTE_BYTES: usize = 16 * 1024;
/// The size of `REPORTDATA`, the bytes that a TD chooses for its quote.
pub const REPORT_DATA_BYTES: usize = 64;

/// Zero bytes that quoting services append to fill their buffer (70 seen); more is not a quote.
const MAX_PADDING: usize = 128;
/// A number, and what a person calls it.
type Supported = (u32, &'static str);

const TEE_TYPE_TDX: Supported = (0x81, "0x81 (TDX)");
const KEY_TYPE_ECDSA_P256: Supported = (2, "2 (ECDSA P-256)");
const CERT_TYPE_QE_REPORT: Supported = (6, CERT_TYPES);
const CERT_TYPE_PCK_CHAIN: Supported = (5, CERT_TYPES);
const CERT_TYPES: &str = "6 holding 5 (PCK certificate chain)";
const HEADER_BYTES: usize = 48;

/// The quote format's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteVersion {
    /// Version 4: always a TD report 1.0 body.
    V4,
    /// Version 5: names its body's type and size.
    V5,
}

/// The body that a quote carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// TD report of TDX 1.0, 584 bytes.
    Td10,
    /// TD report of TDX 1.5, 648 bytes: adds the current TCB and `MRSERVICETD`.
    Td15,
}

impl BodyKind {
    const fn size(self) -> u32 {
        match self {
            Self::Td10 => 584,
            Self::Td15 => 648,
        }
    }
}

/// A SHA-384 measurement register. Written as 96 lower-case hex digits.
pub type Measurement = Hex<48>;

/// A measurement register of a TD, by the name that Intel gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// The TDX module.
    MrSeam,
    /// The TD's initial memory: its firmware.
    MrTd,
    /// Firmware configuration.
    Rtmr0,
    /// Kernel.
    Rtmr1,
    /// Kernel command line and initial ramdisk.
    Rtmr2,
    /// What software extended after boot.
    Rtmr3,
    /// What the host's owner configured; not measured by hardware.
    MrConfigId,
}

impl Register {
    /// All registers, in the order in which they are compared.
    pub const ALL: [Self; 7] = [
        Self::MrSeam,
        Self::MrTd,
        Self::Rtmr0,
        Self::Rtmr1,
        Self::Rtmr2,
        Self::Rtmr3,
        Self::MrConfigId,
    ];

    /// The register's name as policy files spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MrSeam => "mr_seam",
            Self::MrTd => "mr_td",
            Self::Rtmr0 => "rtmr0",
            Self::Rtmr1 => "rtmr1",
            Self::Rtmr2 => "rtmr2",
            Self::Rtmr3 => "rtmr3",
            Self::MrConfigId => "mr_config_id",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `TDATTRIBUTES`, 64 bits (Intel TDX module ABI specification, table "TD ATTRIBUTES").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdAttributes(u64);

impl TdAttributes {
    const DEBUG: u64 = 1;
    const PROFILING: u64 = 0x70;
    const SERVTD_EXT: u64 = 1 << 17;
    const SEPT_VE_DISABLE: u64 = 1 << 28;
    const MIGRATABLE: u64 = 1 << 29;
    // bits 1-3, 7-15, 23-26 and 32-61 must be zero
    const RESERVED: u64 = 0x3fff_ffff_0780_ff8e;

    /// Takes the attribute bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The attribute bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Everything about the bits that makes a TD unfit to hold secrets, empty if nothing does.
    #[must_use]
    pub fn flaws(self) -> Vec<TdFlaw> {
        let set = |mask: u64| self.0 & mask != 0;
        [
            (set(Self::DEBUG), TdFlaw::Debug),
            (set(Self::PROFILING), TdFlaw::Profiling),
            (set(Self::RESERVED), TdFlaw::Reserved),
            (set(Self::SERVTD_EXT), TdFlaw::ServiceTd),
            (set(Self::MIGRATABLE), TdFlaw::Migratable),
            (!set(Self::SEPT_VE_DISABLE), TdFlaw::SeptVe),
        ]
        .into_iter()
        .filter_map(|(found, flaw)| found.then_some(flaw))
        .collect()
    }
}

/// Something about a TD's attributes that lets others into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TdFlaw {
    /// `DEBUG`: the host can read and write the TD's memory.
    Debug,
    /// Profiling bits of the `TUD` group.
    Profiling,
    /// A bit that must be zero is set.
    Reserved,
    /// `SERVTD_EXT`, or a service TD is bound: another TD can act on this one.
    ServiceTd,
    /// `MIGRATABLE`: a migration TD can move the TD's state elsewhere.
    Migratable,
    /// `SEPT_VE_DISABLE` is off: the host can inject faults on private pages.
    SeptVe,
}

/// What a TD report says. Claims: true only if the quote around it verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdClaims {
    /// `TEETCBSVN`: the TDX module's security versions.
    pub tee_tcb_svn: [u8; 16],
    /// `MRSEAM`.
    pub mr_seam: Measurement,
    /// `MRSIGNERSEAM`; all zero for Intel's own modules.
    pub mr_signer_seam: Measurement,
    /// `SEAMATTRIBUTES`.
    pub seam_attributes: [u8; 8],
    /// `TDATTRIBUTES`.
    pub td_attributes: TdAttributes,
    /// `XFAM`.
    pub xfam: [u8; 8],
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
    /// `REPORTDATA`.
    pub report_data: [u8; REPORT_DATA_BYTES],
    /// `MRSERVICETD`, in TDX 1.5 bodies alone.
    pub mr_service_td: Option<Measurement>,
}

impl TdClaims {
    /// What `register` holds.
    #[must_use]
    pub const fn register(&self, register: Register) -> Measurement {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = self.rtmr;
        match register {
            Register::MrSeam => self.mr_seam,
            Register::MrTd => self.mr_td,
            Register::Rtmr0 => rtmr0,
            Register::Rtmr1 => rtmr1,
            Register::Rtmr2 => rtmr2,
            Register::Rtmr3 => rtmr3,
            Register::MrConfigId => self.mr_config_id,
        }
    }
}

/// A TDX quote, taken apart. Not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    version: QuoteVersion,
    body: BodyKind,
    claims: TdClaims,
    signed_length: usize,
    identity: Digest,
    pck_chain: Vec<u8>,
}

impl Quote {
    /// Takes a TDX quote apart.
    ///
    /// # Errors
    /// The `quote-*` codes of [`EvidenceError`]: every length must fit exactly, SGX quotes and
    /// unknown versions, key types, bodies and certification data are refused, and at most 128
    /// zero bytes may follow.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_QUOTE_BYTES {
            return Err(EvidenceError::QuoteTooLarge {
                have: bytes.len(),
                max: MAX_QUOTE_BYTES,
            });
        }
        let mut reader = Reader::new(bytes, "header", EvidenceError::QuoteTruncated);
        let version = parse_header(&mut reader)?;
        let body = match version {
            QuoteVersion::V4 => BodyKind::Td10,
            QuoteVersion::V5 => parse_body_kind(&mut reader)?,
        };
        let claims = parse_td_report(&mut reader, body)?;
        let signed = bytes.strip_suffix(reader.rest()).unwrap_or_default();
        let pck_chain = parse_signature_data(&mut reader)?;
        refuse_trailing(&reader, MAX_PADDING)?;
        Ok(Self {
            version,
            body,
            claims,
            signed_length: signed.len(),
            identity: Digest::of(signed),
            pck_chain,
        })
    }

    /// The quote format's version.
    #[must_use]
    pub const fn version(&self) -> QuoteVersion {
        self.version
    }

    /// Which body the quote carries.
    #[must_use]
    pub const fn body(&self) -> BodyKind {
        self.body
    }

    /// What the TD report says.
    #[must_use]
    pub const fn claims(&self) -> &TdClaims {
        &self.claims
    }

    /// SHA-256 over header and body alone, the bytes under the signature. The bytes behind them
    /// (signature, certificates, padding) can be changed without breaking the quote, so a digest of
    /// the whole quote identifies nothing.
    #[must_use]
    pub const fn identity(&self) -> Digest {
        self.identity
    }

    /// How many bytes from the start are under the quote's signature.
    #[must_use]
    pub const fn signed_length(&self) -> usize {
        self.signed_length
    }

    /// The PCK certificate chain inside the quote, leaf first, as DER.
    ///
    /// # Errors
    /// `pck-chain-malformed` unless it is PEM of one to four certificates.
    pub fn pck_chain(&self) -> Result<Vec<Vec<u8>>, EvidenceError> {
        pck::chain(&self.pck_chain)
    }

    /// What the PCK certificate says about the platform.
    ///
    /// # Errors
    /// `pck-chain-malformed` or `pck-extension-malformed`.
    pub fn pck_facts(&self) -> Result<PckFacts, EvidenceError> {
        let chain = self.pck_chain()?;
        let leaf = chain
            .first()
            .ok_or(EvidenceError::PckChain("it is empty"))?;
        PckFacts::parse(leaf)
    }
}

fn parse_header(reader: &mut Reader<'_>) -> Result<QuoteVersion, EvidenceError> {
    let version = match reader.u16()? {
        4 => QuoteVersion::V4,
        5 => QuoteVersion::V5,
        other => return Err(unsupported("version", other.into(), "version 4 or 5")),
    };
    let key_type = reader.u16()?.into();
    expect("attestation key type", key_type, KEY_TYPE_ECDSA_P256)?;
    expect("TEE type", reader.u32()?, TEE_TYPE_TDX)?;
    // QE and PCE SVN, QE vendor and user data: signed, judged with the certificates
    reader.take(HEADER_BYTES - 8)?;
    Ok(version)
}

fn parse_body_kind(reader: &mut Reader<'_>) -> Result<BodyKind, EvidenceError> {
    const KNOWN: &str = "2 (TD 1.0) or 3 (TD 1.5)";
    reader.at("body descriptor");
    let body = match reader.u16()? {
        2 => BodyKind::Td10,
        3 => BodyKind::Td15,
        other => return Err(unsupported("body type", other.into(), KNOWN)),
    };
    match reader.u32()? {
        size if size == body.size() => Ok(body),
        other => Err(EvidenceError::QuoteField("body size", other)),
    }
}

fn parse_td_report(reader: &mut Reader<'_>, body: BodyKind) -> Result<TdClaims, EvidenceError> {
    let measurement = |reader: &mut Reader<'_>| reader.array().map(Measurement::from_bytes);
    reader.at("TD report");
    // in the order of the report
    Ok(TdClaims {
        tee_tcb_svn: reader.array()?,
        mr_seam: measurement(reader)?,
        mr_signer_seam: measurement(reader)?,
        seam_attributes: reader.array()?,
        td_attributes: TdAttributes(u64::from_le_bytes(reader.array()?)),
        xfam: reader.array()?,
        mr_td: measurement(reader)?,
        mr_config_id: measurement(reader)?,
        mr_owner: measurement(reader)?,
        mr_owner_config: measurement(reader)?,
        rtmr: [
            measurement(reader)?,
            measurement(reader)?,
            measurement(reader)?,
            measurement(reader)?,
        ],
        report_data: reader.array()?,
        mr_service_td: match body {
            BodyKind::Td10 => None,
            BodyKind::Td15 => {
                reader.take(16)?; // TEETCBSVN2, judged with the collateral
                Some(measurement(reader)?)
            }
        },
    })
}

/// The signature is left to the verifier of quotes; what is needed here is the certificate chain.
fn parse_signature_data(reader: &mut Reader<'_>) -> Result<Vec<u8>, EvidenceError> {
    reader.at("signature data");
    let mut data = reader.sized()?;
    data.take(64 + 64)?; // quote signature, attestation key
    expect_type(&mut data, CERT_TYPE_QE_REPORT)?;
    let mut qe = data.sized()?;
    refuse_trailing(&data, 0)?;
    qe.at("QE report");
    qe.take(384 + 64)?; // QE report and its signature
    qe.at("QE authentication data");
    let length = qe.u16()?;
    qe.take(length.into())?;
    expect_type(&mut qe, CERT_TYPE_PCK_CHAIN)?;
    qe.at("PCK certificate chain");
    let chain = qe.sized()?.rest().to_vec();
    refuse_trailing(&qe, 0)?;
    Ok(chain)
}

/// The number in `field` must be the one that is supported.
fn expect(field: &'static str, found: u32, wanted: Supported) -> Result<(), EvidenceError> {
    match found == wanted.0 {
        true => Ok(()),
        false => Err(unsupported(field, found, wanted.1)),
    }
}

fn expect_type(reader: &mut Reader<'_>, wanted: Supported) -> Result<(), EvidenceError> {
    reader.at("certification data");
    expect("certification data type", reader.u16()?.into(), wanted)
}

/// Refuses bytes that are left over, but for so many zeros.
fn refuse_trailing(reader: &Reader<'_>, padding: usize) -> Result<(), EvidenceError> {
    let rest = reader.rest();
    if rest.len() <= padding && rest.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let (part, count) = (reader.part(), rest.len());
    Err(EvidenceError::QuoteTrailingBytes(part, count))
}

const fn unsupported(field: &'static str, value: u32, supported: &'static str) -> EvidenceError {
    EvidenceError::QuoteUnsupported(field, value, supported)
}

#[cfg(test)]
mod tests;
