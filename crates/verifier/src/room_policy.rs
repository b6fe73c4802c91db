//! Room appraisal policy: whose evidence of a room is acceptable, and against which reference values.
//! One that leaves something open cannot be built, and without the manifest that it pins it judges
//! nothing. See `docs/spec/room-evidence.md` for the file's format.

use proofroom_canonical::{Digest, IsolationLevel, Refusal, Timestamp};
use proofroom_evidence::{EvidenceType, Measurement, Register};
use serde::Deserialize;

use crate::{
    Assurance, PolicyProblem, ReferenceManifest, ReferenceRelease,
    policy::{
        NonceRule, PlatformRule, Problems, Purpose, RawAttributes, RawMachines, RawPlatform,
        RawPlatformExample, RawRegister, RawTcb, RegisterRule, read, read_name, read_register,
        read_value, run_examples,
    },
};

mod references;

use references::{PLACEHOLDER, RawSigner, References, read_references};

/// The policy that accepts no evidence of any room: for deployments with process rooms alone.
pub const NO_ROOM_EVIDENCE: &str = include_str!("../policies/room-none.toml");

/// The policy for virtual machines with the host's software TPM, as shipped: an example that accepts
/// nobody until it pins a manifest. [`RoomAppraisalPolicy::for_reference`] fills it in.
pub const ROOM_VM: &str = include_str!("../policies/room-vm.toml");

/// The policy for trust domains on genuine Intel TDX hardware, as shipped: an example that accepts
/// nobody until it pins a manifest. [`RoomAppraisalPolicy::pinning`] fills it in.
pub const ROOM_TDX: &str = include_str!("../policies/room-tdx.toml");

/// The policy for rooms of the simulated TEE, as shipped: it accepts nobody until it pins a manifest.
/// What it accepts then is called simulated everywhere.
pub const ROOM_SIMULATED: &str = include_str!("../policies/room-simulated.toml");

#[derive(Deserialize)]
#[serde(tag = "accept", rename_all = "kebab-case", deny_unknown_fields)]
enum RawPolicy {
    NoEvidence {
        name: String,
        purpose: Purpose,
    },
    Tpm2 {
        name: String,
        purpose: Purpose,
        owner: TpmOwner,
        attestation_key: AkRule,
        nonce: NonceRule,
        references: Vec<String>,
        #[serde(default)]
        signed_reference: Vec<RawSigner>,
    },
    Tdx(Box<RawTdx>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTdx {
    name: String,
    purpose: Purpose,
    roots: Vec<String>,
    #[expect(dead_code, reason = "its one value is checked by being read")]
    nonce: NonceRule,
    mr_seam: RawRegister,
    references: Vec<String>,
    #[serde(default)]
    signed_reference: Vec<RawSigner>,
    simulated: Option<RawSimulated>,
    tcb: RawTcb,
    attributes: RawAttributes,
    machines: Option<RawMachines>,
    #[serde(default, rename = "match")]
    matches: Vec<RawPlatformExample>,
    #[serde(default)]
    not_match: Vec<RawPlatformExample>,
}

/// Registers of a boot that never took place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSimulated {
    mr_td: String,
    rtmr0: String,
    rtmr1: String,
    rtmr2: String,
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

/// A policy that pins everything it must.
#[derive(Clone, Debug)]
pub struct RoomAppraisalPolicy {
    name: String,
    digest: Digest,
    references: References,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    NoEvidence,
    Tpm2,
    Tdx(Box<TdxRule>),
}

/// What a policy demands of a room in a trust domain.
#[derive(Clone, Debug)]
pub(crate) struct TdxRule {
    pub(crate) platform: PlatformRule,
    pub(crate) mr_seam: RegisterRule,
    /// The boot's registers in simulated rooms; of others they are the manifest's.
    pub(crate) simulated: Option<SimulatedBoot>,
}

/// MRTD and RTMR0 to RTMR2 of the simulated TEE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimulatedBoot {
    pub(crate) mr_td: Measurement,
    pub(crate) rtmr: [Measurement; 3],
}

impl RoomAppraisalPolicy {
    /// Reads a policy from TOML text; `file` is named in problems.
    ///
    /// # Errors
    /// Every [`PolicyProblem`] that was found, never none.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<PolicyProblem>> {
        read(text, file, |raw: RawPolicy, problems| {
            let purpose = raw.purpose();
            let (name, references, rule) = raw.read(problems);
            purpose.check(Purpose::ProductionSession, &name, problems);
            check_claim(&name, &rule, problems);
            Self {
                name: read_name(name, problems),
                digest: Digest::of(text),
                references,
                rule,
            }
        })
    }

    /// The text of a shipped policy ([`ROOM_VM`], [`ROOM_TDX`], [`ROOM_SIMULATED`]) with one manifest
    /// pinned.
    #[must_use]
    pub fn pinning(shipped: &str, manifest: Digest) -> String {
        shipped.replace(PLACEHOLDER, &manifest.to_string())
    }

    /// The text of [`ROOM_VM`] with one manifest pinned.
    #[must_use]
    pub fn for_reference(manifest: Digest) -> String {
        Self::pinning(ROOM_VM, manifest)
    }

    /// The policy together with the manifest that it judges by: one that it pins, or one in a release
    /// that a key of the policy signed and that holds at `now`.
    ///
    /// # Errors
    /// `room-policy-accepts-nothing`, `room-reference-not-pinned`, or what the reader of the release or
    /// of the manifest says.
    pub fn with_reference(self, file: &[u8], now: Timestamp) -> Result<PinnedRoomPolicy, Refusal> {
        let (accepts, name) = (self.kind().is_some(), &self.name);
        Refusal::unless(accepts, "room-policy-accepts-nothing", || {
            format!("room appraisal policy `{name}` accepts no evidence of any room")
        })?;
        let (reference, release) = self.references.read(&self.name, file, now)?;
        Ok(PinnedRoomPolicy {
            policy: self,
            reference,
            release,
            file: file.to_vec(),
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
            Rule::Tpm2 => Some(EvidenceType::Tpm2),
            Rule::Tdx(_) => Some(EvidenceType::Tdx),
        }
    }

    /// The manifests that it pins.
    #[must_use]
    pub fn references(&self) -> &[Digest] {
        &self.references.pinned
    }

    /// Whether it accepts manifests by their maker's signature.
    #[must_use]
    pub fn accepts_releases(&self) -> bool {
        !self.references.signers.is_empty()
    }

    /// Whether what it accepts can be hardware. Print it with the verdict.
    #[must_use]
    pub fn assurance(&self) -> Assurance {
        Assurance::of_policy(&self.name)
    }

    /// What it demands of a trust domain, if it accepts any.
    pub(crate) fn tdx(&self) -> Option<&TdxRule> {
        match &self.rule {
            Rule::Tdx(rule) => Some(rule),
            Rule::NoEvidence | Rule::Tpm2 => None,
        }
    }
}

/// A policy with its reference values. Only [`RoomAppraisalPolicy::with_reference`] makes one.
#[derive(Clone, Debug)]
pub struct PinnedRoomPolicy {
    policy: RoomAppraisalPolicy,
    reference: ReferenceManifest,
    release: Option<ReferenceRelease>,
    file: Vec<u8>,
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

    /// What its maker says about the reference values, where they count by his signature.
    #[must_use]
    pub const fn release(&self) -> Option<&ReferenceRelease> {
        self.release.as_ref()
    }

    /// The file that the reference values were read from: the manifest, or its release.
    #[must_use]
    pub fn file(&self) -> &[u8] {
        &self.file
    }
}

/// What evidence of one type can show at most, accepted under a policy of that assurance.
#[must_use]
pub const fn level_of(kind: EvidenceType, assurance: Assurance) -> IsolationLevel {
    match (assurance, kind) {
        (Assurance::Simulated, _) => IsolationLevel::Simulated,
        (Assurance::Hardware, EvidenceType::Tpm2) => IsolationLevel::Vm,
        (Assurance::Hardware, EvidenceType::Tdx | EvidenceType::SevSnp) => IsolationLevel::Hardware,
    }
}

/// Whose evidence of one type is, accepted under a policy of that assurance, in words.
#[must_use]
pub const fn label_of(kind: EvidenceType, assurance: Assurance) -> &'static str {
    match (assurance, kind) {
        (Assurance::Simulated, EvidenceType::Tpm2) => "SIMULATED virtual machine with a TPM",
        (Assurance::Simulated, EvidenceType::Tdx) => {
            "SIMULATED trust domain, signed with test keys"
        }
        (Assurance::Simulated, EvidenceType::SevSnp) => "SIMULATED confidential VM",
        (Assurance::Hardware, EvidenceType::Tpm2) => "vm, software TPM of the host",
        (Assurance::Hardware, EvidenceType::Tdx) => "trust domain, Intel TDX",
        (Assurance::Hardware, EvidenceType::SevSnp) => "confidential VM, AMD SEV-SNP",
    }
}

impl RawPolicy {
    fn purpose(&self) -> Purpose {
        match self {
            Self::NoEvidence { purpose, .. } | Self::Tpm2 { purpose, .. } => *purpose,
            Self::Tdx(raw) => raw.purpose,
        }
    }

    fn read(self, problems: &mut Problems<'_>) -> (String, References, Rule) {
        match self {
            Self::NoEvidence { name, .. } => (name, References::default(), Rule::NoEvidence),
            Self::Tpm2 {
                name,
                purpose: _,
                owner: TpmOwner::SoftwareTpmOfTheHost,
                attestation_key: AkRule::DeploymentCa,
                nonce: NonceRule::Required,
                references,
                signed_reference,
            } => {
                let references = read_references(&references, signed_reference, problems);
                (name, references, Rule::Tpm2)
            }
            Self::Tdx(raw) => raw.read(problems),
        }
    }
}

impl RawTdx {
    fn read(self, problems: &mut Problems<'_>) -> (String, References, Rule) {
        let platform = RawPlatform {
            roots: self.roots,
            tcb: self.tcb,
            attributes: self.attributes,
            machines: self.machines,
        };
        let platform = platform.read(&self.name, problems);
        let judged = |example: &RawPlatformExample| example.judged(&platform);
        run_examples(&self.matches, &self.not_match, judged, problems);
        if self.simulated.is_some() && Assurance::of_policy(&self.name) != Assurance::Simulated {
            problems.add(
                "policy-simulated-reference",
                "`[simulated]` gives registers of a boot that never took place: a policy that has it must have `simulated` in its name",
            );
        }
        let references = read_references(&self.references, self.signed_reference, problems);
        let rule = TdxRule {
            mr_seam: read_register(Register::MrSeam, &self.mr_seam, "room", problems),
            simulated: self.simulated.map(|raw| raw.read(problems)),
            platform,
        };
        (self.name, references, Rule::Tdx(Box::new(rule)))
    }
}

impl RawSimulated {
    fn read(self, problems: &mut Problems<'_>) -> SimulatedBoot {
        let mut one = |key: &str, value: &str| {
            let read = read_value(value, &format!("`simulated.{key}`"), true, problems);
            read.unwrap_or(Measurement::from_bytes([0; 48]))
        };
        SimulatedBoot {
            mr_td: one("mr_td", &self.mr_td),
            rtmr: [
                one("rtmr0", &self.rtmr0),
                one("rtmr1", &self.rtmr1),
                one("rtmr2", &self.rtmr2),
            ],
        }
    }
}

/// A name must not claim what no evidence under these rules shows.
fn check_claim(name: &str, rule: &Rule, problems: &mut Problems<'_>) {
    let can_be = matches!(rule, Rule::Tdx(_)) && Assurance::of_policy(name) == Assurance::Hardware;
    if name.contains("hardware") && !can_be {
        problems.add(
            "policy-name",
            "nothing that it accepts is hardware: `name` must not say `hardware`",
        );
    }
}

#[cfg(test)]
mod tests;
