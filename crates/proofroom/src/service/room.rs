//! The room shows what it is: its evidence is appraised before its key is certified and before its
//! close is taken. What the host started decides whether there must be evidence, never what the room
//! says.

use std::{fs, path::Path};

use anyhow::Context as _;
use proofroom_canonical::{Digest, json};
use proofroom_evidence::{Moment, RoomDocument, RoomEndorsements, RoomEvidence};
use proofroom_record::{
    room_api::{Assignment, RoomAppraised, RoomEvidenceOffer},
    statement::RoomEvidenceClaim,
};
use proofroom_verifier::{
    PinnedRoomPolicy, RoomExpectation, RoomTrust, VerifiedRoom, appraise_room,
};

use super::{SessionService, body::Refusal};
use crate::{causes::chain, collateral::CollateralSource, files};

/// What a session's folder keeps of the evidence of its room's start.
const START: &str = "room-evidence.json";

/// What the host must be shown of a room that it started.
#[derive(Debug)]
pub enum RoomAttestation {
    /// The room has nothing that could attest.
    NotPossible {
        /// Why, in words.
        reason: String,
    },
    /// The room's machine has a TPM that the host runs for this session.
    Tpm2 {
        /// The certificate of its attestation key, PEM: what
        /// [`crate::keys::DeploymentKeys::certify_attestation_key`] makes.
        ak_certificate: String,
        /// The room appraisal policy with the reference values of the room's image.
        policy: Box<PinnedRoomPolicy>,
    },
    /// The room's machine is, or plays, a trust domain.
    Tdx {
        /// Where the vendor's word on the platform is taken from.
        collateral: CollateralSource,
        /// The room appraisal policy with the reference values of the room's image.
        policy: Box<PinnedRoomPolicy>,
    },
}

impl RoomAttestation {
    /// The policy, and what the host adds to the evidence `text`. Blocking.
    fn endorsed(&self, text: &str) -> Result<(&PinnedRoomPolicy, RoomEndorsements), Refusal> {
        match self {
            Self::NotPossible { reason } => Err(Refusal::bad(
                "room-evidence-unexpected",
                format!("evidence of a room that has nothing to attest with: {reason}"),
            )),
            Self::Tpm2 {
                ak_certificate,
                policy,
            } => {
                let ak_certificate = ak_certificate.clone();
                Ok((policy, RoomEndorsements::Tpm2 { ak_certificate }))
            }
            Self::Tdx { collateral, policy } => {
                let evidence = RoomEvidence::parse(text)
                    .map_err(|error| Refusal::bad(error.code(), chain(&error)))?;
                let collateral = collateral
                    .of_quote(&evidence.quote)
                    .map_err(|error| Refusal::bad(error.code(), chain(&error)))?;
                Ok((policy, RoomEndorsements::Tdx(Box::new(collateral))))
            }
        }
    }
}

/// Evidence that was accepted, or that there had to be none.
pub(super) struct Shown {
    pub(super) appraised: RoomAppraised,
    pub(super) claim: RoomEvidenceClaim,
    pub(super) document: Option<Vec<u8>>,
}

impl SessionService {
    /// Appraises what the room offers for `statement`.
    pub(super) fn shown(
        &self,
        moment: Moment,
        statement: &[u8],
        offer: &RoomEvidenceOffer,
    ) -> Result<Shown, Refusal> {
        match (&self.facts.attestation, offer) {
            (RoomAttestation::NotPossible { .. }, RoomEvidenceOffer::None { reason }) => {
                Ok(Shown {
                    appraised: RoomAppraised::None,
                    claim: RoomEvidenceClaim::None {
                        reason: reason.clone(),
                    },
                    document: None,
                })
            }
            (
                RoomAttestation::Tpm2 { .. } | RoomAttestation::Tdx { .. },
                RoomEvidenceOffer::None { reason },
            ) => Err(Refusal::bad(
                "room-evidence-missing",
                format!("the room must show what it is, and offers nothing: {reason}"),
            )),
            (attestation, RoomEvidenceOffer::Evidence { text }) => {
                let (policy, endorsements) = attestation.endorsed(text)?;
                let document = RoomDocument::write(text, &endorsements)
                    .map_err(|error| Refusal::bad(error.code(), chain(&error)))?;
                let room = self.appraise(moment, statement, &document, policy)?;
                Ok(Shown {
                    appraised: RoomAppraised::Accepted {
                        appraisal_policy: room.policy_name().to_owned(),
                    },
                    claim: RoomEvidenceClaim::Attested {
                        evidence_type: room.kind(),
                        evidence: room.evidence(),
                        appraisal_policy: room.policy_name().to_owned(),
                        policy: room.policy_digest(),
                    },
                    document: Some(document),
                })
            }
        }
    }

    fn appraise(
        &self,
        moment: Moment,
        statement: &[u8],
        document: &[u8],
        policy: &PinnedRoomPolicy,
    ) -> Result<VerifiedRoom, Refusal> {
        let assignment = &self.facts.assignment;
        let trust = RoomTrust {
            policy,
            deployment_ca: self.services.keys.ca_pem().as_bytes(),
        };
        let expected = expectation(assignment, moment, statement);
        let appraisal = appraise_room(document, trust, &expected, (self.services.clock)());
        if let Some((check, cause, words)) = appraisal.first_failure() {
            let message = format!(
                "evidence of the room's {} is refused: `{check}`: {words}",
                moment.as_str()
            );
            return Err(Refusal::bad(cause.as_str(), message));
        }
        let room = appraisal.into_verified().map_err(|_| {
            let words = "not every check of the room's evidence could be made";
            Refusal::bad("room-evidence-incomplete", words)
        })?;
        if room.level() != assignment.isolation {
            let words = format!(
                "the evidence shows level `{}`, the room was started as `{}`",
                room.level(),
                assignment.isolation
            );
            return Err(Refusal::bad("isolation-not-shown", words));
        }
        self.services.progress.note(&format!(
            "the room's {} is shown by evidence: {}, policy `{}`",
            moment.as_str(),
            room.label(),
            room.policy_name()
        ));
        Ok(room)
    }

    /// Keeps the document beside those of upstreams.
    pub(super) fn keep(&self, shown: &Shown) -> Result<(), Refusal> {
        let Some(document) = &shown.document else {
            return Ok(());
        };
        let path = crate::session::evidence_path(&self.facts.dir, Digest::of(document));
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| files::replace(&path, document))
            .map_err(|error| Refusal::failed("session-folder", chain(&error)))
    }

    /// Keeps what the start showed, for the case that the room cannot say it any more.
    pub(super) fn keep_start(&self, claim: &RoomEvidenceClaim) -> Result<(), Refusal> {
        let text = json::to_bytes(claim)
            .map_err(|error| Refusal::failed("session-folder", chain(&error)))?;
        files::replace(&self.facts.dir.join(START), &text)
            .map_err(|error| Refusal::failed("session-folder", chain(&error)))
    }
}

fn expectation(assignment: &Assignment, moment: Moment, statement: &[u8]) -> RoomExpectation {
    RoomExpectation {
        moment,
        statement: statement.to_vec(),
        session: assignment.session,
        nonce: assignment.nonce,
        agent: assignment.agent.clone(),
        commit: assignment.commit.clone(),
        policies: assignment.policies.by_name(),
    }
}

/// What the start of a session showed, as its folder keeps it.
///
/// # Errors
/// When the folder does not keep it.
pub(crate) fn saved_start(dir: &Path) -> anyhow::Result<RoomEvidenceClaim> {
    let bytes = fs::read(dir.join(START)).context("what the room showed at its start is gone")?;
    Ok(json::parse(&bytes, 1 << 20)?)
}

/// The document in a session's folder that holds the evidence of `claim`; none when it claims none.
///
/// # Errors
/// When it cannot be found or read.
pub(crate) fn kept_document(
    dir: &Path,
    claim: &RoomEvidenceClaim,
) -> anyhow::Result<Option<Vec<u8>>> {
    let RoomEvidenceClaim::Attested { evidence, .. } = claim else {
        return Ok(None);
    };
    for entry in fs::read_dir(dir.join("evidence")).context("the room's evidence is gone")? {
        let bytes = fs::read(entry?.path())?;
        let holds = RoomDocument::parse(&bytes)
            .is_ok_and(|document| document.evidence_digest() == *evidence);
        if holds {
            return Ok(Some(bytes));
        }
    }
    anyhow::bail!("the room's evidence {evidence} is gone")
}
