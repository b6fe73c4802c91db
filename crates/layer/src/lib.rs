//! Tool chains of a room as layers: one file that is an erofs image and its dm-verity hash tree,
//! and a descriptor that says what is in it and where it came from. Builds them, keeps them, and
//! verifies them; mounting them is the guest's part.

#![forbid(unsafe_code)]

mod archive;
mod build;
mod debian;
mod descriptor;
mod directory;
mod erofs;
mod error;
mod oci;
mod packed;
mod program;
mod recipe;
mod store;
mod tree;
mod verify;
pub mod verity;

pub use build::{Build, Compression, Input, Progress, build};
pub use debian::{Bytecode, Packages};
pub use descriptor::{
    DebianPackage, LayerDescriptor, LayerName, MAX_DESCRIPTOR_BYTES, Origin, Source,
};
pub use error::LayerError;
pub use recipe::Recipe;
pub use store::{Place, Store, Stored};
pub use verify::{VerifiedLayer, verify};

/// The image's file name in a layer's directory.
pub const IMAGE: &str = "layer.img";
/// The descriptor's file name in a layer's directory.
pub const DESCRIPTOR: &str = "layer.json";

/// Readers of untrusted bytes, for the fuzz targets.
pub mod reader {
    pub use crate::{
        archive::{Whiteouts, extract},
        oci::{Image, read_layout},
        tree::{DirectoryLinks, Limits, Tree},
    };
}
