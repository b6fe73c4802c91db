//! The layers that the measured boot configuration names, found among the machine's disks by their
//! serial numbers. A disk is believed by its verity root alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proofroom_vmm::boot::Layer;

use crate::{
    InitError,
    verity::{LayerDevice, LayerPlan, Layers, Reading, assemble as assemble_devices},
};

/// Where layers are mounted.
const PLACE: &str = "/layers";
const DISKS: &str = "/sys/block";

/// Mounts them, merged; `None` when the configuration names none, so that a room has the programs
/// of the image alone.
pub(crate) fn assemble(layers: &[Layer]) -> Result<Option<Layers>, InitError> {
    if layers.is_empty() {
        return Ok(None);
    }
    let devices = layers.iter().enumerate().map(|(number, layer)| {
        let serial = format!("layer{number}");
        let device = disk(Path::new(DISKS), &serial).ok_or(InitError::NoDisk(serial))?;
        Ok(LayerDevice {
            device,
            plan: LayerPlan {
                root: layer.root.clone(),
                salt: layer.salt.clone(),
                data_blocks: layer.data_blocks,
                hash_offset: layer.hash_offset,
            },
        })
    });
    let devices = devices.collect::<Result<Vec<_>, InitError>>()?;
    let layers = assemble_devices(Path::new(PLACE), &devices, Reading::OnDemand)?;
    Ok(Some(layers))
}

fn disk(disks: &Path, serial: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(disks).ok()?;
    entries.flatten().find_map(|entry| {
        let said = fs::read_to_string(entry.path().join("serial")).ok()?;
        (said.trim_end() == serial).then(|| Path::new("/dev").join(entry.file_name()))
    })
}
