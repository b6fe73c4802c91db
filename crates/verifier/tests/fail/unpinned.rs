//! Policies that are taken from a genuine one and have their pins taken away.

use proofroom_verifier::{
    AppraisalPolicy, PinnedRoomPolicy, ReferenceManifest, RoomAppraisalPolicy, SnpAppraisalPolicy,
    gpu::GpuPolicy,
};

fn upstream(genuine: AppraisalPolicy) -> AppraisalPolicy {
    AppraisalPolicy {
        references: Vec::new(),
        ..genuine
    }
}

fn snp(genuine: SnpAppraisalPolicy) -> SnpAppraisalPolicy {
    SnpAppraisalPolicy {
        references: Vec::new(),
        ..genuine
    }
}

fn gpus(genuine: GpuPolicy) -> GpuPolicy {
    GpuPolicy {
        roots: Vec::new(),
        ..genuine
    }
}

fn room(genuine: RoomAppraisalPolicy) -> RoomAppraisalPolicy {
    RoomAppraisalPolicy {
        name: String::new(),
        ..genuine
    }
}

fn pin(policy: RoomAppraisalPolicy, reference: ReferenceManifest) -> PinnedRoomPolicy {
    PinnedRoomPolicy {
        policy,
        reference,
        release: None,
        file: Vec::new(),
    }
}

fn main() {
    let _ = (upstream, snp, gpus, room, pin);
}
