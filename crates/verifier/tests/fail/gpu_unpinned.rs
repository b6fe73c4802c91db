//! A policy for devices that pins nothing.

use proofroom_verifier::gpu::GpuPolicy;

fn main() {
    let _: GpuPolicy = Default::default();
}
