//! The typed fields of an SNP report: versions, product, TCB, policy and platform bits, chip id.

use std::fmt;

use super::SnpError;

/// The report format's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnpVersion {
    /// Version 2: does not name the processor.
    V2,
    /// Version 3: adds the processor's family, model and stepping (ABI 1.56).
    V3,
    /// Version 4.
    V4,
    /// Version 5: adds the mitigation vectors (ABI 1.58).
    V5,
}

impl SnpVersion {
    pub(super) const fn from_number(number: u32) -> Result<Self, SnpError> {
        match number {
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            4 => Ok(Self::V4),
            5 => Ok(Self::V5),
            other => Err(SnpError::Version(other)),
        }
    }
}

/// A product line: one AMD root key, one layout of the TCB version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, 97x4 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl SnpProduct {
    /// All products, in order.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The product as AMD's certificates spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product of a certificate's name: `Milan-B0` is a Milan, and so is `Milan`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let line = name.split_once('-').map_or(name, |(line, _)| line);
        Self::ALL
            .into_iter()
            .find(|product| product.as_str() == line)
    }
}

impl fmt::Display for SnpProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The processor, by its CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Family and extended family, combined.
    pub family: u8,
    /// Model and extended model, combined.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl Cpu {
    /// The product that the processor is of (AMD 57230, "product name").
    ///
    /// # Errors
    /// `snp-processor`.
    pub const fn product(self) -> Result<SnpProduct, SnpError> {
        match (self.family, self.model) {
            (0x19, 0x00..=0x0f) => Ok(SnpProduct::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Ok(SnpProduct::Genoa),
            (0x1a, 0x00..=0x11) => Ok(SnpProduct::Turin),
            (family, model) => Err(SnpError::Processor { family, model }),
        }
    }
}

/// The security versions of a platform's parts, as written. What a byte means depends on the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TcbVersion([u8; 8]);

/// The security versions of a platform's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TcbParts {
    /// The FMC firmware; Turin alone has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// The boot loader.
    pub boot_loader: u8,
    /// The AMD secure processor's operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The lowest microcode patch of all cores.
    pub microcode: u8,
}

impl TcbParts {
    /// Whether no part is below that of `minimum`. A part that `minimum` lacks is not compared.
    #[must_use]
    pub fn reaches(&self, minimum: &Self) -> bool {
        self.fmc.unwrap_or(0) >= minimum.fmc.unwrap_or(0)
            && self.boot_loader >= minimum.boot_loader
            && self.tee >= minimum.tee
            && self.snp >= minimum.snp
            && self.microcode >= minimum.microcode
    }
}

impl fmt::Display for TcbParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc}, ")?;
        }
        write!(
            f,
            "boot_loader {}, tee {}, snp {}, microcode {}",
            self.boot_loader, self.tee, self.snp, self.microcode
        )
    }
}

impl TcbVersion {
    /// Takes the field's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The field's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The parts in the layout of `product` (AMD 56860, "TCB_VERSION").
    ///
    /// # Errors
    /// `snp-reserved` if a byte that the product does not use is set.
    pub const fn parts(self, product: SnpProduct) -> Result<TcbParts, SnpError> {
        match (product, self.0) {
            (
                SnpProduct::Milan | SnpProduct::Genoa,
                [boot_loader, tee, 0, 0, 0, 0, snp, microcode],
            ) => Ok(TcbParts {
                fmc: None,
                boot_loader,
                tee,
                snp,
                microcode,
            }),
            (SnpProduct::Turin, [fmc, boot_loader, tee, snp, 0, 0, 0, microcode]) => Ok(TcbParts {
                fmc: Some(fmc),
                boot_loader,
                tee,
                snp,
                microcode,
            }),
            _ => Err(SnpError::Reserved("TCB version")),
        }
    }
}

impl fmt::Debug for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A version of the SNP firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// ABI major.
    pub major: u8,
    /// ABI minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// Which mitigations the firmware has verified. The meaning of a bit is the product's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MitigationVectors {
    /// When the guest was launched.
    pub launch: u64,
    /// Now.
    pub current: u64,
}

/// Which key signed a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningKey {
    /// The versioned chip endorsement key: this very chip.
    Vcek,
    /// The versioned loaded endorsement key: some chip of a cloud provider.
    Vlek,
    /// None: the signature is empty.
    None,
}

impl SigningKey {
    pub(super) const fn from_number(number: u32) -> Result<Self, SnpError> {
        match number {
            0 => Ok(Self::Vcek),
            1 => Ok(Self::Vlek),
            7 => Ok(Self::None),
            other => Err(SnpError::SigningKey(other)),
        }
    }

    /// The key's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::None => "none",
        }
    }
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A chip's id, 64 bytes; on Turin all but the first 8 are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChipId([u8; 64]);

impl ChipId {
    /// Takes the 64 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Whether the host hides the id.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.0 == [0; 64]
    }

    /// The bytes that `product` uses, as its certificates have them.
    ///
    /// # Errors
    /// `snp-reserved` if a byte behind them is set.
    pub fn significant(&self, product: SnpProduct) -> Result<&[u8], SnpError> {
        let used = match product {
            SnpProduct::Milan | SnpProduct::Genoa => 64,
            SnpProduct::Turin => 8,
        };
        let (id, unused) = self.0.split_at(used);
        if unused.iter().all(|byte| *byte == 0) {
            return Ok(id);
        }
        Err(SnpError::Reserved("CHIP_ID"))
    }
}

impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! bits {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $bit:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
        pub enum $name { $($(#[$item])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// All bits, lowest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The bit alone.
            #[must_use]
            pub const fn mask(self) -> u64 {
                1 << match self { $(Self::$variant => $bit,)+ }
            }

            /// The bit as AMD's specification and policy files spell it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

bits! {
    /// A bit of the guest policy (AMD 56860, "Guest Policy").
    GuestPolicyBit {
        /// The guest may run where simultaneous multithreading is on.
        Smt = 16, "SMT";
        /// A migration agent may be bound to the guest.
        MigrateMa = 18, "MIGRATE_MA";
        /// The host may read and write the guest's memory.
        Debug = 19, "DEBUG";
        /// The guest may run on one socket alone.
        SingleSocket = 20, "SINGLE_SOCKET";
        /// The guest may run where CXL devices or memory are.
        CxlAllow = 21, "CXL_ALLOW";
        /// Memory must be encrypted with AES-256-XTS.
        MemAes256Xts = 22, "MEM_AES_256_XTS";
        /// Running average power limit must be off.
        RaplDis = 23, "RAPL_DIS";
        /// Ciphertext of memory must be hidden from the host.
        CiphertextHidingDram = 24, "CIPHERTEXT_HIDING_DRAM";
        /// The host may not move or swap the guest's pages.
        PageSwapDisable = 25, "PAGE_SWAP_DISABLE";
    }
}

bits! {
    /// A bit of the platform information (AMD 56860, "PLATFORM_INFO").
    PlatformBit {
        /// Simultaneous multithreading is on.
        SmtEn = 0, "SMT_EN";
        /// Transparent memory encryption is on.
        TsmeEn = 1, "TSME_EN";
        /// Memory has error correction.
        EccEn = 2, "ECC_EN";
        /// Running average power limit is off.
        RaplDis = 3, "RAPL_DIS";
        /// Ciphertext of memory is hidden from the host.
        CiphertextHidingDramEn = 4, "CIPHERTEXT_HIDING_DRAM_EN";
        /// No two addresses lead to the same memory (AMD-SB-3015).
        AliasCheckComplete = 5, "ALIAS_CHECK_COMPLETE";
        /// The IOMMU's writes are checked.
        IommuWriteSafe = 6, "IOMMU_WRITE_SAFE";
        /// Trusted I/O is on.
        TioEn = 7, "TIO_EN";
    }
}

/// The guest policy, 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(u64);

impl GuestPolicy {
    const MUST_BE_ONE: u64 = 1 << 17;
    const MUST_BE_ZERO: u64 = !0 << 26;

    pub(super) const fn parse(bits: u64) -> Result<Self, SnpError> {
        if bits & Self::MUST_BE_ZERO != 0 || bits & Self::MUST_BE_ONE == 0 {
            return Err(SnpError::Reserved("POLICY"));
        }
        Ok(Self(bits))
    }

    /// The policy's bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `bit` is set.
    #[must_use]
    pub const fn has(self, bit: GuestPolicyBit) -> bool {
        self.0 & bit.mask() != 0
    }

    /// The lowest ABI that the guest may run under: major, minor.
    #[must_use]
    pub const fn min_abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }
}

/// The platform information, 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(u64);

impl PlatformInfo {
    /// `ALIAS_CHECK_COMPLETE` came with version 3; what came later is in the same revisions as 4 and 5,
    /// and firmware that writes version 3 sets it too.
    pub(super) const fn parse(bits: u64, version: SnpVersion) -> Result<Self, SnpError> {
        let defined = match version {
            SnpVersion::V2 => 0x1f,
            SnpVersion::V3 | SnpVersion::V4 | SnpVersion::V5 => 0xff,
        };
        if bits & !defined != 0 {
            return Err(SnpError::Reserved("PLATFORM_INFO"));
        }
        Ok(Self(bits))
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `bit` is set.
    #[must_use]
    pub const fn has(self, bit: PlatformBit) -> bool {
        self.0 & bit.mask() != 0
    }
}
