//! Room appraisal policy: whose evidence of a room is acceptable, and against which reference values.
//! One that leaves something open cannot be built, and without the manifest that it pins it judges
//! nothing. See `docs/spec/room-evidence.md` for the file's format.

use proofroom_canonical::{Digest, IsolationLevel};
use proofroom_evidence::EvidenceType;
use serde::Deserialize;

use crate::{PolicyProblem, ReferenceManifest, policy::MAX_POLICY_BYTES};

/// The policy that accepts no evidence of any room: for deployments with process rooms alone.
pub const NO_ROOM_EVIDENCE: &str = include_str!("../policies/room-none.toml");

/// The policy for virtual machines with the host's software TPM, as shipped: an example that accepts
/// nobody until it pins a manifest. [`RoomAppraisalPolicy::for_reference`] fills it in.
pub const ROOM_VM: &str = include_str!("../policies/room-vm.toml");

/// What `room-vm.toml` has in the place of a manifest's digest.
const PLACEHOLDER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const MAX_NAME_BYTES: usize = 64;

#[derive(Deserialize)]
#[serde(tag = "accept", rename_all = "kebab-case", deny_unknown_fields)]
enum RawPolicy {
    NoEvidence {
        name: String,
    },
    Tpm2 {
        name: String,
        owner: TpmOwner,
        attestation_key: AkRule,
        nonce: NonceRule,
        references: Vec<String>,
    },
}

/// Whose TPM signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TpmOwner {
    /// A program that the host runs: its operator can make it sign anything. Never hardware.
    SoftwareTpmOfTheHost,
}

/// Who vouches for an attestation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AkRule {
    /// The deployment's CA, by a certificate for one session.
    DeploymentCa,
}

/// The one rule there is. Written out so that a reader of the file sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NonceRule {
    Required,
}

/// A policy that pins everything it must.
#[derive(Clone, Debug)]
pub struct RoomAppraisalPolicy {
    name: String,
    digest: Digest,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    NoEvidence,
    Tpm2 { references: Vec<Digest> },
}

/// Why a policy and a manifest judge nothing together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The policy accepts no evidence.
    #[error("room appraisal policy `{0}` accepts no evidence of any room")]
    AcceptsNothing(String),
    /// The policy pins other reference values.
    #[error("reference manifest {found} is not one that room appraisal policy `{policy}` pins")]
    NotPinned {
        /// The policy.
        policy: String,
        /// The manifest.
        found: Digest,
    },
    /// The manifest is not one.
    #[error("the reference manifest cannot be used")]
    Reference(#[from] crate::ReferenceError),
}

impl PinError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AcceptsNothing(_) => "room-policy-accepts-nothing",
            Self::NotPinned { .. } => "room-reference-not-pinned",
            Self::Reference(error) => error.code(),
        }
    }
}

impl RoomAppraisalPolicy {
    /// Reads a policy from TOML text; `file` is named in problems.
    ///
    /// # Errors
    /// Every [`PolicyProblem`] that was found, never none.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<PolicyProblem>> {
        let problem = |code, words: String| PolicyProblem {
            file: file.to_owned(),
            code,
            words,
        };
        if text.len() > MAX_POLICY_BYTES {
            let words = format!("{} bytes are more than {MAX_POLICY_BYTES}", text.len());
            return Err(vec![problem("policy-too-large", words)]);
        }
        let raw: RawPolicy = toml::from_str(text)
            .map_err(|error| vec![problem("policy-syntax", error.to_string())])?;
        let mut problems = Vec::new();
        let (name, rule) = match raw {
            RawPolicy::NoEvidence { name } => (name, Rule::NoEvidence),
            RawPolicy::Tpm2 {
                name,
                owner: TpmOwner::SoftwareTpmOfTheHost,
                attestation_key: AkRule::DeploymentCa,
                nonce: NonceRule::Required,
                references,
            } => {
                let references = read_references(&references, |code, words| {
                    problems.push(problem(code, words));
                });
                (name, Rule::Tpm2 { references })
            }
        };
        if let Some(words) = name_problem(&name) {
            problems.push(problem("policy-name", words.to_owned()));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            name,
            digest: Digest::of(text),
            rule,
        })
    }

    /// The text of [`ROOM_VM`] with one manifest pinned.
    #[must_use]
    pub fn for_reference(manifest: Digest) -> String {
        ROOM_VM.replace(PLACEHOLDER, &manifest.to_string())
    }

    /// The policy together with the manifest that it judges by.
    ///
    /// # Errors
    /// `room-policy-accepts-nothing`, `room-reference-not-pinned`, or what the manifest's reader says.
    pub fn with_reference(self, manifest: &[u8]) -> Result<PinnedRoomPolicy, PinError> {
        let references = match &self.rule {
            Rule::NoEvidence => return Err(PinError::AcceptsNothing(self.name)),
            Rule::Tpm2 { references } => references,
        };
        let found = Digest::of(manifest);
        if !references.contains(&found) {
            let policy = self.name;
            return Err(PinError::NotPinned { policy, found });
        }
        let reference = ReferenceManifest::parse(manifest)?;
        Ok(PinnedRoomPolicy {
            policy: self,
            reference,
        })
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

    /// The type of evidence that it accepts; none when it accepts no evidence.
    #[must_use]
    pub const fn kind(&self) -> Option<EvidenceType> {
        match self.rule {
            Rule::NoEvidence => None,
            Rule::Tpm2 { .. } => Some(EvidenceType::Tpm2),
        }
    }

    /// The manifests that it pins.
    #[must_use]
    pub fn references(&self) -> &[Digest] {
        match &self.rule {
            Rule::NoEvidence => &[],
            Rule::Tpm2 { references } => references,
        }
    }
}

/// A policy with its reference values. Only [`RoomAppraisalPolicy::with_reference`] makes one.
#[derive(Clone, Debug)]
pub struct PinnedRoomPolicy {
    policy: RoomAppraisalPolicy,
    reference: ReferenceManifest,
}

impl PinnedRoomPolicy {
    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &RoomAppraisalPolicy {
        &self.policy
    }

    /// The reference values.
    #[must_use]
    pub const fn reference(&self) -> &ReferenceManifest {
        &self.reference
    }
}

/// What evidence of one type can show at most.
#[must_use]
pub const fn level_of(kind: EvidenceType) -> IsolationLevel {
    match kind {
        EvidenceType::Tpm2 => IsolationLevel::Vm,
        EvidenceType::Tdx | EvidenceType::SevSnp => IsolationLevel::Hardware,
    }
}

/// Whose evidence of one type is, in words.
#[must_use]
pub const fn label_of(kind: EvidenceType) -> &'static str {
    match kind {
        EvidenceType::Tpm2 => "vm, software TPM of the host",
        EvidenceType::Tdx => "trust domain, Intel TDX",
        EvidenceType::SevSnp => "confidential VM, AMD SEV-SNP",
    }
}

fn read_references(texts: &[String], mut problem: impl FnMut(&'static str, String)) -> Vec<Digest> {
    if texts.is_empty() {
        problem(
            "policy-unpinned",
            "`references` must name at least one reference manifest".to_owned(),
        );
    }
    let mut references = Vec::new();
    for text in texts {
        match text.parse::<Digest>() {
            Ok(_) if text == PLACEHOLDER => problem(
                "policy-placeholder",
                "`references` is pinned to a placeholder, put the manifest's SHA-256 there"
                    .to_owned(),
            ),
            Ok(digest) => references.push(digest),
            Err(error) => problem("policy-unpinned", format!("`references`: {error}")),
        }
    }
    references
}

/// A name must not claim what no evidence under these rules shows.
fn name_problem(name: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        return Some("`name` must have 1 to 64 lower-case letters, digits and hyphens");
    }
    name.contains("hardware")
        .then_some("a software TPM is no hardware: `name` must not say `hardware`")
}

#[cfg(test)]
mod tests;
