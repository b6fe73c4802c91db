//! Outliving the session: a daemon that ignores every signal, and whoever starts programs later.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use super::{by, each, failed, held, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{self, call},
};

macro_rules! later {
    ($name:literal, $path:literal) => {
        row(
            "A49",
            $name,
            by::ROOT,
            &[Trace::File($path, "write")],
            || failed(fs::write($path, "")),
        )
    };
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    later!("cron-table", "/etc/cron.d/a49"),
    later!("cron-spool", "/var/spool/cron/agent"),
    later!("at-spool", "/var/spool/at/a49"),
    later!("system-service", "/etc/systemd/system/a49.service"),
    later!("start-script", "/etc/rc.local"),
    later!("login-script", "/etc/profile.d/a49.sh"),
    row(
        "A49",
        "programs-that-start-others-later",
        by::ROOT,
        &[Trace::Untold("nothing-there")],
        starters,
    ),
    row(
        "A49",
        "daemon-that-ignores-signals",
        "end of the pid namespace",
        &[Trace::Started("/workspace/escape-probe")],
        daemon,
    ),
    row(
        "A49",
        "daemon-that-keeps-the-output-open",
        "end of the pid namespace",
        &[Trace::Untold("own")],
        holder,
    ),
];

fn starters() -> Tried {
    let programs = [
        "crontab",
        "at",
        "batch",
        "systemd-run",
        "systemctl",
        "busctl",
    ];
    each(programs.map(|program| {
        let mut start = Command::new(program);
        start
            .arg("-")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match start.status() {
            Ok(status) => held(!status.success(), format!("{program}: {status}")),
            Err(error) => Tried::Blocked(error.raw_os_error(), error.to_string()),
        }
    }))
}

/// What the test looks for on the machine after the session.
fn mark() -> String {
    let text = fs::read_to_string("/workspace/mark.txt").unwrap_or_default();
    format!("escape-orphan-{}", text.trim())
}

/// Its own session, its own group, no parent, every signal ignored that can be. Whether it is gone
/// is looked at from outside, by its name.
fn daemon() -> Tried {
    let mark = mark();
    let parent = sys::in_copy(|| {
        let started = sys::start_copy(|| {
            call(libc::SYS_setsid, &[]).ok();
            for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
                sys::ignore(signal);
            }
            let mut program = Command::new("/workspace/escape-probe");
            program.arg0(&mark).args(["act", "sleep"]);
            program
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            // only a failure returns
            u8::from(program.exec().raw_os_error() != Some(0))
        });
        u8::from(started.is_err())
    });
    std::thread::sleep(Duration::from_millis(200));
    held(
        parent == sys::Ended::Code(0),
        format!("left behind as {mark}"),
    )
}

/// A session whose output somebody holds open must end all the same.
fn holder() -> Tried {
    let started = sys::start_copy(|| {
        call(libc::SYS_setsid, &[]).ok();
        std::thread::sleep(Duration::from_secs(600));
        0
    });
    match started {
        Ok(pid) => Tried::Blocked(None, format!("left behind as process {pid}")),
        Err(errno) => Tried::NotApplicable(super::name_of(errno)),
    }
}
