//! Many sessions with secrets in their workspaces, prompts, outputs and keys, ended in every way: what is
//! left afterwards on disks, in memory and in the kernel. Each search finds what was planted for it.
//!
//! `PROOFROOM_RESIDUE_SESSIONS` and `PROOFROOM_RESIDUE_MACHINES` say how many, `PROOFROOM_RESIDUE_LANES`
//! how many at once, `PROOFROOM_RESIDUE_SKIP` names directories, apart by colons, that other programs fill
//! meanwhile.

#[path = "residue/bytes.rs"]
mod bytes;
#[path = "residue/kernel.rs"]
mod kernel;
#[path = "residue/plant.rs"]
mod plant;
#[path = "residue/stage.rs"]
mod stage;
#[path = "residue/ways.rs"]
mod ways;

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use proofroom_e2e::{Bundle, skip};
use stage::{Seen, Stage};
use ways::{MACHINE_WAYS, PROCESS_WAYS, Way};

/// Sessions in `process` rooms where nobody asked for another number.
const SESSIONS: usize = 20;
/// Sessions in virtual machines: each way once.
const MACHINES: usize = MACHINE_WAYS.len();

#[test]
fn nothing_is_left_of_sessions_that_ended_in_every_way() {
    let asked = number("PROOFROOM_RESIDUE_SESSIONS", SESSIONS);
    run(Stage::of_processes(), &PROCESS_WAYS, asked, lanes(2));
}

#[test]
fn nothing_is_left_of_machines_that_ended_in_every_way() {
    let name = "nothing_is_left_of_machines_that_ended_in_every_way";
    if let Err(why) = proofroom_e2e::image_directory() {
        return skip(name, &why);
    }
    let asked = number("PROOFROOM_RESIDUE_MACHINES", MACHINES);
    run(Stage::of_machines(), &MACHINE_WAYS, asked, lanes(1));
}

fn number(name: &str, otherwise: usize) -> usize {
    let asked = env::var(name).ok();
    asked.map_or(otherwise, |count| count.parse().expect("a number"))
}

fn lanes(otherwise: usize) -> usize {
    number("PROOFROOM_RESIDUE_LANES", otherwise).max(1)
}

fn run(mut stage: Stage, ways: &[Way], count: usize, lanes: usize) {
    // a minute back: a clock of a file system may lag
    let since = SystemTime::now() - Duration::from_secs(60);
    let seen = sessions(&stage, ways, count, lanes);
    for one in &seen {
        assert_closed(&stage, one);
    }
    let last = bytes::assert_in_no_memory(&stage);
    assert_closed(&stage, &last);
    stage.deployment.stop_upstream(1);
    stage.deployment.stop_upstream(0);
    let seen: Vec<&Seen> = seen.iter().chain([&last]).collect();
    kernel::assert_nothing(&stage.traces(&seen));
    bytes::assert_on_no_disk(&stage, since);
    println!(
        "{} sessions ended in {} ways, {lanes} at once",
        seen.len(),
        ways.len()
    );
}

/// Runs `count` sessions, each way in turn, on several lanes.
fn sessions(stage: &Stage, ways: &[Way], count: usize, lanes: usize) -> Vec<Seen> {
    let next = AtomicUsize::new(0);
    let lane = || {
        let mut seen = Vec::new();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= count {
                return seen;
            }
            let way = *ways.iter().cycle().nth(turn).expect("there are ways");
            seen.push(stage.session(way, turn));
        }
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let ended = lanes.into_iter().map(|lane| lane.join().expect("a lane"));
        ended.flatten().collect()
    })
}

/// Its bundle is accepted, and says that its room was seen to be gone.
fn assert_closed(stage: &Stage, one: &Seen) {
    let path = format!("bundles/{}.proofroom", one.id);
    let bundle = Bundle::at(stage.deployment.state().join(path));
    let (code, said) = bundle.verify();
    assert_eq!(code, 0, "{:?}: {said:#}", one.way);
    let gone = bundle.destruction_record();
    let facts = gone["predicate"]["observed"].as_array().expect("facts");
    let wanted = match one.way {
        // what ran before a reboot was not looked at, so nothing is said of it
        Way::Rebooted => "host-rebooted-since",
        _ => "host-ids-unused",
    };
    assert!(
        facts.iter().any(|fact| fact["fact"] == wanted),
        "{:?}: {gone:#}",
        one.way
    );
}
