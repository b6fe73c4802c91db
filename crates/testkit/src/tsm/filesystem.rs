//! [`Kernel`] as a FUSE file system: inodes, directories, and reads and writes at offsets.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::kernel::{Kernel, REGISTERS, Refused, ReportFile};

/// Inodes of an entry: its directory, then its files. Those of fixed nodes come before.
const PER_ENTRY: u64 = 8;
const FIRST_ENTRY: u64 = 16;
const FIRST_REGISTER: u64 = 8;

/// What an inode stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Root,
    Report,
    Measurements,
    Ccel,
    Register(usize),
    Entry(u64),
    File(u64, ReportFile),
}

impl Node {
    fn of(inode: INodeNo) -> Option<Self> {
        let register = |number: u64| usize::try_from(number).ok().map(Self::Register);
        match inode.0 {
            1 => Some(Self::Root),
            2 => Some(Self::Report),
            3 => Some(Self::Measurements),
            4 => Some(Self::Ccel),
            number @ FIRST_REGISTER..FIRST_ENTRY => register(number - FIRST_REGISTER),
            number => {
                let number = number.checked_sub(FIRST_ENTRY)?;
                let id = number / PER_ENTRY;
                let Some(file) = (number % PER_ENTRY).checked_sub(1) else {
                    return Some(Self::Entry(id));
                };
                let file = ReportFile::ALL.get(usize::try_from(file).ok()?)?;
                Some(Self::File(id, *file))
            }
        }
    }

    fn inode(self) -> INodeNo {
        let index = |position: usize| u64::try_from(position).unwrap_or(0);
        INodeNo(match self {
            Self::Root => 1,
            Self::Report => 2,
            Self::Measurements => 3,
            Self::Ccel => 4,
            Self::Register(number) => FIRST_REGISTER + index(number),
            Self::Entry(id) => FIRST_ENTRY + id * PER_ENTRY,
            Self::File(id, file) => {
                let position = ReportFile::ALL.iter().position(|known| *known == file);
                FIRST_ENTRY + id * PER_ENTRY + 1 + index(position.unwrap_or(0))
            }
        })
    }

    const fn kind(self) -> FileType {
        match self {
            Self::Root | Self::Report | Self::Measurements | Self::Entry(_) => FileType::Directory,
            Self::Ccel | Self::Register(_) | Self::File(..) => FileType::RegularFile,
        }
    }

    fn mode(self) -> u16 {
        match self {
            Self::Root | Self::Report | Self::Measurements | Self::Entry(_) => 0o755,
            Self::Ccel => 0o400,
            Self::Register(number) if number + 1 == REGISTERS.len() => 0o400,
            Self::Register(_) => 0o600,
            Self::File(_, file) => file.mode(),
        }
    }

    fn attributes(self) -> FileAttr {
        FileAttr {
            ino: self.inode(),
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: self.kind(),
            perm: self.mode(),
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

#[derive(Debug)]
struct Open {
    kernel: Kernel,
    next: u64,
    /// What was written to an `inblob` that is still open, by its handle.
    unclosed: BTreeMap<u64, Vec<u8>>,
}

/// The double, as FUSE sees it.
#[derive(Debug)]
pub(super) struct Filesystem(Mutex<Open>);

impl Filesystem {
    pub(super) const fn new(kernel: Kernel) -> Self {
        Self(Mutex::new(Open {
            kernel,
            next: 0,
            unclosed: BTreeMap::new(),
        }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn exists(&self, node: Node) -> bool {
        match node {
            Node::Entry(id) => self.kernel.has(id),
            Node::File(id, file) => {
                self.kernel.has(id) && self.kernel.files().any(|known| known == file)
            }
            Node::Register(number) => number < REGISTERS.len(),
            Node::Root | Node::Report | Node::Measurements | Node::Ccel => true,
        }
    }

    fn node(&self, inode: INodeNo) -> Result<Node, Refused> {
        Node::of(inode)
            .filter(|node| self.exists(*node))
            .ok_or(Refused::NoEntry)
    }

    fn children(&self, node: Node) -> Vec<(Node, String)> {
        let named = |node, name: &str| (node, name.to_owned());
        match node {
            Node::Root => vec![
                named(Node::Report, "report"),
                named(Node::Measurements, "measurements"),
                named(Node::Ccel, "CCEL"),
            ],
            Node::Report => {
                let entries = self.kernel.entries();
                entries
                    .map(|(id, name)| named(Node::Entry(id), name))
                    .collect()
            }
            Node::Measurements => REGISTERS
                .iter()
                .enumerate()
                .map(|(number, name)| named(Node::Register(number), name))
                .collect(),
            Node::Entry(id) => {
                let files = self.kernel.files();
                files
                    .map(|file| named(Node::File(id, file), file.name()))
                    .collect()
            }
            Node::Ccel | Node::Register(_) | Node::File(..) => Vec::new(),
        }
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<Node, Refused> {
        let parent = self.node(parent)?;
        self.children(parent)
            .into_iter()
            .find(|(_, known)| name == known.as_str())
            .map(|(node, _)| node)
            .ok_or(Refused::NoEntry)
    }

    fn content(&mut self, inode: INodeNo) -> Result<Vec<u8>, Refused> {
        match self.node(inode)? {
            Node::Ccel => Ok(self.kernel.ccel().to_vec()),
            Node::Register(number) => self.kernel.register(number),
            Node::File(id, file) => self.kernel.read(id, file),
            Node::Root | Node::Report | Node::Measurements | Node::Entry(_) => {
                Err(Refused::Invalid)
            }
        }
    }

    fn write(
        &mut self,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        match self.node(inode)? {
            Node::Register(number) => self.kernel.extend(number, offset, bytes),
            Node::File(_, ReportFile::Inblob) => {
                let unclosed = self.unclosed.entry(handle.0).or_default();
                if usize::try_from(offset) != Ok(unclosed.len()) {
                    return Err(Refused::Invalid);
                }
                Kernel::fits(unclosed.len() + bytes.len())?;
                unclosed.extend_from_slice(bytes);
                Ok(())
            }
            _ => Err(Refused::Denied),
        }
    }

    fn close(&mut self, inode: INodeNo, handle: FileHandle) -> Result<(), Refused> {
        match (self.unclosed.remove(&handle.0), self.node(inode)?) {
            (Some(bytes), Node::File(id, ReportFile::Inblob)) => {
                self.kernel.close_inblob(id, bytes)
            }
            _ => Ok(()),
        }
    }
}

fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::NoEntry => Errno::ENOENT,
        Refused::Exists => Errno::EEXIST,
        Refused::Invalid => Errno::EINVAL,
        Refused::TooBig => Errno::EFBIG,
        Refused::Denied => Errno::EACCES,
        Refused::NotPermitted => Errno::EPERM,
    }
}

fn entry(node: Result<Node, Refused>, reply: ReplyEntry) {
    match node {
        Ok(node) => reply.entry(&Duration::ZERO, &node.attributes(), Generation(0)),
        Err(refused) => reply.error(errno(refused)),
    }
}

fn attributes(node: Result<Node, Refused>, reply: ReplyAttr) {
    match node {
        Ok(node) => reply.attr(&Duration::ZERO, &node.attributes()),
        Err(refused) => reply.error(errno(refused)),
    }
}

fn empty(done: Result<(), Refused>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(refused) => reply.error(errno(refused)),
    }
}

impl fuser::Filesystem for Filesystem {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.open().find(parent, name), reply);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attributes(self.open().node(inode), reply);
    }

    /// Sizes and times are taken and change nothing, as on configfs.
    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        attributes(self.open().node(inode), reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut open = self.open();
        let made = match Node::of(parent) {
            Some(Node::Report) => open.kernel.make(&name.to_string_lossy()).map(Node::Entry),
            _ => Err(Refused::NotPermitted),
        };
        entry(made, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut open = self.open();
        let removed = match Node::of(parent) {
            Some(Node::Report) => open.kernel.remove(&name.to_string_lossy()),
            _ => Err(Refused::NotPermitted),
        };
        empty(removed, reply);
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut open = self.open();
        match open.node(inode) {
            Ok(_) => {
                open.next += 1;
                reply.opened(FileHandle(open.next), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.open().content(inode) {
            Ok(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(from..).unwrap_or_default();
                let count = rest.len().min(usize::try_from(size).unwrap_or(usize::MAX));
                reply.data(rest.get(..count).unwrap_or_default());
            }
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.open().write(inode, handle, offset, bytes) {
            Ok(()) => reply.written(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    /// What `close` waits for.
    fn flush(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _: LockOwner,
        reply: ReplyEmpty,
    ) {
        empty(self.open().close(inode, handle), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let open = self.open();
        let children = match open.node(inode) {
            Ok(node) => open.children(node),
            Err(refused) => return reply.error(errno(refused)),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (position, (node, name)) in (1..).zip(children).skip(skipped) {
            if reply.add(node.inode(), position, node.kind(), name) {
                break;
            }
        }
        reply.ok();
    }
}
