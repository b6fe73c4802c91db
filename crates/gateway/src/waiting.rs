//! When evidence of an upstream or a token of its credential is asked for again: before it ends, and after a failure.

use proofroom_canonical::Timestamp;

/// For how long after a failure requests are refused without asking again.
pub(crate) const RETRY_MILLIS: i64 = 2_000;

/// How much longer nobody asks again unless a request does: a quote takes its machine seconds.
const KEEP_RETRY_MILLIS: i64 = 28_000;

/// `millis` after `time`.
pub(crate) const fn later(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(time.unix_millis().saturating_add(millis))
}

/// When what holds from `since` until `until` is renewed, ahead of its end: at four fifths of its life.
#[must_use]
pub const fn renewal(since: Timestamp, until: Timestamp) -> Timestamp {
    let life = until.unix_millis().saturating_sub(since.unix_millis());
    later(since, life / 5 * 4)
}

/// Whether what was closed until `until` is closed at `now`.
pub(crate) const fn is_closed(now: Timestamp, until: Timestamp) -> bool {
    now.unix_millis() < until.unix_millis() && !was_set_back(now, until)
}

/// Whether it is time to ask again ahead of traffic.
pub(crate) const fn is_due(now: Timestamp, until: Timestamp) -> bool {
    now.unix_millis() >= later(until, KEEP_RETRY_MILLIS).unix_millis() || was_set_back(now, until)
}

/// Whether the clock was set back since. How long it has been closed is not known then.
const fn was_set_back(now: Timestamp, until: Timestamp) -> bool {
    until.unix_millis().saturating_sub(now.unix_millis()) > RETRY_MILLIS
}
