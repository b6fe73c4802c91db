//! Any bytes as a kernel: no panic, the handed-over kernel has its size, and its digest ignores
//! nothing but what Authenticode leaves out.

#![no_main]

use proofroom_measure::{Kernel, Machine, authenticode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = authenticode(bytes);
    let Ok(kernel) = Kernel::parse(bytes) else {
        return;
    };
    let machine = Machine::new(1024, "7.2").expect("a machine");
    if let Ok(loaded) = kernel.as_loaded(&machine, 4096) {
        assert_eq!(loaded.len(), bytes.len());
        let _ = authenticode(&loaded);
    }
    let _ = kernel.load_options("quiet");
});
