//! The first process of a room's virtual machine: what it sets up before the room starts.

pub mod verity;
