//! A storage that fails where it is told to, counting every operation that writes.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::{AppendFile, DiskStorage, Storage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Operation number n fails half done, and so does everything after it.
    CrashAt(u64),
    /// The disk is full after n bytes.
    FullAfter(u64),
    /// Sync number n fails; those after it succeed, as they do on a real kernel.
    SyncAt(u64),
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    operations: u64,
    bytes: u64,
    syncs: u64,
    pub(super) failed: bool,
    /// Writes and syncs on a file after one of them failed on it.
    pub(super) retries: u64,
}

#[derive(Clone, Debug)]
pub(super) struct FaultyStorage {
    pub(super) fault: Fault,
    pub(super) counts: Arc<Mutex<Counts>>,
}

struct FaultyFile {
    file: Box<dyn AppendFile>,
    storage: FaultyStorage,
    failed: bool,
}

impl FaultyStorage {
    pub(super) fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            fault,
            counts: Arc::default(),
        })
    }

    /// Counts one operation; says whether it is to fail.
    fn fails(&self) -> bool {
        let mut counts = self.counts.lock().unwrap();
        counts.operations += 1;
        let fails = matches!(self.fault, Fault::CrashAt(n) if counts.operations >= n);
        counts.failed |= fails;
        fails
    }

    fn check(&self) -> io::Result<()> {
        if self.fails() {
            Err(io::Error::other("crashed"))
        } else {
            Ok(())
        }
    }

    fn sync_fails(&self) -> bool {
        let mut counts = self.counts.lock().unwrap();
        counts.syncs += 1;
        let fails = matches!(self.fault, Fault::SyncAt(n) if counts.syncs == n);
        counts.failed |= fails;
        fails
    }

    fn room(&self, wanted: usize) -> usize {
        let Fault::FullAfter(limit) = self.fault else {
            return wanted;
        };
        let mut counts = self.counts.lock().unwrap();
        let room = usize::try_from(limit - counts.bytes).unwrap().min(wanted);
        counts.bytes += u64::try_from(room).unwrap();
        counts.failed |= room < wanted;
        room
    }
}

impl AppendFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.failed {
            self.storage.counts.lock().unwrap().retries += 1;
        }
        let crash = self.storage.fails();
        let room = if crash {
            bytes.len() / 2
        } else {
            self.storage.room(bytes.len())
        };
        self.file.append(&bytes[..room])?;
        if room < bytes.len() {
            self.failed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.failed {
            self.storage.counts.lock().unwrap().retries += 1;
        }
        if self.storage.fails() || self.storage.sync_fails() {
            self.failed = true;
            return Err(io::Error::other("EIO"));
        }
        self.file.sync()
    }
}

impl Storage for FaultyStorage {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        DiskStorage.create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.check()?;
        let file = DiskStorage.create(path)?;
        Ok(Box::new(FaultyFile {
            file,
            storage: self.clone(),
            failed: false,
        }))
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

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        if self.sync_fails() {
            return Err(io::Error::other("EIO"));
        }
        DiskStorage.sync_directory(path)
    }
}
