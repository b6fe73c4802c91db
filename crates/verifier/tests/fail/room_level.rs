//! A verified room that is made out to be hardware.

use proofroom_evidence::EvidenceType;
use proofroom_verifier::VerifiedRoom;

fn promote(mut room: VerifiedRoom) -> VerifiedRoom {
    room.kind = EvidenceType::Tdx;
    room
}

fn main() {
    let _ = promote;
}
