//! Where keys come from: a file or an environment variable that the configuration names. Never a
//! request, never the configuration itself.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use proofroom_canonical::Sensitive;

/// The most bytes that a key's file may have: a service account's has some 2,400.
pub const MAX_KEY_BYTES: u64 = 16 * 1024;

/// Reads the keys that an upstreams file names.
pub trait SecretSource: Send + Sync {
    /// The text of the file at `path`, which has at most [`MAX_KEY_BYTES`].
    ///
    /// # Errors
    /// Whatever the system says.
    fn file(&self, path: &Path) -> io::Result<Sensitive<String>>;

    /// What tells the file at `path` from itself after a change, without reading it.
    ///
    /// # Errors
    /// Whatever the system says.
    fn stamp(&self, path: &Path) -> io::Result<FileStamp>;

    /// The environment variable `name`, if it is set and UTF-8.
    fn variable(&self, name: &str) -> Option<Sensitive<String>>;
}

/// Device, inode, size, and the times of the last change of content and of metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp([i128; 5]);

impl FileStamp {
    /// The stamp of a file that is none of the system's, by the number of times that it was written.
    #[must_use]
    pub const fn numbered(written: u64) -> Self {
        Self([written as i128, 0, 0, 0, 0])
    }

    /// The stamp of a file with these metadata.
    #[must_use]
    pub fn of(found: &fs::Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self([
            found.dev().into(),
            found.ino().into(),
            found.size().into(),
            nanos(found.mtime(), found.mtime_nsec()),
            nanos(found.ctime(), found.ctime_nsec()),
        ])
    }
}

/// The files and the environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSecrets;

impl SecretSource for SystemSecrets {
    fn file(&self, path: &Path) -> io::Result<Sensitive<String>> {
        let most = MAX_KEY_BYTES.saturating_add(1);
        let mut text = String::with_capacity(usize::try_from(most).unwrap_or(0));
        let read = File::open(path)?.take(most).read_to_string(&mut text);
        let text = Sensitive::new(text);
        if read? as u64 > MAX_KEY_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    }

    fn stamp(&self, path: &Path) -> io::Result<FileStamp> {
        let found = fs::metadata(path)?;
        // reading a pipe would wait for its writer
        if !found.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(FileStamp::of(&found))
    }

    fn variable(&self, name: &str) -> Option<Sensitive<String>> {
        std::env::var(name).ok().map(Sensitive::new)
    }
}
