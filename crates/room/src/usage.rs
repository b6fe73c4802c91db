//! What a living room uses, and what the kernel did to it for lack of memory, read from outside.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proofroom_confine::{IdMap, launch};

/// Clock ticks per second, as `/proc` counts them on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Reads a room's use. It holds nothing of the room: a room that is gone uses nothing.
#[derive(Debug, Clone)]
pub struct Meter {
    ids: IdMap,
    groups: Vec<PathBuf>,
}

/// What a room uses at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processes of its host ids.
    pub processes: u64,
    /// Bytes of memory: what its group counts, or the resident pages of its processes where it has
    /// no group.
    pub memory_bytes: u64,
    /// Processor time of its processes and of those that they have waited for.
    pub cpu_millis: u64,
    /// Processes that the kernel killed because the room had no memory left.
    pub memory_kills: u64,
}

impl Meter {
    pub(crate) fn new(ids: IdMap, groups: Vec<PathBuf>) -> Self {
        Self { ids, groups }
    }

    /// The use now. Blocking, for as long as it takes to list the machine's processes.
    #[must_use]
    pub fn read(&self) -> Usage {
        let mut usage = Usage::default();
        let mut resident = 0_u64;
        for pid in launch::processes_of(self.ids).unwrap_or_default() {
            usage.processes += 1;
            let (pages, ticks) = of_process(pid);
            let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
            resident = resident.saturating_add(pages.saturating_mul(page));
            let millis = ticks.saturating_mul(1000) / TICKS_PER_SECOND;
            usage.cpu_millis = usage.cpu_millis.saturating_add(millis);
        }
        let counted = self.groups.iter().find_map(|group| {
            number(&group.join("memory.usage_in_bytes"))
                .or_else(|| number(&group.join("memory.current")))
        });
        usage.memory_bytes = counted.unwrap_or(resident);
        usage.memory_kills = self.memory_kills();
        usage
    }

    /// Processes that the kernel has killed for lack of memory. Cheap.
    #[must_use]
    pub fn memory_kills(&self) -> u64 {
        let counts = self.groups.iter().filter_map(|group| {
            ["memory.oom_control", "memory.events"]
                .into_iter()
                .find_map(|file| keyed(&fs::read_to_string(group.join(file)).ok()?, "oom_kill"))
        });
        counts.fold(0, u64::saturating_add)
    }
}

/// Resident pages and clock ticks of one process; zero when it ended meanwhile.
fn of_process(pid: i32) -> (u64, u64) {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let pages = read("statm")
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    (pages, ticks(&read("stat")))
}

/// User and system time, own and of waited-for children: fields 14 to 17 of `/proc/<pid>/stat`.
fn ticks(stat: &str) -> u64 {
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return 0;
    };
    let times = rest.split(' ').skip(11).take(4);
    times
        .filter_map(|field| field.parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after `key` on a line of its own.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::{keyed, ticks};

    #[test]
    fn a_kill_for_lack_of_memory_is_read_from_either_version() {
        let one = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let two = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(keyed(one, "oom_kill"), Some(3));
        assert_eq!(keyed(two, "oom_kill"), Some(1));
        assert_eq!(keyed("oom_kill many\n", "oom_kill"), None);
    }

    #[test]
    fn processor_time_is_found_behind_any_program_name() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 99 1 1";
        assert_eq!(ticks(stat), 100);
        assert_eq!(ticks(""), 0);
    }
}
