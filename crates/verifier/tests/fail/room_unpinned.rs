//! A room policy without the reference values that it pins.

use proofroom_verifier::{PinnedRoomPolicy, ReferenceManifest, RoomAppraisalPolicy};

fn pin(policy: RoomAppraisalPolicy, reference: ReferenceManifest) -> PinnedRoomPolicy {
    PinnedRoomPolicy { policy, reference }
}

fn main() {
    let _ = pin;
}
