//! Rooms started ahead of their sessions. What is in the pool was told of no session: keys, nonces and
//! entropy are made after it was taken. Each is taken at most once, because taking moves it out; one that
//! nobody takes within its lifetime is ended.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use crate::{Programs, RoomError, Spare};

/// What can be started ahead and becomes one room.
pub trait Stock: Send + Sized {
    /// What all of a pool have in common: it decides what room one of them can become.
    type Shape: Clone + PartialEq + fmt::Debug + Send;

    /// Starts one ahead. It is told of no session. Blocking.
    ///
    /// # Errors
    /// Why it did not start; nothing is left running then.
    fn prestart(shape: &Self::Shape) -> Result<Self, RoomError>;

    /// Ends one that nobody took. Blocking.
    fn discard(self);
}

impl Stock for Spare {
    type Shape = Programs;

    fn prestart(shape: &Programs) -> Result<Self, RoomError> {
        Self::new(shape.clone())
    }

    fn discard(self) {
        drop(self);
    }
}

/// Keeps rooms of one shape started ahead. It starts and ends nothing by itself: whoever owns it calls
/// [`Self::tend`] now and then.
pub struct Pool<T: Stock> {
    shape: T::Shape,
    size: usize,
    lifetime: Duration,
    ready: VecDeque<(Instant, T)>,
}

impl<T: Stock> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("shape", &self.shape)
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl<T: Stock> Pool<T> {
    /// An empty pool that will hold `size` rooms, each for at most `lifetime`.
    #[must_use]
    pub fn new(shape: T::Shape, size: usize, lifetime: Duration) -> Self {
        Self {
            shape,
            size,
            lifetime,
            ready: VecDeque::new(),
        }
    }

    /// How many are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Ends those that are too old and starts others in their place. Blocking.
    ///
    /// # Errors
    /// Why one did not start; those that did are kept.
    pub fn tend(&mut self, now: Instant) -> Result<(), RoomError> {
        self.expire(now);
        while self.ready.len() < self.size {
            self.ready.push_back((now, T::prestart(&self.shape)?));
        }
        Ok(())
    }

    /// Takes the oldest that is not too old; starts one when there is none. Blocking.
    ///
    /// # Errors
    /// Why none did start.
    pub fn take(&mut self, now: Instant) -> Result<T, RoomError> {
        self.expire(now);
        match self.ready.pop_front() {
            Some((_, ready)) => Ok(ready),
            None => T::prestart(&self.shape),
        }
    }

    fn expire(&mut self, now: Instant) {
        let lifetime = self.lifetime;
        let old = |made: &Instant| now.saturating_duration_since(*made) >= lifetime;
        while self.ready.front().is_some_and(|(made, _)| old(made)) {
            if let Some((_, expired)) = self.ready.pop_front() {
                expired.discard();
            }
        }
    }
}

impl<T: Stock> Drop for Pool<T> {
    fn drop(&mut self) {
        for (_, left) in self.ready.drain(..) {
            left.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::{Duration, Instant},
    };

    use super::{Pool, Stock};
    use crate::RoomError;

    /// Counts what was started and what was ended.
    #[derive(Clone, Debug, Default)]
    struct Tally {
        started: Arc<AtomicU32>,
        ended: Arc<AtomicU32>,
    }

    impl PartialEq for Tally {
        fn eq(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.started, &other.started)
        }
    }

    impl Tally {
        fn counts(&self) -> (u32, u32) {
            let load = |count: &AtomicU32| count.load(Ordering::Relaxed);
            (load(&self.started), load(&self.ended))
        }
    }

    #[derive(Debug)]
    struct Numbered(u32, Tally);

    impl Stock for Numbered {
        type Shape = Tally;

        fn prestart(shape: &Tally) -> Result<Self, RoomError> {
            let number = shape.started.fetch_add(1, Ordering::Relaxed);
            if number >= 10 {
                let why = "no more than ten".to_owned();
                return Err(RoomError::NoSlot { why });
            }
            Ok(Self(number, shape.clone()))
        }

        fn discard(self) {
            self.1.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    const LIFETIME: Duration = Duration::from_secs(60);

    #[test]
    fn each_is_taken_once_and_the_pool_is_filled_again() {
        let (tally, now) = (Tally::default(), Instant::now());
        let mut pool = Pool::<Numbered>::new(tally.clone(), 2, LIFETIME);
        pool.tend(now).unwrap();
        assert_eq!((pool.ready(), tally.counts()), (2, (2, 0)));
        let taken: Vec<u32> = (0..3).map(|_| pool.take(now).unwrap().0).collect();
        assert_eq!(taken, [0, 1, 2]);
        pool.tend(now).unwrap();
        assert_eq!((pool.ready(), tally.counts()), (2, (5, 0)));
    }

    #[test]
    fn one_that_nobody_took_in_its_lifetime_is_ended_and_never_assigned() {
        let (tally, now) = (Tally::default(), Instant::now());
        let mut pool = Pool::<Numbered>::new(tally.clone(), 1, LIFETIME);
        pool.tend(now).unwrap();
        let later = now + LIFETIME;
        assert_eq!(pool.take(later).unwrap().0, 1);
        assert_eq!(tally.counts(), (2, 1));
        pool.tend(later).unwrap();
        pool.tend(later + LIFETIME).unwrap();
        assert_eq!((pool.ready(), tally.counts()), (1, (4, 2)));
        drop(pool);
        assert_eq!(tally.counts(), (4, 3));
    }

    #[test]
    fn when_none_can_be_started_it_says_so_and_keeps_those_that_were() {
        let (tally, now) = (Tally::default(), Instant::now());
        let mut pool = Pool::<Numbered>::new(tally, 11, LIFETIME);
        assert_eq!(pool.tend(now).unwrap_err().code(), "no-free-host-ids");
        assert_eq!(pool.ready(), 10);
    }
}
