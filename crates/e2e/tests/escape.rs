//! `escape-probe` as the command of real rooms, in every backend that this machine has: nothing
//! escapes, every stopped attempt is in the record, the bundle is accepted, and the committed table
//! names exactly what is tried.

#[path = "escape/room.rs"]
mod room;

use std::fs;

use proofroom_e2e::repository_root;
use room::{Caps, attempts, play, play_after, play_in_machines};

/// Why a stopped attempt leaves no event of its own. Nothing else is excused, and each reason is
/// used by an attempt.
const UNTOLD: [(&str, &str); 10] = [
    (
        "looking",
        "the kernel does not announce `stat`, `access`, `readlink` and `chdir`, which are too many to ask about; they show only what the room's own root holds",
    ),
    (
        "quiet-call",
        "what `prctl` cannot undo, limits that lie in memory, and datagrams on own sockets are let through to the kernel, which refuses what the caller has no right to",
    ),
    (
        "answered-by-the-filter",
        "`clone3` has its flags in memory, where a filter cannot look; it does not exist in a room, and C libraries fall back to `clone`, which is judged",
    ),
    (
        "past-every-filter",
        "the kernel lets its own probes' calls pass every filter, and ends whoever else makes them",
    ),
    (
        "instruction",
        "the processor, or the hypervisor below it, refuses a privileged instruction; no system call is made",
    ),
    (
        "nothing-there",
        "nothing is stopped: what is looked for is not in the room",
    ),
    (
        "own",
        "what is done is the command's own business; what would follow from it is looked at from outside",
    ),
    (
        "own-file",
        "an own file may be changed in every way; it gives no right that its owner has not",
    ),
    (
        "own-limit",
        "a limit of the kernel's answers with an error and tells nobody",
    ),
    (
        "own-namespace",
        "names without a file belong to the room's own network",
    ),
];

#[test]
fn files_and_paths() {
    drop(play("files", Caps::Default));
}

#[test]
fn mounts_owners_and_devices() {
    drop(play("mounts", Caps::Default));
}

#[test]
fn processes_and_programs() {
    drop(play("processes", Caps::Default));
}

#[test]
fn the_surface_of_the_kernel() {
    drop(play("kernel", Caps::Default));
    drop(play("foreign-abi", Caps::Default));
}

#[test]
fn the_network() {
    drop(play("network", Caps::Default));
}

#[test]
fn the_server_of_the_room() {
    drop(play("channel", Caps::Default));
}

#[test]
fn what_a_room_shows_of_its_machine() {
    drop(play("walks", Caps::Default));
}

#[test]
fn programs_that_are_thought_harmless() {
    if let Some(played) = play("commands", Caps::Default) {
        let touched = played
            .observed("process-started")
            .any(|seen| seen["argv"][0] == "touch");
        assert!(!touched, "a name reached a shell");
        for (path, access) in [("/etc/shadow", "read"), ("/etc/hosts", "write")] {
            let (told, due) = played.openings(path, access);
            assert!(due > 0, "{path} was not tried");
            assert_eq!(told, due as u64, "{path}");
        }
    }
}

#[test]
fn everything_used_up() {
    for group in ["exhaust", "memory", "shared", "nameless"] {
        let Some(played) = play(group, Caps::Low) else {
            return;
        };
        let last = &played.events.last().expect("events")["body"];
        assert_eq!(last["type"], "session-closed", "the audit survives");
    }
}

#[test]
fn what_would_outlive_the_session() {
    if let Some(played) = play("orphans", Caps::Default) {
        for process in fs::read_dir("/proc").expect("/proc").flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let text = String::from_utf8_lossy(&line).into_owned();
            assert!(!text.contains(&played.mark), "still there: {text}");
        }
    }
}

#[test]
fn what_an_earlier_room_left() {
    play_after("leave", "residue");
}

/// Every group, in two machines: what the first leaves is looked for in the second. The first one's
/// session must outlive every command that uses up its memory; `PROOFROOM_MEMORY_ROUNDS` of each are made.
#[test]
fn everything_in_virtual_machines() {
    let most = [
        "files",
        "mounts",
        "processes",
        "kernel",
        "foreign-abi",
        "network",
        "channel",
        "walks",
        "commands",
        "orphans",
        "exhaust",
        "memory",
        "shared",
        "nameless",
    ];
    let rounds = std::env::var("PROOFROOM_MEMORY_ROUNDS");
    let rounds: usize = rounds.map_or(1, |number| number.parse().expect("a number"));
    let again = ["memory", "shared", "nameless"].repeat(rounds - 1);
    play_in_machines("leave", &[&[&most[..], &again].concat(), &["residue"]]);
}

#[test]
fn every_excuse_is_used_and_every_use_is_excused() {
    let listed = attempts();
    for one in &listed {
        if let Some(reason) = one["untold"].as_str() {
            let known = UNTOLD.iter().any(|(name, _)| *name == reason);
            assert!(known, "{one}");
        }
    }
    for (name, why) in UNTOLD {
        let used = listed.iter().any(|one| one["untold"] == name);
        assert!(used, "nothing is excused by `{name}` ({why})");
    }
}

#[test]
fn the_committed_table_names_what_is_tried() {
    let text = fs::read_to_string(repository_root().join("docs/attack-matrix.md"));
    let text = text.expect("docs/attack-matrix.md: make it with `cargo xtask attack-matrix`");
    let rows: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| {
            let mut cells = line.split(" | ");
            Some((cells.next()?, cells.next()?))
        })
        .filter(|(id, _)| *id != "Id")
        .collect();
    let known = ["stopped", "not run"];
    let fits = |cell: &&str| known.contains(cell) || cell.starts_with("no target: ");
    for line in text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Id"))
    {
        let cells: Vec<&str> = line.split(" | ").collect();
        assert!(cells[2..4].iter().all(fits), "{line}");
        assert_ne!(cells[2], "not run", "{line}");
    }
    let listed = attempts();
    let named: Vec<(&str, &str)> = listed
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().expect("text");
            (text("id"), text("attempt"))
        })
        .collect();
    assert_eq!(
        rows, named,
        "make it again with `cargo xtask attack-matrix`"
    );
}
