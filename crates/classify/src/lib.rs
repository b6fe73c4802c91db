//! Classifies what a coding agent sends to a model and decides, by the customer's own rules, where
//! it may go. Pure: no I/O, no clock, no randomness, and no matched text ever leaves a function.
//!
//! Two policy files drive it. [`ClassificationPolicy`] says which findings carry which label;
//! [`RoutingPolicy`] says which label may go to which tier. Both run their own examples when they
//! are loaded. [`Classifier`] applies the first, [`RoutingPolicy::route`] the second, and
//! [`HighWater`] keeps a session's label from ever falling.

#![forbid(unsafe_code)]

mod classifier;
mod detect;
mod finding;
mod label;
mod policy;
mod problem;
mod routing;
mod segment;
mod table;
pub mod training;

/// The commented `classification.toml` that a new deployment starts from.
pub const DEFAULT_CLASSIFICATION: &str = include_str!("../policies/classification.toml");
/// The commented `routing.toml` that a new deployment starts from.
pub const DEFAULT_ROUTING: &str = include_str!("../policies/routing.toml");

pub use classifier::{
    Classifier, Context, MAX_REQUEST_BYTES, MAX_SEGMENTS, OVER_BUDGET, OVERSIZE, REDACTED,
    SessionVerdicts, Source, UNREADABLE, redact,
};
pub use detect::{finds_values, is_credential};
pub use finding::{AppliedException, Classification, Confidence, Finding, MAX_FINDINGS};
pub use label::{HighWater, Label, Levels, MAX_LEVELS, RAISED, asked_for};
pub use policy::{ClassificationPolicy, KeptFinding, Relabelled};
pub use problem::{ExampleOutcome, PolicyProblem};
pub use routing::{
    Assurance, Candidate, MAX_SURVEYED, Refusal, Rejection, RouteDecision, RouteRequest,
    RoutingPolicy, Survey, UpstreamOffer, WayOut, Why,
};
pub use segment::{Origin, Segment};
