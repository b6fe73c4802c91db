//! The wire formats of the model APIs: what a request says to the model, what its answer cost, and
//! refusals in the client's own format. Pure: bytes in, facts out; no I/O, no clock. A request is
//! never re-serialised: what need not change stays byte for byte as the client sent it.

#![forbid(unsafe_code)]

mod api;
pub mod bedrock;
pub mod client;
mod error;
mod event;
mod facts;
mod flatten;
mod inspect;
mod items;
mod kept;
mod meter;
mod node;
mod place;
mod redact;
mod refusal;
mod splice;
mod strings;
mod texts;
mod traceparent;
pub mod translate;
mod usage;

pub use api::Api;
pub use error::RequestError;
pub use facts::{Delivery, Origin, RequestFacts, Segment, UsageReport};
pub use inspect::{MAX_DEPTH, MAX_MODEL_BYTES, MAX_REQUEST_BYTES, MAX_VALUES, inspect};
pub use meter::{Ending, Framing, MAX_ANSWER_BYTES, MAX_EVENT_BYTES, Metered, ResponseMeter};
pub use redact::{Placeholder, Restorer, replace_values};
pub use refusal::{error_body, error_event};
pub use splice::with_model;
pub use strings::NotJson;
pub use traceparent::{TRACEPARENT_BYTES, TraceParent};
pub use usage::Usage;
