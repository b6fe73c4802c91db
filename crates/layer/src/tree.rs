//! The files of a layer while it is put together, in a directory of the builder's. What comes from
//! an archive is placed by descriptors below that directory (`openat2`, links resolved inside it),
//! so that no name and no link of an input reaches anything else.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, linkat, mkdirat, openat,
        openat2, statat, symlinkat, unlinkat,
    },
    io::Errno,
};

use crate::error::LayerError;

const MAX_PATH_BYTES: usize = 4096;
const MAX_NAME_BYTES: usize = 255;
/// Deeper trees than any tool chain has.
const MAX_DEPTH: usize = 64;
/// What is left of a mode: no setuid, setgid or sticky bit. A room runs nothing as another user.
const MODE_BITS: u32 = 0o777;

/// How much one layer may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files, directories and links together.
    pub entries: u64,
}

impl Default for Limits {
    /// 16 GiB in two million entries.
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            entries: 2_000_000,
        }
    }
}

/// What a directory entry does where a link to a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryLinks {
    /// Goes through it, as dpkg does: `/bin` stays a link to `usr/bin`.
    Follow,
    /// Takes its place, as image layers say.
    Replace,
}

/// A path below the layer's root: plain components only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryPath(Vec<String>);

impl EntryPath {
    /// Reads a name as archives have it: `./a/b`, `a/b` and `/a/b` are the same.
    pub(crate) fn parse(name: &[u8]) -> Result<Self, LayerError> {
        let shown = || shown(name);
        let refuse = |problem| LayerError::Entry {
            entry: shown(),
            problem,
        };
        let text = std::str::from_utf8(name).map_err(|_| refuse("has a name that is not UTF-8"))?;
        if text.len() > MAX_PATH_BYTES {
            return Err(refuse("has a name that is too long"));
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    return Err(LayerError::Escapes {
                        entry: shown(),
                        problem: "its name has `..`",
                    });
                }
                _ if part.contains('\0') => return Err(refuse("has a zero byte in its name")),
                _ if part.len() > MAX_NAME_BYTES => {
                    return Err(refuse("has a name that is too long"));
                }
                _ => parts.push(part.to_owned()),
            }
        }
        if parts.len() > MAX_DEPTH {
            return Err(refuse("lies too deep"));
        }
        Ok(Self(parts))
    }

    /// Whether it is the root itself.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn components(&self) -> &[String] {
        &self.0
    }

    /// The directory that it lies in, and its name in there. Nothing for the root.
    pub(crate) fn split(&self) -> Option<(Self, &str)> {
        let (name, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), name))
    }

    pub(crate) fn join(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.to_owned());
        Self(parts)
    }

    fn relative(&self) -> PathBuf {
        if self.is_root() {
            PathBuf::from(".")
        } else {
            self.0.iter().collect()
        }
    }
}

impl std::fmt::Display for EntryPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(self.0.join("/").as_bytes()))
    }
}

/// An entry's name for a message.
pub(crate) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}

/// A tree that is being put together.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    root: OwnedFd,
    left: Limits,
    limits: Limits,
    links: DirectoryLinks,
}

impl Tree {
    /// Uses the directory `path`, which must be the builder's own and empty.
    ///
    /// # Errors
    /// [`LayerError::Disk`].
    pub fn new(path: &Path, limits: Limits, links: DirectoryLinks) -> Result<Self, LayerError> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty())
            .map_err(|error| LayerError::disk("open", path)(error.into()))?;
        Ok(Self {
            path: path.to_owned(),
            root,
            left: limits,
            limits,
            links,
        })
    }

    /// Where the files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn directory(&mut self, at: &EntryPath, mode: u32) -> Result<(), LayerError> {
        let Some((parent, name)) = at.split() else {
            return Ok(());
        };
        let parent = self.parent(&parent, at)?;
        self.count(0)?;
        match self.kind(&parent, name, at)? {
            Some(FileType::Directory) => {}
            Some(FileType::Symlink)
                if self.links == DirectoryLinks::Follow && self.open(at).is_ok() =>
            {
                return Ok(());
            }
            Some(_) => {
                self.discard(&parent, name, at)?;
                mkdirat(&parent, name, Mode::RWXU).map_err(|error| self.disk("make", at, error))?;
            }
            None => {
                mkdirat(&parent, name, Mode::RWXU).map_err(|error| self.disk("make", at, error))?;
            }
        }
        let made = openat(
            &parent,
            name,
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| self.disk("open", at, error))?;
        fchmod(&made, kept_mode(mode) | Mode::RWXU)
            .map_err(|error| self.disk("set the mode of", at, error))
    }

    pub(crate) fn file(
        &mut self,
        at: &EntryPath,
        mode: u32,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), LayerError> {
        self.count(size)?;
        let (parent, name) = self.free_place(at)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let made = openat(
            &parent,
            name,
            flags | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )
        .map_err(|error| self.disk("make", at, error))?;
        let mut made = File::from(made);
        let copied =
            io::copy(&mut content.take(size), &mut made).map_err(|source| LayerError::Archive {
                what: format!("entry `{at}`"),
                source,
            })?;
        if copied != size {
            return Err(LayerError::Entry {
                entry: at.to_string(),
                problem: "ends before its size says so",
            });
        }
        fchmod(&made, kept_mode(mode) | Mode::RUSR)
            .map_err(|error| self.disk("set the mode of", at, error))
    }

    pub(crate) fn symlink(&mut self, at: &EntryPath, target: &[u8]) -> Result<(), LayerError> {
        self.count(0)?;
        let target = link_target(at, target)?;
        let (parent, name) = self.free_place(at)?;
        symlinkat(target, &parent, name).map_err(|error| self.disk("make", at, error))
    }

    pub(crate) fn hard_link(&mut self, at: &EntryPath, to: &EntryPath) -> Result<(), LayerError> {
        self.count(0)?;
        let nowhere = || LayerError::Entry {
            entry: at.to_string(),
            problem: "is a hard link to what is not a file of the layer",
        };
        let (to_parent, to_name) = to.split().ok_or_else(nowhere)?;
        let to_parent = self.open(&to_parent).map_err(|_| nowhere())?;
        match self.kind(&to_parent, to_name, to)? {
            Some(FileType::RegularFile | FileType::Symlink) => {}
            _ => return Err(nowhere()),
        }
        if at == to {
            return Ok(());
        }
        let (parent, name) = self.free_place(at)?;
        // Making place may have removed the target itself, under another name of its directory.
        linkat(&to_parent, to_name, &parent, name, AtFlags::empty()).map_err(|error| match error {
            Errno::NOENT => nowhere(),
            _ => self.disk("make", at, error),
        })
    }

    /// Removes what is at a path, if anything is.
    pub(crate) fn remove(&mut self, at: &EntryPath) -> Result<(), LayerError> {
        let Some((parent, name)) = at.split() else {
            return Ok(());
        };
        let Ok(parent) = self.open(&parent) else {
            return Ok(());
        };
        if self.kind(&parent, name, at)?.is_none() {
            return Ok(());
        }
        self.discard(&parent, name, at)
    }

    /// Removes everything that is in a directory, if it is there.
    pub(crate) fn empty(&mut self, at: &EntryPath) -> Result<(), LayerError> {
        let Ok(directory) = self.open(at) else {
            return Ok(());
        };
        let path = through(&directory);
        let entries = fs::read_dir(&path).map_err(LayerError::disk("read", &path))?;
        for entry in entries {
            let entry = entry.map_err(LayerError::disk("read", &path))?;
            if let Some(name) = entry.file_name().to_str() {
                self.discard(&directory, name, at)?;
            }
        }
        Ok(())
    }

    /// Whether anything is at a path; a link that leads nowhere is something.
    pub(crate) fn has(&self, at: &EntryPath) -> bool {
        let Some((parent, name)) = at.split() else {
            return true;
        };
        self.open(&parent)
            .is_ok_and(|parent| statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    fn count(&mut self, bytes: u64) -> Result<(), LayerError> {
        let larger = |what: &str, max| LayerError::TooLarge {
            what: what.to_owned(),
            max,
        };
        self.left.bytes = (self.left.bytes.checked_sub(bytes))
            .ok_or_else(|| larger("the content in bytes", self.limits.bytes))?;
        self.left.entries = (self.left.entries.checked_sub(1))
            .ok_or_else(|| larger("the number of entries", self.limits.entries))?;
        Ok(())
    }

    /// The directory of an entry and its name there, with nothing at that name.
    fn free_place<'a>(&self, at: &'a EntryPath) -> Result<(OwnedFd, &'a str), LayerError> {
        let Some((parent, name)) = at.split() else {
            return Err(LayerError::Entry {
                entry: ".".to_owned(),
                problem: "is the root, which is a directory",
            });
        };
        let parent = self.parent(&parent, at)?;
        if self.kind(&parent, name, at)?.is_some() {
            self.discard(&parent, name, at)?;
        }
        Ok((parent, name))
    }

    fn kind(
        &self,
        parent: &OwnedFd,
        name: &str,
        at: &EntryPath,
    ) -> Result<Option<FileType>, LayerError> {
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.disk("look at", at, error)),
        }
    }

    fn discard(&self, parent: &OwnedFd, name: &str, at: &EntryPath) -> Result<(), LayerError> {
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => fs::remove_dir_all(through(parent).join(name))
                .map_err(LayerError::disk("remove", &self.path.join(at.relative()))),
            Err(error) => Err(self.disk("remove", at, error)),
        }
    }

    /// Opens a directory of the tree; links on the way are resolved as if the tree were the root.
    fn open(&self, at: &EntryPath) -> Result<OwnedFd, Errno> {
        openat2(
            &self.root,
            at.relative(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Opens the directory of an entry, making it and those above it where they are missing.
    fn parent(&self, parent: &EntryPath, of: &EntryPath) -> Result<OwnedFd, LayerError> {
        let nowhere = || LayerError::Entry {
            entry: of.to_string(),
            problem: "lies in what is not a directory",
        };
        match self.open(parent) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(nowhere()),
            Err(error) => return Err(self.disk("open", parent, error)),
        }
        let (above, name) = parent.split().ok_or_else(nowhere)?;
        let above = self.parent(&above, of)?;
        match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            // A link that leads nowhere.
            Err(Errno::EXIST) => return Err(nowhere()),
            Err(error) => return Err(self.disk("make", parent, error)),
        }
        self.open(parent).map_err(|_| nowhere())
    }

    fn disk(&self, action: &'static str, at: &EntryPath, error: Errno) -> LayerError {
        LayerError::disk(action, &self.path.join(at.relative()))(error.into())
    }
}

/// The path of an open directory, for calls that take paths only.
fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

const fn kept_mode(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & MODE_BITS)
}

/// Where a link leads. Absolute ones begin at the layer's root, which is what they mean in a room;
/// none may climb above it.
fn link_target<'a>(at: &EntryPath, target: &'a [u8]) -> Result<&'a str, LayerError> {
    let refuse = |problem| LayerError::Entry {
        entry: at.to_string(),
        problem,
    };
    let text =
        std::str::from_utf8(target).map_err(|_| refuse("is a link to a name that is not UTF-8"))?;
    if text.is_empty() || text.contains('\0') || text.len() > MAX_PATH_BYTES {
        return Err(refuse("is a link to no possible name"));
    }
    let mut depth = if text.starts_with('/') {
        0
    } else {
        at.components().len().saturating_sub(1)
    };
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                depth = depth.checked_sub(1).ok_or_else(|| LayerError::Escapes {
                    entry: at.to_string(),
                    problem: "it is a link that climbs above the root",
                })?;
            }
            _ => depth += 1,
        }
    }
    Ok(text)
}
