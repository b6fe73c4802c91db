//! `image.json`, the list of an image's files and of the captures that its prediction rests on.
//! Read strictly: what the format does not name is refused.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, json};
use proofroom_verifier::reference::Hash256;
use serde::Deserialize;

use crate::MeasureError;

/// The `format` member of every list.
const FORMAT: &str = "proofroom.image.v1";
/// The most bytes of a list that are read.
pub const MAX_IMAGE_LIST_BYTES: usize = 1024 * 1024;

/// A file of the image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// Its name in the image's directory.
    pub file: String,
    /// Its digest.
    pub sha256: Hash256,
    /// Its size.
    pub bytes: u64,
}

/// A package that the image was made from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The digest of the package's file.
    pub sha256: Hash256,
}

/// ACPI tables captured from one QEMU version and machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcpiEntry {
    /// The QEMU version.
    pub qemu: String,
    /// Its virtual processors.
    pub vcpus: u32,
    /// Its memory.
    pub memory_mib: u32,
    /// How many layers it has as disks, where the list says so.
    #[serde(default)]
    pub disks: Option<u32>,
    /// Where the files are, in the image's directory.
    pub directory: String,
    /// The files: `table-loader`, `rsdp`, `tables`, and `tpm-log` of a machine with a TPM.
    pub files: BTreeMap<String, Hash256>,
}

impl AcpiEntry {
    /// Whether the machine can have this many layers. A list that does not say leaves it open: a
    /// machine with other disks has other tables, and fails to verify.
    #[must_use]
    pub fn fits_layers(&self, layers: usize) -> bool {
        self.disks
            .is_none_or(|disks| u32::try_from(layers) == Ok(disks))
    }

    /// Whether the machine has a TPM.
    #[must_use]
    pub fn has_tpm(&self) -> bool {
        self.files.contains_key("tpm-log")
    }
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageList {
    raw: Raw,
    digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    kernel: ImageFile,
    initrd: ImageFile,
    firmware: ImageFile,
    command_line: String,
    /// Hardware that the image only plays. What boots is measured all the same.
    #[serde(default)]
    simulated: Option<String>,
    inputs: Vec<Input>,
    acpi: Vec<AcpiEntry>,
}

impl ImageList {
    /// Reads a list of at most [`MAX_IMAGE_LIST_BYTES`].
    ///
    /// # Errors
    /// `image-malformed`, `image-member`.
    pub fn parse(bytes: &[u8]) -> Result<Self, MeasureError> {
        let raw: Raw =
            json::parse(bytes, MAX_IMAGE_LIST_BYTES).map_err(MeasureError::ImageDocument)?;
        if raw.format != FORMAT {
            let problem = format!("is `{}`, not `{FORMAT}`", shown(&raw.format));
            return Err(member("format", problem));
        }
        for (name, file) in [
            ("kernel.file", &raw.kernel.file),
            ("initrd.file", &raw.initrd.file),
            ("firmware.file", &raw.firmware.file),
        ] {
            if !is_name(file) {
                return Err(not_a_name(name, file));
            }
        }
        for (number, entry) in raw.acpi.iter().enumerate() {
            if !entry.directory.split('/').all(is_name) {
                return Err(not_a_name(
                    &format!("acpi[{number}].directory"),
                    &entry.directory,
                ));
            }
            if let Some(file) = entry.files.keys().find(|file| !is_name(file)) {
                return Err(not_a_name(&format!("acpi[{number}].files"), file));
            }
        }
        Ok(Self {
            raw,
            digest: Digest::of(bytes),
        })
    }

    /// The digest of the list's bytes: the identity of the image.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The kernel.
    #[must_use]
    pub const fn kernel(&self) -> &ImageFile {
        &self.raw.kernel
    }

    /// The initrd.
    #[must_use]
    pub const fn initrd(&self) -> &ImageFile {
        &self.raw.initrd
    }

    /// The firmware.
    #[must_use]
    pub const fn firmware(&self) -> &ImageFile {
        &self.raw.firmware
    }

    /// The kernel command line.
    #[must_use]
    pub fn command_line(&self) -> &str {
        &self.raw.command_line
    }

    /// Hardware that the image only plays, by name; a release image plays none.
    #[must_use]
    pub fn simulated(&self) -> Option<&str> {
        self.raw.simulated.as_deref()
    }

    /// The packages that the image was made from.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.raw.inputs
    }

    /// The captured ACPI tables.
    #[must_use]
    pub fn acpi(&self) -> &[AcpiEntry] {
        &self.raw.acpi
    }
}

impl ImageFile {
    /// Compares the file's bytes with what the list says.
    ///
    /// # Errors
    /// `image-file-differs`.
    pub fn check(&self, bytes: &[u8]) -> Result<(), MeasureError> {
        let differs = |problem: String| MeasureError::ImageFile {
            file: self.file.clone(),
            problem,
        };
        if u64::try_from(bytes.len()) != Ok(self.bytes) {
            return Err(differs(format!(
                "{} bytes instead of {}",
                bytes.len(),
                self.bytes
            )));
        }
        let have = Hash256::of(bytes);
        if have != self.sha256 {
            return Err(differs(format!("sha256 {have} instead of {}", self.sha256)));
        }
        Ok(())
    }
}

impl AcpiEntry {
    /// Compares the bytes of one of its files with what the list says.
    ///
    /// # Errors
    /// `image-file-differs`.
    pub fn check(&self, name: &str, bytes: &[u8]) -> Result<(), MeasureError> {
        let have = Hash256::of(bytes);
        if self.files.get(name) == Some(&have) {
            return Ok(());
        }
        let listed = self
            .files
            .get(name)
            .map_or_else(|| "none".to_owned(), ToString::to_string);
        Err(MeasureError::ImageFile {
            file: format!("{}/{name}", self.directory),
            problem: format!("sha256 {have} instead of {listed}"),
        })
    }
}

/// One component of a path: nothing that leads out of the image's directory.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+');
    !text.is_empty() && text.len() <= 128 && text.bytes().all(plain) && !text.starts_with('.')
}

fn not_a_name(name: &str, value: &str) -> MeasureError {
    let problem = format!(
        "is `{}`, which is not a name inside of the image",
        shown(value)
    );
    member(name, problem)
}

fn member(name: &str, problem: String) -> MeasureError {
    MeasureError::ImageMember {
        member: name.to_owned(),
        problem,
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
