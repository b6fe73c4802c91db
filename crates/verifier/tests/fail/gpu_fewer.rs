//! One of the devices taken out of a verified set.

use proofroom_verifier::gpu::VerifiedGpus;

fn shorten(mut verified: VerifiedGpus) -> VerifiedGpus {
    verified.devices.pop();
    verified
}

fn main() {
    let _ = shorten;
}
