//! Windows of time, in UTC, over which budgets are counted.

use std::time::Duration;

use jiff::{Timestamp as Instant, civil::Date, tz::TimeZone};
use proofroom_canonical::Timestamp;
use serde::{Deserialize, Serialize};

/// A window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// A calendar day, UTC.
    Day,
    /// A calendar month, UTC.
    Month,
    /// For as long as records are kept.
    Total,
}

impl Window {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    /// Names the window that `at` lies in. Windows of one kind have different names.
    pub(crate) fn name_at(self, at: Timestamp) -> i64 {
        match self {
            Self::Day => at.unix_seconds().div_euclid(86_400),
            Self::Month => {
                let date = date(at);
                i64::from(date.year()) * 12 + i64::from(date.month())
            }
            Self::Total => 0,
        }
    }

    /// How long it is from `at` to the next window, if there is one.
    pub(crate) fn left_at(self, at: Timestamp) -> Option<Duration> {
        let seconds = match self {
            Self::Day => 86_400 - at.unix_seconds().rem_euclid(86_400),
            Self::Month => {
                let next = date(at).last_of_month().tomorrow().ok()?;
                let start = next.to_zoned(TimeZone::UTC).ok()?.timestamp();
                start.as_second() - at.unix_seconds()
            }
            Self::Total => return None,
        };
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }
}

fn date(at: Timestamp) -> Date {
    Instant::from_second(at.unix_seconds())
        .unwrap_or(Instant::UNIX_EPOCH)
        .to_zoned(TimeZone::UTC)
        .date()
}
