//! The attack list, one test an entry, in real rooms: the attempt came to nothing, the bundle holds an
//! event for it, and the bundle is accepted. The attackers are the scripts beside this file.

#[path = "attacks/stage.rs"]
mod stage;

use stage::room;

#[test]
fn try_all() {
    for group in ["processes"] {
        let played = room(group);
        for one in &played.attempts {
            println!("{one}");
        }
        for one in played
            .observed("blocked")
            .chain(played.observed("process-started"))
        {
            println!("{one}");
        }
        println!("{:?}", played.refusals());
    }
}
