//! SNP appraisal policy: which roots, keys, chips, TCBs, guest policies and measurements are
//! acceptable. One that leaves something open cannot be built. Judges single facts;
//! [`crate::appraise_snp`] joins them. See `docs/spec/snp.md` for the file's format.

use proofroom_canonical::Digest;
use proofroom_evidence::{
    Measurement,
    snp::{
        ChipId, GuestPolicyBit, PlatformBit, PlatformInfo, SigningKey, SnpClaims, SnpProduct,
        TcbParts,
    },
};

use crate::{Assurance, PolicyProblem, SnpCause, policy::SIMULATED};

mod raw;

/// SHA-256 of the DER of AMD's root certificate for Milan (ARK-Milan). Policies name it
/// `amd-ark-milan`. Source: kdsintf.amd.com, `/vcek/v1/Milan/cert_chain`.
pub const AMD_ARK_MILAN: Digest = Digest::from_bytes([
    0x69, 0xd0, 0x63, 0xb4, 0x53, 0x44, 0xd2, 0x6a, 0x2e, 0x94, 0xe1, 0xf4, 0x21, 0x0d, 0xe4, 0x9e,
    0xf5, 0x55, 0x30, 0x82, 0x87, 0xd4, 0xc1, 0x74, 0x44, 0x5c, 0x95, 0x63, 0x9a, 0x54, 0x0b, 0xcd,
]);

/// SHA-256 of the DER of AMD's root certificate for Genoa (ARK-Genoa). Policies name it
/// `amd-ark-genoa`. Source: kdsintf.amd.com, `/vcek/v1/Genoa/cert_chain`.
pub const AMD_ARK_GENOA: Digest = Digest::from_bytes([
    0x4c, 0x65, 0x98, 0xd1, 0x9c, 0x18, 0x71, 0x9c, 0x5d, 0xfd, 0x4a, 0x7d, 0x33, 0x5f, 0x67, 0x4e,
    0x5b, 0xfe, 0x1d, 0x8f, 0x80, 0x0c, 0xea, 0x2c, 0xf2, 0x70, 0xc1, 0x0d, 0x10, 0x3d, 0xb2, 0xf1,
]);

/// SHA-256 of the DER of AMD's root certificate for Turin (ARK-Turin). Policies name it
/// `amd-ark-turin`. Source: kdsintf.amd.com, `/vcek/v1/Turin/cert_chain`.
pub const AMD_ARK_TURIN: Digest = Digest::from_bytes([
    0x1f, 0x08, 0x41, 0x61, 0xa4, 0x4b, 0xb6, 0xd9, 0x37, 0x78, 0xa9, 0x04, 0x87, 0x7d, 0x48, 0x19,
    0xca, 0xfa, 0x5d, 0x05, 0xef, 0x41, 0x93, 0xb2, 0xde, 0xd9, 0xdd, 0x9c, 0x73, 0xdd, 0x3f, 0x6a,
]);

/// The policy for genuine SNP hardware, as shipped: an example that accepts nobody until its reference
/// values are replaced.
pub const PRODUCTION_SNP: &str = include_str!("../policies/production-snp.toml");

/// A digest that must be there and listed, must not be there, or is left alone on purpose.
#[derive(Clone, Debug)]
enum KeyRule {
    OneOf(Vec<Measurement>),
    Absent,
    NotCompared,
}

impl KeyRule {
    fn allows(&self, digest: Measurement, present: bool) -> bool {
        match self {
            Self::OneOf(digests) => present && digests.contains(&digest),
            Self::Absent => !present && digest.repeated_byte() == Some(0),
            Self::NotCompared => true,
        }
    }
}

#[derive(Clone, Debug)]
enum HostDataRule {
    OneOf(Vec<[u8; 32]>),
    NotCompared,
}

/// One set of reference values; the report must match it together.
#[derive(Clone, Debug)]
struct Reference {
    name: String,
    measurements: Vec<Measurement>,
    host_data: HostDataRule,
    id_key: KeyRule,
    author_key: KeyRule,
    min_guest_svn: u32,
}

impl Reference {
    /// What differs.
    fn differences(&self, claims: &SnpClaims) -> Vec<&'static str> {
        let host_data = match &self.host_data {
            HostDataRule::OneOf(values) => values.contains(&claims.host_data),
            HostDataRule::NotCompared => true,
        };
        let has_id_key = claims.id_key_digest.repeated_byte() != Some(0);
        [
            (
                "measurement",
                self.measurements.contains(&claims.measurement),
            ),
            ("host_data", host_data),
            (
                "id_key",
                self.id_key.allows(claims.id_key_digest, has_id_key),
            ),
            (
                "author_key",
                self.author_key
                    .allows(claims.author_key_digest, claims.author_key_enabled),
            ),
            ("guest_svn", claims.guest_svn >= self.min_guest_svn),
        ]
        .into_iter()
        .filter_map(|(name, equal)| (!equal).then_some(name))
        .collect()
    }
}

#[derive(Clone, Debug)]
enum ChipRule {
    OneOf(Vec<ChipId>),
    Any,
}

/// What of a guest policy is acceptable.
#[derive(Clone, Debug)]
struct GuestRule {
    allow: Vec<GuestPolicyBit>,
    require: Vec<GuestPolicyBit>,
    min_abi: (u8, u8),
}

/// A policy that pins everything it must.
#[derive(Clone, Debug)]
pub struct SnpAppraisalPolicy {
    name: String,
    digest: Digest,
    roots: Vec<Digest>,
    max_age_seconds: u32,
    keys: Vec<SigningKey>,
    csp_ids: Vec<String>,
    chips: ChipRule,
    minimum: Vec<(SnpProduct, TcbParts)>,
    guest: GuestRule,
    platform: Vec<PlatformBit>,
    vmpl: Vec<u8>,
    references: Vec<Reference>,
}

type Judgement = Result<(), (SnpCause, String)>;

fn refuse(cause: SnpCause, words: impl Into<String>) -> Judgement {
    Err((cause, words.into()))
}

impl SnpAppraisalPolicy {
    /// Reads a policy from TOML text; `file` is named in problems.
    ///
    /// # Errors
    /// Every [`PolicyProblem`] that was found, never none: unknown or missing keys, an empty list
    /// where something must be pinned, a minimum that is no minimum, a root that is not AMD's in a
    /// policy whose name does not contain `simulated`, a guest policy bit that no policy may allow, a
    /// placeholder as reference value, an example that does not hold.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<PolicyProblem>> {
        raw::parse(text, file)
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the policy's file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What an acceptance under this policy means.
    #[must_use]
    pub fn assurance(&self) -> Assurance {
        if self.name.contains(SIMULATED) {
            Assurance::Simulated
        } else {
            Assurance::Hardware
        }
    }

    pub(crate) fn trusts_root(&self, root: Digest) -> bool {
        self.roots.contains(&root)
    }

    pub(crate) const fn max_age_seconds(&self) -> u32 {
        self.max_age_seconds
    }

    pub(crate) fn judge_key(&self, key: SigningKey, csp_id: Option<&str>) -> Judgement {
        if !self.keys.contains(&key) {
            let words = format!("the policy does not accept reports signed by a {key}");
            return refuse(SnpCause::SigningKeyRefused, words);
        }
        match csp_id {
            Some(id) if !self.csp_ids.iter().any(|known| known == id) => {
                let words = format!("the policy does not accept keys of provider `{id}`");
                refuse(SnpCause::CspRefused, words)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn judge_chip(&self, chip: ChipId) -> Judgement {
        match &self.chips {
            ChipRule::Any => Ok(()),
            ChipRule::OneOf(_) if chip.is_masked() => {
                let words =
                    "the host hides the chip's id, and the policy accepts listed chips alone";
                refuse(SnpCause::ChipIdMasked, words)
            }
            ChipRule::OneOf(chips) if chips.contains(&chip) => Ok(()),
            ChipRule::OneOf(_) => refuse(
                SnpCause::ChipRefused,
                format!("the policy does not list chip {chip}"),
            ),
        }
    }

    pub(crate) fn judge_tcb(&self, product: SnpProduct, name: &str, tcb: &TcbParts) -> Judgement {
        let minimum = self.minimum.iter().find(|(of, _)| *of == product);
        let Some((_, minimum)) = minimum else {
            let words = format!("the policy has no minimum for {product}, so it accepts none");
            return refuse(SnpCause::ProductRefused, words);
        };
        if tcb.reaches(minimum) {
            return Ok(());
        }
        let words = format!("the {name} TCB is {tcb}, below the policy's {minimum}");
        refuse(SnpCause::TcbBelowMinimum, words)
    }

    pub(crate) fn judge_guest_policy(&self, claims: &SnpClaims) -> Judgement {
        let policy = claims.policy;
        if policy.has(GuestPolicyBit::Debug) {
            return refuse(SnpCause::GuestDebug, "the host may debug the guest");
        }
        if policy.has(GuestPolicyBit::MigrateMa) || claims.has_migration_agent() {
            let words = "a migration agent may move the guest elsewhere";
            return refuse(SnpCause::GuestMigratable, words);
        }
        self.judge_guest_bits(|bit| policy.has(bit))?;
        let (major, minor) = policy.min_abi();
        let (wanted_major, wanted_minor) = self.guest.min_abi;
        if (major, minor) >= (wanted_major, wanted_minor) {
            return Ok(());
        }
        let words = format!(
            "the guest may run under ABI {major}.{minor}, older than the policy's {wanted_major}.{wanted_minor}"
        );
        refuse(SnpCause::AbiTooOld, words)
    }

    /// A guest policy that is judged by its named bits alone.
    fn judge_guest_bits(&self, has: impl Fn(GuestPolicyBit) -> bool) -> Judgement {
        for bit in GuestPolicyBit::ALL.iter().copied() {
            if raw::opens(bit) && has(bit) && !self.guest.allow.contains(&bit) {
                let words = format!("the guest policy has {bit}, which the policy does not allow");
                return refuse(SnpCause::PolicyBitNotAllowed, words);
            }
            if self.guest.require.contains(&bit) && !has(bit) {
                let words = format!("the guest policy lacks {bit}, which the policy demands");
                return refuse(SnpCause::PolicyBitMissing, words);
            }
        }
        Ok(())
    }

    /// A guest policy given by its bits alone, as examples do.
    fn accepts_guest_bits(&self, bits: &[GuestPolicyBit]) -> bool {
        self.judge_guest_bits(|bit| bits.contains(&bit)).is_ok()
    }

    pub(crate) fn judge_platform(&self, platform: PlatformInfo) -> Judgement {
        match self.platform.iter().find(|bit| !platform.has(**bit)) {
            None => Ok(()),
            Some(bit) => {
                let words = format!("the platform lacks {bit}, which the policy demands");
                refuse(SnpCause::PlatformBitMissing, words)
            }
        }
    }

    pub(crate) fn judge_vmpl(&self, vmpl: u8) -> Judgement {
        if self.vmpl.contains(&vmpl) {
            return Ok(());
        }
        let words =
            format!("the report was asked for at VMPL {vmpl}, which the policy does not accept");
        refuse(SnpCause::VmplRefused, words)
    }

    pub(crate) fn judge_reference(&self, claims: &SnpClaims) -> Judgement {
        let closest = self
            .references
            .iter()
            .map(|reference| (reference, reference.differences(claims)))
            .min_by_key(|(_, differences)| differences.len());
        match closest {
            Some((_, differences)) if differences.is_empty() => Ok(()),
            Some((reference, differences)) => {
                let words = format!(
                    "the closest reference values, `{}`, differ in {}",
                    reference.name,
                    differences.join(", ")
                );
                refuse(SnpCause::ReferenceMismatch, words)
            }
            None => refuse(
                SnpCause::ReferenceMismatch,
                "the policy has no reference values",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
