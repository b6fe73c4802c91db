//! The virtual machine of a room: its QEMU command line, pure and tested by golden files, and the
//! words that the host and the guest's first process exchange on the boot port. Starts nothing.

#![forbid(unsafe_code)]

pub mod boot;
mod confidential;
mod machine;

pub use confidential::{
    CBit, ConfidentialMachine, ConfidentialProblem, HostData, MrConfigId, QuoteService,
    SimulatedMachine, Technology,
};
pub use machine::{
    Accelerator, BOOT_PORT, CHANNEL_PORT, Disk, Inherited, KVM_DEVICE, Machine, Shape, Tpm,
    WORKSPACE_UNIT,
};
