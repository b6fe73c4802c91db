//! A verified room of the simulated TEE that is made out to be hardware.

use proofroom_verifier::{Assurance, VerifiedRoom};

fn promote(mut room: VerifiedRoom) -> VerifiedRoom {
    room.assurance = Assurance::Hardware;
    room
}

fn main() {
    let _ = promote;
}
