//! Where the machine is asked for the time. Everything else takes times as arguments.
//!
//! A machine's clock can be set, by people, by NTP after a boot, by the host of a virtual machine. What
//! happened in one session must not seem to have happened before the session began because somebody did, so
//! what belongs together is dated by [`steady`].

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use proofroom_canonical::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The machine's clock, as it is set now. A clock from before 1970 reads as 1970.
#[must_use]
pub fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_millis(millis(since))
}

/// The machine's clock as it was set when this process first asked for this time, and what has passed since
/// then, sleep of the machine included (`CLOCK_BOOTTIME`). Never goes back, and nobody can set it.
#[must_use]
pub fn steady() -> Timestamp {
    static FIRST: OnceLock<(Timestamp, Duration)> = OnceLock::new();
    let (set, at) = *FIRST.get_or_init(|| (wall(), since_boot()));
    let passed = millis(since_boot().saturating_sub(at));
    Timestamp::from_unix_millis(set.unix_millis().saturating_add(passed))
}

fn since_boot() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or_default(),
        u32::try_from(tv_nsec).unwrap_or_default(),
    )
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{since_boot, steady, wall};

    #[test]
    fn both_clocks_agree_where_nobody_sets_one_and_go_on() {
        let (first, begun) = (steady(), since_boot());
        std::thread::sleep(Duration::from_millis(20));
        let later = steady();
        let passed = later.unix_millis() - first.unix_millis();
        let most = (since_boot() - begun).as_millis();
        assert!(
            passed >= 20 && passed <= i64::try_from(most).unwrap() + 1,
            "{passed} of {most} ms"
        );
        assert!((wall().unix_millis() - later.unix_millis()).abs() < 60_000);
    }
}
