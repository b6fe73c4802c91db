//! ACPI tables as QEMU hands them over in firmware configuration files, and as the firmware measures
//! them: the loader script, then each file in the order in which the script allocates it (QEMU,
//! `docs/specs/acpi_hw_hotplug.rst` and `hw/acpi/bios-linker-loader.c`).

use std::collections::BTreeMap;

use crate::{MeasureError, raw};

/// The most bytes of all files together that are read; q35 has 200 KiB.
pub const MAX_ACPI_BYTES: usize = 4 * 1024 * 1024;
/// A command of the script has this size.
const COMMAND: usize = 128;
/// The most commands that are read.
const MAX_COMMANDS: usize = 512;
const ALLOCATE: u32 = 1;

/// Names in the image's list, and the files that the script names.
const FILES: [(&str, &str); 3] = [
    ("rsdp", "etc/acpi/rsdp"),
    ("tables", "etc/acpi/tables"),
    ("tpm-log", "etc/tpm/log"),
];
/// The loader script's name in the image's list.
const LOADER: &str = "table-loader";

/// The ACPI tables of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiTables {
    loader: Vec<u8>,
    /// In the order in which they are measured: the script's name and the contents.
    files: Vec<(String, Vec<u8>)>,
}

impl AcpiTables {
    /// Joins the files of a capture: `table-loader`, `rsdp`, `tables`, and `tpm-log` with a TPM.
    ///
    /// # Errors
    /// `acpi-malformed` where a file is missing, not known, or not allocated by the script;
    /// `input-too-large`.
    pub fn new(mut captured: BTreeMap<String, Vec<u8>>) -> Result<Self, MeasureError> {
        let have = captured.values().map(Vec::len).sum();
        if have > MAX_ACPI_BYTES {
            return Err(MeasureError::TooLarge {
                what: "ACPI capture",
                have,
                max: MAX_ACPI_BYTES,
            });
        }
        let loader = captured.remove(LOADER).ok_or_else(|| missing(LOADER))?;
        let mut files = Vec::new();
        for allocated in allocated(&loader)? {
            let (name, _) = FILES
                .iter()
                .find(|(_, file)| *file == allocated)
                .ok_or_else(|| {
                    MeasureError::Acpi(format!(
                        "the script allocates `{allocated}`, which is not known"
                    ))
                })?;
            let contents = captured.remove(*name).ok_or_else(|| missing(name))?;
            files.push((allocated, contents));
        }
        match captured.keys().next() {
            Some(name) => Err(MeasureError::Acpi(format!(
                "`{name}` is captured, and the script does not allocate it"
            ))),
            None => Ok(Self { loader, files }),
        }
    }

    /// Whether the machine has a TPM: its log is among the files.
    #[must_use]
    pub fn has_tpm(&self) -> bool {
        self.files.iter().any(|(name, _)| name == "etc/tpm/log")
    }

    /// What is measured, in order: name and contents.
    pub(crate) fn measured(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.files.iter();
        std::iter::once(("etc/table-loader", self.loader.as_slice()))
            .chain(files.map(|(name, contents)| (name.as_str(), contents.as_slice())))
    }
}

fn missing(name: &str) -> MeasureError {
    MeasureError::Acpi(format!("`{name}` is missing, capture it with the others"))
}

/// The files that the script allocates, in order.
fn allocated(loader: &[u8]) -> Result<Vec<String>, MeasureError> {
    let malformed = |words: &str| MeasureError::Acpi(format!("`{LOADER}` {words}"));
    if !loader.len().is_multiple_of(COMMAND) {
        return Err(malformed("is not made of commands of 128 bytes"));
    }
    if loader.len() / COMMAND > MAX_COMMANDS {
        return Err(malformed("has more than 512 commands"));
    }
    let mut names: Vec<String> = Vec::new();
    for command in loader.chunks_exact(COMMAND) {
        if raw::u32_at(command, 0) != Some(ALLOCATE) {
            continue;
        }
        let field = raw::part(command, 4, 56).unwrap_or_default();
        let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
        let name =
            std::str::from_utf8(name).map_err(|_| malformed("names a file that is not text"))?;
        if names.iter().any(|known| known == name) {
            return Err(malformed("allocates one file twice"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
