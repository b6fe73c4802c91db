//! The appraisal of a room: every check in order on one room-evidence document, and what they come
//! to. Total, like [`crate::appraise`]: any bytes give an appraisal, because refusing them is one.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Nonce, SessionId, Timestamp};
use proofroom_evidence::{EvidenceType, Moment, RoomDocument, RoomError, RoomEvidence};
use serde::Serialize;

use crate::{
    Assurance, PinnedRoomPolicy, TcbFacts, Verdict, VerifiedRoom,
    check::{Made, all_passed, first_failure, verdict_of},
};

mod ak;
mod boot_log;
mod check;
mod events;
mod tdx;
mod tpm2;

pub use ak::{AIK_USAGE, AK_COMMON_NAME};
pub use check::{RoomCause, RoomCheck, RoomCheckName, RoomCode, RoomOutcome};

/// What a relying party knows of the session whose room is appraised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomExpectation {
    /// When the evidence was to be made.
    pub moment: Moment,
    /// The exact bytes that its quote must bind.
    pub statement: Vec<u8>,
    /// The session.
    pub session: SessionId,
    /// The nonce that the relying party chose for the session.
    pub nonce: Nonce,
    /// The agent, as the access policy names it.
    pub agent: String,
    /// Commit the workspace was made from.
    pub commit: String,
    /// Digest of every policy in force, by the policy's name.
    pub policies: BTreeMap<String, Digest>,
}

/// Whom and what a relying party goes by.
#[derive(Clone, Copy, Debug)]
pub struct RoomTrust<'a> {
    /// The policy, with the reference values that it pins.
    pub policy: &'a PinnedRoomPolicy,
    /// The deployment's CA certificate, PEM: it certifies attestation keys of software TPMs.
    pub deployment_ca: &'a [u8],
}

/// What a room-evidence document is worth under a policy at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomAppraisal {
    policy: String,
    policy_digest: Digest,
    /// Under a policy for the simulated TEE: nothing here is about hardware.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    reference: Digest,
    image: Digest,
    at: Timestamp,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Digest>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<EvidenceType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcb: Option<TcbFacts>,
    checks: Vec<RoomCheck>,
    #[serde(skip)]
    session: SessionId,
    moment: Moment,
}

impl RoomAppraisal {
    /// All checks of the evidence's type, each once and in order.
    #[must_use]
    pub fn checks(&self) -> &[RoomCheck] {
        &self.checks
    }

    /// The worst outcome of all checks.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The first check that failed, with its cause and words.
    #[must_use]
    pub fn first_failure(&self) -> Option<(RoomCheckName, RoomCause, &str)> {
        first_failure(&self.checks)
    }

    /// The moment that it is about.
    #[must_use]
    pub const fn moment(&self) -> Moment {
        self.moment
    }

    /// The evidence's type, if the document could be read.
    #[must_use]
    pub const fn kind(&self) -> Option<EvidenceType> {
        self.kind
    }

    /// Whether an acceptance speaks about hardware at all. Print it with the verdict.
    #[must_use]
    pub const fn assurance(&self) -> Assurance {
        match self.simulated {
            true => Assurance::Simulated,
            false => Assurance::Hardware,
        }
    }

    /// What the vendor says about the platform under a TD, if it could be verified.
    #[must_use]
    pub const fn tcb(&self) -> Option<&TcbFacts> {
        self.tcb.as_ref()
    }

    /// Turns an accepted appraisal into the type that stands for a verified room.
    ///
    /// # Errors
    /// The appraisal itself, unless every check of its type passed.
    pub fn into_verified(self) -> Result<VerifiedRoom, Box<Self>> {
        let passed = |kind: &EvidenceType| all_passed(&self.checks, RoomCheckName::of(*kind));
        let (Some(kind), Some(evidence)) = (self.kind.filter(passed), self.evidence) else {
            return Err(Box::new(self));
        };
        Ok(VerifiedRoom {
            kind,
            assurance: self.assurance(),
            moment: self.moment,
            session: self.session,
            evidence,
            reference: self.reference,
            image: self.image,
            policy_name: self.policy,
            policy_digest: self.policy_digest,
        })
    }
}

/// Appraises `document`, what the host kept of a room's evidence, as of `now`.
#[must_use]
pub fn appraise_room(
    document: &[u8],
    trust: RoomTrust<'_>,
    expected: &RoomExpectation,
    now: Timestamp,
) -> RoomAppraisal {
    let mut work = Work {
        trust,
        expected,
        now,
        made: Made::none(),
        tcb: None,
    };
    let parsed = RoomDocument::parse(document).map_err(|error| unreadable(&error));
    let parsed = work.made.read(RoomCheckName::DocumentParse, parsed);
    if let Some(parsed) = &parsed {
        read(&mut work, parsed);
    }
    let kind = parsed.as_ref().map(|parsed| parsed.evidence().kind);
    let evidence = parsed.as_ref().map(RoomDocument::evidence_digest);
    work.finish(kind, evidence)
}

fn read(work: &mut Work<'_>, document: &RoomDocument) {
    let evidence = document.evidence();
    let accepted = work.trust.policy.policy().kind();
    let fits = accepted == Some(evidence.kind);
    let fits = RoomOutcome::when(fits, RoomCode::EvidenceTypeRefused, || {
        let (policy, kind) = (work.trust.policy.policy().name(), evidence.kind.as_str());
        format!("policy `{policy}` does not accept evidence of type `{kind}`")
    });
    work.made.set(RoomCheckName::EvidenceType, fits);
    let (found, wanted) = (evidence.moment, work.expected.moment);
    let moment = RoomOutcome::when(found == wanted, RoomCode::MomentMismatch, || {
        let (found, wanted) = (found.as_str(), wanted.as_str());
        format!("the evidence was made for `{found}`, not for `{wanted}`")
    });
    work.made.set(RoomCheckName::Moment, moment);
    match evidence.kind {
        EvidenceType::Tpm2 => tpm2::check(work, document),
        EvidenceType::Tdx => tdx::check(work, document),
        // nothing to judge: a document of that type is not even read
        EvidenceType::SevSnp => {}
    }
}

/// An appraisal under way.
struct Work<'a> {
    trust: RoomTrust<'a>,
    expected: &'a RoomExpectation,
    now: Timestamp,
    made: Made<RoomCheckName>,
    tcb: Option<TcbFacts>,
}

impl Work<'_> {
    fn finish(self, kind: Option<EvidenceType>, evidence: Option<Digest>) -> RoomAppraisal {
        let pinned = self.trust.policy;
        // Of a document that could not be read, the checks that the policy would have made.
        let names = kind
            .or_else(|| pinned.policy().kind())
            .map_or(RoomCheckName::ALL, RoomCheckName::of);
        let checks = self.made.complete(names, RoomCheckName::DocumentParse);
        RoomAppraisal {
            policy: pinned.policy().name().to_owned(),
            policy_digest: pinned.policy().digest(),
            simulated: pinned.policy().assurance() == Assurance::Simulated,
            reference: pinned.reference().digest(),
            image: pinned.reference().contents().image,
            at: self.now,
            verdict: verdict_of(&checks),
            evidence,
            kind,
            tcb: self.tcb,
            checks,
            session: self.expected.session,
            moment: self.expected.moment,
        }
    }
}

/// The evidence's statement is the session's.
fn statement(work: &Work<'_>, evidence: &RoomEvidence) -> RoomOutcome {
    let same = evidence.statement.as_bytes() == work.expected.statement;
    RoomOutcome::when(
        same,
        RoomCode::StatementMismatch,
        || "the evidence is about another statement than this session's",
    )
}

/// What a part that could not be read makes of its check.
fn unreadable(error: &RoomError) -> RoomOutcome {
    let cause = match error {
        RoomError::TpmMagic(_) => RoomCode::TpmMagic,
        RoomError::TpmQuoteKind(_) => RoomCode::TpmQuoteKind,
        RoomError::TpmRsa(_) => RoomCode::TpmRsa,
        RoomError::TpmUnsupported(..) => RoomCode::TpmUnsupported,
        RoomError::TpmMalformed(_) => RoomCode::TpmMalformed,
        RoomError::Log(_) | RoomError::LogTooLarge(_) | RoomError::LogBank => {
            RoomCode::BootLogMalformed
        }
        RoomError::Unsupported(_) => RoomCode::EvidenceTypeUnsupported,
        _ => RoomCode::DocumentMalformed,
    };
    RoomOutcome::malformed(cause, error)
}
