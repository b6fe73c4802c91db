//! The supervisor inside a room: holds the session key and the one channel, writes the event chain,
//! serves the agent its model API and its tools, and closes the session with a signed record. It is
//! not the boundary that holds the agent; that is the kernel's, through the `confine` crate.

pub mod attest;
pub mod channel;
pub mod close;
pub mod confined;
pub mod egress;
pub mod gauge;
pub mod git;
pub mod identity;
pub mod journal;
pub mod model;
pub mod names;
pub mod observe;
pub mod orders;
pub mod process;
pub mod redact;
pub mod resolver;
pub mod serve;
pub mod session;
pub mod spawn;
pub mod supervisor;
pub mod told;
pub mod tools;
pub mod tree;
pub mod workspace;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
