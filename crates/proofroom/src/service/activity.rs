//! Whether a session does anything, and what the host's kernel did to its room: looked at from time to
//! time by whoever serves the room. Time in which the room was stopped does not count.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use proofroom_record::room_api::LimitEffect;
use proofroom_room::Meter;

use super::orders::OrderBook;

/// When something last happened, and which kills were told of.
#[derive(Debug)]
pub(super) struct Activity {
    idle: Duration,
    last: Mutex<Instant>,
    meter: Meter,
    kills: AtomicU64,
}

/// Whether a session has done something lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveliness {
    /// It has.
    Active,
    /// It has not, for as long as it may.
    Idle,
}

impl Activity {
    pub(super) fn new(idle: Duration, meter: Meter) -> Self {
        Self {
            idle,
            last: Mutex::new(Instant::now()),
            meter,
            kills: AtomicU64::new(0),
        }
    }

    /// Something happened: an event, or traffic with a model.
    pub(super) fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn liveliness(&self) -> Liveliness {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() < self.idle {
            Liveliness::Active
        } else {
            Liveliness::Idle
        }
    }

    pub(super) fn idle_seconds(&self) -> u64 {
        self.idle.as_secs()
    }

    /// Orders what the kernel did since the last look to be written down.
    pub(super) fn tell_kills(&self, book: &OrderBook) {
        let now = self.meter.memory_kills();
        let before = self.kills.fetch_max(now, Ordering::Relaxed);
        if let Some(more @ 1..) = now.checked_sub(before) {
            let detail = format!("the kernel killed {more} processes for lack of memory");
            book.limit("memory", detail, LimitEffect::Noted);
        }
    }
}
