//! From a raw notification to a [`Call`]. Total: whatever the registers and the memory hold, the
//! result is a call or `Unreadable`.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use super::{
    Notification,
    call::{Call, PathArgument, SocketAddress},
    memory::{self, Unreadable},
    resolve::FinalLink,
};
use crate::{
    filter::{NATIVE_ARCH, table},
    sys::RawNotification,
};

/// `sizeof(struct sockaddr_storage)`.
const MAX_ADDRESS_BYTES: u64 = 128;
const AT_FDCWD: i32 = -100;
const X32_BIT: i32 = 0x4000_0000;
const CREAT_FLAGS: u64 = 0o1 | 0o100 | 0o1000;
/// `AT_SYMLINK_FOLLOW`.
const FOLLOWS: u64 = 0x400;
const FASTOPEN: u64 = 0x2000_0000;
/// `sizeof(struct msghdr)`, the same where pointers have 64 bits.
const MESSAGE_BYTES: u64 = 56;
/// `sizeof(struct mmsghdr)`: a message and how much of it was sent.
const COUNTED_MESSAGE_BYTES: u64 = 64;
/// `UIO_MAXIOV`: the kernel sends no more messages at once either.
const MAX_MESSAGES: u64 = 1024;

pub(crate) fn decode(raw: &RawNotification) -> Notification {
    let pid = i32::try_from(raw.pid).unwrap_or(-1);
    if raw.arch != NATIVE_ARCH || raw.number & X32_BIT != 0 {
        return Notification {
            id: raw.id,
            pid,
            syscall: format!("compat-{}", raw.number & !X32_BIT),
            call: Call::ForeignAbi {
                arch: raw.arch,
                number: raw.number,
            },
        };
    }
    let name = table::name(libc::c_long::from(raw.number));
    let call = Arguments {
        pid,
        args: raw.args,
    }
    .call(name.unwrap_or_default())
    .unwrap_or_else(|Unreadable(reason)| Call::Unreadable { reason });
    let syscall = name.map_or_else(|| format!("syscall-{}", raw.number), str::to_owned);
    Notification {
        id: raw.id,
        pid,
        syscall,
        call,
    }
}

struct Arguments {
    pid: i32,
    args: [u64; 6],
}

impl Arguments {
    #[expect(
        clippy::too_many_lines,
        reason = "one arm per system call reads best as one table"
    )]
    fn call(&self, name: &str) -> Result<Call, Unreadable> {
        let [a, b, c, d, e, _] = self.args;
        Ok(match name {
            "open" => Call::Open {
                path: self.cwd_path(a)?,
                flags: b,
            },
            "creat" => Call::Open {
                path: self.cwd_path(a)?,
                flags: CREAT_FLAGS,
            },
            "openat" => Call::Open {
                path: self.path(a, b)?,
                flags: c,
            },
            "openat2" => {
                let flags = u64::from_ne_bytes(memory::bytes::<8>(self.pid, c)?);
                Call::Open {
                    path: self.path(a, b)?,
                    flags,
                }
            }
            "execve" => self.execute(self.cwd_path(a)?, b)?,
            "execveat" => self.execute(self.path(a, b)?, c)?,
            "connect" => Call::Connect {
                address: self.address(b, c)?,
            },
            "bind" => Call::Bind {
                address: self.address(b, c)?,
                socket: memory::socket_kind(self.pid, a),
            },
            "sendto" if d & FASTOPEN == 0 => {
                let [_, _, _, _, _, length] = self.args;
                Call::SendTo {
                    addresses: vec![self.address(e, length)?],
                }
            }
            "sendmsg" if c & FASTOPEN == 0 => Call::SendTo {
                addresses: self.messages(b, MESSAGE_BYTES, 1)?,
            },
            "sendmmsg" if d & FASTOPEN == 0 => Call::SendTo {
                addresses: self.messages(b, COUNTED_MESSAGE_BYTES, c & 0xFFFF_FFFF)?,
            },
            "unlink" | "rmdir" => Call::Remove {
                path: self.cwd_path(a)?,
            },
            "unlinkat" => Call::Remove {
                path: self.path(a, b)?,
            },
            "rename" => Call::Rename {
                from: self.cwd_path(a)?,
                to: self.cwd_path(b)?,
            },
            "renameat" | "renameat2" => Call::Rename {
                from: self.path(a, b)?,
                to: self.path(c, d)?,
            },
            "link" => Call::HardLink {
                from: self.cwd_path(a)?,
                to: self.cwd_path(b)?,
                link: FinalLink::Kept,
            },
            "linkat" => Call::HardLink {
                from: self.path(a, b)?,
                to: self.path(c, d)?,
                link: if e & FOLLOWS == 0 {
                    FinalLink::Kept
                } else {
                    FinalLink::Followed
                },
            },
            "symlink" => Call::Symlink {
                target: self.text(a)?,
                path: self.cwd_path(b)?,
            },
            "symlinkat" => Call::Symlink {
                target: self.text(a)?,
                path: self.path(b, c)?,
            },
            "truncate" => Call::Truncate {
                path: self.cwd_path(a)?,
            },
            "mknod" => Call::MakeNode {
                path: self.cwd_path(a)?,
                mode: b,
            },
            "mknodat" => Call::MakeNode {
                path: self.path(a, b)?,
                mode: c,
            },
            "chmod" | "setxattr" | "removexattr" | "utime" | "utimes" => Call::Change {
                path: self.cwd_path(a)?,
                link: FinalLink::Followed,
            },
            "mkdir" | "lsetxattr" | "lremovexattr" => Call::Change {
                path: self.cwd_path(a)?,
                link: FinalLink::Kept,
            },
            "fchmod" | "fsetxattr" | "fremovexattr" => self.change_of_descriptor(a),
            "utimensat" | "futimesat" if b == 0 => self.change_of_descriptor(a),
            "mkdirat" => Call::Change {
                path: self.path(a, b)?,
                link: FinalLink::Kept,
            },
            "fchmodat" | "futimesat" => Call::Change {
                path: self.path(a, b)?,
                link: FinalLink::Followed,
            },
            "fchmodat2" | "utimensat" => Call::Change {
                path: self.path(a, b)?,
                link: link(d),
            },
            "chown" if are_own(&[b, c]) => Call::Change {
                path: self.cwd_path(a)?,
                link: FinalLink::Followed,
            },
            "lchown" if are_own(&[b, c]) => Call::Change {
                path: self.cwd_path(a)?,
                link: FinalLink::Kept,
            },
            "fchownat" if are_own(&[c, d]) => Call::Change {
                path: self.path(a, b)?,
                link: link(e),
            },
            "fchown" if are_own(&[b, c]) => Call::Ordinary,
            "setuid" | "setgid" | "setfsuid" | "setfsgid" if are_own(&[a]) => Call::Ordinary,
            "setreuid" | "setregid" if are_own(&[a, b]) => Call::Ordinary,
            "setresuid" | "setresgid" if are_own(&[a, b, c]) => Call::Ordinary,
            "chown" | "lchown" | "fchown" | "fchownat" | "setuid" | "setgid" | "setfsuid"
            | "setfsgid" | "setreuid" | "setregid" | "setresuid" | "setresgid" | "setgroups"
            | "capset" => Call::Identity,
            "socket" | "socketpair" => Call::Socket {
                family: a,
                kind: b,
                protocol: c,
            },
            _ => Call::Refused {
                arguments: self.args,
            },
        })
    }

    fn execute(&self, path: PathArgument, vector: u64) -> Result<Call, Unreadable> {
        let (argv, argv_read) = memory::vector(self.pid, vector)?;
        Ok(Call::Execute {
            path,
            argv,
            argv_read,
        })
    }

    /// A pipe, a socket, a memory file: nothing that a name leads to.
    fn change_of_descriptor(&self, descriptor: u64) -> Call {
        let [a, b, c, d, ..] = descriptor.to_le_bytes();
        let number = i32::from_le_bytes([a, b, c, d]);
        match std::fs::read_link(format!("/proc/{}/fd/{number}", self.pid)) {
            Ok(base) if base.is_absolute() && !base.to_string_lossy().ends_with(" (deleted)") => {
                Call::Change {
                    path: PathArgument {
                        given: PathBuf::new(),
                        base,
                    },
                    link: FinalLink::Followed,
                }
            }
            _ => Call::Ordinary,
        }
    }

    fn text(&self, address: u64) -> Result<PathBuf, Unreadable> {
        memory::string(self.pid, address).map(PathBuf::from)
    }

    fn cwd_path(&self, address: u64) -> Result<PathArgument, Unreadable> {
        self.path_at(AT_FDCWD, address)
    }

    fn path(&self, directory: u64, address: u64) -> Result<PathArgument, Unreadable> {
        // The kernel takes the low 32 bits as a signed int.
        let [a, b, c, d, ..] = directory.to_le_bytes();
        self.path_at(i32::from_le_bytes([a, b, c, d]), address)
    }

    fn path_at(&self, directory: i32, address: u64) -> Result<PathArgument, Unreadable> {
        let given = self.text(address)?;
        if given.is_absolute() {
            return Ok(PathArgument {
                given,
                base: PathBuf::from("/"),
            });
        }
        let link = if directory == AT_FDCWD {
            format!("/proc/{}/cwd", self.pid)
        } else {
            format!("/proc/{}/fd/{directory}", self.pid)
        };
        let base = std::fs::read_link(Path::new(&link))
            .map_err(|e| Unreadable(format!("the directory `{link}`: {e}")))?;
        Ok(PathArgument { given, base })
    }

    /// To whom messages are addressed: `struct msghdr` begins with a pointer to the address and its length,
    /// and without a pointer there is none.
    fn messages(&self, at: u64, size: u64, count: u64) -> Result<Vec<SocketAddress>, Unreadable> {
        let mut addresses = Vec::new();
        for number in 0..count.min(MAX_MESSAGES) {
            let (name, length) = self.message(at.wrapping_add(number * size))?;
            if name == 0 {
                continue;
            }
            let address = self.address(name, length)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    fn message(&self, at: u64) -> Result<(u64, u64), Unreadable> {
        let name = memory::bytes::<8>(self.pid, at)?;
        let length = memory::bytes::<4>(self.pid, at.wrapping_add(8))?;
        let length = u64::from(u32::from_ne_bytes(length));
        Ok((u64::from_ne_bytes(name), length))
    }

    fn address(&self, address: u64, length: u64) -> Result<SocketAddress, Unreadable> {
        let length = usize::try_from((length & 0xFFFF_FFFF).min(MAX_ADDRESS_BYTES)).unwrap_or(0);
        Ok(parse_address(&memory::buffer(self.pid, address, length)?))
    }
}

/// What `AT_SYMLINK_NOFOLLOW` says among a call's flags.
const fn link(flags: u64) -> FinalLink {
    if flags & 0x100 == 0 {
        FinalLink::Followed
    } else {
        FinalLink::Kept
    }
}

/// Whether these are ids that the agent has, or "leave it as it is". The kernel takes 32 bits.
fn are_own(ids: &[u64]) -> bool {
    ids.iter().all(|id| {
        let [a, b, c, d, ..] = id.to_le_bytes();
        [crate::AGENT_ID, u32::MAX].contains(&u32::from_le_bytes([a, b, c, d]))
    })
}

/// Reads a `struct sockaddr_*`; too short for its family is `Other`.
fn parse_address(bytes: &[u8]) -> SocketAddress {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else {
        return SocketAddress::Other { family: 0 };
    };
    let family = u16::from_ne_bytes(*family);
    let parsed = match i32::from(family) {
        libc::AF_INET => internet4(rest),
        libc::AF_INET6 => internet6(rest),
        libc::AF_UNIX => Some(unix(rest)),
        _ => None,
    };
    // AF_UNSPEC stands for a family that could not be told; a short internet address is not that.
    parsed.unwrap_or(SocketAddress::Other { family })
}

fn internet4(rest: &[u8]) -> Option<SocketAddress> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (ip, _) = rest.split_first_chunk::<4>()?;
    let address = SocketAddr::from((Ipv4Addr::from(*ip), u16::from_be_bytes(*port)));
    Some(SocketAddress::Internet(address))
}

fn internet6(rest: &[u8]) -> Option<SocketAddress> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (_flow, rest) = rest.split_first_chunk::<4>()?;
    let (ip, _) = rest.split_first_chunk::<16>()?;
    let address = SocketAddr::from((Ipv6Addr::from(*ip), u16::from_be_bytes(*port)));
    Some(SocketAddress::Internet(address))
}

fn unix(rest: &[u8]) -> SocketAddress {
    match rest.split_first() {
        None => SocketAddress::UnixUnnamed,
        Some((0, name)) => SocketAddress::UnixAbstract(name.to_vec()),
        Some(_) => {
            let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            SocketAddress::UnixPath(PathBuf::from(OsString::from_vec(text.to_vec())))
        }
    }
}

#[cfg(test)]
mod tests;
