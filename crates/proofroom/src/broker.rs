//! The git broker: the only way into a room for a repository and out of it for commits. It handles
//! objects and nothing else. No hook, filter, driver, alias or helper that a repository could name
//! is ever run: every command works in a bare repository of the broker's own that merely borrows
//! objects, and its result is checked before the origin sees it.

mod git;
mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

pub use git::{Git, GitError};
pub use incoming::{Delivered, IncomingError, Inspector, Objection};
pub use outgoing::{Origin, OriginError, WorkspaceLimits};
