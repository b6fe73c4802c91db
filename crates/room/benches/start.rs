//! How long an empty room takes to start: from the call of `Room::start` to the supervisor's first
//! byte on the channel. The supervisor is the small test program, so its own set-up is not in it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Instant,
};

use proofroom_room::{Diagnostics, Programs, Room, RoomConfig};

const ROUNDS: usize = 100;

fn main() {
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
    let (mut returned, mut spoke, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    let mut mechanisms = Vec::new();
    for round in 0..ROUNDS {
        let begin = Instant::now();
        let mut room = Room::start(
            &format!("bench-{}-{round}", std::process::id()),
            &config,
            &programs,
        )
        .unwrap();
        returned.push(begin.elapsed());
        let mut channel = room.take_channel().unwrap();
        channel.read_exact(&mut [0]).unwrap();
        spoke.push(begin.elapsed());
        mechanisms = room.mechanisms().to_vec();
        let begin = Instant::now();
        drop(channel);
        room.destroy().unwrap();
        ended.push(begin.elapsed());
    }
    println!(
        "{ROUNDS} rooms, one after the other; {}",
        mechanisms.join(" ")
    );
    for (what, mut times) in [
        ("Room::start returned", returned),
        ("first byte on the channel", spoke),
        ("Room::destroy", ended),
    ] {
        times.sort_unstable();
        let at = |percent: usize| {
            times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3
        };
        println!(
            "{what}: min {:.2} ms, p50 {:.2} ms, p95 {:.2} ms",
            at(0),
            at(50),
            at(95)
        );
    }
}
