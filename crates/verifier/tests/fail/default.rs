//! A default.

use proofroom_verifier::VerifiedUpstream;

fn main() {
    let _: VerifiedUpstream = Default::default();
}
