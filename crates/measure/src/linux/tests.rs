//! The setup header as QEMU fills it in.

use proofroom_testkit::image::{kernel, put};

use super::{Kernel, MAX_KERNEL_BYTES};
use crate::{boot::Machine, raw};

fn machine(mib: u32) -> Machine {
    Machine::new(mib, "9.2.1").expect("good")
}

#[test]
fn exactly_the_fields_of_the_boot_loader_are_filled_in() {
    let k = kernel();
    let loaded = Kernel::parse(&k)
        .expect("good")
        .as_loaded(&machine(1024), 5000)
        .expect("fits");
    let changed: Vec<usize> = (0..k.len()).filter(|at| k[*at] != loaded[*at]).collect();
    let fields = [
        0x210..0x212,
        0x218..0x21c,
        0x21c..0x220,
        0x224..0x226,
        0x228..0x22c,
    ];
    assert!(
        changed
            .iter()
            .all(|at| fields.iter().any(|field| field.contains(at))),
        "{changed:x?}"
    );
    assert_eq!(loaded[0x210], 0xb0);
    assert_eq!(loaded[0x211], 0x81);
    assert_eq!(raw::u16_at(&loaded, 0x224), Some(0xfe00));
    assert_eq!(raw::u32_at(&loaded, 0x228), Some(0x2_0000));
    assert_eq!(raw::u32_at(&loaded, 0x21c), Some(5000));
}

#[test]
fn the_initrd_ends_below_what_qemu_keeps_for_acpi_tables() {
    // 1 GiB - 0x28000 - 1 - 5000, rounded down to a page.
    for (mib, address) in [
        (1024, 0x3ffd_6000),
        (2048, 0x7ffd_6000),
        (4096, 0x7ffd_6000),
    ] {
        let k = kernel();
        let loaded = Kernel::parse(&k)
            .expect("good")
            .as_loaded(&machine(mib), 5000)
            .expect("fits");
        assert_eq!(raw::u32_at(&loaded, 0x218), Some(address), "{mib}");
    }
}

#[test]
fn a_kernel_that_limits_its_initrd_is_obeyed() {
    let mut k = kernel();
    put(&mut k, 0x236, &0u16.to_le_bytes());
    put(&mut k, 0x22c, &0x37ff_ffffu32.to_le_bytes());
    let loaded = Kernel::parse(&k)
        .expect("good")
        .as_loaded(&machine(2048), 5000)
        .expect("fits");
    assert_eq!(raw::u32_at(&loaded, 0x218), Some(0x37ff_e000));
}

#[test]
fn an_initrd_that_does_not_fit_is_refused() {
    let k = kernel();
    let parsed = Kernel::parse(&k).expect("good");
    for size in [128 << 20, usize::MAX] {
        let refused = parsed
            .as_loaded(&machine(128), size)
            .expect_err("too large");
        assert_eq!(refused.code(), "kernel-unsupported");
    }
}

#[test]
fn what_qemu_would_load_otherwise_is_refused() {
    let code = |at: usize, value: &[u8]| {
        let mut k = kernel();
        put(&mut k, at, value);
        Kernel::parse(&k).expect_err("refused").code()
    };
    assert_eq!(code(0x202, b"HdrX"), "kernel-malformed");
    assert_eq!(code(0x206, &0x20bu16.to_le_bytes()), "kernel-unsupported");
    assert_eq!(code(0x211, &[0]), "kernel-unsupported");
    assert_eq!(
        Kernel::parse(&kernel()[..0x230]).expect_err("cut").code(),
        "kernel-malformed"
    );
    let large = vec![0; MAX_KERNEL_BYTES + 1];
    assert_eq!(
        Kernel::parse(&large).expect_err("large").code(),
        "input-too-large"
    );
}

#[test]
fn the_command_line_is_measured_as_the_stub_sees_it() {
    let k = kernel();
    let parsed = Kernel::parse(&k).expect("good");
    let text: Vec<u8> = "quiet initrd=initrd\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(parsed.load_options("quiet").expect("good"), text);
    for bad in ["a\nb", "ä", "vga=ask", &"x".repeat(2048)] {
        assert_eq!(
            parsed.load_options(bad).expect_err("refused").code(),
            "command-line-unusable"
        );
    }
}
