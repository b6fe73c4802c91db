//! A bucket that fills at a steady rate and may be overdrawn: what is taken is known only afterwards.

use std::time::Duration;

use proofroom_canonical::Timestamp;

const MINUTE_MILLIS: i128 = 60_000;

/// Units that fill up at `per_minute`, to at most one minute's worth. Counted in units times
/// milliseconds per minute, so that nothing is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    per_minute: i128,
    level: i128,
    at: Timestamp,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(per_minute: u64, now: Timestamp) -> Self {
        let per_minute = i128::from(per_minute);
        Self {
            per_minute,
            level: per_minute * MINUTE_MILLIS,
            at: now,
        }
    }

    /// How long until `units` are there, or nothing when they are.
    pub(crate) fn wait_for(&mut self, units: u64, now: Timestamp) -> Option<Duration> {
        self.fill(now);
        // one that can never be had at once waits for a full bucket
        let wanted = (i128::from(units) * MINUTE_MILLIS).min(self.per_minute * MINUTE_MILLIS);
        let lacking = wanted - self.level;
        if lacking <= 0 && self.per_minute > 0 {
            return None;
        }
        let millis = if self.per_minute == 0 {
            MINUTE_MILLIS
        } else {
            // ceiling: a wait that ends too early is a second refusal
            (lacking + self.per_minute - 1) / self.per_minute
        };
        Some(Duration::from_millis(
            u64::try_from(millis.max(1)).unwrap_or(u64::MAX),
        ))
    }

    /// Takes `units`, also such as are not there.
    pub(crate) fn take(&mut self, units: u64, now: Timestamp) {
        self.fill(now);
        self.level = self.level.saturating_sub(i128::from(units) * MINUTE_MILLIS);
    }

    /// Puts `units` back.
    pub(crate) fn give_back(&mut self, units: u64) {
        let full = self.per_minute * MINUTE_MILLIS;
        self.level = (self.level + i128::from(units) * MINUTE_MILLIS).min(full);
    }

    /// A clock that went backwards fills nothing.
    fn fill(&mut self, now: Timestamp) {
        let passed = i128::from(now.unix_millis()) - i128::from(self.at.unix_millis());
        self.at = now;
        if passed > 0 {
            let full = self.per_minute * MINUTE_MILLIS;
            self.level = self
                .level
                .saturating_add(passed.min(MINUTE_MILLIS * 60) * self.per_minute)
                .min(full);
        }
    }
}
