//! What a notified call asks for, in words that an event can hold. Values are as the agent gave
//! them: hostile, unnormalised, possibly not UTF-8.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use crate::{Errno, FinalLink, Suggestion};

/// A path argument and the directory that it is relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathArgument {
    /// As given; empty for calls that act on the descriptor itself.
    pub given: PathBuf,
    /// The caller's working directory or the directory of the given descriptor, as `/proc` shows
    /// it. For a descriptor without a path (a memory file) this is its `/proc` name, such as
    /// `/memfd:x (deleted)`.
    pub base: PathBuf,
}

impl PathArgument {
    /// Base and given path joined; neither normalised nor resolved.
    #[must_use]
    pub fn absolute(&self) -> PathBuf {
        if self.given.as_os_str().is_empty() {
            self.base.clone()
        } else {
            self.base.join(&self.given)
        }
    }
}

/// A socket address argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// IPv4 or IPv6.
    Internet(SocketAddr),
    /// A unix socket in the file system.
    UnixPath(PathBuf),
    /// An abstract unix socket.
    UnixAbstract(Vec<u8>),
    /// A unix address without a name.
    UnixUnnamed,
    /// Anything else.
    Other {
        /// The address family.
        family: u16,
    },
}

impl SocketAddress {
    pub(crate) fn suggestion(&self) -> Suggestion {
        match self {
            Self::Internet(address) => {
                let ip = address.ip().to_canonical();
                if ip.is_loopback() || ip.is_unspecified() {
                    Suggestion::Allow
                } else {
                    Suggestion::Deny(Errno(libc::ENETUNREACH))
                }
            }
            // AF_UNSPEC on connect dissolves an association; anything else has no socket here.
            Self::Other { family: 0 }
            | Self::UnixPath(_)
            | Self::UnixAbstract(_)
            | Self::UnixUnnamed => Suggestion::Allow,
            Self::Other { .. } => Suggestion::Deny(Errno(libc::EAFNOSUPPORT)),
        }
    }
}

/// What kind of socket a descriptor was when its call was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// One of datagrams.
    Datagram,
    /// Any other, or none.
    Other,
}

/// A notified call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// `open`, `openat`, `openat2`, `creat`.
    Open {
        /// What.
        path: PathArgument,
        /// `O_*` flags.
        flags: u64,
    },
    /// `execve`, `execveat`.
    Execute {
        /// The program.
        path: PathArgument,
        /// Its arguments, as far as they were read.
        argv: Vec<OsString>,
        /// Whether that is all of them.
        argv_read: ArgvRead,
    },
    /// `connect`.
    Connect {
        /// To.
        address: SocketAddress,
    },
    /// `bind`.
    Bind {
        /// To.
        address: SocketAddress,
        /// What.
        socket: SocketKind,
    },
    /// `sendto`, `sendmsg`, `sendmmsg`.
    SendTo {
        /// To whom: none for what goes where the socket is connected to, several where several messages
        /// are sent at once. They are sent together or not at all.
        addresses: Vec<SocketAddress>,
    },
    /// `unlink`, `unlinkat`, `rmdir`.
    Remove {
        /// What.
        path: PathArgument,
    },
    /// `rename`, `renameat`, `renameat2`.
    Rename {
        /// From.
        from: PathArgument,
        /// To.
        to: PathArgument,
    },
    /// `link`, `linkat`.
    HardLink {
        /// The existing file.
        from: PathArgument,
        /// The new name.
        to: PathArgument,
        /// Whether a symbolic link at `from` stands for itself.
        link: FinalLink,
    },
    /// `symlink`, `symlinkat`.
    Symlink {
        /// What the link says.
        target: PathBuf,
        /// The new name.
        path: PathArgument,
    },
    /// `truncate`.
    Truncate {
        /// What.
        path: PathArgument,
    },
    /// A call that changes what is known about a file, or makes a directory: `chmod`, `chown`,
    /// `mkdir`, `setxattr`, `removexattr`, `utimensat` and their kin. Owners other than the agent's are
    /// [`Self::Identity`].
    Change {
        /// What.
        path: PathArgument,
        /// Whether it is the file or, when it is a symbolic link, the link itself.
        link: FinalLink,
    },
    /// A call that asks for a user, group or capability that the agent does not have. Never
    /// allowable.
    Identity,
    /// `mknod`, `mknodat`.
    MakeNode {
        /// What.
        path: PathArgument,
        /// File type and mode.
        mode: u64,
    },
    /// A call that is what every process may do: to keep the user and group that it has.
    Ordinary,
    /// `socket` or `socketpair` of a refused family, kind or protocol. Never allowable.
    Socket {
        /// `AF_*`.
        family: u64,
        /// `SOCK_*` with flags.
        kind: u64,
        /// `IPPROTO_*`.
        protocol: u64,
    },
    /// A call that is refused whatever its arguments, or because of them. Never allowable.
    Refused {
        /// The six arguments as numbers.
        arguments: [u64; 6],
    },
    /// A call through another ABI (32-bit, x32). Never allowable.
    ForeignAbi {
        /// `AUDIT_ARCH_*`.
        arch: u32,
        /// The call's number in that ABI.
        number: i32,
    },
    /// An audited call whose arguments could not be read. Never allowable.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// Whether an argument vector was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgvRead {
    /// To the end.
    Whole,
    /// Up to the caps; more follows.
    Truncated,
}

impl Call {
    /// Whether an answer `allow` exists for this call at all.
    #[must_use]
    pub fn is_allowable(&self) -> bool {
        !matches!(
            self,
            Self::Socket { .. }
                | Self::Identity
                | Self::Refused { .. }
                | Self::ForeignAbi { .. }
                | Self::Unreadable { .. }
        )
    }
}
