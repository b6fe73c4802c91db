//! What may leave a room: the egress policy, its decision function, and the parsers of everything
//! that a room says when it wants to go outside. No I/O: the same code decides in the room and,
//! where it counts, on the host.
//!
//! A value that was parsed here is what is dialled, compared and written down. The text that it was
//! parsed from is used for nothing.

pub mod address;
pub mod client_hello;
pub mod decide;
pub mod dns;
pub mod host;
pub mod meter;
pub mod names;
pub mod path;
pub mod policy;
pub mod profile;
pub mod target;

pub use address::{AddressRefusal, Network};
pub use client_hello::{Hello, MAX_HELLO_BYTES, client_hello};
pub use decide::{Denial, Way};
pub use host::{HostName, HostPattern, NameError};
pub use meter::{Caps, Meter};
pub use names::Names;
pub use path::{PathPattern, RequestPath};
pub use policy::{Credential, EgressPolicy, Mode, PolicyProblem, Rule, Scheme};
pub use target::{Endpoint, Target};

/// The file that a new deployment starts from: nothing leaves a room.
pub const DEFAULT_EGRESS: &str = include_str!("../policies/egress.toml");
