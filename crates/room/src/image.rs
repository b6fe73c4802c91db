//! A machine's image on disk: `image.json` and the files that it names by digest. A file that does
//! not have its digest starts no machine; what the firmware measures proves it once more.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use proofroom_canonical::{Digest, json};
use serde::Deserialize;

use crate::{RoomError, error::On as _};

/// Name of the file that names the others.
pub const IMAGE_FILE: &str = "image.json";
const FORMAT: &str = "proofroom.image.v1";
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
const MAX_COMPONENT_BYTES: u64 = 1 << 30;

/// An image whose files have their digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 of `image.json`.
    pub digest: Digest,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initrd: PathBuf,
    /// The firmware.
    pub firmware: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    kernel: Component,
    initrd: Component,
    firmware: Component,
    command_line: String,
    #[expect(
        dead_code,
        reason = "what it was built from; for people and other tools"
    )]
    inputs: serde_json::Value,
    #[expect(dead_code, reason = "for the measurement calculator")]
    acpi: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    file: String,
    sha256: String,
    bytes: u64,
}

impl Image {
    /// Opens the image in `directory` and reads every file of it once.
    ///
    /// # Errors
    /// `image-missing`, `image-malformed`, `image-file-differs`.
    pub fn open(directory: &Path) -> Result<Self, RoomError> {
        let path = directory.join(IMAGE_FILE);
        let bytes = read(&path, MAX_MANIFEST_BYTES)
            .map_err(|_| RoomError::ImageMissing { path: path.clone() })?;
        let malformed = |why: String| RoomError::ImageMalformed {
            path: path.clone(),
            why,
        };
        let manifest: Manifest = json::parse(&bytes, bytes.len())
            .map_err(|error| malformed(crate::error::chain(&error)))?;
        if manifest.format != FORMAT {
            return Err(malformed(format!("its format is not `{FORMAT}`")));
        }
        let place = |component: &Component| {
            let name = Path::new(&component.file);
            if name.file_name().is_none_or(|last| last != name.as_os_str()) {
                return Err(malformed(format!(
                    "`{}` is not a file name",
                    component.file
                )));
            }
            let file = directory.join(name);
            let bytes = read(&file, MAX_COMPONENT_BYTES)?;
            let found = Digest::of(&bytes).to_hex();
            let have = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if found != component.sha256 || have != component.bytes {
                return Err(RoomError::ImageFileDiffers {
                    path: file,
                    expected: component.sha256.clone(),
                    found,
                });
            }
            Ok(file)
        };
        Ok(Self {
            digest: Digest::of(&bytes),
            kernel: place(&manifest.kernel)?,
            initrd: place(&manifest.initrd)?,
            firmware: place(&manifest.firmware)?,
            command_line: manifest.command_line,
        })
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, RoomError> {
    let file = File::open(path).on("open", path)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).on("read", path)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proofroom_canonical::Digest;

    use super::{IMAGE_FILE, Image};

    fn manifest(kernel: &str, digest: &str) -> String {
        let component = |file: &str, sha256: &str| {
            format!(r#"{{"file":"{file}","sha256":"{sha256}","bytes":1}}"#)
        };
        let other = Digest::of("i").to_hex();
        format!(
            r#"{{"format":"proofroom.image.v1","kernel":{},"initrd":{},"firmware":{},"command_line":"quiet","inputs":[],"acpi":[]}}"#,
            component(kernel, digest),
            component("initrd", &other),
            component("initrd", &other),
        )
    }

    fn refusal(manifest: &str) -> &'static str {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("vmlinuz"), "k").unwrap();
        fs::write(dir.path().join("initrd"), "i").unwrap();
        fs::write(dir.path().join(IMAGE_FILE), manifest).unwrap();
        match Image::open(dir.path()) {
            Ok(_) => "accepted",
            Err(error) => error.code(),
        }
    }

    #[test]
    fn an_image_is_its_digests() {
        let good = Digest::of("k").to_hex();
        assert_eq!(refusal(&manifest("vmlinuz", &good)), "accepted");
        let other = Digest::of("x").to_hex();
        assert_eq!(refusal(&manifest("vmlinuz", &other)), "image-file-differs");
        assert_eq!(refusal(&manifest("../vmlinuz", &good)), "image-malformed");
        assert_eq!(refusal("{}"), "image-malformed");
        let dir = tempfile::tempdir().unwrap();
        let refused = Image::open(dir.path()).unwrap_err();
        assert_eq!(refused.code(), "image-missing");
    }
}
