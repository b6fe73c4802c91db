//! A directory of the builder's as the content of a layer. Files are copied, so that what is
//! measured is what was copied, whatever happens to the directory meanwhile.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    error::LayerError,
    tree::{EntryPath, Tree},
};

/// Copies what is in `from` into `tree`. Names that lead to one file lead to one file again.
pub(crate) fn copy(from: &Path, tree: &mut Tree) -> Result<(), LayerError> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![(from.to_owned(), EntryPath::parse(b"")?)];
    while let Some((dir, at)) = waiting.pop() {
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(LayerError::disk("read", &dir))? {
            let entry = entry.map_err(LayerError::disk("read", &dir))?;
            names.push(entry.file_name());
        }
        names.sort();
        for name in names {
            let path = dir.join(&name);
            let mut bytes = at.components().join("/").into_bytes();
            bytes.push(b'/');
            bytes.extend(name.as_bytes());
            let at = EntryPath::parse(&bytes)?;
            if entry(&path, &at, tree, &mut seen)? == Kind::Directory {
                waiting.push((path, at));
            }
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Kind {
    Directory,
    Other,
}

fn entry(
    path: &Path,
    at: &EntryPath,
    tree: &mut Tree,
    seen: &mut BTreeMap<(u64, u64), EntryPath>,
) -> Result<Kind, LayerError> {
    let found = fs::symlink_metadata(path).map_err(LayerError::disk("look at", path))?;
    let kind = found.file_type();
    if kind.is_dir() {
        tree.directory(at, found.mode())?;
        return Ok(Kind::Directory);
    }
    if kind.is_symlink() {
        let target: PathBuf = fs::read_link(path).map_err(LayerError::disk("read", path))?;
        tree.symlink(at, target.as_os_str().as_bytes())?;
        return Ok(Kind::Other);
    }
    if kind.is_file() {
        if found.nlink() > 1
            && let Some(first) = seen.get(&(found.dev(), found.ino()))
        {
            tree.hard_link(at, first)?;
            return Ok(Kind::Other);
        }
        let mut file = open(path)?;
        let opened = file.metadata().map_err(LayerError::disk("look at", path))?;
        tree.file(at, opened.mode(), opened.len(), &mut file)?;
        seen.insert((opened.dev(), opened.ino()), at.clone());
        return Ok(Kind::Other);
    }
    Err(LayerError::Special {
        entry: at.to_string(),
        kind: if kind.is_fifo() {
            "a pipe"
        } else if kind.is_socket() {
            "a socket"
        } else {
            "a device"
        },
    })
}

fn open(path: &Path) -> Result<File, LayerError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| LayerError::disk("open", path)(io::Error::from(error)))
}
