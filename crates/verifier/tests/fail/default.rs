//! Proofs of an acceptance, appraisals, policies and pins out of nothing.

use proofroom_verifier::{
    Appraisal, AppraisalPolicy, PinnedRoomPolicy, QuoteAppraisal, ReferenceManifest, RoomAppraisal,
    RoomAppraisalPolicy, SnpAppraisal, SnpAppraisalPolicy, VerifiedQuote, VerifiedRoom, VerifiedSnp,
    VerifiedUpstream,
    gpu::{GpuAppraisal, GpuPolicy, VerifiedGpu, VerifiedGpus},
};

fn out_of_nothing<T: Default>() {
    let _ = T::default();
}

fn main() {
    out_of_nothing::<VerifiedUpstream>();
    out_of_nothing::<VerifiedQuote>();
    out_of_nothing::<VerifiedSnp>();
    out_of_nothing::<VerifiedGpu>();
    out_of_nothing::<VerifiedGpus>();
    out_of_nothing::<VerifiedRoom>();
    out_of_nothing::<Appraisal>();
    out_of_nothing::<QuoteAppraisal>();
    out_of_nothing::<SnpAppraisal>();
    out_of_nothing::<GpuAppraisal>();
    out_of_nothing::<RoomAppraisal>();
    out_of_nothing::<AppraisalPolicy>();
    out_of_nothing::<SnpAppraisalPolicy>();
    out_of_nothing::<GpuPolicy>();
    out_of_nothing::<RoomAppraisalPolicy>();
    out_of_nothing::<PinnedRoomPolicy>();
    out_of_nothing::<ReferenceManifest>();
}
