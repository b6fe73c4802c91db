//! The attempts, by group. A group is what one session of the test tries: a command's record has
//! room for a bounded number of different blocked attempts, and some attempts use a room up.

use std::{
    fmt::Debug,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::Answer,
};

mod channel;
mod commands;
mod exhaust;
mod files;
mod foreign;
mod kernel;
mod mounts;
mod network;
mod orphans;
mod processes;
mod residue;
mod walks;

/// Attempts that are made in one session.
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: &'static str,
    /// In the order in which they are made.
    pub(crate) attempts: &'static [Attempt],
}

/// Every group.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "files",
        attempts: files::ATTEMPTS,
    },
    Group {
        name: "mounts",
        attempts: mounts::ATTEMPTS,
    },
    Group {
        name: "processes",
        attempts: processes::ATTEMPTS,
    },
    Group {
        name: "kernel",
        attempts: kernel::ATTEMPTS,
    },
    Group {
        name: "foreign-abi",
        attempts: foreign::ATTEMPTS,
    },
    Group {
        name: "network",
        attempts: network::ATTEMPTS,
    },
    Group {
        name: "channel",
        attempts: channel::ATTEMPTS,
    },
    Group {
        name: "walks",
        attempts: walks::ATTEMPTS,
    },
    Group {
        name: "commands",
        attempts: commands::ATTEMPTS,
    },
    Group {
        name: "exhaust",
        attempts: exhaust::ATTEMPTS,
    },
    Group {
        name: "memory",
        attempts: exhaust::MEMORY,
    },
    Group {
        name: "shared",
        attempts: exhaust::SHARED,
    },
    Group {
        name: "nameless",
        attempts: exhaust::NAMELESS,
    },
    Group {
        name: "orphans",
        attempts: orphans::ATTEMPTS,
    },
    Group {
        name: "residue",
        attempts: residue::ATTEMPTS,
    },
];

/// What stops an attempt, in the table's words.
pub(crate) mod by {
    pub(crate) const SECCOMP: &str = "system-call filter";
    pub(crate) const ROOT: &str = "the room's own root holds nothing of it";
    pub(crate) const FILES: &str = "Landlock, ownership, read-only mounts";
    pub(crate) const ROUTE: &str = "no route, Landlock TCP rules";
    pub(crate) const PROCFS: &str = "own pid namespace, hidepid";
    pub(crate) const KERNEL: &str = "the kernel: no capability";
    pub(crate) const PROCESSOR: &str = "the processor: user mode";
}

const fn row(
    id: &'static str,
    name: &'static str,
    by: &'static str,
    traces: &'static [Trace],
    make: fn() -> Tried,
) -> Attempt {
    Attempt {
        id,
        name,
        by,
        traces,
        make,
    }
}

/// For a system call that must be refused before its arguments are looked at: every other error
/// says that the call came in.
fn refused(answer: Answer) -> Tried {
    match answer {
        Ok(value) => Tried::Escaped(format!("the call answered {value}")),
        Err(errno @ (libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EAFNOSUPPORT)) => {
            Tried::Blocked(Some(errno), name_of(errno))
        }
        Err(errno) => Tried::Escaped(format!("the call came in: {}", name_of(errno))),
    }
}

/// For something that must not succeed, whatever the error.
fn failed<T: Debug>(result: io::Result<T>) -> Tried {
    match result {
        Ok(value) => Tried::Escaped(format!("{value:?}").chars().take(200).collect()),
        Err(error) => Tried::Blocked(error.raw_os_error(), error.to_string()),
    }
}

/// The same for a system call.
fn failed_call(answer: Answer) -> Tried {
    failed(answer.map_err(io::Error::from_raw_os_error))
}

/// Several as one: the first that escaped, or else the last.
fn each(tried: impl IntoIterator<Item = Tried>) -> Tried {
    let mut count = 0_u32;
    let mut last = Tried::NotApplicable("nothing to try".to_owned());
    for one in tried {
        if matches!(one, Tried::Escaped(_)) {
            return one;
        }
        if let Tried::Blocked(errno, detail) = one {
            count = count.saturating_add(1);
            last = Tried::Blocked(errno, format!("{count} times, last: {detail}"));
        }
    }
    last
}

/// Stopped, when `holds`; else escaped, as `detail` says.
fn held(holds: bool, detail: String) -> Tried {
    if holds {
        Tried::Blocked(None, detail)
    } else {
        Tried::Escaped(detail)
    }
}

fn name_of(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}

/// What the program does when an attempt starts it again, or the test before an attempt: `read PATH`
/// ends with 0 when it could, `sleep` stays, `wait FILE` stays until the file is there, `leave` leaves
/// what a later room looks for.
pub(crate) fn act(arguments: &[String]) -> u8 {
    match arguments {
        [what, path] if what == "read" => {
            u8::from(io::copy(&mut reader(path), &mut io::sink()).is_err())
        }
        [what] if what == "leave" => residue::leave(),
        [what, file] if what == "wait" => wait_for(Path::new(file)),
        [what] if what == "sleep" => {
            std::thread::sleep(Duration::from_secs(600));
            0
        }
        _ => 64,
    }
}

/// Says that it is there, and stays until the file is.
fn wait_for(file: &Path) -> u8 {
    let said = writeln!(io::stdout(), "waiting");
    while !file.exists() {
        std::thread::sleep(Duration::from_millis(200));
    }
    u8::from(said.is_err())
}

fn reader(path: &str) -> Box<dyn io::Read> {
    match std::fs::File::open(path) {
        Ok(file) => Box::new(file),
        Err(error) => Box::new(Broken(error.kind())),
    }
}

struct Broken(io::ErrorKind);

impl io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
}

#[cfg(test)]
mod tests;
