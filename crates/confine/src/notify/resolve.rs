//! Where a path leads as the calling process sees it: links followed, `/proc/self` taken for the
//! caller's. For the record and for answers that are stricter than the kernel's; the kernel's own
//! rules judge the real object.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

/// `MAXSYMLINKS`.
const MAX_LINKS: usize = 40;
/// Components of one walk, those of links included; a path of 4096 bytes has no more than half.
const MAX_STEPS: usize = 4096;

/// Whether a call acts on what a final symbolic link says, or on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalLink {
    /// On what it says.
    Followed,
    /// On the link itself.
    Kept,
}

/// What the walk asks of the file system.
pub(crate) trait Links {
    /// What the link at `path` says, `None` when it is no link.
    fn read(&self, path: &Path) -> Option<PathBuf>;
    /// What the caller's own `/proc/self/<name>` says.
    fn own(&self, name: &Path) -> Option<PathBuf>;
    /// Whether `/proc/<name>` is the caller itself.
    fn is_caller(&self, name: &OsStr) -> bool;
    /// Whether it is known at once that no link is on the way of `path`, which has no `..`; `last` says
    /// whether a link at its end counts.
    fn none_on(&self, path: &Path, last: FinalLink) -> bool;
}

/// The links that the process `pid` sees.
pub(crate) struct OfProcess(pub(crate) i32);

impl Links for OfProcess {
    fn read(&self, path: &Path) -> Option<PathBuf> {
        std::fs::read_link(path).ok()
    }

    fn own(&self, name: &Path) -> Option<PathBuf> {
        std::fs::read_link(Path::new(&format!("/proc/{}", self.0)).join(name)).ok()
    }

    fn is_caller(&self, name: &OsStr) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0));
        let Ok(status) = status else { return false };
        // One number for each pid namespace, the innermost last.
        ["NStgid:", "NSpid:"].iter().any(|field| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(field))
                .and_then(|numbers| numbers.split_whitespace().last())
                .is_some_and(|number| name == number)
        })
    }

    /// One question instead of one for each name: most calls open files of tool chains, deep below the
    /// root. Behind a name that is not there (`ENOENT`), or is no directory, are no links either.
    fn none_on(&self, path: &Path, last: FinalLink) -> bool {
        let flags = match last {
            FinalLink::Followed => OFlags::PATH | OFlags::CLOEXEC,
            FinalLink::Kept => OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        };
        let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        matches!(opened, Ok(_) | Err(Errno::NOENT | Errno::NOTDIR))
    }
}

/// Walks `path`, which is absolute. What cannot be followed stays as it is written.
pub(crate) fn resolve(path: &Path, last: FinalLink, links: &impl Links) -> PathBuf {
    let ahead = names(path);
    let as_written: PathBuf = [OsString::from("/")].iter().chain(&ahead).collect();
    // What lies in `/proc` depends on who asks.
    let plain = !as_written.starts_with("/proc") && !ahead.iter().any(|name| name == "..");
    if plain && links.none_on(&as_written, last) {
        return as_written;
    }
    let mut walk = Walk {
        at: PathBuf::from("/"),
        ahead,
        links: 0,
    };
    for _ in 0..MAX_STEPS {
        let Some(name) = walk.ahead.pop_front() else {
            return walk.at;
        };
        if let Some(end) = walk.step(&name, last, links) {
            return end;
        }
    }
    walk.rest()
}

struct Walk {
    at: PathBuf,
    ahead: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    fn step(&mut self, name: &OsStr, last: FinalLink, links: &impl Links) -> Option<PathBuf> {
        if name == ".." {
            self.at.pop();
            return None;
        }
        let kept = self.ahead.is_empty() && last == FinalLink::Kept;
        let inside = self.at.strip_prefix("/proc").map(Path::to_path_buf);
        let says = match inside {
            Ok(inside) if inside.as_os_str().is_empty() => {
                let own = name == "self" || name == "thread-self" || links.is_caller(name);
                self.at.push(if own { OsStr::new("self") } else { name });
                return None;
            }
            Ok(inside) if inside == Path::new("self/task") => {
                // A thread's files are its process's.
                self.at.pop();
                return None;
            }
            Ok(inside) => inside
                .strip_prefix("self")
                .ok()
                .and_then(|below| links.own(&below.join(name))),
            Err(_) => links.read(&self.at.join(name)),
        };
        match says {
            Some(says) if !kept => self.follow(name, &says),
            _ => {
                self.at.push(name);
                None
            }
        }
    }

    fn follow(&mut self, name: &OsStr, says: &Path) -> Option<PathBuf> {
        self.links += 1;
        if self.links > MAX_LINKS {
            self.at.push(name);
            return Some(std::mem::take(self).rest());
        }
        let magic = self.at.starts_with("/proc");
        if magic && (!says.is_absolute() || says.to_string_lossy().ends_with(" (deleted)")) {
            // A pipe, a socket, a memory file, or a file without a name.
            self.at.push(name);
            return Some(std::mem::take(self).rest());
        }
        if says.is_absolute() {
            self.at = PathBuf::from("/");
        }
        for name in names(says).into_iter().rev() {
            self.ahead.push_front(name);
        }
        None
    }

    fn rest(self) -> PathBuf {
        let mut path = self.at;
        path.extend(self.ahead);
        path
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            at: PathBuf::from("/"),
            ahead: VecDeque::new(),
            links: 0,
        }
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
