//! The kernel mechanisms of a room as small typed pieces: namespaces and root, the confined agent
//! command, its system calls as notifications, and an honest probe of the machine. Linux only, and
//! no policy: which call an agent may make is decided by the caller who reads the notifications.
//!
//! Three processes use it:
//!
//! * the **host** calls [`launch::start`] with a [`RoomSpec`] and gets the room's first process;
//! * the **stage program** (`proofroom-guest`) calls [`stages::main`] first thing in `main`, before
//!   any thread exists: `launch` builds the room and executes the supervisor, `confine` confines
//!   one command;
//! * the **supervisor** inside the room calls [`ConfinedCommand::spawn`] for each agent command and
//!   answers [`Notifications`] on a thread of its own:
//!
//! ```no_run
//! # use proofroom_confine::{AgentCommand, ConfineError, Stdio};
//! # fn f(command: AgentCommand, stdio: Stdio) -> Result<(), ConfineError> {
//! use proofroom_confine::{ConfinedCommand, StageProgram, Suggestion};
//! let confined = ConfinedCommand::spawn(&command, &stdio, &StageProgram::itself()?)?;
//! drop(stdio);
//! let notifications = confined.notifications();
//! while let Some(notification) = notifications.next()? {
//!     // write the event first, then answer; the command waits
//!     match notification.suggestion() {
//!         Suggestion::Allow => notifications.allow(&notification)?,
//!         Suggestion::Deny(errno) => notifications.deny(&notification, errno)?,
//!     }
//! }
//! let ended = confined.wait()?;
//! # Ok(()) }
//! ```
//!
//! What the notifications are not: an allowed call is re-read by the kernel after the answer, so a
//! second thread may change the path meanwhile. They are the *record*; the *boundary* is Landlock,
//! the namespaces and file ownership, which judge the real objects. Denials of calls whose
//! arguments are plain numbers (socket families, clone flags, forbidden calls) are exact.

mod command;
mod control;
mod error;
mod filter;
mod landlock_rules;
pub mod launch;
mod memory;
mod notify;
pub mod probe;
mod room_root;
pub mod stages;
mod sys;

pub use command::{
    AddressSpace, AgentCommand, CommandLimits, ConfinedCommand, Ended, Expendable, FileAudit,
    Loopback, NameService, StageProgram, Stdio,
};
pub use error::ConfineError;
pub use filter::{Errno, REFUSED_ERRNO, REFUSED_FAMILY_ERRNO};
pub use launch::{Diagnostics, IdMap, MapWriter, ReadOnlyBind, Rights, RoomLimits, RoomSpec};
pub use memory::{MemoryNotLocked, lock_memory};
pub use notify::{
    ArgvRead, Call, FinalLink, Notification, Notifications, PathArgument, SocketAddress,
    SocketKind, Suggestion, Ways,
};

/// The supervisor's user and group id inside the room.
pub const SUPERVISOR_ID: u32 = 0;
/// The agent's user and group id inside the room.
pub const AGENT_ID: u32 = 1000;
/// Where a room's workspace is.
pub const WORKSPACE: &str = "/workspace";
/// The only TCP port that an agent may connect to under [`Loopback::ChannelOnly`].
pub const CHANNEL_PORT: u16 = 8377;
/// The port of the room's resolver, where there is one.
pub const RESOLVER_PORT: u16 = 53;
/// Where the supervisor says how names are looked up; `/etc/nsswitch.conf` leads here.
pub const NAME_SWITCH: &str = "/run/proofroom/nsswitch.conf";
/// Where the supervisor names the room's resolver; `/etc/resolv.conf` leads here.
pub const RESOLVER_FILE: &str = "/run/proofroom/resolv.conf";
/// Name of the memory group of a session's own command, a directory below `/proofroom` where there is one.
pub const OWN_GROUP: &str = "own";
/// Name of the memory group of all other commands, likewise.
pub const FURTHER_GROUP: &str = "further";
/// The file descriptor on which the supervisor finds its end of the channel.
pub const CHANNEL_FD: i32 = 3;
