//! A later expiry on a genuine one.

use proofroom_canonical::Timestamp;
use proofroom_verifier::VerifiedUpstream;

fn stretch(mut verified: VerifiedUpstream, until: Timestamp) -> VerifiedUpstream {
    verified.expires = until;
    verified
}

fn main() {
    let _ = stretch;
}
