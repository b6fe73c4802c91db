//! Answers of Anthropic models as Amazon Bedrock gives them: frames of its event stream, each with one event of Messages, and
//! errors in AWS's words. Both become what a client of Messages reads. Not here: signatures, connections.

mod exception;
mod stream;

pub use exception::{Exception, error_answer};
pub use stream::{FrameFault, InvokeStream};

/// The content type of a streamed answer.
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// The most bytes of one frame; a model's event has some hundred.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// The most bytes of an error that are read for its words.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;
