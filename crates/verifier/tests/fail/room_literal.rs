//! A struct literal of a verified room.

use proofroom_canonical::{Digest, SessionId};
use proofroom_evidence::{EvidenceType, Moment};
use proofroom_verifier::{Assurance, VerifiedRoom};

fn main() {
    let _ = VerifiedRoom {
        kind: EvidenceType::Tdx,
        assurance: Assurance::Hardware,
        moment: Moment::Start,
        session: SessionId::from_random([0; 16]),
        evidence: Digest::of(""),
        reference: Digest::of(""),
        image: Digest::of(""),
        policy_name: String::new(),
        policy_digest: Digest::of(""),
    };
}
