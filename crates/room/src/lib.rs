//! The host side of a room at level `process`: its configuration, its start, its resource limits
//! and its observed end. Not the supervisor (crate `guest`), not the mechanisms (crate `confine`).

#![forbid(unsafe_code)]

mod config;
mod error;
mod facts;
mod groups;
pub mod hardware;
mod image;
mod janitor;
mod machine;
mod pause;
mod pool;
mod programs;
mod recall;
mod room;
mod signals;
mod slots;
mod usage;

pub use config::{CommandGroups, ConfigProblem, DEFAULT_ROOM, Limits, RoomConfig, WorkspaceStore};
pub use error::RoomError;
pub use facts::{DestructionObserved, Fact, Observed};
pub use image::{IMAGE_FILE, Image, Part, Simulated};
pub use janitor::{
    ProcessTrace, Swept, Trace, boot_id, own_name, sweep, sweep_groups, sweep_slots,
};
pub use machine::{Attestation, LayerFile, MachineConfig, MachineShape, Words, canary, capture};
pub use pause::Pause;
pub use pool::{Pool, Stock};
pub use programs::{QEMU, SWTPM, missing_program};
pub use proofroom_confine::{Diagnostics, Loopback};
pub use proofroom_vmm::{Accelerator, Shape, boot::Layer};
pub use recall::Recall;
pub use room::{Programs, Room, Spare};
pub use usage::{Meter, Usage};
