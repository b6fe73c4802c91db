//! A verified SNP guest of a simulated platform that is made out to be hardware.

use proofroom_verifier::{Assurance, VerifiedSnp};

fn promote(mut verified: VerifiedSnp) -> VerifiedSnp {
    verified.assurance = Assurance::Hardware;
    verified
}

fn main() {
    let _ = promote;
}
