//! The boot, event by event. One function for a machine with a TPM and one for a TD; both take the
//! same parts, and neither looks at anything but its arguments.

use proofroom_verifier::reference::{
    Hash256, Hash384, ReferenceEvent, TpmReference, fold_pcrs, fold_rtmrs, rtmr_of,
};

use crate::{
    AcpiTables, Firmware, Kernel, MeasureError, PageOrder, authenticode, efi, error::at_most,
    linux::MAX_INITRD_BYTES,
};

const SEPARATOR: [u8; 4] = [0; 4];
const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
const EXIT_INVOKED: &[u8] = b"Exit Boot Services Invocation";
const EXIT_RETURNED: &[u8] = b"Exit Boot Services Returned with Success";
/// `BootOrder` with one entry, 0.
const BOOT_ORDER: [u8; 2] = [0, 0];

/// How QEMU hands the kernel to the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// With a setup header that QEMU has filled in: QEMU before 10.0.
    FilledIn,
    /// As the file is: QEMU 10.0 and later.
    AsFile,
}

/// The q35 machine that boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    memory_mib: u32,
    handover: Handover,
}

impl Machine {
    /// A machine with this much memory, of a QEMU version such as `7.2.22`.
    ///
    /// # Errors
    /// `machine-unsupported` for less than 128 MiB or more than 16 TiB, for text that is not a
    /// version, and for QEMU before 7.2.
    pub fn new(memory_mib: u32, qemu: &str) -> Result<Self, MeasureError> {
        const VERSION: MeasureError =
            MeasureError::Machine("the QEMU version is not one of 7.2 or later, such as `10.0.2`");
        if !(128..=16 * 1024 * 1024).contains(&memory_mib) {
            return Err(MeasureError::Machine("memory must be 128 MiB to 16 TiB"));
        }
        let mut numbers = qemu.split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return Err(VERSION);
        };
        if (major, minor) < (7, 2) {
            return Err(VERSION);
        }
        let handover = if major < 10 {
            Handover::FilledIn
        } else {
            Handover::AsFile
        };
        Ok(Self {
            memory_mib,
            handover,
        })
    }

    /// How the kernel comes to the firmware.
    #[must_use]
    pub const fn handover(&self) -> Handover {
        self.handover
    }

    /// Memory below 4 GiB: q35 gives 2 GiB to machines of 2.75 GiB and more, all to smaller ones.
    pub(crate) fn low_memory(&self) -> u64 {
        let total = self.bytes();
        if total >= 0xb000_0000 {
            0x8000_0000
        } else {
            total
        }
    }

    /// Memory at 4 GiB and above.
    pub(crate) fn high_memory(&self) -> u64 {
        self.bytes() - self.low_memory()
    }

    fn bytes(&self) -> u64 {
        u64::from(self.memory_mib) << 20
    }
}

/// What is started: the inputs that the firmware does not contain.
#[derive(Clone, Copy, Debug)]
pub struct KernelInputs<'a> {
    /// The kernel.
    pub kernel: Kernel<'a>,
    /// The initrd.
    pub initrd: &'a [u8],
    /// The command line as it is given to QEMU.
    pub command_line: &'a str,
}

/// A boot whose inputs are known.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    firmware: &'a Firmware<'a>,
    kernel: (Hash256, Hash384),
    initrd: (Hash256, Hash384),
    load_options: Vec<u8>,
    machine: Machine,
}

/// The boot of a machine with a TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmBoot {
    /// Every event, in the order of the log.
    pub events: Vec<ReferenceEvent>,
    /// The registers after the boot.
    pub registers: TpmReference,
}

/// The boot of a TD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdBoot {
    /// The firmware as loaded.
    pub mrtd: Hash384,
    /// Every event, in the order of the log.
    pub events: Vec<ReferenceEvent>,
    /// RTMR0 to RTMR2 after the boot.
    pub rtmrs: [Hash384; 3],
}

impl<'a> Boot<'a> {
    /// Computes what both kinds of boot share.
    ///
    /// # Errors
    /// `input-too-large`, `kernel-unsupported`, `pe-malformed`, `command-line-unusable`.
    pub fn new(
        firmware: &'a Firmware<'a>,
        inputs: &KernelInputs<'_>,
        machine: Machine,
    ) -> Result<Self, MeasureError> {
        at_most("initrd", inputs.initrd, MAX_INITRD_BYTES)?;
        let loaded = inputs.kernel.as_loaded(&machine, inputs.initrd.len())?;
        Ok(Self {
            firmware,
            kernel: authenticode(&loaded)?,
            initrd: (Hash256::of(inputs.initrd), Hash384::of(inputs.initrd)),
            load_options: inputs.kernel.load_options(inputs.command_line)?,
            machine,
        })
    }

    /// Every event of the boot with a TPM.
    ///
    /// # Errors
    /// `acpi-malformed` for tables of a machine without a TPM.
    pub fn with_tpm(&self, acpi: &AcpiTables) -> Result<TpmBoot, MeasureError> {
        if !acpi.has_tpm() {
            let words = "they are of a machine without a TPM (`tpm-log` is missing)";
            return Err(MeasureError::Acpi(words.to_owned()));
        }
        let mut events = Vec::new();
        let version = self.firmware.version();
        let named = format!("firmware version `{}`", self.firmware.version_text());
        events.push(event(0, "EV_S_CRTM_VERSION", of(version), named));
        let [pei, dxe] = self.firmware.volumes();
        let blob = |digests, name: &str| {
            let what = format!("firmware: its {name} volume, as unpacked into memory");
            event(0, "EV_EFI_PLATFORM_FIRMWARE_BLOB", digests, what)
        };
        events.extend([blob(pei, "PEI"), blob(dxe, "DXE")]);
        events.extend(secure_boot());
        events.extend(self.acpi(acpi));
        events.push(self.kernel());
        events.extend(self.boot_variables());
        events.push(action(4, CALLING));
        events.extend((0..=6).map(separator));
        events.extend(self.stub());
        let registers = fold_pcrs(&events);
        Ok(TpmBoot { events, registers })
    }

    /// Every event of the boot as a TD.
    ///
    /// # Errors
    /// `tdvf-unusable`, and `acpi-malformed` for tables of a machine with a TPM.
    pub fn as_td(&self, acpi: &AcpiTables, order: PageOrder) -> Result<TdBoot, MeasureError> {
        if acpi.has_tpm() {
            let words = "they are of a machine with a TPM, which a TD does not have";
            return Err(MeasureError::Acpi(words.to_owned()));
        }
        let tdvf = self.firmware.tdvf()?;
        let block = tdvf.hand_off_block(&self.machine)?;
        let configuration = tdvf.configuration()?;
        let what = "the machine monitor's hand-off block: the memory".to_owned();
        let mut events = vec![event(1, "EV_EFI_HANDOFF_TABLES2", of(&block), what)];
        let what = "firmware: its configuration volume, as in the file".to_owned();
        let digests = of(configuration);
        events.push(event(1, "EV_EFI_PLATFORM_FIRMWARE_BLOB2", digests, what));
        events.extend(secure_boot());
        events.extend(self.acpi(acpi));
        events.push(self.kernel());
        events.extend(self.boot_variables());
        events.push(action(4, CALLING));
        events.push(separator(4));
        events.extend(self.stub());
        let rtmrs = fold_rtmrs(&events);
        Ok(TdBoot {
            mrtd: tdvf.mrtd(order),
            events,
            rtmrs,
        })
    }

    fn acpi(&self, acpi: &AcpiTables) -> Vec<ReferenceEvent> {
        let one = |(name, contents): (&str, &[u8])| {
            let what = format!("ACPI: `{name}`, as the machine monitor hands it over");
            event(1, "EV_PLATFORM_CONFIG_FLAGS", of(contents), what)
        };
        acpi.measured().map(one).collect()
    }

    fn kernel(&self) -> ReferenceEvent {
        let what = match self.machine.handover {
            Handover::AsFile => "kernel: Authenticode digest of the file".to_owned(),
            Handover::FilledIn => format!(
                "kernel: Authenticode digest, setup header filled in for {} MiB",
                self.machine.memory_mib
            ),
        };
        event(4, "EV_EFI_BOOT_SERVICES_APPLICATION", self.kernel, what)
    }

    fn boot_variables(&self) -> [ReferenceEvent; 2] {
        let kind = "EV_EFI_VARIABLE_BOOT";
        let order = "variable `BootOrder`: entry 0".to_owned();
        let menu = "variable `Boot0000`: the firmware's own menu".to_owned();
        [
            event(1, kind, of(&BOOT_ORDER), order),
            event(1, kind, of(self.firmware.menu_option()), menu),
        ]
    }

    /// What the kernel's EFI stub measures, and the two steps into the kernel.
    fn stub(&self) -> [ReferenceEvent; 4] {
        let options = "command line, with the firmware's ` initrd=initrd`, as UTF-16".to_owned();
        let kind = "EV_EVENT_TAG";
        [
            event(9, kind, of(&self.load_options), options),
            event(9, kind, self.initrd, "initrd".to_owned()),
            action(5, EXIT_INVOKED),
            action(5, EXIT_RETURNED),
        ]
    }
}

fn of(bytes: &[u8]) -> (Hash256, Hash384) {
    (Hash256::of(bytes), Hash384::of(bytes))
}

fn event(pcr: u32, kind: &str, digests: (Hash256, Hash384), what: String) -> ReferenceEvent {
    ReferenceEvent {
        pcr,
        rtmr: rtmr_of(pcr),
        kind: kind.to_owned(),
        sha256: digests.0,
        sha384: digests.1,
        what,
    }
}

fn secure_boot() -> Vec<ReferenceEvent> {
    let absent = |(vendor, name)| {
        let data = efi::absent_variable(vendor, name);
        let what = format!("variable `{name}`: not set");
        event(7, "EV_EFI_VARIABLE_DRIVER_CONFIG", of(&data), what)
    };
    let variables = efi::SECURE_BOOT.into_iter().map(absent);
    variables.chain([separator(7)]).collect()
}

fn separator(pcr: u32) -> ReferenceEvent {
    let what = "separator: what follows is not the firmware's own".to_owned();
    event(pcr, "EV_SEPARATOR", of(&SEPARATOR), what)
}

fn action(pcr: u32, words: &[u8]) -> ReferenceEvent {
    let what = format!("action: {}", String::from_utf8_lossy(words));
    event(pcr, "EV_EFI_ACTION", of(words), what)
}

#[cfg(test)]
mod tests;
