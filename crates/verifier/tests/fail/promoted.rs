//! Proofs under a policy for simulated evidence that are made out to be about hardware, in place.

use proofroom_verifier::{
    Assurance, VerifiedQuote, VerifiedRoom, VerifiedSnp, VerifiedUpstream, gpu::VerifiedGpus,
};

fn promote(
    upstream: &mut VerifiedUpstream,
    quote: &mut VerifiedQuote,
    snp: &mut VerifiedSnp,
    gpus: &mut VerifiedGpus,
    room: &mut VerifiedRoom,
) {
    upstream.assurance = Assurance::Hardware;
    quote.assurance = Assurance::Hardware;
    snp.assurance = Assurance::Hardware;
    gpus.assurance = Assurance::Hardware;
    room.assurance = Assurance::Hardware;
}

fn main() {
    let _ = promote;
}
