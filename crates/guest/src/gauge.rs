//! How full the room is: its file systems and its agent's processes, looked at now and then. It is
//! the record of a limit that was reached, not the limit; a peak between two looks is not seen.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::tree::Owner;

/// Of a hundred parts, how many may be taken before a limit counts as reached.
const NEARLY_ALL: u64 = 98;
/// The events of the room's memory group, where the room is in a machine of its own.
const MEMORY_EVENTS: &str = "/proofroom/memory.events";

/// What is looked at, and what was said already: each limit is told once.
#[derive(Debug)]
pub struct Gauge {
    file_systems: Vec<PathBuf>,
    processes: Option<u64>,
    /// How many kills for lack of memory are told next: each time twice as many, so that an agent that
    /// goes on and on does not fill the log.
    next_kills: u64,
    told: BTreeSet<String>,
}

impl Gauge {
    /// The places of a room that its agent can fill, and how many processes it may have. Outside of rooms there is nothing to look at.
    #[must_use]
    pub fn of_a_room(workspace: &Path, owner: Owner, processes: u64) -> Self {
        let Owner::Agent(_) = owner else {
            return Self::of(vec![], None);
        };
        let mut file_systems = vec![workspace.to_owned()];
        file_systems.extend(["/tmp", "/home/agent", "/dev/shm"].map(PathBuf::from));
        Self::of(file_systems, Some(processes))
    }

    const fn of(file_systems: Vec<PathBuf>, processes: Option<u64>) -> Self {
        Self {
            file_systems,
            processes,
            next_kills: 1,
            told: BTreeSet::new(),
        }
    }

    /// Limits that are reached now and were not before: resource and detail.
    pub fn reached(&mut self) -> Vec<(String, String)> {
        let mut new = Vec::new();
        for path in &self.file_systems {
            let Ok(state) = rustix::fs::statvfs(path) else {
                continue;
            };
            let full = [
                ("bytes", state.f_blocks, state.f_bfree),
                ("files", state.f_files, state.f_ffree),
            ];
            for (what, all, free) in full {
                if is_nearly_all(all.saturating_sub(free), all) {
                    new.push(("disk", format!("`{}` has no {what} left", path.display())));
                }
            }
        }
        let all = all_tasks();
        if let Some(limit) = self.processes
            // To count the agent's own, all of `/proc` is read; mostly there are too few of any.
            && all.is_none_or(|all| is_nearly_all(all, limit))
            && is_nearly_all(tasks_of(proofroom_confine::AGENT_ID), limit)
        {
            new.push(("processes", format!("{limit} of the agent's at once")));
        }
        let killed = memory_kills();
        if killed >= self.next_kills {
            self.next_kills = killed.saturating_mul(2);
            let detail = format!("the kernel has killed {killed} processes for lack of memory");
            new.push(("memory", detail));
        }
        new.into_iter()
            .filter(|(_, detail)| self.told.insert(detail.clone()))
            .map(|(resource, detail)| (resource.to_owned(), detail))
            .collect()
    }
}

/// How many processes of the room the kernel has killed for lack of memory; none where only the host
/// can see that.
#[must_use]
pub fn memory_kills() -> u64 {
    std::fs::read_to_string(MEMORY_EVENTS).map_or(0, |text| kills_in(&text))
}

/// The field of cgroup v2's `memory.events`.
fn kills_in(events: &str) -> u64 {
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        .unwrap_or(0)
}

/// A file system without a limit says that it has none of anything.
fn is_nearly_all(taken: u64, all: u64) -> bool {
    all > 0 && taken.saturating_mul(100) >= all.saturating_mul(NEARLY_ALL)
}

/// Processes and threads of the whole kernel, whoever's they are and whether they can be seen from here or not.
fn all_tasks() -> Option<u64> {
    tasks_in(&std::fs::read_to_string("/proc/loadavg").ok()?)
}

/// The second number of the fourth field of `proc_loadavg(5)`, as in `2/145`.
fn tasks_in(loadavg: &str) -> Option<u64> {
    let (_, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

/// Processes and threads of one user, as far as `/proc` shows them.
fn tasks_of(user: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().bytes().all(|b| b.is_ascii_digit())
        })
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == user))
        .map(|entry| {
            // Links of a directory: its entries and two; one entry for each thread.
            let threads = entry.path().join("task").metadata();
            threads.map_or(1, |meta| meta.nlink().saturating_sub(2).max(1))
        })
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Gauge, all_tasks, is_nearly_all, kills_in, tasks_in, tasks_of};

    #[test]
    fn kills_are_read_from_the_groups_events() {
        let events = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 0\n";
        assert_eq!(kills_in(events), 3);
        assert_eq!(kills_in("oom_kill many\n"), 0);
        assert_eq!(kills_in(""), 0);
    }

    #[test]
    fn a_limit_is_reached_when_nearly_nothing_is_left() {
        assert!(is_nearly_all(512, 512));
        assert!(is_nearly_all(98, 100));
        assert!(!is_nearly_all(97, 100));
        assert!(!is_nearly_all(0, 0));
    }

    #[test]
    fn processes_are_counted_by_their_user() {
        let own = rustix::process::getuid().as_raw();
        assert!(tasks_of(own) >= 1);
        assert_eq!(tasks_of(4_000_000_000), 0);
    }

    #[test]
    fn each_limit_is_told_once() {
        let mut gauge = Gauge {
            told: std::collections::BTreeSet::from(["1 of the agent's at once".to_owned()]),
            ..Gauge::of(vec![PathBuf::from("/nowhere/at/all")], Some(1))
        };
        assert_eq!(gauge.reached(), []);
    }

    #[test]
    fn all_tasks_are_at_least_those_of_one_user() {
        let own = rustix::process::getuid().as_raw();
        // Others come and go between the two counts.
        assert!(all_tasks().unwrap() + 50 >= tasks_of(own));
        assert_eq!(tasks_in("0.20 0.18 0.12 2/145 11206\n"), Some(145));
        assert_eq!(tasks_in("0.20 0.18 0.12 2 11206\n"), None);
        assert_eq!(tasks_in(""), None);
    }
}
