//! A machine's image: `image.json` and the files that it names by digest. Each file is read once, into
//! memory that nobody can change any more, and from there it boots: what was looked at is what runs,
//! whatever happens to the names meanwhile. A file that does not have its digest starts no machine.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_canonical::{Digest, json};
use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
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
    /// Where it was read from; nothing in it is read again to boot.
    pub directory: PathBuf,
    /// The kernel.
    pub kernel: Part,
    /// The initial file system.
    pub initrd: Part,
    /// The firmware.
    pub firmware: Part,
    /// The kernel's command line.
    pub command_line: String,
    /// Hardware that the image only plays. A release image plays none.
    pub simulated: Option<Simulated>,
}

/// Hardware that an image plays to the guest inside, with keys that everybody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Simulated {
    /// Intel TDX.
    Tdx,
}

/// One file of an image: the bytes whose digest was looked at, in a sealed memory file. Neither its
/// content nor its size nor the seals can be changed, by us or by anybody who holds its descriptor.
#[derive(Debug, Clone)]
pub struct Part {
    memory: Arc<OwnedFd>,
    digest: Digest,
}

impl Part {
    /// Seals `bytes`, whose digest is `digest`.
    fn seal(bytes: &[u8], digest: Digest) -> Result<Self, RoomError> {
        let place = Path::new("a memory file");
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = memfd_create("image", flags).on("make", place)?;
        let mut file = File::from(memory);
        file.write_all(bytes).on("write", place)?;
        let memory = OwnedFd::from(file);
        // QEMU, an unprivileged user in its jail, opens it anew by its descriptor's name.
        let mode = Mode::RUSR | Mode::RGRP | Mode::ROTH;
        fchmod(&memory, mode).on("protect", place)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&memory, seals).on("seal", place)?;
        Ok(Self {
            memory: Arc::new(memory),
            digest,
        })
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl AsFd for Part {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Part {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    kernel: Component,
    initrd: Component,
    firmware: Component,
    command_line: String,
    #[serde(default)]
    simulated: Option<Simulated>,
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
    /// Opens the image in `directory` and reads every file of it once, which is the last time.
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
        Ok(Self {
            digest: Digest::of(&bytes),
            directory: directory.to_owned(),
            kernel: part(directory, &path, &manifest.kernel)?,
            initrd: part(directory, &path, &manifest.initrd)?,
            firmware: part(directory, &path, &manifest.firmware)?,
            command_line: manifest.command_line,
            simulated: manifest.simulated,
        })
    }
}

/// The file that `component` of the manifest at `manifest` names, when it has its digest.
fn part(directory: &Path, manifest: &Path, component: &Component) -> Result<Part, RoomError> {
    let name = Path::new(&component.file);
    if name.file_name().is_none_or(|last| last != name.as_os_str()) {
        return Err(RoomError::ImageMalformed {
            path: manifest.to_owned(),
            why: format!("`{}` is not a file name", component.file),
        });
    }
    let file = directory.join(name);
    let bytes = read(&file, MAX_COMPONENT_BYTES)?;
    let found = Digest::of(&bytes);
    let have = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found.to_hex() != component.sha256 || have != component.bytes {
        return Err(RoomError::ImageFileDiffers {
            path: file,
            expected: component.sha256.clone(),
            found: found.to_hex(),
        });
    }
    Part::seal(&bytes, found)
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, RoomError> {
    let file = File::open(path).on("open", path)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).on("read", path)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::{ErrorKind, Write as _},
        os::fd::{AsFd as _, AsRawFd as _},
    };

    use proofroom_canonical::Digest;
    use rustix::fs::{SealFlags, fcntl_add_seals};

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

    #[test]
    fn what_was_opened_is_not_what_lies_there_later_and_nobody_can_change_it() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("vmlinuz");
        fs::write(&kernel, "k").unwrap();
        fs::write(dir.path().join("initrd"), "i").unwrap();
        let manifest = manifest("vmlinuz", &Digest::of("k").to_hex());
        fs::write(dir.path().join(IMAGE_FILE), manifest).unwrap();
        let image = Image::open(dir.path()).unwrap();
        fs::write(&kernel, "x").unwrap();
        let fd = image.kernel.as_fd().as_raw_fd();
        let name = format!("/proc/self/fd/{fd}");
        assert_eq!(fs::read(&name).unwrap(), b"k");
        // As root, whom no mode stops.
        if let Ok(mut file) = File::options().write(true).open(&name) {
            let refused = file.write_all(b"x").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
            assert_eq!(
                file.set_len(0).unwrap_err().kind(),
                ErrorKind::PermissionDenied
            );
        }
        let none = SealFlags::empty();
        let refused = fcntl_add_seals(&image.kernel, none).unwrap_err();
        assert_eq!(refused, rustix::io::Errno::PERM);
        assert_eq!(fs::read(&name).unwrap(), b"k");
    }
}
