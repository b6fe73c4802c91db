//! A deployment in a temporary directory, upstreams that play cassettes, and sessions run to their
//! end: the stage on which the end-to-end tests play. Test support only, so it panics freely.

#![forbid(unsafe_code)]

pub mod canary;
pub mod collector;
mod deployment;
pub mod gateway;
mod live;
mod programs;
mod room;
pub mod server;
mod session;

pub use deployment::{Deployment, Upstream, git, image_directory, simulated_image_directory};
pub use live::{Live, Process};
pub use programs::{program, python, repository_root, skip, static_program};
pub use room::RoomCommand;
pub use session::{Bundle, Session};
