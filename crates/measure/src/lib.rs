//! The measured boot of a room image, computed from its files alone: every event that firmware and
//! kernel will measure, in order and in words, the PCRs that they add up to, and MRTD and RTMR0 to
//! RTMR2 of a TD that boots the same files. Pure: bytes in, events out. Normative text, with the
//! source of every rule: `docs/spec/measure.md`.

#![forbid(unsafe_code)]

mod acpi;
mod boot;
mod efi;
mod error;
mod firmware;
mod image;
mod linux;
mod log;
mod pe;
mod raw;
mod tdvf;
mod volume;

pub use acpi::{AcpiTables, MAX_ACPI_BYTES};
pub use boot::{Boot, Handover, KernelInputs, Machine, TdBoot, TpmBoot};
pub use error::MeasureError;
pub use firmware::{Firmware, MAX_FIRMWARE_BYTES};
pub use image::{AcpiEntry, ImageFile, ImageList, Input, MAX_IMAGE_LIST_BYTES};
pub use linux::{Kernel, MAX_INITRD_BYTES, MAX_KERNEL_BYTES};
pub use log::{BootLog, Difference, LoggedEvent, MAX_LOG_BYTES, first_difference};
pub use pe::authenticode;
pub use tdvf::{PageOrder, Tdvf};
