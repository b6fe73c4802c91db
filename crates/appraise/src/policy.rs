//! A policy of the kind that the evidence needs.

use proofroom_canonical::Timestamp;
use proofroom_verifier::{
    AppraisalPolicy, PinnedRoomPolicy, PolicyProblem, RoomAppraisalPolicy, SnpAppraisalPolicy,
    VtpmPolicy, gpu::GpuPolicy,
};

use crate::{AppraiseError, Kind, PolicyFacts};

/// A policy, parsed.
#[derive(Clone, Debug)]
pub enum Policy {
    /// For upstreams and bare TDX quotes.
    Upstream(AppraisalPolicy),
    /// For SNP reports.
    Snp(Box<SnpAppraisalPolicy>),
    /// For NVIDIA devices.
    Gpu(GpuPolicy),
    /// For rooms, with its reference manifest.
    Room(Box<PinnedRoomPolicy>),
    /// For guests with a virtual TPM.
    Vtpm(Box<VtpmPolicy>),
}

impl Policy {
    /// Reads the policy that evidence of `kind` is judged by. Rooms need the reference manifest that it
    /// pins, or a release of one that it accepts at `at`.
    ///
    /// # Errors
    /// `policy-refused` with every problem; `policy-kind` for evidence that no policy judges alone; why
    /// the manifest is not one that the policy accepts.
    pub fn parse(
        kind: Kind,
        text: &str,
        file: &str,
        manifest: Option<&[u8]>,
        at: Timestamp,
    ) -> Result<Self, AppraiseError> {
        match kind {
            Kind::TdxQuote | Kind::Upstream => {
                let parsed = AppraisalPolicy::parse(text, file);
                parsed.map(Self::Upstream).map_err(problems)
            }
            Kind::SnpReport => {
                let parsed = SnpAppraisalPolicy::parse(text, file);
                parsed
                    .map(|policy| Self::Snp(Box::new(policy)))
                    .map_err(problems)
            }
            Kind::GpuList => GpuPolicy::parse(text, file)
                .map(Self::Gpu)
                .map_err(problems),
            Kind::Room => room(text, file, manifest, at),
            Kind::Vtpm => {
                let parsed = VtpmPolicy::parse(text, file);
                parsed
                    .map(|policy| Self::Vtpm(Box::new(policy)))
                    .map_err(problems)
            }
            Kind::NrasToken | Kind::TpmQuote => Err(AppraiseError::PolicyKind {
                kind,
                policy: "any evidence that stands alone",
            }),
        }
    }

    pub(crate) fn must_fit(&self, kind: Kind) -> Result<(), AppraiseError> {
        let (policy, fits) = match self {
            Self::Upstream(_) => (
                "upstreams and TDX quotes",
                matches!(kind, Kind::TdxQuote | Kind::Upstream),
            ),
            Self::Snp(_) => ("SNP reports", kind == Kind::SnpReport),
            Self::Gpu(_) => ("NVIDIA devices", kind == Kind::GpuList),
            Self::Room(_) => ("rooms", kind == Kind::Room),
            Self::Vtpm(_) => ("guests with a virtual TPM", kind == Kind::Vtpm),
        };
        match fits {
            true => Ok(()),
            false => Err(AppraiseError::PolicyKind { kind, policy }),
        }
    }

    pub(crate) fn facts(&self) -> PolicyFacts {
        let (name, digest, assurance) = match self {
            Self::Upstream(policy) => (policy.name(), policy.digest(), policy.assurance()),
            Self::Snp(policy) => (policy.name(), policy.digest(), policy.assurance()),
            Self::Gpu(policy) => (policy.name(), policy.digest(), policy.assurance()),
            Self::Vtpm(policy) => (policy.name(), policy.digest(), policy.assurance()),
            Self::Room(pinned) => {
                let policy = pinned.policy();
                (policy.name(), policy.digest(), policy.assurance())
            }
        };
        PolicyFacts {
            name: name.to_owned(),
            digest,
            assurance,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn problems(problems: Vec<PolicyProblem>) -> AppraiseError {
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    AppraiseError::Policy(words.join("; "))
}

fn room(
    text: &str,
    file: &str,
    manifest: Option<&[u8]>,
    at: Timestamp,
) -> Result<Policy, AppraiseError> {
    let policy = RoomAppraisalPolicy::parse(text, file).map_err(problems)?;
    let Some(manifest) = manifest else {
        let words = "a room is judged against a reference manifest, and none was supplied";
        return Err(AppraiseError::Policy(words.to_owned()));
    };
    let pinned = policy.with_reference(manifest, at)?;
    Ok(Policy::Room(Box::new(pinned)))
}
