//! How far the disk is behind what was written.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A disk that has had a line for longer than this and not kept it lags.
pub(super) const LAG: Duration = Duration::from_millis(10);

/// Makes a file's data durable.
pub(crate) type SyncData = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// The disk, and since when it has had what it has not kept yet.
pub(super) struct Disk {
    sync: SyncData,
    /// Whether it ever failed. The kernel tells of a lost write once, to whoever asks first, and then no more.
    failed: Mutex<bool>,
    waiting: Mutex<VecDeque<Instant>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    pub(super) fn new(sync: SyncData) -> Self {
        Self {
            sync,
            failed: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// Makes a file's data durable. Fails for ever once it failed.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(io::Error::other("the disk lost what was written before"));
        }
        let done = (self.sync)(file);
        *failed = done.is_err();
        done
    }

    /// A group is about to be written.
    pub(super) fn begin(&self, since: Instant) {
        self.waiting().push_back(since);
    }

    /// The oldest groups are durable.
    pub(super) fn end(&self, groups: usize) {
        let mut waiting = self.waiting();
        let groups = groups.min(waiting.len());
        waiting.drain(..groups);
    }

    /// Whether something has waited for longer than [`LAG`].
    pub(super) fn lags(&self) -> bool {
        let waiting = self.waiting();
        waiting.front().is_some_and(|since| since.elapsed() > LAG)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
