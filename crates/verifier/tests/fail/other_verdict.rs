//! Appraisals whose verdict is changed.

use proofroom_verifier::{
    Appraisal, QuoteAppraisal, RoomAppraisal, SnpAppraisal, Verdict, gpu::GpuAppraisal,
};

fn whitewash(
    upstream: &mut Appraisal,
    quote: &mut QuoteAppraisal,
    snp: &mut SnpAppraisal,
    gpus: &mut GpuAppraisal,
    room: &mut RoomAppraisal,
) {
    upstream.verdict = Verdict::Accept;
    quote.verdict = Verdict::Accept;
    snp.verdict = Verdict::Accept;
    gpus.verdict = Verdict::Accept;
    room.verdict = Verdict::Accept;
}

fn main() {
    let _ = whitewash;
}
