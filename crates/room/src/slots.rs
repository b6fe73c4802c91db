//! Pairs of unprivileged host ids, one pair per living room. A pair is locked while its room lives
//! and is used again only after nobody runs under it.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use proofroom_confine::{IdMap, MapWriter, launch};
use rustix::fs::{FlockOperation, flock};

use crate::{RoomError, error::On as _};

/// The first host id of rooms that root starts; above what distributions give to people.
const ROOT_BASE: u32 = 2_000_000;
/// Rooms that root can have at once.
const ROOT_SLOTS: u32 = 4096;
/// Written into a slot's file after its ids were seen to be unused.
const CLEAN: &str = "clean";
/// Written over it, at the same length: file systems make truncating a file and writing it anew
/// durable at once, which takes half a millisecond.
const TAKEN: &str = "taken";

/// A locked pair of host ids.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) ids: IdMap,
    file: File,
    path: PathBuf,
}

impl Slot {
    pub(crate) fn take() -> Result<Self, RoomError> {
        let range = Range::of_this_user()?;
        fs::create_dir_all(&range.directory).on("create", &range.directory)?;
        for number in 0..range.slots {
            let path = range.directory.join(number.to_string());
            let mut file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
                .on("open", &path)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let ids = range.ids(number);
            let mut said = String::new();
            file.read_to_string(&mut said).on("read", &path)?;
            // A host that died may have left a room behind: then look.
            if said != CLEAN
                && launch::process_of(ids)
                    .on("list", Path::new("/proc"))?
                    .is_some()
            {
                continue;
            }
            let mut slot = Self { ids, file, path };
            slot.say(TAKEN)?;
            return Ok(slot);
        }
        Err(RoomError::NoSlot {
            why: format!("{} pairs tried", range.slots),
        })
    }

    /// The slot of these ids, when nobody has it and it was not given back.
    pub(crate) fn reclaim(ids: IdMap) -> Result<Option<Self>, RoomError> {
        let range = Range::of_this_user()?;
        let number = ids.supervisor.wrapping_sub(range.base) / 2;
        if number >= range.slots || range.ids(number) != ids {
            return Ok(None);
        }
        range.abandoned(number)
    }

    /// Gives the pair back after it was seen that nobody runs under it.
    pub(crate) fn give_back(mut self) -> Result<(), RoomError> {
        self.say(CLEAN)
    }

    fn say(&mut self, word: &str) -> Result<(), RoomError> {
        self.file.rewind().on("rewind", &self.path)?;
        self.file.write_all(word.as_bytes()).on("write", &self.path)
    }
}

/// Every slot that was taken, not given back, and has no owner; locked. None where this user has no
/// range.
pub(crate) fn abandoned() -> Result<Vec<Slot>, RoomError> {
    let Ok(range) = Range::of_this_user() else {
        return Ok(Vec::new());
    };
    let Ok(entries) = fs::read_dir(&range.directory) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some(number) = number.filter(|number| *number < range.slots) {
            found.extend(range.abandoned(number)?);
        }
    }
    Ok(found)
}

struct Range {
    base: u32,
    slots: u32,
    directory: PathBuf,
    writer: MapWriter,
}

impl Range {
    fn of_this_user() -> Result<Self, RoomError> {
        let uid = rustix::process::geteuid();
        if uid.is_root() {
            let directory = PathBuf::from("/run/proofroom/slots");
            let (base, slots, writer) = (ROOT_BASE, ROOT_SLOTS, MapWriter::Root);
            return Ok(Self {
                base,
                slots,
                directory,
                writer,
            });
        }
        let uid = uid.as_raw();
        let (user_base, user_count) = subordinate(Path::new("/etc/subuid"), uid)?;
        let (group_base, group_count) = subordinate(Path::new("/etc/subgid"), uid)?;
        if user_base != group_base {
            let why = format!("/etc/subuid starts at {user_base}, /etc/subgid at {group_base}");
            return Err(RoomError::NoSlot { why });
        }
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let directory = match runtime.filter(|path| path.is_dir()) {
            Some(path) => path.join("proofroom/slots"),
            None => PathBuf::from(format!("/tmp/proofroom-{uid}/slots")),
        };
        let slots = user_count.min(group_count) / 2;
        Ok(Self {
            base: user_base,
            slots,
            directory,
            writer: MapWriter::Helpers,
        })
    }

    /// The slot of this number, locked, when it was taken, not given back, and has no owner.
    fn abandoned(&self, number: u32) -> Result<Option<Slot>, RoomError> {
        let path = self.directory.join(number.to_string());
        let mut file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).on("open", &path),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let mut said = String::new();
        file.read_to_string(&mut said).on("read", &path)?;
        let ids = self.ids(number);
        Ok((said != CLEAN).then_some(Slot { ids, file, path }))
    }

    fn ids(&self, slot: u32) -> IdMap {
        let supervisor = self.base + 2 * slot;
        IdMap {
            supervisor,
            agent: supervisor + 1,
            writer: self.writer,
        }
    }
}

/// The first range of `uid` (by number or name) in a subordinate id file: start and count.
fn subordinate(file: &Path, uid: u32) -> Result<(u32, u32), RoomError> {
    let text = fs::read_to_string(file).on("read", file)?;
    let name = user_name(uid);
    parse_subordinate(&text, &[Some(uid.to_string()), name]).ok_or_else(|| RoomError::NoSlot {
        why: format!("`{}` has no range for user {uid}", file.display()),
    })
}

fn parse_subordinate(text: &str, names: &[Option<String>]) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let owner = parts.next()?;
        let start = parts.next()?.parse::<u32>().ok()?;
        let count = parts.next()?.trim().parse::<u32>().ok()?;
        let ours = names.iter().flatten().any(|name| name == owner);
        (ours && start > 0 && count >= 2 && start.checked_add(count).is_some())
            .then_some((start, count))
    })
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{Slot, parse_subordinate};

    #[test]
    fn subordinate_ranges_are_found_by_name_or_number_and_never_reach_zero_or_wrap() {
        let text = "ann:100000:65536\n7:0:10\n7:5:1\n8:4294967290:100\nbad\n9:200000:2\n";
        let find = |name: &str| parse_subordinate(text, &[None, Some(name.to_owned())]);
        assert_eq!(find("ann"), Some((100_000, 65_536)));
        assert_eq!(find("9"), Some((200_000, 2)));
        assert_eq!((find("7"), find("8"), find("bad")), (None, None, None));
    }

    #[test]
    fn two_slots_at_once_never_share_an_id() {
        let (Ok(a), Ok(b)) = (Slot::take(), Slot::take()) else {
            println!("SKIPPED: no subordinate ids on this machine");
            return;
        };
        assert_ne!(a.ids.supervisor, b.ids.supervisor);
        assert_ne!(a.ids.agent, b.ids.supervisor);
        assert_ne!(a.ids.supervisor, b.ids.agent);
    }
}
