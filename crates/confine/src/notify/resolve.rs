//! Where a path leads as the calling process sees it: links followed, `/proc/self` taken for the
//! caller's. For the record and for answers that are stricter than the kernel's; the kernel's own
//! rules judge the real object.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    iter,
    os::unix::ffi::OsStringExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2, readlink},
    io::Errno,
};

use super::ways::Mounts;

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

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A link that says this.
    Link(PathBuf),
    /// Nothing, or what is no link.
    NoLink,
    /// It could not be asked for.
    Unknown,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) to: PathBuf,
    pub(crate) stays: Stays,
}

/// Whether a path leads to the same place for as long as the room lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// Every name on the way is in a directory that nobody can change.
    Always,
    /// Some may be changed, or could not be asked for.
    Perhaps,
}

/// What the walk asks of the file system.
pub(crate) trait Links {
    /// What is at `path`.
    fn read(&self, path: &Path) -> Found;
    /// What the caller's own `/proc/self/<name>` says.
    fn own(&self, name: &Path) -> Option<PathBuf>;
    /// Whether `/proc/<name>` is the caller itself.
    fn is_caller(&self, name: &OsStr) -> bool;
    /// Whether it is known at once that no link is on the way of `path`, which has no `..`; `last` says
    /// whether a link at its end counts.
    fn none_on(&self, path: &Path, last: FinalLink) -> bool;
    /// Whether it is known at once that `path`, in which `..` may be, is a directory and its way without links.
    fn is_plain_directory(&self, path: &Path) -> bool;
    /// Whether nobody can change what is at `path`, which has no `..` and no link before its last name.
    fn is_fixed(&self, path: &Path) -> bool;
}

/// The links that the process `pid` sees.
pub(crate) struct OfProcess<'a> {
    pub(crate) pid: i32,
    pub(crate) mounts: &'a Mounts,
}

impl Links for OfProcess<'_> {
    fn read(&self, path: &Path) -> Found {
        match readlink(path, Vec::new()) {
            Ok(says) => Found::Link(OsString::from_vec(says.into_bytes()).into()),
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Found::NoLink,
            Err(_) => Found::Unknown,
        }
    }

    fn own(&self, name: &Path) -> Option<PathBuf> {
        std::fs::read_link(Path::new(&format!("/proc/{}", self.pid)).join(name)).ok()
    }

    fn is_caller(&self, name: &OsStr) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
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

    fn is_plain_directory(&self, path: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).is_ok()
    }

    fn is_fixed(&self, path: &Path) -> bool {
        self.mounts.fix(path)
    }
}

/// Walks `path`, which is absolute. What cannot be followed stays as it is written.
pub(crate) fn resolve(path: &Path, last: FinalLink, links: &impl Links) -> Way {
    let ahead = names(path);
    if let Some(to) = without_links(&ahead, last, links) {
        let stays = stays(&ahead, links);
        return Way { to, stays };
    }
    let mut walk = Walk {
        at: PathBuf::from("/"),
        ahead,
        links: 0,
        stays: Stays::Always,
    };
    for _ in 0..MAX_STEPS {
        let Some(name) = walk.ahead.pop_front() else {
            break;
        };
        if let Some(to) = walk.step(&name, last, links) {
            let stays = walk.stays;
            return Way { to, stays };
        }
    }
    let stays = walk.stays;
    let to = walk.rest();
    Way { to, stays }
}

/// Where names lead on whose way no link is, if that can be told at once: it is what they say. What is
/// behind the last `..` may be missing; what is before it must be there, because behind a missing name the
/// kernel looks at no other, and those may be links.
fn without_links(
    ahead: &VecDeque<OsString>,
    last: FinalLink,
    links: &impl Links,
) -> Option<PathBuf> {
    let root = PathBuf::from("/");
    let climbs = ahead.iter().rposition(|name| name == "..");
    let head = climbs.map_or(0, |at| at + 1);
    let written: PathBuf = iter::once(root.as_os_str())
        .chain(ahead.iter().take(head).map(OsString::as_os_str))
        .collect();
    let to = ahead.iter().fold(root, |mut at, name| {
        advance(&mut at, name);
        at
    });
    // What lies in `/proc` depends on who asks.
    let of_nobody = !written.starts_with("/proc") && !to.starts_with("/proc");
    let plain =
        of_nobody && (head == 0 || links.is_plain_directory(&written)) && links.none_on(&to, last);
    plain.then_some(to)
}

/// Whether all places are fixed that names lead through, when none is a link.
fn stays(ahead: &VecDeque<OsString>, links: &impl Links) -> Stays {
    let mut at = PathBuf::from("/");
    for name in ahead {
        advance(&mut at, name);
        if !links.is_fixed(&at) {
            return Stays::Perhaps;
        }
    }
    Stays::Always
}

fn advance(at: &mut PathBuf, name: &OsStr) {
    if name == ".." {
        at.pop();
    } else {
        at.push(name);
    }
}

struct Walk {
    at: PathBuf,
    ahead: VecDeque<OsString>,
    links: usize,
    stays: Stays,
}

impl Walk {
    fn step(&mut self, name: &OsStr, last: FinalLink, links: &impl Links) -> Option<PathBuf> {
        if name == ".." {
            self.at.pop();
            return None;
        }
        if self.stays == Stays::Always && !links.is_fixed(&self.at.join(name)) {
            self.stays = Stays::Perhaps;
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
            Err(_) => match links.read(&self.at.join(name)) {
                Found::Link(says) => Some(says),
                Found::NoLink => None,
                Found::Unknown => {
                    self.stays = Stays::Perhaps;
                    None
                }
            },
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
            stays: Stays::Perhaps,
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
