//! Any bytes as a layer's descriptor: no panic, and what is accepted has this one spelling.

#![no_main]

use proofroom_layer::LayerDescriptor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(descriptor) = LayerDescriptor::parse(bytes) else {
        return;
    };
    assert_eq!(descriptor.to_bytes().expect("written again"), bytes);
    assert!(descriptor.image_bytes() > descriptor.hash_offset());
});
