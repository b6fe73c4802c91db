//! The kernel as QEMU hands it to the firmware. Before QEMU 10.0 that is a bzImage whose setup header
//! QEMU has filled in, so what is measured is not the file (Linux boot protocol,
//! `Documentation/arch/x86/boot.rst`; what is filled in: QEMU, `hw/i386/x86-common.c`,
//! `x86_load_linux`).

use std::borrow::Cow;

use crate::{
    MeasureError,
    boot::{Handover, Machine},
    error::at_most,
    raw,
};

/// The most bytes of a kernel that are read.
pub const MAX_KERNEL_BYTES: usize = 64 * 1024 * 1024;
/// The most bytes of an initrd that are read.
pub const MAX_INITRD_BYTES: usize = 512 * 1024 * 1024;

const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOADER: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const INITRD_ADDRESS: usize = 0x218;
const INITRD_SIZE: usize = 0x21c;
const HEAP_END: usize = 0x224;
const COMMAND_LINE_ADDRESS: usize = 0x228;
const INITRD_MAX: usize = 0x22c;
const EXTENDED_LOAD_FLAGS: usize = 0x236;
const COMMAND_LINE_MAX: usize = 0x238;

const LOADED_HIGH: u8 = 0x01;
const CAN_USE_HEAP: u8 = 0x80;
/// `XLF_CAN_BE_LOADED_ABOVE_4G`; QEMU then lets the initrd lie anywhere below 4 GiB.
const ABOVE_4G: u16 = 0x02;
/// QEMU's number as a boot loader.
const QEMU: u8 = 0xb0;
/// Where QEMU puts the real-mode part and the command line.
const REAL_MODE: u32 = 0x1_0000;
const COMMAND_LINE: u32 = 0x2_0000;
/// Protocol 2.12, which has the extended load flags. Every kernel since Linux 3.8 has it.
const OLDEST: u16 = 0x20c;
/// What QEMU keeps free below the top of low memory for ACPI tables (q35 and pc since 2.3).
const ACPI_RESERVE: u64 = 0x2_8000;

/// A bzImage with an EFI stub.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    bytes: &'a [u8],
    initrd_max: u32,
    command_line_max: u32,
}

impl<'a> Kernel<'a> {
    /// Reads the setup header of a kernel of at most [`MAX_KERNEL_BYTES`].
    ///
    /// # Errors
    /// `input-too-large`, `kernel-malformed`, `kernel-unsupported`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MeasureError> {
        const SHORT: MeasureError = MeasureError::Kernel("the setup header ends early");
        at_most("kernel", bytes, MAX_KERNEL_BYTES)?;
        if raw::part(bytes, MAGIC, 4) != Some(b"HdrS") {
            return Err(MeasureError::Kernel("it has no Linux setup header"));
        }
        if raw::u16_at(bytes, VERSION).ok_or(SHORT)? < OLDEST {
            let words = "its boot protocol is older than 2.12";
            return Err(MeasureError::KernelUnsupported(words));
        }
        if raw::u8_at(bytes, LOAD_FLAGS).ok_or(SHORT)? & LOADED_HIGH == 0 {
            let words = "it is a zImage, use a bzImage";
            return Err(MeasureError::KernelUnsupported(words));
        }
        let above_4g = raw::u16_at(bytes, EXTENDED_LOAD_FLAGS).ok_or(SHORT)? & ABOVE_4G != 0;
        let named_max = raw::u32_at(bytes, INITRD_MAX).ok_or(SHORT)?;
        Ok(Self {
            bytes,
            initrd_max: if above_4g { u32::MAX } else { named_max },
            command_line_max: raw::u32_at(bytes, COMMAND_LINE_MAX).ok_or(SHORT)?,
        })
    }

    /// The kernel as the firmware of `machine` gets it, with an initrd of `initrd_size` bytes.
    ///
    /// # Errors
    /// `kernel-unsupported` when the initrd does not fit.
    pub fn as_loaded(
        &self,
        machine: &Machine,
        initrd_size: usize,
    ) -> Result<Cow<'a, [u8]>, MeasureError> {
        match machine.handover() {
            Handover::AsFile => Ok(Cow::Borrowed(self.bytes)),
            Handover::FilledIn => self.filled_in(machine, initrd_size).map(Cow::Owned),
        }
    }

    fn filled_in(&self, machine: &Machine, initrd_size: usize) -> Result<Vec<u8>, MeasureError> {
        const SHORT: MeasureError = MeasureError::Kernel("the setup header ends early");
        const FIT: MeasureError =
            MeasureError::KernelUnsupported("the initrd does not fit below it into this memory");
        let initrd_size = u32::try_from(initrd_size).map_err(|_| FIT)?;
        let room = machine.low_memory().checked_sub(ACPI_RESERVE).ok_or(FIT)?;
        let top = u64::from(self.initrd_max).min(room.saturating_sub(1));
        let address = top.checked_sub(u64::from(initrd_size)).ok_or(FIT)? & !0xfff;
        let address = u32::try_from(address).map_err(|_| FIT)?;
        // Everything of the kernel lies at 1 MiB and above.
        if address < 0x10_0000 {
            return Err(FIT);
        }
        let heap_end = u16::try_from(COMMAND_LINE - REAL_MODE - 0x200).map_err(|_| SHORT)?;
        let mut loaded = self.bytes.to_vec();
        let flags = raw::u8_at(&loaded, LOAD_FLAGS).ok_or(SHORT)?;
        let fields: [(usize, &[u8]); 6] = [
            (LOADER, &[QEMU]),
            (LOAD_FLAGS, &[flags | CAN_USE_HEAP]),
            (HEAP_END, &heap_end.to_le_bytes()),
            (COMMAND_LINE_ADDRESS, &COMMAND_LINE.to_le_bytes()),
            (INITRD_ADDRESS, &address.to_le_bytes()),
            (INITRD_SIZE, &initrd_size.to_le_bytes()),
        ];
        for (at, value) in fields {
            raw::put(&mut loaded, at, value).ok_or(SHORT)?;
        }
        Ok(loaded)
    }

    /// What the kernel's EFI stub measures as its command line: the text, what the firmware appends
    /// to name the initrd, and a NUL, as UTF-16.
    ///
    /// # Errors
    /// `command-line-unusable` for text that QEMU or the firmware would change or refuse.
    pub fn load_options(&self, command_line: &str) -> Result<Vec<u8>, MeasureError> {
        if !command_line.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(MeasureError::CommandLine("is not printable ASCII"));
        }
        // QEMU takes the number after `vga=` out and writes it into the setup header.
        if command_line.contains("vga=") {
            return Err(MeasureError::CommandLine(
                "contains `vga=`, which QEMU writes into the kernel; leave it out",
            ));
        }
        let room = usize::try_from(self.command_line_max).unwrap_or(usize::MAX);
        if command_line.len() > room.saturating_sub(" initrd=initrd".len()) {
            return Err(MeasureError::CommandLine("is longer than the kernel reads"));
        }
        Ok(crate::efi::utf16(&format!(
            "{command_line} initrd=initrd\0"
        )))
    }
}

#[cfg(test)]
mod tests;
