//! The layers that the measured boot configuration names. A disk is believed by its verity root alone.

use std::path::Path;

use proofroom_vmm::boot::Layer;

use crate::{
    InitError, disks,
    verity::{LayerDevice, LayerPlan, Layers, Reading, assemble as assemble_devices},
};

/// Where layers are mounted.
const PLACE: &str = "/layers";

/// Mounts them, merged; `None` when the configuration names none, so that a room has the programs
/// of the image alone.
pub(crate) fn assemble(layers: &[Layer]) -> Result<Option<Layers>, InitError> {
    if layers.is_empty() {
        return Ok(None);
    }
    let devices = layers.iter().enumerate().map(|(number, layer)| {
        let device = disks::wait_for(number)?;
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
