//! What the gateway promises, shown against upstreams in this process.

mod attested;
mod faults;
mod passing;
mod policy;
mod tee;
mod upstream;
mod world;
