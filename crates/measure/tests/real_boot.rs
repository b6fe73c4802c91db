//! A real boot under emulation with a software TPM, held against its prediction: every event of the
//! log, every register in both banks. Needs the kernel and firmware of an image
//! (`PROOFROOM_IMAGE_DIR`, or `target/image`), QEMU, swtpm and a static busybox; says what it skips.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test, with its helpers outside of the test function"
)]

#[path = "real_boot/machine.rs"]
mod machine;

use std::{collections::BTreeMap, path::PathBuf};

use proofroom_measure::{
    AcpiTables, Boot, BootLog, Firmware, Kernel, KernelInputs, Machine, first_difference,
};
use proofroom_verifier::reference::{PREDICTED_PCRS, TpmReference};

/// On a loaded machine an emulated timer can miss the kernel's test of it, which would then panic.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 no_timer_check";

/// Kernel and firmware of an image, or why there are none.
fn image() -> Result<(Vec<u8>, Vec<u8>, PathBuf), String> {
    let directory = std::env::var_os("PROOFROOM_IMAGE_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/image")),
        PathBuf::from,
    );
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok((read("vmlinuz")?, read("OVMF.fd")?, directory))
}

/// One boot of a machine with these further arguments.
fn boots_as_predicted(memory_mib: u32, arguments: &[&str]) {
    let ready = image().and_then(|image| machine::programs().map(|()| image));
    let (kernel, firmware, directory) = match ready {
        Ok(image) => image,
        Err(missing) => {
            eprintln!("SKIPPED, nothing was compared with a real boot: {missing}");
            return;
        }
    };
    let initrd = machine::initrd();
    let booted = machine::boot(&directory, &initrd, COMMAND_LINE, memory_mib, arguments);

    let parsed = Firmware::parse(&firmware).expect("the image's firmware");
    let inputs = KernelInputs {
        kernel: Kernel::parse(&kernel).expect("the image's kernel"),
        initrd: &initrd,
        command_line: COMMAND_LINE,
    };
    let memory = Machine::new(memory_mib, &booted.qemu).expect("a machine");
    let boot = Boot::new(&parsed, &inputs, memory).expect("a boot");
    let acpi = AcpiTables::new(booted.acpi).expect("captured tables");
    let predicted = boot.with_tpm(&acpi).expect("a prediction");

    let log = BootLog::parse(&booted.log).expect("the kernel's log");
    assert_eq!(first_difference(&predicted.events, &log), None);
    assert_eq!(registers(&predicted.registers), booted.registers);
    eprintln!(
        "{} events and all registers are as predicted",
        log.events().len()
    );
}

fn registers(predicted: &TpmReference) -> BTreeMap<(String, u32), String> {
    let small = |pcr: u32| {
        (
            ("sha256".to_owned(), pcr),
            predicted.sha256[&pcr].to_string(),
        )
    };
    let large = |pcr: u32| {
        (
            ("sha384".to_owned(), pcr),
            predicted.sha384[&pcr].to_string(),
        )
    };
    PREDICTED_PCRS
        .into_iter()
        .flat_map(|pcr| [small(pcr), large(pcr)])
        .collect()
}

#[test]
fn a_real_boot_measures_what_was_predicted_event_by_event() {
    boots_as_predicted(1024, &[]);
    // Devices of a room, with 64-bit windows that the firmware places; two processors.
    let devices = [
        "-smp",
        "2",
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtio-rng-pci",
    ];
    boots_as_predicted(2048, &devices);
}
