//! A disk that ends at a chosen operation, as a crash would: that one is half done, none after it is done. The machine
//! lives on, so that nothing has to be synced.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use proofroom_ledger::{AppendFile, DiskStorage, Storage};

#[derive(Clone, Debug)]
pub(super) struct CrashAt {
    operation: u64,
    done: Arc<AtomicU64>,
}

impl CrashAt {
    pub(super) fn new(operation: u64) -> Self {
        Self {
            operation,
            done: Arc::default(),
        }
    }

    /// A disk that never ends, and is quick because it syncs nothing.
    pub(super) fn never() -> Self {
        Self::new(u64::MAX)
    }

    /// Whether it came to the crash.
    pub(super) fn crashed(&self) -> bool {
        self.done.load(Ordering::SeqCst) > self.operation
    }

    fn check(&self) -> io::Result<()> {
        if self.done.fetch_add(1, Ordering::SeqCst) >= self.operation {
            Err(io::Error::other("crashed"))
        } else {
            Ok(())
        }
    }
}

struct File(Box<dyn AppendFile>, CrashAt);

impl AppendFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.1.check() {
            self.0.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.check()
    }
}

impl Storage for CrashAt {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        DiskStorage.create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.check()?;
        let file = DiskStorage.create(path)?;
        Ok(Box::new(File(file, self.clone())))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        DiskStorage.read(path, limit)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        DiskStorage.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        DiskStorage.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        DiskStorage.remove(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        DiskStorage.remove_directory(path)
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        self.check()
    }
}
