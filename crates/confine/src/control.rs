//! The start protocol between a process and the stage it starts: one `SOCK_SEQPACKET` pair, JSON
//! messages with file descriptors beside them. It ends when the stage executes its program.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::{
    ConfineError,
    error::{Doing as _, StageFailure},
};

/// Longest message; specifications travel in a memory file beside the message instead.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Most file descriptors beside one message.
const MAX_FDS: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// To the launch stage, first of all; beside it one descriptor for each group.
    Join { groups: Vec<GroupKind> },
    /// To the stage; beside it the specification and what else the stage needs.
    Start,
    /// From the launch stage: its user namespace waits for the id maps.
    MapMe,
    /// To the launch stage: the maps are written.
    Mapped,
    /// From either stage: the first process of the new pid namespace, with its pidfd beside.
    Init { pid: i32 },
    /// From a stage to its copy: the other side knows of it.
    GoOn,
    /// From the launch stage: everything is built, the supervisor is executed next.
    Built { mechanisms: Vec<String> },
    /// From the confine stage: everything is in force; beside it the notification descriptor.
    Confined { mechanisms: Vec<String> },
    /// From the confine stage's first process: how the command ended.
    Exited { code: i32 },
    /// As above, by a signal.
    Killed { signal: i32 },
    /// From a stage: it stops here.
    Failed(StageFailure),
}

/// What the descriptor of a resource group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GroupKind {
    /// A version 1 `tasks` file.
    Tasks,
    /// A version 2 directory.
    Directory,
}

#[derive(Debug)]
pub(crate) struct Control(OwnedFd);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Yes,
    No,
}

impl Control {
    pub(crate) fn pair() -> Result<(Self, OwnedFd), ConfineError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .doing("make the control socket")?;
        Ok((Self(ours), theirs))
    }

    pub(crate) fn over(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(crate) fn send(
        &self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ConfineError> {
        self.send_marked(message, fds, SendFlags::empty())
    }

    /// As [`Self::send`], with a mark that the kernel does not know and a filter sees.
    pub(crate) fn send_marked(
        &self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
        mark: SendFlags,
    ) -> Result<(), ConfineError> {
        let text = serde_json::to_vec(message).map_err(|e| ConfineError::Protocol {
            reason: e.to_string(),
        })?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(ConfineError::Protocol {
                reason: "too many descriptors".to_owned(),
            });
        }
        sendmsg(
            &self.0,
            &[IoSlice::new(&text)],
            &mut beside,
            SendFlags::NOSIGNAL | mark,
        )
        .doing("send a control message")?;
        Ok(())
    }

    /// The next message, or `None` when the other side is gone (or, with [`Waiting::No`], when
    /// nothing is there).
    pub(crate) fn receive(
        &self,
        waiting: Waiting,
    ) -> Result<Option<(Message, Vec<OwnedFd>)>, ConfineError> {
        let mut text = vec![0_u8; MAX_MESSAGE_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        if waiting == Waiting::No {
            flags |= RecvFlags::DONTWAIT;
        }
        let got = loop {
            match recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut text)],
                &mut beside,
                flags,
            ) {
                // The other side ended without reading everything. Said once, before what it had
                // sent itself.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                other => break other.doing("receive a control message")?,
            }
        };
        if got.bytes == 0 {
            return Ok(None);
        }
        if got.flags.contains(ReturnFlags::TRUNC) {
            return Err(ConfineError::Protocol {
                reason: "a message is too long".to_owned(),
            });
        }
        let mut fds = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        let message =
            serde_json::from_slice(text.get(..got.bytes).unwrap_or_default()).map_err(|e| {
                ConfineError::Protocol {
                    reason: e.to_string(),
                }
            })?;
        Ok(Some((message, fds)))
    }

    /// The next message; a failure of the stage, or its end, is an error.
    pub(crate) fn expect(&self, what: &str) -> Result<(Message, Vec<OwnedFd>), ConfineError> {
        match self.receive(Waiting::Yes)? {
            Some((Message::Failed(failure), _)) => Err(failure.into()),
            Some(other) => Ok(other),
            None => Err(ConfineError::Protocol {
                reason: format!("the stage ended while `{what}` was expected"),
            }),
        }
    }
}
