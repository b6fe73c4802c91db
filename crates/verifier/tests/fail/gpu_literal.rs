//! A struct literal of verified devices.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_verifier::{Assurance, gpu::VerifiedGpus};

fn main() {
    let _ = VerifiedGpus {
        devices: Vec::new(),
        nonce: Nonce::from_random([0; 32]),
        expires: Timestamp::from_unix_seconds(0),
        policy_name: String::new(),
        policy_digest: Digest::of(""),
        assurance: Assurance::Hardware,
    };
}
