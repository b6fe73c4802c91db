//! Caps: requests and bytes of a minute, bytes of a session. Time is an argument.

use std::time::Duration;

/// How much may be asked, sent and fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Requests and connections that begin in one minute.
    pub requests_per_minute: u64,
    /// Bytes that leave in one minute.
    pub sent_per_minute: u64,
    /// Bytes that arrive in one minute.
    pub received_per_minute: u64,
    /// Bytes that leave in the whole session.
    pub sent: u64,
    /// Bytes that arrive in the whole session.
    pub received: u64,
}

impl Caps {
    /// Every cap with its name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("sent_per_minute", self.sent_per_minute),
            ("received_per_minute", self.received_per_minute),
            ("sent", self.sent),
            ("received", self.received),
        ]
    }
}

/// The cap that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cap `{0}` of the egress policy is reached")]
pub struct CapReached(pub &'static str);

/// Counts against caps.
#[derive(Clone, Debug)]
pub struct Meter {
    caps: Caps,
    minute: u64,
    requests: u64,
    sent: [u64; 2],
    received: [u64; 2],
}

impl Meter {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new(caps: Caps) -> Self {
        Self {
            caps,
            minute: 0,
            requests: 0,
            sent: [0; 2],
            received: [0; 2],
        }
    }

    /// Counts the beginning of a request, `since` the session's begin.
    ///
    /// # Errors
    /// [`CapReached`]; it is not counted then.
    pub const fn begin(&mut self, since: Duration) -> Result<(), CapReached> {
        self.turn(since);
        if self.requests >= self.caps.requests_per_minute {
            return Err(CapReached("requests_per_minute"));
        }
        self.requests += 1;
        Ok(())
    }

    /// Counts bytes that are about to leave.
    ///
    /// # Errors
    /// [`CapReached`]; they must not leave then.
    pub fn send(&mut self, since: Duration, bytes: u64) -> Result<(), CapReached> {
        self.turn(since);
        let names = ["sent_per_minute", "sent"];
        let most = [self.caps.sent_per_minute, self.caps.sent];
        count(&mut self.sent, most, names, bytes)
    }

    /// Counts bytes that are about to be handed to the room.
    ///
    /// # Errors
    /// [`CapReached`]; they must not be handed over then.
    pub fn receive(&mut self, since: Duration, bytes: u64) -> Result<(), CapReached> {
        self.turn(since);
        let names = ["received_per_minute", "received"];
        let most = [self.caps.received_per_minute, self.caps.received];
        count(&mut self.received, most, names, bytes)
    }

    const fn turn(&mut self, since: Duration) {
        let minute = since.as_secs() / 60;
        if minute > self.minute {
            self.minute = minute;
            self.requests = 0;
            self.sent = [0, self.sent[1]];
            self.received = [0, self.received[1]];
        }
    }
}

fn count(
    counts: &mut [u64; 2],
    most: [u64; 2],
    names: [&'static str; 2],
    bytes: u64,
) -> Result<(), CapReached> {
    let after = counts.map(|count| count.saturating_add(bytes));
    let reached = after
        .iter()
        .zip(most)
        .zip(names)
        .find(|((count, most), _)| *count > most);
    if let Some((_, name)) = reached {
        return Err(CapReached(name));
    }
    *counts = after;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CapReached, Caps, Meter};

    const CAPS: Caps = Caps {
        requests_per_minute: 2,
        sent_per_minute: 10,
        received_per_minute: 20,
        sent: 15,
        received: u64::MAX,
    };

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn requests_are_counted_by_the_minute() {
        let mut meter = Meter::new(CAPS);
        assert_eq!(meter.begin(at(0)), Ok(()));
        assert_eq!(meter.begin(at(59)), Ok(()));
        assert_eq!(meter.begin(at(59)), Err(CapReached("requests_per_minute")));
        assert_eq!(meter.begin(at(60)), Ok(()));
        assert_eq!(
            meter.begin(at(30)),
            Ok(()),
            "a clock that goes back opens no new minute"
        );
        assert_eq!(meter.begin(at(30)), Err(CapReached("requests_per_minute")));
    }

    #[test]
    fn bytes_are_counted_by_the_minute_and_by_the_session() {
        let mut meter = Meter::new(CAPS);
        assert_eq!(meter.send(at(0), 10), Ok(()));
        assert_eq!(meter.send(at(1), 1), Err(CapReached("sent_per_minute")));
        assert_eq!(meter.send(at(60), 5), Ok(()));
        assert_eq!(meter.send(at(120), 1), Err(CapReached("sent")));
        assert_eq!(meter.receive(at(120), 20), Ok(()));
        assert_eq!(
            meter.receive(at(120), u64::MAX),
            Err(CapReached("received_per_minute"))
        );
        assert_eq!(meter.receive(at(180), 20), Ok(()));
    }
}
