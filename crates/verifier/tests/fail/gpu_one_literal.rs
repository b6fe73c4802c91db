//! A struct literal of one verified device.

use proofroom_canonical::Digest;
use proofroom_verifier::gpu::VerifiedGpu;

fn main() {
    let _ = VerifiedGpu {
        device: Digest::of(""),
        report: Digest::of(""),
        chip: String::new(),
        driver: None,
        bios: String::new(),
        measurements: Digest::of(""),
    };
}
