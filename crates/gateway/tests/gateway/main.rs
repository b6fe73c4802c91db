//! What the gateway promises, shown against upstreams in this process.

#![expect(
    unreachable_pub,
    reason = "a test binary exports nothing, and `pub` reads better than `pub(crate)`"
)]

mod attested;
mod faults;
mod passing;
mod policy;
mod tee;
mod upstream;
mod world;
