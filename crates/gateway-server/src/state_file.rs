//! Files that commands change and the server reads: one command at a time changes one, and the server sees by its
//! metadata that it did.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use proofroom_gateway::config::FileStamp;
use proofroom_ledger::files;

/// What tells one content of the file at `path` from another; nothing where there is none.
pub(crate) fn stamp(path: &Path) -> Option<FileStamp> {
    fs::metadata(path).ok().as_ref().map(FileStamp::of)
}

/// Why the lock of a file cannot be taken.
#[derive(Debug)]
pub(crate) struct NotLocked {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Waits until no other command changes the file at `path`, and keeps others from it.
pub(crate) fn lock(path: &Path) -> Result<fs::File, NotLocked> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    files::lock(&path).map_err(|source| NotLocked { path, source })
}
