//! AMD SEV-SNP attestation reports, versions 2 to 5, taken apart field by field (AMD 56860, SEV Secure
//! Nested Paging Firmware ABI, table "ATTESTATION_REPORT"). Nothing here is verified.

use proofroom_canonical::Digest;

use crate::{Measurement, REPORT_DATA_BYTES};

mod error;
mod fields;
mod vek;

pub use error::SnpError;
pub use fields::{
    ChipId, Cpu, FirmwareVersion, GuestPolicy, GuestPolicyBit, MitigationVectors, PlatformBit,
    PlatformInfo, SigningKey, SnpProduct, SnpVersion, TcbParts, TcbVersion,
};
pub use vek::{MAX_CERTIFICATE_BYTES, VekFacts};

/// The size of a report, in every version.
pub const SNP_REPORT_BYTES: usize = 0x4a0;
/// How many bytes from the start are under a report's signature.
pub const SNP_SIGNED_BYTES: usize = 0x2a0;

const ALGORITHM_ECDSA_P384_SHA384: u32 = 1;
const AUTHOR_KEY_EN: u32 = 1;
const MASK_CHIP_KEY: u32 = 1 << 1;
const FLAGS_DEFINED: u32 = 0x1f;

/// What a report says. Claims: true only if the signature over them verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpClaims {
    /// `GUEST_SVN`, from the guest's identity block.
    pub guest_svn: u32,
    /// `POLICY`: under which conditions the guest was allowed to start.
    pub policy: GuestPolicy,
    /// `FAMILY_ID`, from the guest's identity block.
    pub family_id: [u8; 16],
    /// `IMAGE_ID`, from the guest's identity block.
    pub image_id: [u8; 16],
    /// `VMPL`, 0 to 3: the privilege level that asked for the report.
    pub vmpl: u8,
    /// `CURRENT_TCB`.
    pub current_tcb: TcbVersion,
    /// `PLATFORM_INFO`.
    pub platform: PlatformInfo,
    /// `AUTHOR_KEY_EN`: an author key certified the identity key.
    pub author_key_enabled: bool,
    /// `MASK_CHIP_KEY`: the host hides the chip's key; reports are then signed by a VLEK or not at all.
    pub chip_key_masked: bool,
    /// `SIGNING_KEY`.
    pub signing_key: SigningKey,
    /// `REPORT_DATA`, which the guest chooses.
    pub report_data: [u8; REPORT_DATA_BYTES],
    /// `MEASUREMENT`: the guest's initial memory and processor state.
    pub measurement: Measurement,
    /// `HOST_DATA`, which the host chooses at launch.
    pub host_data: [u8; 32],
    /// `ID_KEY_DIGEST`; all zero without an identity block.
    pub id_key_digest: Measurement,
    /// `AUTHOR_KEY_DIGEST`; all zero without an author key.
    pub author_key_digest: Measurement,
    /// `REPORT_ID`, random, one for each guest.
    pub report_id: [u8; 32],
    /// `REPORT_ID_MA`; all ones or all zero without a migration agent.
    pub report_id_ma: [u8; 32],
    /// `REPORTED_TCB`: the one that the signing key is derived from.
    pub reported_tcb: TcbVersion,
    /// `CPUID_FAM_ID`, `CPUID_MOD_ID` and `CPUID_STEP`, from version 3 on.
    pub cpu: Option<Cpu>,
    /// `CHIP_ID`; all zero where the host masks it.
    pub chip_id: ChipId,
    /// `COMMITTED_TCB`: the firmware never goes below it again.
    pub committed_tcb: TcbVersion,
    /// `CURRENT_MAJOR`, `CURRENT_MINOR` and `CURRENT_BUILD`.
    pub current_version: FirmwareVersion,
    /// `COMMITTED_MAJOR`, `COMMITTED_MINOR` and `COMMITTED_BUILD`.
    pub committed_version: FirmwareVersion,
    /// `LAUNCH_TCB`: `CURRENT_TCB` when the guest was launched or imported.
    pub launch_tcb: TcbVersion,
    /// `LAUNCH_MIT_VECTOR` and `CURRENT_MIT_VECTOR`, from version 4 on.
    pub mitigations: Option<MitigationVectors>,
}

impl SnpClaims {
    /// A migration agent is bound to the guest: it can move the guest's state elsewhere.
    #[must_use]
    pub fn has_migration_agent(&self) -> bool {
        self.report_id_ma != [0; 32] && self.report_id_ma != [0xff; 32]
    }
}

/// An SNP report, taken apart. Not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpReport {
    version: SnpVersion,
    product: Option<SnpProduct>,
    claims: SnpClaims,
    identity: Digest,
    signed: Vec<u8>,
    signature: [u8; 96],
}

impl SnpReport {
    /// Takes a report apart.
    ///
    /// # Errors
    /// The `snp-*` codes of [`SnpError`]: the size must fit exactly; unknown versions, processors,
    /// signature algorithms and signing keys are refused, and so is every bit that must be zero.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnpError> {
        refuse_other_sizes(bytes)?;
        let mut rest = bytes;
        let version = SnpVersion::from_number(u32(&mut rest)?)?;
        let claims = parse_claims(&mut rest, version)?;
        let product = claims.cpu.map(Cpu::product).transpose()?;
        if let Some(product) = product {
            check_layout(&claims, product)?;
        }
        let signature = parse_signature(&mut rest)?;
        let signed = bytes.get(..SNP_SIGNED_BYTES).unwrap_or_default().to_vec();
        Ok(Self {
            version,
            product,
            claims,
            identity: Digest::of(&signed),
            signed,
            signature,
        })
    }

    /// The report format's version.
    #[must_use]
    pub const fn version(&self) -> SnpVersion {
        self.version
    }

    /// The product that the report names, from version 3 on. In version 2 the certificate alone says it.
    #[must_use]
    pub const fn product(&self) -> Option<SnpProduct> {
        self.product
    }

    /// What the report says.
    #[must_use]
    pub const fn claims(&self) -> &SnpClaims {
        &self.claims
    }

    /// SHA-256 over the bytes under the signature, the first 0x2a0. Who has a report can write its
    /// signature in a second way (ECDSA: `s` or the order less `s`), so a digest of the whole report
    /// identifies nothing.
    #[must_use]
    pub const fn identity(&self) -> Digest {
        self.identity
    }

    /// The bytes under the signature.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// ECDSA P-384 over SHA-384 of [`SnpReport::signed`]: `r` then `s`, big-endian, 48 bytes each.
    #[must_use]
    pub const fn signature(&self) -> &[u8; 96] {
        &self.signature
    }
}

/// Refuses TCB versions and chip ids that `product` does not have. [`SnpReport::parse`] does so where
/// the report names its product; a version 2 report needs it once the certificate has named it.
///
/// # Errors
/// `snp-reserved`.
pub fn check_layout(claims: &SnpClaims, product: SnpProduct) -> Result<(), SnpError> {
    for tcb in [
        claims.current_tcb,
        claims.reported_tcb,
        claims.committed_tcb,
        claims.launch_tcb,
    ] {
        tcb.parts(product)?;
    }
    claims.chip_id.significant(product).map(|_| ())
}

const fn refuse_other_sizes(bytes: &[u8]) -> Result<(), SnpError> {
    let have = bytes.len();
    if have < SNP_REPORT_BYTES {
        return Err(SnpError::Truncated { have });
    }
    if have > SNP_REPORT_BYTES {
        return Err(SnpError::TrailingBytes {
            count: have - SNP_REPORT_BYTES,
        });
    }
    Ok(())
}

fn parse_claims(rest: &mut &[u8], version: SnpVersion) -> Result<SnpClaims, SnpError> {
    let guest_svn = u32(rest)?;
    let policy = GuestPolicy::parse(u64(rest)?)?;
    let family_id = take(rest)?;
    let image_id = take(rest)?;
    let vmpl = parse_vmpl(u32(rest)?)?;
    let algorithm = u32(rest)?;
    if algorithm != ALGORITHM_ECDSA_P384_SHA384 {
        return Err(SnpError::Algorithm(algorithm));
    }
    let current_tcb = TcbVersion::from_bytes(take(rest)?);
    let platform = PlatformInfo::parse(u64(rest)?, version)?;
    let flags = u32(rest)?;
    if flags & !FLAGS_DEFINED != 0 {
        return Err(SnpError::Reserved("key flags"));
    }
    zero::<4>(rest, "0x4c")?;
    Ok(SnpClaims {
        guest_svn,
        policy,
        family_id,
        image_id,
        vmpl,
        current_tcb,
        platform,
        author_key_enabled: flags & AUTHOR_KEY_EN != 0,
        chip_key_masked: flags & MASK_CHIP_KEY != 0,
        signing_key: SigningKey::from_number(flags >> 2)?,
        report_data: take(rest)?,
        measurement: measurement(rest)?,
        host_data: take(rest)?,
        id_key_digest: measurement(rest)?,
        author_key_digest: measurement(rest)?,
        report_id: take(rest)?,
        report_id_ma: take(rest)?,
        reported_tcb: TcbVersion::from_bytes(take(rest)?),
        cpu: parse_cpu(rest, version)?,
        chip_id: ChipId::from_bytes(take(rest)?),
        committed_tcb: TcbVersion::from_bytes(take(rest)?),
        current_version: parse_firmware_version(rest)?,
        committed_version: parse_firmware_version(rest)?,
        launch_tcb: TcbVersion::from_bytes(take(rest)?),
        mitigations: parse_mitigations(rest, version)?,
    })
}

/// Reports that the host asked for have 0xffffffff here; they bind nothing that a guest chose.
fn parse_vmpl(value: u32) -> Result<u8, SnpError> {
    u8::try_from(value)
        .ok()
        .filter(|level| *level <= 3)
        .ok_or(SnpError::Vmpl(value))
}

fn parse_cpu(rest: &mut &[u8], version: SnpVersion) -> Result<Option<Cpu>, SnpError> {
    let [family, model, stepping] = take(rest)?;
    zero::<21>(rest, "0x18b")?;
    if version != SnpVersion::V2 {
        return Ok(Some(Cpu {
            family,
            model,
            stepping,
        }));
    }
    if [family, model, stepping] != [0; 3] {
        return Err(SnpError::Reserved("0x188"));
    }
    Ok(None)
}

fn parse_firmware_version(rest: &mut &[u8]) -> Result<FirmwareVersion, SnpError> {
    let [build, minor, major, reserved] = take(rest)?;
    if reserved != 0 {
        return Err(SnpError::Reserved("firmware version"));
    }
    Ok(FirmwareVersion {
        major,
        minor,
        build,
    })
}

fn parse_mitigations(
    rest: &mut &[u8],
    version: SnpVersion,
) -> Result<Option<MitigationVectors>, SnpError> {
    let (launch, current) = (u64(rest)?, u64(rest)?);
    zero::<152>(rest, "0x208")?;
    if matches!(version, SnpVersion::V4 | SnpVersion::V5) {
        return Ok(Some(MitigationVectors { launch, current }));
    }
    if (launch, current) != (0, 0) {
        return Err(SnpError::Reserved("0x1f8"));
    }
    Ok(None)
}

/// `r` and `s` are little-endian in fields of 72 bytes (AMD 56860, "Signature Algorithm"): with the rest
/// of the field and of the structure zero, there is one way to write each.
fn parse_signature(rest: &mut &[u8]) -> Result<[u8; 96], SnpError> {
    let mut r: [u8; 48] = take(rest)?;
    let above_r: [u8; 24] = take(rest)?;
    let mut s: [u8; 48] = take(rest)?;
    let above_s: [u8; 24] = take(rest)?;
    if above_r != [0; 24] || above_s != [0; 24] || rest.iter().any(|byte| *byte != 0) {
        return Err(SnpError::SignatureEncoding);
    }
    r.reverse();
    s.reverse();
    let mut signature = [0; 96];
    let (head, tail) = signature.split_at_mut(48);
    head.copy_from_slice(&r);
    tail.copy_from_slice(&s);
    Ok(signature)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SnpError> {
    let (head, tail) = rest
        .split_first_chunk::<N>()
        .ok_or(SnpError::Truncated { have: rest.len() })?;
    *rest = tail;
    Ok(*head)
}

fn zero<const N: usize>(rest: &mut &[u8], field: &'static str) -> Result<(), SnpError> {
    if take::<N>(rest)? == [0; N] {
        return Ok(());
    }
    Err(SnpError::Reserved(field))
}

fn u32(rest: &mut &[u8]) -> Result<u32, SnpError> {
    take(rest).map(u32::from_le_bytes)
}

fn u64(rest: &mut &[u8]) -> Result<u64, SnpError> {
    take(rest).map(u64::from_le_bytes)
}

fn measurement(rest: &mut &[u8]) -> Result<Measurement, SnpError> {
    take(rest).map(Measurement::from_bytes)
}

#[cfg(test)]
mod tests;
