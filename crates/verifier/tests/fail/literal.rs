//! A struct literal.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_verifier::{Assurance, VerifiedUpstream};

fn main() {
    let _ = VerifiedUpstream {
        tls_spki: Digest::of(""),
        model: String::new(),
        expires: Timestamp::from_unix_seconds(0),
        evidence: Digest::of(""),
        quote: Digest::of(""),
        policy_name: String::new(),
        policy_digest: Digest::of(""),
        assurance: Assurance::Hardware,
    };
}
