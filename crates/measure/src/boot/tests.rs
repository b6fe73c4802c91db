//! The boot: which change moves which register, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proofroom_testkit::image as synthetic;
use proofroom_verifier::reference::{Hash384, PREDICTED_PCRS};
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::{Boot, KernelInputs, Machine, TdBoot, TpmBoot};
use crate::{AcpiTables, Firmware, Kernel, MeasureError, PageOrder};

#[derive(Clone)]
struct Inputs {
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    command_line: String,
    acpi: BTreeMap<String, Vec<u8>>,
    memory_mib: u32,
    qemu: &'static str,
}

impl Inputs {
    fn sample() -> Self {
        Self {
            firmware: synthetic::firmware(),
            kernel: synthetic::kernel(),
            initrd: synthetic::initrd(),
            command_line: "console=ttyS0 quiet".to_owned(),
            acpi: synthetic::acpi(),
            memory_mib: 1024,
            qemu: "7.2.22",
        }
    }

    fn boot<T>(
        &self,
        then: impl FnOnce(&Boot<'_>) -> Result<T, MeasureError>,
    ) -> Result<T, MeasureError> {
        let firmware = Firmware::parse(&self.firmware)?;
        let inputs = KernelInputs {
            kernel: Kernel::parse(&self.kernel)?,
            initrd: &self.initrd,
            command_line: &self.command_line,
        };
        then(&Boot::new(
            &firmware,
            &inputs,
            Machine::new(self.memory_mib, self.qemu)?,
        )?)
    }

    fn with_tpm(&self) -> Result<TpmBoot, MeasureError> {
        let acpi = AcpiTables::new(self.acpi.clone())?;
        self.boot(|boot| boot.with_tpm(&acpi))
    }

    fn as_td(&self) -> Result<TdBoot, MeasureError> {
        let acpi = AcpiTables::new(synthetic::acpi_of_td())?;
        self.boot(|boot| boot.as_td(&acpi, PageOrder::SinglePass))
    }
}

/// The PCRs that differ, in either bank.
fn moved(one: &TpmBoot, other: &TpmBoot) -> BTreeSet<u32> {
    let differs = |pcr: &u32| {
        one.registers.sha256[pcr] != other.registers.sha256[pcr]
            || one.registers.sha384[pcr] != other.registers.sha384[pcr]
    };
    PREDICTED_PCRS.into_iter().filter(differs).collect()
}

fn moved_of_td(one: &TdBoot, other: &TdBoot) -> BTreeSet<&'static str> {
    let mut moved = BTreeSet::new();
    if one.mrtd != other.mrtd {
        moved.insert("mrtd");
    }
    for (name, (a, b)) in ["rtmr0", "rtmr1", "rtmr2"]
        .into_iter()
        .zip(one.rtmrs.iter().zip(&other.rtmrs))
    {
        if a != b {
            moved.insert(name);
        }
    }
    moved
}

#[test]
fn the_events_are_those_of_a_direct_boot_in_the_order_of_its_log() {
    let booted = Inputs::sample().with_tpm().expect("a good image");
    let order: Vec<(u32, &str)> = booted
        .events
        .iter()
        .map(|event| (event.pcr, event.kind.as_str()))
        .collect();
    assert_eq!(
        order,
        [
            (0, "EV_S_CRTM_VERSION"),
            (0, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
            (0, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
            (7, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
            (7, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
            (7, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
            (7, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
            (7, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
            (7, "EV_SEPARATOR"),
            (1, "EV_PLATFORM_CONFIG_FLAGS"),
            (1, "EV_PLATFORM_CONFIG_FLAGS"),
            (1, "EV_PLATFORM_CONFIG_FLAGS"),
            (1, "EV_PLATFORM_CONFIG_FLAGS"),
            (4, "EV_EFI_BOOT_SERVICES_APPLICATION"),
            (1, "EV_EFI_VARIABLE_BOOT"),
            (1, "EV_EFI_VARIABLE_BOOT"),
            (4, "EV_EFI_ACTION"),
            (0, "EV_SEPARATOR"),
            (1, "EV_SEPARATOR"),
            (2, "EV_SEPARATOR"),
            (3, "EV_SEPARATOR"),
            (4, "EV_SEPARATOR"),
            (5, "EV_SEPARATOR"),
            (6, "EV_SEPARATOR"),
            (9, "EV_EVENT_TAG"),
            (9, "EV_EVENT_TAG"),
            (5, "EV_EFI_ACTION"),
            (5, "EV_EFI_ACTION"),
        ]
    );
}

#[test]
fn events_that_no_input_changes_have_the_digests_that_genuine_tds_report() {
    // From the event log of a TD whose quote Intel's root signs (QEMU 9.2, edk2 of 2025).
    let genuine = [
        (
            "SecureBoot",
            "9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d50325e37b36f93537a863769bcf9bedae6fb",
        ),
        (
            "`PK`",
            "6f2e3cbc14f9def86980f5f66fd85e99d63e69a73014ed8a5633ce56eca5b64b692108c56110e22acadcef58c3250f1b",
        ),
        (
            "`KEK`",
            "d607c0efb41c0d757d69bca0615c3a9ac0b1db06c557d992e906c6b7dee40e0e031640c7bfd7bcd35844ef9edeadc6f9",
        ),
        (
            "`db`",
            "08a74f8963b337acb6c93682f934496373679dd26af1089cb4eaf0c30cf260a12e814856385ab8843e56a9acea19e127",
        ),
        (
            "`dbx`",
            "18cc6e01f0c6ea99aa23f8a280423e94ad81d96d0aeb5180504fc0f7a40cb3619dd39bd6a95ec1680a86ed6ab0f9828d",
        ),
        (
            "separator",
            "394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0",
        ),
        (
            "`BootOrder`",
            "1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f824f315eb60ae0a7c",
        ),
        (
            "Calling EFI",
            "77a0dab2312b4e1e57a84d865a21e5b2ee8d677a21012ada819d0a98988078d3d740f6346bfe0abaa938ca20439a8d71",
        ),
        (
            "Invocation",
            "214b0bef1379756011344877743fdc2a5382bac6e70362d624ccf3f654407c1b4badf7d8f9295dd3dabdef65b27677e0",
        ),
        (
            "Returned",
            "0a2e01c85deae718a530ad8c6d20a84009babe6c8989269e950d8cf440c6e997695e64d455c4174a652cd080f6230b74",
        ),
    ];
    let booted = Inputs::sample().as_td().expect("a good image");
    for (words, digest) in genuine {
        let event = booted
            .events
            .iter()
            .find(|event| event.what.contains(words))
            .expect(words);
        assert_eq!(event.sha384.to_string(), digest, "{words}");
    }
}

#[test]
fn a_tds_events_are_in_the_order_that_genuine_tds_report() {
    let booted = Inputs::sample().as_td().expect("a good image");
    let order: Vec<(u8, &str)> = booted
        .events
        .iter()
        .map(|event| (event.rtmr.expect("a register"), event.kind.as_str()))
        .collect();
    let variable = (0, "EV_EFI_VARIABLE_DRIVER_CONFIG");
    let tables = (0, "EV_PLATFORM_CONFIG_FLAGS");
    assert_eq!(
        order,
        [
            (0, "EV_EFI_HANDOFF_TABLES2"),
            (0, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
            variable,
            variable,
            variable,
            variable,
            variable,
            (0, "EV_SEPARATOR"),
            tables,
            tables,
            tables,
            (1, "EV_EFI_BOOT_SERVICES_APPLICATION"),
            (0, "EV_EFI_VARIABLE_BOOT"),
            (0, "EV_EFI_VARIABLE_BOOT"),
            (1, "EV_EFI_ACTION"),
            (1, "EV_SEPARATOR"),
            (2, "EV_EVENT_TAG"),
            (2, "EV_EVENT_TAG"),
            (1, "EV_EFI_ACTION"),
            (1, "EV_EFI_ACTION"),
        ]
    );
}

/// A change of one byte, the PCRs that it must move, and the TD's registers that it must move.
type Change = (
    fn(&mut Inputs, usize, u8),
    &'static [u32],
    &'static [&'static str],
);

fn flip(bytes: &mut [u8], at: usize, by: u8) {
    let length = bytes.len();
    bytes[at % length] ^= by;
}

/// Tables change in the capture of a TD too, which these inputs do not share.
const CHANGES: [Change; 8] = [
    (
        |i, at, by| flip(&mut i.kernel[0x600..0x900], at, by),
        &[4],
        &["rtmr1"],
    ),
    (|i, at, by| flip(&mut i.initrd, at, by), &[9], &["rtmr2"]),
    (
        |i, at, _| {
            let at = at % i.command_line.len();
            let other = if i.command_line.as_bytes()[at] == b'x' {
                "y"
            } else {
                "x"
            };
            i.command_line.replace_range(at..=at, other);
        },
        &[9],
        &["rtmr2"],
    ),
    (
        |i, at, by| flip(i.acpi.get_mut("tables").expect("there"), at, by),
        &[1],
        &[],
    ),
    (
        |i, at, by| flip(i.acpi.get_mut("rsdp").expect("there"), at, by),
        &[1],
        &[],
    ),
    (
        |i, at, by| flip(i.acpi.get_mut("tpm-log").expect("there"), at, by),
        &[1],
        &[],
    ),
    // The reset code, before the metadata: in MRTD; a TPM's log does not have it.
    (
        |i, at, by| {
            let start = i.firmware.len() - 4096;
            flip(&mut i.firmware[start..start + 2048], at, by);
        },
        &[],
        &["mrtd"],
    ),
    // The configuration volume, behind its header.
    (
        |i, at, by| flip(&mut i.firmware[200..4096], at, by),
        &[],
        &["rtmr0"],
    ),
];

proptest! {
    #[test]
    fn one_changed_byte_moves_exactly_its_register(
        which in 0..CHANGES.len(), at in any::<usize>(), by in 1u8..
    ) {
        let (change, pcrs, registers) = CHANGES[which];
        let (before, mut inputs) = (Inputs::sample(), Inputs::sample());
        change(&mut inputs, at, by);
        let (old, new) = (before.with_tpm().expect("good"), inputs.with_tpm().expect("still good"));
        prop_assert_eq!(moved(&old, &new), pcrs.iter().copied().collect());
        let (old, new) = (before.as_td().expect("good"), inputs.as_td().expect("still good"));
        prop_assert_eq!(moved_of_td(&old, &new), registers.iter().copied().collect());
    }

    #[test]
    fn a_changed_program_inside_of_the_firmware_moves_pcr_0_alone(by in 1u8.., in_dxe in any::<bool>()) {
        let inner = unpacked();
        // Code of the DXE core, or the code after the PEI core's store.
        let mark: &[u8] = if in_dxe { &[0xdd; 8] } else { &[0x90; 6] };
        let at = inner.windows(mark.len()).position(|window| window == mark).expect("there");
        let mut changed = inner;
        changed[at] ^= by;
        let inputs = Inputs { firmware: synthetic::firmware_of(&changed), ..Inputs::sample() };
        let new = inputs.with_tpm().expect("still good");
        prop_assert_eq!(moved(&Inputs::sample().with_tpm().expect("good"), &new), BTreeSet::from([0]));
    }

    #[test]
    fn no_change_of_size_or_order_goes_unnoticed(change in prop_oneof![
        Just((|i: &mut Inputs| i.initrd.push(0)) as fn(&mut Inputs)),
        Just((|i: &mut Inputs| i.memory_mib = 2048) as fn(&mut Inputs)),
        Just((|i: &mut Inputs| i.command_line.push(' ')) as fn(&mut Inputs)),
        Just((|i: &mut Inputs| i.acpi.get_mut("tables").expect("there").truncate(4095)) as fn(&mut Inputs)),
    ].prop_map(|change| change)) {
        let mut inputs = Inputs::sample();
        change(&mut inputs);
        let moved = moved(&Inputs::sample().with_tpm().expect("good"), &inputs.with_tpm().expect("good"));
        prop_assert_eq!(moved.is_empty(), false);
    }
}

fn unpacked() -> Vec<u8> {
    let firmware = synthetic::firmware();
    let volumes: Vec<Vec<u8>> = crate::volume::Volume::all(&firmware)
        .iter()
        .flat_map(|volume| volume.inner().expect("good"))
        .collect();
    let mut inner = Vec::new();
    for volume in volumes {
        inner.resize(inner.len().next_multiple_of(4), 0xff);
        inner.extend(synthetic::section(0x17, &volume));
    }
    inner
}

#[test]
fn tables_of_the_other_kind_of_machine_are_refused() {
    let of_td = AcpiTables::new(synthetic::acpi_of_td()).expect("good");
    let with_tpm = AcpiTables::new(synthetic::acpi()).expect("good");
    let inputs = Inputs::sample();
    let refused = inputs
        .boot(|boot| boot.with_tpm(&of_td))
        .expect_err("no TPM");
    assert_eq!(refused.code(), "acpi-malformed");
    let refused = inputs
        .boot(|boot| boot.as_td(&with_tpm, PageOrder::SinglePass))
        .expect_err("a TPM");
    assert_eq!(refused.code(), "acpi-malformed");
}

#[test]
fn memory_is_split_as_q35_splits_it() {
    for (mib, low, high) in [
        (1024, 0x4000_0000, 0),
        (2048, 0x8000_0000, 0),
        (2815, 0xaff0_0000, 0),
        (2816, 0x8000_0000, 0x3000_0000),
        (65536, 0x8000_0000, 0xf_8000_0000u64),
    ] {
        let machine = Machine::new(mib, "7.2.22").expect("good");
        assert_eq!(
            (machine.low_memory(), machine.high_memory()),
            (low, high),
            "{mib}"
        );
    }
    for mib in [0, 127, 16 * 1024 * 1024 + 1] {
        assert_eq!(
            Machine::new(mib, "7.2.22").expect_err("refused").code(),
            "machine-unsupported"
        );
    }
}

#[test]
fn from_qemu_10_on_the_kernel_is_measured_as_the_file_is() {
    let kernel = |qemu| -> Hash384 {
        let inputs = Inputs {
            qemu,
            ..Inputs::sample()
        };
        inputs.with_tpm().expect("good").events[13].sha384
    };
    let file = crate::authenticode(&synthetic::kernel()).expect("good").1;
    for (qemu, same) in [
        ("7.2.22", false),
        ("9.2.1", false),
        ("10.0.0", true),
        ("11.1.3", true),
    ] {
        assert_eq!(kernel(qemu) == file, same, "{qemu}");
    }
    for bad in ["", "7", "7.1.0", "6.2", "10", "v10.0", "10.x"] {
        let refused = Machine::new(1024, bad).expect_err("refused");
        assert_eq!(refused.code(), "machine-unsupported", "{bad}");
    }
}

#[test]
fn both_page_orders_differ_for_more_than_one_page_only() {
    // One measured page: both orders are the same sequence.
    let inputs = Inputs::sample();
    let acpi = AcpiTables::new(synthetic::acpi_of_td()).expect("good");
    let mrtd = |order| -> Hash384 {
        inputs
            .boot(|boot| boot.as_td(&acpi, order))
            .expect("good")
            .mrtd
    };
    assert_eq!(mrtd(PageOrder::SinglePass), mrtd(PageOrder::TwoPass));
}
