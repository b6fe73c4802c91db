//! The workspace's front door for anything with logic; see `cargo xtask --help`.
fn main() {}
