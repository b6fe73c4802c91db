//! Making the attempts of some groups, and the summary at their end.

use std::{
    io::{self, Write as _},
    time::Instant,
};

use crate::{
    attempt::Tried,
    attempts::{GROUPS, Group},
    http,
    json::Object,
    sys,
};

/// How much is said at once: a session shows live output piece by piece, and drops pieces when there are
/// too many.
const BATCH: usize = 8 << 10;

/// Tries the groups with these names. The exit code is 0 when nothing escaped, 1 when something
/// did, 64 for a group that is not there.
pub(crate) fn groups(names: &[String]) -> io::Result<u8> {
    if !in_a_room() {
        let why = "this is no room: the probe would attack your machine, so it does nothing";
        writeln!(io::stderr(), "{why}")?;
        return Ok(64);
    }
    let mut chosen: Vec<&Group> = Vec::new();
    for name in names {
        let Some(group) = GROUPS.iter().find(|group| group.name == name) else {
            writeln!(io::stderr(), "there is no group `{name}`")?;
            return Ok(64);
        };
        chosen.push(group);
    }
    let (mut blocked, mut escaped, mut none) = (0_u32, 0_u32, 0_u32);
    let mut said = String::new();
    for group in chosen {
        for attempt in group.attempts {
            let began = Instant::now();
            let tried = (attempt.make)();
            let took = began.elapsed();
            let count = match tried {
                Tried::Blocked(..) => &mut blocked,
                Tried::Escaped(_) => &mut escaped,
                Tried::NotApplicable(_) => &mut none,
            };
            *count = count.saturating_add(1);
            said.push_str(&attempt.report(group.name, &tried, took));
            said.push('\n');
            if said.len() > BATCH {
                say(&std::mem::take(&mut said))?;
            }
        }
    }
    said.push_str(
        &Object::new()
            .raw("summary", "true")
            .raw("blocked", &blocked.to_string())
            .raw("escaped", &escaped.to_string())
            .raw("not_applicable", &none.to_string())
            .done(),
    );
    said.push('\n');
    say(&said)?;
    Ok(u8::from(escaped > 0))
}

/// A room's own name and its server; and never with the rights of root.
fn in_a_room() -> bool {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let user = sys::call(libc::SYS_getuid, &[]);
    named.is_ok_and(|name| name.trim() == "room")
        && std::path::Path::new(http::SOCKET).exists()
        && user != Ok(0)
}

/// Whole lines at once: attempts start processes, and none may send half a line again.
fn say(lines: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(lines.as_bytes())?;
    out.flush()
}
