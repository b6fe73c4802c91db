//! Small files that processes change: replaced durably, the old content or the new, never a torn one; and by one process at a time.

use std::{fs, io, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use rustix::fs::{FlockOperation, flock};

/// Waits for the lock at `path`, a file of mode 0600 that is made if it is not there. It is held as long as what is returned.
///
/// # Errors
/// What the system says.
pub fn lock(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Replaces `path` by `bytes`: written beside it, synced, renamed, directory synced.
///
/// # Errors
/// What the system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::other("path has no parent directory"))?;
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::other("path has no file name"))?
        .to_owned();
    name.push(".new");
    let beside = dir.join(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&beside, path)) {
        // what did not fit must not take the room that is left
        drop(fs::remove_file(&beside));
        return Err(error);
    }
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::replace;

    #[test]
    fn what_could_not_be_put_in_place_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, b"a file over a folder").is_err());
        assert!(!directory.path().join("taken.new").exists());
        let file = directory.path().join("file");
        replace(&file, b"one").unwrap();
        replace(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
