//! What is remembered of where paths lead. The programs of a tool chain open the same files again and again,
//! most of them in vain; where nobody can change a name on the way, the kernel is asked once.

use std::{
    collections::HashMap,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::resolve::{self, FinalLink, OfProcess, Stays};

/// Bytes of paths that are remembered; when they are full, all are forgotten.
const MAX_BYTES: usize = 4 << 20;
/// What an entry takes besides its paths, about.
const ENTRY_BYTES: usize = 128;

/// Where paths lead that were asked for before. One for all commands of a room; the default remembers nothing.
#[derive(Debug, Default)]
pub struct Ways {
    mounts: Mounts,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// From a path as it was given, followed to its end.
    leads: HashMap<Vec<u8>, PathBuf>,
    bytes: usize,
}

impl Ways {
    /// For the room that this process is in, all of whose mounts are made.
    #[must_use]
    pub fn of_this_room() -> Self {
        // Without the list nothing is remembered, and every path asked for.
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::with(Mounts::parse(&mountinfo))
    }

    pub(crate) fn with(mounts: Mounts) -> Self {
        Self {
            mounts,
            known: Mutex::default(),
        }
    }

    /// Where an absolute path leads as the process `pid` sees it.
    pub(crate) fn lead(&self, path: &Path, last: FinalLink, pid: i32) -> PathBuf {
        let given = path.as_os_str().as_bytes();
        if last == FinalLink::Followed
            && let Some(to) = self.known().leads.get(given)
        {
            return to.clone();
        }
        let mounts = &self.mounts;
        let way = resolve::resolve(path, last, &OfProcess { pid, mounts });
        if last == FinalLink::Followed && way.stays == Stays::Always {
            self.known().remember(given, &way.to);
        }
        way.to
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remember(&mut self, given: &[u8], to: &Path) {
        let takes = given.len() + to.as_os_str().len() + ENTRY_BYTES;
        if self.bytes + takes > MAX_BYTES {
            *self = Self::default();
        }
        if self.leads.insert(given.to_vec(), to.to_owned()).is_none() {
            self.bytes += takes;
        }
    }
}

/// Which places of the mount namespace nobody can change, neither through the room's mounts nor through
/// others.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// Where each begins.
    points: Vec<(PathBuf, Change)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Impossible,
    Possible,
}

impl Mounts {
    /// Takes `/proc/self/mountinfo` apart (proc(5)).
    pub(crate) fn parse(mountinfo: &str) -> Self {
        let points: Option<Vec<_>> = mountinfo.lines().map(point).collect();
        // A line that is not understood may be of a mount that covers any other.
        Self {
            points: points.unwrap_or_default(),
        }
    }

    /// Whether nobody can change what is at `path`, which has neither `..` nor links before its last name.
    /// Counted are all mounts above it: a covered one is among them and makes the answer stricter.
    pub(crate) fn fix(&self, path: &Path) -> bool {
        let mut above = self.points.iter().filter(|(at, _)| path.starts_with(at));
        let fixed = above.all(|(_, change)| *change == Change::Impossible);
        fixed && self.points.iter().any(|(at, _)| at == Path::new("/"))
    }
}

/// Mount point and what is mounted: `36 35 98:0 / /mnt ro,noatime shared:1 - erofs /dev/root ro`.
fn point(line: &str) -> Option<(PathBuf, Change)> {
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let (at, options) = (mount.next()?, mount.next()?);
    let mut system = system.split(' ');
    let (kind, _source, own_options) = (system.next()?, system.next()?, system.next()?);
    // Space, tab, newline and backslash stand as octal digits: such a mount point no path begins with.
    if !at.starts_with('/') || at.contains('\\') {
        return None;
    }
    let fixed = match kind {
        "erofs" | "squashfs" => true,
        // Without an upper directory nothing can be written to it.
        "overlay" => !own_options
            .split(',')
            .any(|option| option.starts_with("upperdir=")),
        // A room's own root has one mount, which is read-only once it is built.
        "tmpfs" => at == "/" && options.split(',').any(|option| option == "ro"),
        _ => false,
    };
    let change = if fixed {
        Change::Impossible
    } else {
        Change::Possible
    };
    Some((at.into(), change))
}

#[cfg(test)]
mod tests;
