//! Appraisal policy: which roots, TCB states, measurements and models are acceptable. A policy that
//! leaves one of them open cannot be built. Judges single facts; [`crate::appraise`] joins them.

use std::fmt;

use proofroom_canonical::Digest;
use proofroom_evidence::{Measurement, Register, TdClaims};

use crate::{CauseCode, Outcome};

mod platform;
mod purpose;
mod raw;

pub(crate) use platform::{
    PlatformRule, RawAttributes, RawMachines, RawPlatform, RawPlatformExample, RawTcb,
};
pub(crate) use purpose::Purpose;
pub(crate) use raw::{
    NonceRule, Problems, RawRegister, read, read_name, read_register, read_value, run_examples,
};

/// The most bytes of a policy file that are read.
pub(crate) const MAX_POLICY_BYTES: usize = 64 * 1024;

/// SHA-256 of the DER of Intel's SGX root certificate, the root of SGX and TDX alike. Policies name
/// it `intel-sgx-root`. Source: certificates.trustedservices.intel.com,
/// `Intel_SGX_Provisioning_Certification_RootCA.cer`.
pub const INTEL_SGX_ROOT: Digest = Digest::from_bytes([
    0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35,
    0x0e, 0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
]);

/// The policy for genuine hardware, as shipped: an example that accepts nobody until its reference
/// values and models are replaced.
pub const PRODUCTION_UPSTREAM: &str = include_str!("../policies/production-upstream.toml");

/// The policy for the simulated TEE of the tests and the demonstration.
pub const SIMULATED_UPSTREAM: &str = include_str!("../policies/simulated-upstream.toml");

/// The word that a policy's name must contain before it may trust roots that are not a vendor's.
pub(crate) const SIMULATED: &str = "simulated";

/// Something wrong with a policy file. Fix it in the file: no policy is built from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {words}")]
pub struct PolicyProblem {
    pub(crate) file: String,
    pub(crate) code: &'static str,
    pub(crate) words: String,
}

impl PolicyProblem {
    /// The stable code of this problem.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

/// What stands behind an acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Assurance {
    /// The vendor's root: genuine hardware signed the evidence.
    Hardware,
    /// A policy for simulated roots: proves nothing about hardware.
    Simulated,
}

impl Assurance {
    /// What a policy of that name can show at most.
    #[must_use]
    pub fn of_policy(name: &str) -> Self {
        match name.contains(SIMULATED) {
            true => Self::Simulated,
            false => Self::Hardware,
        }
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hardware => "hardware",
            Self::Simulated => SIMULATED,
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) enum RegisterRule {
    OneOf(Vec<Measurement>),
    NotCompared,
}

impl RegisterRule {
    /// Whether `found` fits; a register that is not compared always does.
    pub(crate) fn fits(&self, found: &Measurement) -> bool {
        match self {
            Self::OneOf(values) => values.contains(found),
            Self::NotCompared => true,
        }
    }
}

/// One set of reference values; the registers must match it together.
#[derive(Clone, Debug)]
struct Reference {
    name: String,
    registers: Vec<(Register, RegisterRule)>,
}

impl Reference {
    /// The registers that differ.
    fn differences(&self, claims: &TdClaims) -> Vec<Register> {
        self.registers
            .iter()
            .filter(|(register, rule)| !rule.fits(&claims.register(*register)))
            .map(|(register, _)| *register)
            .collect()
    }
}

/// A policy that pins everything it must. See `docs/spec/evidence.md` for the file's format.
#[derive(Clone, Debug)]
pub struct AppraisalPolicy {
    name: String,
    digest: Digest,
    platform: PlatformRule,
    models: Vec<String>,
    max_age_seconds: u32,
    max_keyset_seconds: u32,
    references: Vec<Reference>,
}

impl AppraisalPolicy {
    /// Reads a policy from TOML text; `file` is named in problems.
    ///
    /// # Errors
    /// Every [`PolicyProblem`] that was found, never none: unknown or missing keys, an empty list
    /// where something must be pinned, a root that is not a vendor's in a policy whose name does not
    /// contain `simulated`, a placeholder as reference value, an example that does not hold.
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
        Assurance::of_policy(&self.name)
    }

    /// What it demands of the platform.
    pub(crate) const fn platform(&self) -> &PlatformRule {
        &self.platform
    }

    pub(crate) const fn max_age_seconds(&self) -> u32 {
        self.max_age_seconds
    }

    pub(crate) const fn max_keyset_seconds(&self) -> u32 {
        self.max_keyset_seconds
    }

    pub(crate) fn allows_model(&self, model: &str) -> bool {
        self.models
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => model.starts_with(prefix),
                None => model == pattern,
            })
    }

    pub(crate) fn judge_measurements(&self, claims: &TdClaims) -> Outcome {
        let differing = self.references.iter().map(|reference| {
            let differences = reference.differences(claims);
            (reference, differences)
        });
        let Some((closest, differences)) = differing.min_by_key(|(_, found)| found.len()) else {
            return Outcome::fail(CauseCode::ReferenceMismatch, "");
        };
        Outcome::when(differences.is_empty(), CauseCode::ReferenceMismatch, || {
            let registers: Vec<&str> = differences.iter().map(|r| r.as_str()).collect();
            let (name, registers) = (&closest.name, registers.join(", "));
            format!("the closest reference values, `{name}`, differ in {registers}")
        })
    }
}

#[cfg(test)]
mod tests;
