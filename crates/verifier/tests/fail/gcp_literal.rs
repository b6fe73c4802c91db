//! A struct literal of a verified guest of Google's.

use proofroom_verifier::{Assurance, GcpInstance, VerifiedGcp};

fn forge(instance: GcpInstance) -> VerifiedGcp {
    VerifiedGcp {
        policy: String::new(),
        assurance: Assurance::Hardware,
        instance,
    }
}

fn main() {
    let _ = forge;
}
