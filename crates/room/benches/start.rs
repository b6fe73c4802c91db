//! How long an empty room takes to start: from the call of `Spare::start` or `Room::start` to the
//! supervisor's first byte on the channel, with every mechanism of the room in force (namespaces, id
//! maps, private root, dropped capabilities, resource groups with their limits set, membership
//! looked at). Two figures, in alternation:
//!
//! * `spare`: the launcher was executed beforehand, as the session service does while it looks at
//!   the repository. This is the figure of the 5 ms target.
//! * `cold`: the launcher is executed within the measured time (`Room::start`).
//!
//! The supervisor is the small test program, so its own set-up is not in it. Between two rooms the
//! bench waits until the kernel has taken the last one apart (`PROOFROOM_BENCH_PAUSE_MS`, 20), which
//! is no part of a start; `Room::destroy` is measured on its own. `PROOFROOM_BENCH_ROUNDS` is 100.
//!
//! Then `PROOFROOM_BENCH_TOGETHER` (20) rooms at once, each started by a thread of its own: when all of them
//! had spoken, and that each still runs then.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use proofroom_room::{Diagnostics, Programs, Room, RoomConfig, Spare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[derive(Default)]
struct Times {
    returned: Vec<Duration>,
    spoke: Vec<Duration>,
    ended: Vec<Duration>,
}

fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap())
    };
    let rounds = number("PROOFROOM_BENCH_ROUNDS", 100);
    let pause = Duration::from_millis(number("PROOFROOM_BENCH_PAUSE_MS", 20));
    let config = RoomConfig::parse(
        proofroom_room::DEFAULT_ROOM,
        Path::new("/var/lib/proofroom"),
    )
    .unwrap();
    let programs = Programs {
        guest: PathBuf::from(env!("CARGO_BIN_EXE_confine-probe")),
        others: Vec::new(),
        supervisor_arguments: vec!["supervise".into()],
        environment: Vec::new(),
        diagnostics: Diagnostics::Discard,
    };
    let name = |round: u64, kind: &str| format!("bench-{}-{round}-{kind}", std::process::id());
    let (mut spare_times, mut cold_times) = (Times::default(), Times::default());
    let mut mechanisms = Vec::new();
    for round in 0..rounds {
        let spare = Spare::new(programs.clone()).unwrap();
        sleep(pause);
        let (begin, name_) = (Instant::now(), name(round, "spare"));
        let room = spare.start(&name_, &config).unwrap();
        mechanisms = spare_times.rest(begin, room);
        sleep(pause);
        let (begin, name_) = (Instant::now(), name(round, "cold"));
        let room = Room::start(&name_, &config, &programs).unwrap();
        cold_times.rest(begin, room);
    }
    println!("{rounds} rooms of each kind; {}", mechanisms.join(" "));
    spare_times.print("spare");
    cold_times.print("cold");
    together(number("PROOFROOM_BENCH_TOGETHER", 20), &config, &programs);
}

fn together(count: u64, config: &RoomConfig, programs: &Programs) {
    let begin = Instant::now();
    let start = |number| {
        let name = format!("bench-{}-together-{number}", std::process::id());
        let mut room = Room::start(&name, config, programs).unwrap();
        let mut channel = room.take_channel().unwrap();
        channel.read_exact(&mut [0]).unwrap();
        (room, channel, begin.elapsed())
    };
    let rooms: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..count).map(|n| scope.spawn(move || start(n))).collect();
        started
            .into_iter()
            .map(|room| room.join().unwrap())
            .collect()
    });
    let last = rooms.iter().map(|(_, _, spoke)| *spoke).max().unwrap();
    let alive = rooms.iter().filter(|(room, ..)| runs(room)).count();
    println!(
        "{count} at once: the last spoke after {:.1} ms; {alive} run together",
        last.as_secs_f64() * 1e3
    );
    assert_eq!(alive, rooms.len());
    let begin = Instant::now();
    for (room, channel, _) in rooms {
        drop(channel);
        room.destroy().unwrap();
    }
    println!(
        "{count} destroyed after {:.1} ms",
        begin.elapsed().as_secs_f64() * 1e3
    );
}

fn runs(room: &Room) -> bool {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut ended = [PollFd::from_borrowed_fd(room.pidfd(), PollFlags::IN)];
    poll(&mut ended, Some(&at_once)).unwrap() == 0
}

impl Times {
    fn rest(&mut self, begin: Instant, mut room: Room) -> Vec<String> {
        self.returned.push(begin.elapsed());
        let mut channel = room.take_channel().unwrap();
        channel.read_exact(&mut [0]).unwrap();
        self.spoke.push(begin.elapsed());
        let mechanisms = room.mechanisms().to_vec();
        let begin = Instant::now();
        drop(channel);
        room.destroy().unwrap();
        self.ended.push(begin.elapsed());
        mechanisms
    }

    fn print(self, kind: &str) {
        for (what, mut times) in [
            ("start returned", self.returned),
            ("first byte on the channel", self.spoke),
            ("destroy", self.ended),
        ] {
            times.sort_unstable();
            let at = |percent: usize| {
                times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3
            };
            println!(
                "{kind}: {what}: min {:.2} ms, p50 {:.2} ms, p95 {:.2} ms",
                at(0),
                at(50),
                at(95)
            );
        }
    }
}
