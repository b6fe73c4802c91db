//! Proofs of an acceptance, appraisals, policies and pins, read from bytes.

use proofroom_verifier::{
    Appraisal, AppraisalPolicy, PinnedRoomPolicy, QuoteAppraisal, ReferenceManifest, RoomAppraisal,
    RoomAppraisalPolicy, SnpAppraisal, SnpAppraisalPolicy, VerifiedQuote, VerifiedRoom, VerifiedSnp,
    VerifiedUpstream,
    gpu::{GpuAppraisal, GpuPolicy, VerifiedGpu, VerifiedGpus},
};

fn from_bytes<T: serde::de::DeserializeOwned>() {
    let _: Result<T, _> = serde_json::from_slice(b"{}");
}

fn main() {
    from_bytes::<VerifiedUpstream>();
    from_bytes::<VerifiedQuote>();
    from_bytes::<VerifiedSnp>();
    from_bytes::<VerifiedGpu>();
    from_bytes::<VerifiedGpus>();
    from_bytes::<VerifiedRoom>();
    from_bytes::<Appraisal>();
    from_bytes::<QuoteAppraisal>();
    from_bytes::<SnpAppraisal>();
    from_bytes::<GpuAppraisal>();
    from_bytes::<RoomAppraisal>();
    from_bytes::<AppraisalPolicy>();
    from_bytes::<SnpAppraisalPolicy>();
    from_bytes::<GpuPolicy>();
    from_bytes::<RoomAppraisalPolicy>();
    from_bytes::<PinnedRoomPolicy>();
    from_bytes::<ReferenceManifest>();
}
