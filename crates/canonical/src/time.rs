//! Points in time as records write them: RFC 3339, UTC, milliseconds, always with `Z`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since the Unix epoch. Written as `2026-01-31T23:59:59.000Z`; no other form parses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Why a text is not a [`Timestamp`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a time of the form `2026-01-31T23:59:59.000Z`")]
pub struct TimestampError(String);

impl Timestamp {
    /// The time `millis` milliseconds after 1970-01-01T00:00:00Z. Times that RFC 3339 cannot write
    /// (before year 0 or after 9999) are moved to the nearest end of the range.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Self {
        // 0000-01-01T00:00:00.000Z and 9999-12-30T22:00:00.000Z, the ends of jiff's range
        const FIRST: i64 = -62_167_219_200_000;
        const LAST: i64 = 253_402_207_200_000;
        Self(if millis < FIRST {
            FIRST
        } else if millis > LAST {
            LAST
        } else {
            millis
        })
    }

    /// The time `seconds` seconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self::from_unix_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time `seconds` later, or the last that can be written.
    #[must_use]
    pub fn after_seconds(self, seconds: u32) -> Self {
        Self::from_unix_millis(self.0.saturating_add(i64::from(seconds) * 1000))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let refuse = || TimestampError(text.chars().take(80).collect());
        let parsed: jiff::Timestamp = text.parse().map_err(|_| refuse())?;
        let time = Self::from_unix_millis(parsed.as_millisecond());
        if time.to_string() == text {
            Ok(time)
        } else {
            Err(refuse())
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Timestamp;

    #[test]
    fn the_epoch_reads_as_expected() {
        let epoch = Timestamp::from_unix_millis(0);
        assert_eq!(epoch.to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn other_spellings_of_the_same_time_are_refused() {
        for bad in [
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00.0000Z",
            "1970-01-01T01:00:00.000+01:00",
            "1970-01-01 00:00:00.000Z",
            "1970-01-01t00:00:00.000z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_time_survives_its_text(millis in any::<i64>()) {
            let time = Timestamp::from_unix_millis(millis);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
