//! What is done about upstreams that are busy or fail, within one tier: requests are sent again, shared by
//! weight, and kept from an upstream that fails. Pure: time and randomness are arguments.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};
use proofroom_canonical::Timestamp;
use proofroom_classify::Candidate;

/// The first pause where an upstream does not say how long; doubled from pause to pause.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What to do about upstreams that are busy or fail: `[control]` of `upstreams.toml`. Nothing, where that is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// How many upstreams may be sent one run's request in all, the same one counted again. From 1.
    pub attempts: u32,
    /// The most that the pauses of one run may take together.
    pub longest_wait: Duration,
    /// After how many failures in a row an upstream rests; never where it is 0.
    pub rest_after: u32,
    /// How long it rests.
    pub rest: Duration,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            attempts: 1,
            longest_wait: Duration::ZERO,
            rest_after: 0,
            rest: Duration::ZERO,
        }
    }
}

/// Whether an upstream says by `status` that it did not take the request and that it may be sent again: 429,
/// 503 (RFC 9110 section 15.6.4), and 529, with which Anthropic says that it is overloaded.
pub(crate) fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 503 | 529)
}

/// How often and how long one run may still be sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    attempts: u32,
    wait: Duration,
    pauses: u32,
}

impl Patience {
    pub(crate) const fn of(control: &Control) -> Self {
        Self {
            attempts: control.attempts,
            wait: control.longest_wait,
            pauses: 0,
        }
    }

    /// Takes one of the run's attempts; whether one is left after it.
    pub(crate) const fn attempted(&mut self) -> bool {
        self.attempts = self.attempts.saturating_sub(1);
        self.attempts > 0
    }

    /// The pause before an upstream is asked again that answered with `headers`: never shorter than it said,
    /// longer by up to a quarter as `random` has it, so that callers do not come back together. `None` where that is
    /// longer than the run may wait, or where it said something that is not a number of seconds.
    pub(crate) fn pause(&mut self, headers: &HeaderMap, random: u32) -> Option<Duration> {
        let base = match headers.get(header::RETRY_AFTER) {
            Some(said) => {
                Duration::from_secs(said.to_str().ok()?.trim().parse::<u32>().ok()?.into())
            }
            None => FIRST_PAUSE.saturating_mul(1 << self.pauses.min(16)),
        };
        let jitter = (base / 4).mul_f64(f64::from(random) / f64::from(u32::MAX));
        let pause = base.saturating_add(jitter);
        self.wait = self.wait.checked_sub(pause)?;
        self.pauses = self.pauses.saturating_add(1);
        Some(pause)
    }
}

/// Puts candidates of which some have a weight into an order that shares requests among them in proportion. Only
/// neighbours of the same `group` change places; those without a weight come after those with one.
pub(crate) fn balance<G: PartialEq>(
    candidates: Vec<Candidate>,
    group: impl Fn(&Candidate) -> G,
    weight: impl Fn(&Candidate) -> Option<u32>,
    mut random: impl FnMut() -> u64,
) -> Vec<Candidate> {
    let mut ordered = Vec::with_capacity(candidates.len());
    let mut rest = candidates.into_iter().peekable();
    while let Some(first) = rest.next() {
        let of = group(&first);
        let mut members = vec![first];
        while let Some(next) = rest.next_if(|next| group(next) == of) {
            members.push(next);
        }
        let (mut weighted, spare): (Vec<_>, Vec<_>) = (members.into_iter())
            .map(|member| (weight(&member), member))
            .partition(|(weight, _)| weight.is_some());
        while !weighted.is_empty() {
            let drawn = draw(&weighted, &mut random);
            ordered.push(weighted.remove(drawn).1);
        }
        ordered.extend(spare.into_iter().map(|(_, member)| member));
    }
    ordered
}

/// The place of one of `weighted`, by its weight.
fn draw(weighted: &[(Option<u32>, Candidate)], random: &mut impl FnMut() -> u64) -> usize {
    let weights = weighted
        .iter()
        .map(|(weight, _)| u64::from(weight.unwrap_or(0)));
    let total: u64 = weights.clone().sum();
    if weighted.len() < 2 || total == 0 {
        return 0;
    }
    let mut left = random() % total;
    for (place, weight) in weights.enumerate() {
        match left.checked_sub(weight) {
            Some(less) => left = less,
            None => return place,
        }
    }
    0
}

/// How the configured upstreams have fared.
#[derive(Debug, Default)]
pub(crate) struct Healths(Mutex<BTreeMap<String, Health>>);

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// In a row.
    failures: u32,
    rests_until: Option<Timestamp>,
}

impl Healths {
    /// Whether `upstream` may be asked, or how long it rests yet. When its rest is over one request may go, which
    /// decides; others wait for another rest to pass.
    pub(crate) fn permits(
        &self,
        upstream: &str,
        control: &Control,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let mut healths = self.lock();
        let Some(health) = healths.get_mut(upstream) else {
            return Ok(());
        };
        match health.rests_until {
            // one that ends later than a rest takes began when the clock was ahead
            Some(until) if now < until && until <= later(now, control.rest) => {
                Err(between(now, until))
            }
            Some(_) => {
                health.rests_until = Some(later(now, control.rest));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// `upstream` answered. Whether it had rested before.
    pub(crate) fn answered(&self, upstream: &str) -> bool {
        let health = self.lock().remove(upstream);
        health.is_some_and(|health| health.rests_until.is_some())
    }

    /// `upstream` failed. Until when it rests, if it begins to now.
    pub(crate) fn failed(
        &self,
        upstream: &str,
        control: &Control,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if control.rest_after == 0 {
            return None;
        }
        let mut healths = self.lock();
        let health = healths.entry(upstream.to_owned()).or_default();
        health.failures = health.failures.saturating_add(1);
        if health.failures < control.rest_after {
            return None;
        }
        let begins = health.rests_until.is_none();
        let until = later(now, control.rest);
        health.rests_until = Some(until);
        begins.then_some(until)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(now.unix_millis().saturating_add(by))
}

fn between(now: Timestamp, until: Timestamp) -> Duration {
    let millis = until.unix_millis().saturating_sub(now.unix_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests;
