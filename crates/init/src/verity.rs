//! Tool chains of a room: each layer is a block device that the host serves and nobody trusts. The
//! kernel checks every block against the verity root from the measured boot configuration
//! (dm-verity), and what is mounted is the checked device alone.

mod error;
mod table;

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, mount};
use serde::{Deserialize, Serialize};

use self::table::Table;
use crate::dm::{self, Access, Control};

pub use self::error::LayerError;

/// Kernel modules that layers need, in the order in which they load. A module that the kernel has
/// built in is not there to load.
pub const MODULES: [&str; 7] = [
    "virtio_blk",
    "dm-mod",
    "dm-bufio",
    "reed_solomon",
    "dm-verity",
    "erofs",
    "overlay",
];

/// How much one read takes while a whole layer is checked.
const READ_BYTES: usize = 1 << 20;
/// Size of a verity block.
const BLOCK_BYTES: u64 = 4096;
/// The most layers that one room has.
pub const MAX_LAYERS: usize = 32;

/// What the measured boot configuration says about a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerPlan {
    /// The verity root, 64 lower-case hex digits: the layer's identity.
    pub root: String,
    /// The salt of its hashes, 64 lower-case hex digits.
    pub salt: String,
    /// How many blocks of 4096 bytes the file system has.
    pub data_blocks: u64,
    /// Where the verity superblock begins, in bytes.
    pub hash_offset: u64,
}

/// A layer and the device that claims to hold it.
#[derive(Clone, Debug)]
pub struct LayerDevice {
    /// The block device, such as `/dev/vda`.
    pub device: PathBuf,
    /// What it must hold.
    pub plan: LayerPlan,
}

/// When the blocks of a layer are checked. Every read is checked in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// When something reads them: a corrupt block is `EIO` for its reader, and [`Layers::intact`]
    /// tells afterwards.
    OnDemand,
    /// All of them before the layer is mounted: a corrupt layer never is.
    WholeFirst,
}

/// Mounted layers.
#[derive(Debug)]
pub struct Layers {
    tree: PathBuf,
    names: Vec<String>,
    control: Control,
}

impl Layers {
    /// Where the merged tree is.
    #[must_use]
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// Asks the kernel whether it has met a corrupt block in any layer since they were mounted.
    ///
    /// # Errors
    /// [`LayerError::Corrupt`], or why the kernel could not be asked.
    pub fn intact(&self) -> Result<(), LayerError> {
        for (layer, name) in self.names.iter().enumerate() {
            let status = self
                .control
                .status(name)
                .map_err(|source| LayerError::DeviceMapper {
                    layer,
                    step: "ask for the status",
                    source,
                })?;
            // The first word is `V`, or `C` after a block was corrupt; the rest is about error correction.
            if status.split(' ').next() != Some("V") {
                return Err(LayerError::Corrupt {
                    layer,
                    found: format!("the kernel says `{status}`"),
                });
            }
        }
        Ok(())
    }
}

/// Sets up dm-verity over every device, mounts each layer read-only at `<at>/<n>`, and merges them
/// at `<at>/merged`; where two layers have one path, the later layer's is seen. With one layer its
/// own mount is the merged tree.
///
/// # Errors
/// See [`LayerError`]. What was mounted before the error stays: a room without one of its layers
/// does not start, so its machine ends.
pub fn assemble(
    at: &Path,
    devices: &[LayerDevice],
    reading: Reading,
) -> Result<Layers, LayerError> {
    if devices.is_empty() || devices.len() > MAX_LAYERS {
        return Err(LayerError::Count {
            have: devices.len(),
        });
    }
    let control = Control::open().map_err(LayerError::NoDeviceMapper)?;
    if !control
        .has_target("verity")
        .map_err(LayerError::NoDeviceMapper)?
    {
        return Err(LayerError::NoVerity);
    }
    let set = at
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("layers");
    let mut names = Vec::new();
    let mut mounts = Vec::new();
    for (layer, device) in devices.iter().enumerate() {
        let name = format!("{set}-{layer}");
        let checked = checked_device(&control, layer, &name, device)?;
        read_first(layer, &checked)?;
        if reading == Reading::WholeFirst {
            read_whole(layer, &checked)?;
        }
        let target = at.join(layer.to_string());
        mount_layer(layer, &checked, &target)?;
        names.push(name);
        mounts.push(target);
    }
    let tree = merge(at, mounts)?;
    Ok(Layers {
        tree,
        names,
        control,
    })
}

/// Makes the verity device of one layer and its node.
fn checked_device(
    control: &Control,
    layer: usize,
    name: &str,
    device: &LayerDevice,
) -> Result<PathBuf, LayerError> {
    let table = Table::new(layer, &device.plan)?;
    let unusable = |source| LayerError::Device {
        layer,
        path: device.device.clone(),
        source,
    };
    let found = fs::metadata(&device.device).map_err(unusable)?;
    if !found.file_type().is_block_device() {
        return Err(unusable(io::Error::other("not a block device")));
    }
    let have = File::open(&device.device)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .map_err(unusable)?;
    if have < table.needs_bytes() {
        return Err(LayerError::Truncated {
            layer,
            have,
            need: table.needs_bytes(),
        });
    }
    let failed = |step| {
        move |source| LayerError::DeviceMapper {
            layer,
            step,
            source,
        }
    };
    let number = control
        .create(name, Access::ReadOnly)
        .map_err(failed("create the device"))?;
    let words = dm::Table {
        target: "verity",
        sectors: table.sectors(),
        parameters: &table.parameters(found.rdev()),
    };
    control
        .activate(name, Access::ReadOnly, &words)
        .map_err(failed("activate the table"))?;
    dm::make_node(name, number, Access::ReadOnly).map_err(failed("make the device node"))
}

/// The first block leads to the root through every level of the tree: a layer with another root is
/// noticed before its file system is.
fn read_first(layer: usize, checked: &Path) -> Result<(), LayerError> {
    let mut block = [0; 4096];
    let read = File::open(checked).and_then(|mut file| file.read_exact(&mut block));
    read.map_err(|source| {
        if is_refused_block(&source) {
            LayerError::RootMismatch { layer }
        } else {
            LayerError::Device {
                layer,
                path: checked.to_owned(),
                source,
            }
        }
    })
}

fn read_whole(layer: usize, checked: &Path) -> Result<(), LayerError> {
    let failed = |source| LayerError::Device {
        layer,
        path: checked.to_owned(),
        source,
    };
    let mut file = File::open(checked).map_err(failed)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut passed = 0_u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => passed = passed.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A read that meets a bad block ends before it; the next one begins with it.
            Err(error) if is_refused_block(&error) => {
                return Err(LayerError::Corrupt {
                    layer,
                    found: format!("block {} is not the layer's", passed / BLOCK_BYTES),
                });
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// dm-verity answers `EIO` for a block that does not hash to what the tree says.
fn is_refused_block(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

fn mount_layer(layer: usize, checked: &Path, target: &Path) -> Result<(), LayerError> {
    let failed = |source| LayerError::Mount {
        what: format!("layer {layer}"),
        source,
    };
    fs::create_dir_all(target).map_err(failed)?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    mount(checked, target, "erofs", flags, None).map_err(|error| failed(error.into()))
}

/// Merges the mounts, read-only: there is no upper directory. What a layer's extended attributes
/// ask of the overlay is not followed.
fn merge(at: &Path, mut mounts: Vec<PathBuf>) -> Result<PathBuf, LayerError> {
    if mounts.len() == 1
        && let Some(only) = mounts.pop()
    {
        return Ok(only);
    }
    let failed = |source| LayerError::Mount {
        what: "the merged layers".to_owned(),
        source,
    };
    let target = at.join("merged");
    fs::create_dir_all(&target).map_err(failed)?;
    // The overlay looks into the directory that is named first, first.
    let lower: Vec<String> = mounts
        .iter()
        .rev()
        .map(|path| path.display().to_string())
        .collect();
    let options = format!(
        "lowerdir={},redirect_dir=nofollow,metacopy=off,index=off,nfs_export=off",
        lower.join(":")
    );
    let options = std::ffi::CString::new(options).map_err(|error| failed(error.into()))?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    mount("layers", &target, "overlay", flags, options.as_c_str())
        .map_err(|error| failed(error.into()))?;
    Ok(target)
}
