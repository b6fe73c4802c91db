//! Any bytes as a firmware file, and as what its LZMA section would unpack to: no panic, and what is
//! accepted has an MRTD in both page orders.

#![no_main]

use proofroom_measure::{Firmware, Machine, PageOrder, Tdvf};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(firmware) = Firmware::parse(bytes) {
        let _ = (firmware.volumes(), firmware.version_text());
    }
    if let Ok(tdvf) = Tdvf::parse(bytes) {
        let _ = tdvf.mrtd(PageOrder::TwoPass);
        let _ = tdvf.configuration();
        let machine = Machine::new(1024, "11.1").expect("a machine");
        let _ = tdvf.hand_off_block(&machine);
    }
});
