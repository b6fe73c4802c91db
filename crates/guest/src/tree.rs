//! The workspace's files, opened beneath one directory descriptor (openat2 with `RESOLVE_BENEATH`,
//! no magic links, no symbolic links at all), so that no check and its use can be set apart. A kernel
//! error is a denial or a failure, never a second way to the file.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use proofroom_authz::WorkspacePath;
use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, fstat, mkdirat,
        openat, openat2, renameat, unlinkat,
    },
    io::Errno,
};

/// The largest file that a tool reads or changes.
pub const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Whose the files are that tools make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The agent's user and group.
    Agent(u32),
    /// Whoever runs the supervisor: outside of rooms, in tests.
    Itself,
}

/// The workspace.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    owner: Owner,
}

/// Why a file operation did not happen.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// It leads out of the workspace, or over a symbolic link.
    #[error("`{0}` leads out of the workspace or over a symbolic link: name the file itself")]
    Outside(String),
    /// It does not exist.
    #[error("`{0}` does not exist")]
    NotFound(String),
    /// It is a directory, a device, a pipe, or something else than asked for.
    #[error("`{0}` is not a {1}")]
    Kind(String, &'static str),
    /// It is larger than tools take.
    #[error("`{0}` is larger than 8 MiB")]
    TooLarge(String),
    /// The kernel refused.
    #[error("`{0}` cannot be used: {1}")]
    Kernel(String, Errno),
}

impl TreeError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Outside(_) => "outside-workspace",
            Self::NotFound(_) => "not-found",
            Self::Kind(..) => "wrong-kind",
            Self::TooLarge(_) => "too-large",
            Self::Kernel(..) => "kernel-refused",
        }
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// `file`, `directory`, `link` or `other`.
    pub kind: &'static str,
    /// Size in bytes, of files.
    pub bytes: u64,
}

/// Where git keeps what is its own.
const GIT_DIRECTORY: &str = ".git";

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS);

impl Tree {
    /// The workspace at `root`. The directory is fixed here, once.
    ///
    /// # Errors
    /// [`TreeError::Kernel`].
    pub fn open(root: &Path, owner: Owner) -> Result<Self, TreeError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let root = openat(rustix::fs::CWD, root, flags, Mode::empty())
            .map_err(|errno| TreeError::Kernel(root.display().to_string(), errno))?;
        Ok(Self { root, owner })
    }

    /// The bytes of a regular file.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn read(&self, path: &WorkspacePath) -> Result<Vec<u8>, TreeError> {
        let name = path.as_str();
        let fd = self.at(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = fstat(&fd).map_err(|errno| TreeError::Kernel(name.to_owned(), errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(TreeError::Kind(name.to_owned(), "regular file"));
        }
        let mut bytes = Vec::new();
        File::from(fd)
            .take(MAX_FILE_BYTES.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| kernel(name, &error))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
            return Err(TreeError::TooLarge(name.to_owned()));
        }
        Ok(bytes)
    }

    /// Puts `bytes` in place of the file, or makes it with the directories above it. The new content
    /// is there whole or not at all; a link of that name is replaced, never followed.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn write(&self, path: &WorkspacePath, bytes: &[u8]) -> Result<(), TreeError> {
        let name = path.as_str();
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
            return Err(TreeError::TooLarge(name.to_owned()));
        }
        let (parent, last) = match name.rsplit_once('/') {
            Some((parent, last)) => (self.directories(parent)?, last),
            None if path.is_root() => {
                return Err(TreeError::Kind(name.to_owned(), "regular file"));
            }
            None => (self.at(".", OFlags::DIRECTORY)?, name),
        };
        let mode = self.mode_of(path)?;
        let refuse = |errno| TreeError::Kernel(name.to_owned(), errno);
        let temporary = temporary_name().map_err(refuse)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&parent, &temporary, flags, Mode::from_raw_mode(0o600)).map_err(refuse)?;
        let mut file = File::from(fd);
        let placed = file
            .write_all(bytes)
            .map_err(|error| kernel(name, &error))
            .and_then(|()| self.give(&file, mode).map_err(refuse))
            .and_then(|()| renameat(&parent, &temporary, &parent, last).map_err(refuse));
        if placed.is_err() {
            // The write failed already; a left-over temporary file is the lesser trouble.
            unlinkat(&parent, &temporary, AtFlags::empty()).unwrap_or(());
        }
        placed
    }

    /// Entries of a directory, sorted by name, at most `max`.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn list(&self, path: &str, max: usize) -> Result<Vec<Entry>, TreeError> {
        let refuse = |errno| TreeError::Kernel(path.to_owned(), errno);
        let directory = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory).map_err(refuse)? {
            let entry = entry.map_err(refuse)?;
            let raw = entry.file_name();
            if raw == c"." || raw == c".." {
                continue;
            }
            if entries.len() >= max {
                break;
            }
            let Ok(stat) = rustix::fs::statat(&directory, raw, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let (kind, bytes) = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => ("file", u64::try_from(stat.st_size).unwrap_or(0)),
                FileType::Directory => ("directory", 0),
                FileType::Symlink => ("link", 0),
                _ => ("other", 0),
            };
            entries.push(Entry {
                name: raw.to_string_lossy().into_owned(),
                kind,
                bytes,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The paths of everything but git's own directory, sorted: files, links, and directories with
    /// nothing in them. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// [`TreeError::Kernel`].
    pub fn leaves(&self) -> Result<Vec<String>, TreeError> {
        let mut leaves = Vec::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(path) = waiting.pop() {
            let refuse = |errno| TreeError::Kernel(path.display().to_string(), errno);
            let mut below = self.below(&path).map_err(refuse)?;
            below.retain(|(name, _)| name != Path::new(GIT_DIRECTORY));
            if below.is_empty() {
                below.push((path, FileType::Unknown));
            }
            for (name, kind) in below {
                match kind {
                    FileType::Directory => waiting.push(name),
                    _ => leaves.push(name.to_string_lossy().into_owned()),
                }
            }
        }
        leaves.sort_unstable();
        Ok(leaves)
    }

    /// What a directory has, by paths from the root.
    fn below(&self, path: &Path) -> Result<Vec<(PathBuf, FileType)>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let here = Path::new(".").join(path);
        let directory = openat2(&self.root, here, flags, Mode::empty(), BENEATH)?;
        let mut below = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let raw = entry.file_name();
            if raw != c"." && raw != c".." {
                let stat = rustix::fs::statat(&directory, raw, AtFlags::SYMLINK_NOFOLLOW)?;
                let name = OsStr::from_bytes(raw.to_bytes());
                below.push((path.join(name), FileType::from_raw_mode(stat.st_mode)));
            }
        }
        Ok(below)
    }

    fn at(&self, name: &str, flags: OFlags) -> Result<OwnedFd, TreeError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(&self.root, name, flags, Mode::empty(), BENEATH).map_err(|errno| match errno {
            Errno::LOOP | Errno::XDEV | Errno::AGAIN => TreeError::Outside(name.to_owned()),
            Errno::NOENT => TreeError::NotFound(name.to_owned()),
            // the kernel says this of a link too, when a directory was asked for
            Errno::NOTDIR if self.is_link(name) => TreeError::Outside(name.to_owned()),
            Errno::NOTDIR => TreeError::Kind(name.to_owned(), "directory"),
            errno => TreeError::Kernel(name.to_owned(), errno),
        })
    }

    fn is_link(&self, name: &str) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(&self.root, name, flags, Mode::empty(), BENEATH)
            .and_then(fstat)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    /// Opens a directory, making what is missing, one name at a time from the descriptor above.
    fn directories(&self, path: &str) -> Result<OwnedFd, TreeError> {
        let mut at = self.at(".", OFlags::DIRECTORY)?;
        for name in path.split('/') {
            let refuse = |errno| match errno {
                Errno::LOOP | Errno::NOTDIR | Errno::XDEV => TreeError::Outside(path.to_owned()),
                errno => TreeError::Kernel(path.to_owned(), errno),
            };
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match openat2(&at, name, flags, Mode::empty(), BENEATH) {
                Err(Errno::NOENT) => {
                    match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(refuse(errno)),
                    }
                    let made = openat2(&at, name, flags, Mode::empty(), BENEATH).map_err(refuse)?;
                    self.own(&made).map_err(refuse)?;
                    made
                }
                opened => opened.map_err(refuse)?,
            };
            at = opened;
        }
        Ok(at)
    }

    fn mode_of(&self, path: &WorkspacePath) -> Result<Mode, TreeError> {
        match self.at(path.as_str(), OFlags::PATH) {
            Ok(fd) => {
                let stat =
                    fstat(&fd).map_err(|errno| TreeError::Kernel(path.to_string(), errno))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    // Permission bits alone: nothing set-user-id survives.
                    FileType::RegularFile => Ok(Mode::from_raw_mode(stat.st_mode & 0o777)),
                    FileType::Symlink => Err(TreeError::Outside(path.to_string())),
                    _ => Err(TreeError::Kind(path.to_string(), "regular file")),
                }
            }
            Err(TreeError::NotFound(_)) => Ok(Mode::from_raw_mode(0o644)),
            Err(error) => Err(error),
        }
    }

    fn give(&self, file: &File, mode: Mode) -> Result<(), Errno> {
        self.own(file)?;
        fchmod(file, mode)
    }

    fn own(&self, fd: impl std::os::fd::AsFd) -> Result<(), Errno> {
        match self.owner {
            Owner::Itself => Ok(()),
            Owner::Agent(id) => fchown(fd, Some(Uid::from_raw(id)), Some(Gid::from_raw(id))),
        }
    }
}

fn kernel(name: &str, error: &std::io::Error) -> TreeError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    TreeError::Kernel(name.to_owned(), errno)
}

fn temporary_name() -> Result<String, Errno> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Errno::IO)?;
    Ok(format!(".proofroom-{:032x}", u128::from_le_bytes(random)))
}

#[cfg(test)]
mod tests;
