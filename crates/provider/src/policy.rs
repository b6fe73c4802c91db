//! What a provider must show: which deployments, applications, images, key services or weights its machines
//! may have, and which policies judge their quotes and devices. A policy that leaves one open cannot
//! be built.

use proofroom_canonical::Digest;
use proofroom_verifier::{AppraisalPolicy, Assurance, SnpAppraisalPolicy, gpu::GpuPolicy};
use serde::{Deserialize, Serialize};

use crate::{aci::Serving, check::ProviderCheckName};

mod raw;

/// The policy for NEAR AI on genuine hardware, as shipped: an example that accepts nobody until what it
/// pins is replaced. Names `production-upstream.toml` and `production-gpu.toml`.
pub const PRODUCTION_NEAR_AI: &str = include_str!("../policies/production-near-ai.toml");

/// The policy for `proofroom-enclave` on genuine hardware, as shipped: an example that accepts nobody until what
/// it pins is replaced. Names the same two.
pub const PRODUCTION_ENCLAVE: &str = include_str!("../policies/production-enclave.toml");

/// The policy for a service of ACI on genuine hardware, as shipped: an example that accepts nobody until what it pins
/// is replaced. Names the first of the two.
pub const PRODUCTION_ACI: &str = include_str!("../policies/production-aci.toml");

/// The policy for an enclave of Tinfoil on genuine AMD SEV-SNP hardware, as shipped: an example that accepts nobody
/// until what it pins is replaced. Names `production-snp.toml`, and `production-gpu.toml`.
pub const PRODUCTION_TINFOIL: &str = include_str!("../policies/production-tinfoil.toml");

/// The most bytes of a policy file that are read.
const MAX_POLICY_BYTES: usize = 64 * 1024;

/// Something wrong with a policy file. Fix it in the file: no policy is built from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {words}")]
pub struct ProviderPolicyProblem {
    file: String,
    code: &'static str,
    words: String,
}

impl ProviderPolicyProblem {
    /// The stable code of this problem.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

/// Whose format reports and receipts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// NEAR AI's cloud: a gateway in a TEE before models in TEEs.
    NearAi,
    /// One machine of dstack, as Phala's models serve it, and NEAR AI's at their own addresses.
    Dstack,
    /// `proofroom-enclave` before a model's server (`docs/spec/enclave.md`).
    ProofroomEnclave,
    /// A service of Attested Confidential Inference, as Dstack-TEE's private-ai-gateway is one.
    Aci,
    /// An enclave of Tinfoil.
    Tinfoil,
}

impl Format {
    /// The stable spelling in configuration and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NearAi => "near-ai",
            Self::Dstack => "dstack",
            Self::ProofroomEnclave => "proofroom-enclave",
            Self::Aci => "aci",
            Self::Tinfoil => "tinfoil",
        }
    }
}

/// Whether single answers are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptRule {
    /// Every answer has a receipt that verifies; one without is no answer.
    Required,
    /// The provider signs no answers: records say so, and nothing is asked for.
    NotOffered,
}

/// What may be measured into a machine.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRule {
    pub(crate) app_ids: Vec<String>,
    pub(crate) compose_hashes: Vec<String>,
    pub(crate) os_images: Vec<String>,
    pub(crate) key_providers: Vec<String>,
    pub(crate) later_events: Vec<String>,
}

/// What `proofroom-enclave` may serve.
#[derive(Clone, Debug)]
pub(crate) struct ServingRule {
    pub(crate) weights: Vec<Digest>,
    pub(crate) images: Vec<Digest>,
    /// Whether requests go sealed to a key that the statement must have.
    pub(crate) sealed: bool,
}

/// What a keyset of ACI must be.
#[derive(Clone, Debug)]
pub(crate) struct KeysetRule {
    /// Whether the service runs the model itself.
    pub(crate) serving: Serving,
    /// The host that clients name, where the keyset's TLS keys are each for one.
    pub(crate) domain: Option<String>,
    /// Names that a keyset may give itself; it may also give none.
    pub(crate) subjects: Vec<String>,
    /// For how long from now it may promise to hold.
    pub(crate) max_seconds: u32,
    /// Root keys of key services, compressed secp256k1 in hex.
    pub(crate) kms_roots: Vec<String>,
    /// Whether the service may change a request before it is answered.
    pub(crate) rewrites: bool,
    /// What sessions must say, of a service that passes requests on.
    pub(crate) sessions: Option<SessionRule>,
}

/// What a session of a service that passes requests on must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRule {
    /// Who may have verified an upstream.
    pub(crate) verifiers: Vec<String>,
    /// What an upstream may have been asked for.
    pub(crate) models: Vec<String>,
    /// What must be claimed of it, each on one of these grounds.
    pub(crate) claims: Vec<(String, Vec<String>)>,
}

/// What machines are judged by, according to their format.
#[derive(Clone, Debug)]
pub(crate) enum Rules {
    /// Of the lineage of dstack.
    Machines {
        gateway: Option<ServiceRule>,
        machine: ServiceRule,
    },
    /// Of `proofroom-enclave`.
    Serving(ServingRule),
    /// Of a service of ACI.
    Aci {
        keyset: KeysetRule,
        machine: ServiceRule,
    },
    /// Of an enclave of Tinfoil, whose measurements the policies for quotes and reports pin.
    Tinfoil(Serving),
}

/// A policy that pins everything it must. See `docs/spec/upstreams.md` for the file's format.
#[derive(Clone, Debug)]
pub struct ProviderPolicy {
    name: String,
    digest: Digest,
    format: Format,
    model: String,
    receipts: ReceiptRule,
    tolerated: Vec<ProviderCheckName>,
    quote: Option<AppraisalPolicy>,
    snp: Option<SnpAppraisalPolicy>,
    gpu: Option<GpuPolicy>,
    rules: Rules,
}

impl ProviderPolicy {
    /// Reads a policy from TOML text; `file` is named in problems. `sibling` gives the text of the
    /// policies for quotes and devices that it names.
    ///
    /// # Errors
    /// Every [`ProviderPolicyProblem`] that was found, never none: unknown or missing keys, a sibling
    /// that is missing or refused, an empty list where something must be pinned, a policy that rests on
    /// one for simulated roots and does not say so in its name.
    pub fn parse(
        text: &str,
        file: &str,
        sibling: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ProviderPolicyProblem>> {
        raw::parse(text, file, sibling)
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of three lines: the digests of this file, of the policy for quotes and of the one for
    /// devices (`-` where there is none). A policy for reports of AMD SEV-SNP has a fourth.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What an acceptance under this policy means.
    #[must_use]
    pub fn assurance(&self) -> Assurance {
        Assurance::of_policy(&self.name)
    }

    /// Whose format the provider speaks.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The model that the provider is accepted for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether answers must have receipts.
    #[must_use]
    pub const fn receipts(&self) -> ReceiptRule {
        self.receipts
    }

    /// Whether the provider is accepted although this check was not made. Never where it failed.
    pub(crate) fn tolerates(&self, name: ProviderCheckName) -> bool {
        self.tolerated.contains(&name)
    }

    pub(crate) const fn quote(&self) -> Option<&AppraisalPolicy> {
        self.quote.as_ref()
    }

    pub(crate) const fn snp(&self) -> Option<&SnpAppraisalPolicy> {
        self.snp.as_ref()
    }

    pub(crate) const fn gpu(&self) -> Option<&GpuPolicy> {
        self.gpu.as_ref()
    }

    /// Whether the provider's answers are made behind the machine that it attests.
    pub(crate) const fn is_aggregator(&self) -> bool {
        let serving = match &self.rules {
            Rules::Aci { keyset, .. } => keyset.serving,
            Rules::Tinfoil(serving) => *serving,
            Rules::Machines { .. } | Rules::Serving(_) => Serving::Direct,
        };
        matches!(serving, Serving::Aggregator)
    }

    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }
}
