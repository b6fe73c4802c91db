//! Why a layer is not mounted, or not trusted any more.

use std::{io, path::PathBuf};

/// Why layers cannot be used. None of them leads to a room with fewer layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The boot configuration: no layers, or too many.
    #[error("a room has 1 to {} layers, not {have}", super::MAX_LAYERS)]
    Count {
        /// How many there were.
        have: usize,
    },
    /// The boot configuration: what it says about a layer cannot be.
    #[error("`{member}` of layer {layer} {problem}")]
    Plan {
        /// The layer, counted from 0.
        layer: usize,
        /// The member.
        member: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The host: the device is shorter than the layer.
    #[error("the device of layer {layer} has {have} bytes, but the layer has {need}")]
    Truncated {
        /// The layer, counted from 0.
        layer: usize,
        /// Bytes of the device.
        have: u64,
        /// Bytes of the layer.
        need: u64,
    },
    /// The host: the device holds something else than the layer.
    #[error("the device of layer {layer} does not lead to the verity root that was measured")]
    RootMismatch {
        /// The layer, counted from 0.
        layer: usize,
    },
    /// The host: a block is not the layer's.
    #[error("layer {layer} is corrupt: {found}")]
    Corrupt {
        /// The layer, counted from 0.
        layer: usize,
        /// What was found, and where.
        found: String,
    },
    /// The device is not there, or does not answer.
    #[error("cannot use `{}` for layer {layer}", path.display())]
    Device {
        /// The layer, counted from 0.
        layer: usize,
        /// The device.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The image: no device mapper in the kernel.
    #[error("the device mapper cannot be used; load the module `dm-mod`")]
    NoDeviceMapper(#[source] io::Error),
    /// The image: no dm-verity in the kernel.
    #[error("the kernel has no verity target; load the module `dm-verity`")]
    NoVerity,
    /// The device mapper refused.
    #[error("device mapper for layer {layer}: cannot {step}")]
    DeviceMapper {
        /// The layer, counted from 0.
        layer: usize,
        /// What was being done, as a verb.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file system could not be mounted.
    #[error("cannot mount {what}")]
    Mount {
        /// What was being mounted.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LayerError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Count { .. } => "layer-count",
            Self::Plan { .. } => "layer-plan",
            Self::Truncated { .. } => "layer-truncated",
            Self::RootMismatch { .. } => "layer-root-mismatch",
            Self::Corrupt { .. } => "layer-corrupt",
            Self::Device { .. } => "layer-device",
            Self::NoDeviceMapper(_) => "layer-no-device-mapper",
            Self::NoVerity => "layer-no-verity",
            Self::DeviceMapper { .. } => "layer-device-mapper",
            Self::Mount { .. } => "layer-mount",
        }
    }
}
