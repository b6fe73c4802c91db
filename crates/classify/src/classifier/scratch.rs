//! What searches change, kept apart from the rules so that any thread finds it warm. Lent to one scan
//! at a time; holds no text.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::detect::{Marks, NumberSearch, Search};

/// What the searches of one scan change.
#[derive(Debug)]
pub(super) struct Scratch {
    /// One for each rule of the scanner.
    pub(super) rules: Vec<Search>,
    pub(super) marks: Marks,
    /// For the numbers that no literal announces.
    pub(super) numbers: NumberSearch,
}

impl Scratch {
    /// Another text is scanned from now on.
    fn begin(&mut self) {
        self.rules.iter_mut().for_each(Search::begin);
        self.numbers.begin();
    }
}

/// Those that no scan has at present.
#[derive(Debug)]
pub(super) struct Pool(Mutex<Shelf>);

#[derive(Debug)]
struct Shelf {
    spare: Vec<Scratch>,
    /// So many are kept, however many scans there were at once.
    most: usize,
}

impl Pool {
    /// Has `work` done with a spare one, or with what `make` makes. A panic costs the one it was done
    /// with.
    pub(super) fn with<R>(
        &self,
        make: impl FnOnce() -> Scratch,
        work: impl FnOnce(&mut Scratch) -> R,
    ) -> R {
        let spare = self.lock().spare.pop();
        let mut scratch = spare.unwrap_or_else(make);
        scratch.begin();
        let done = work(&mut scratch);
        let mut shelf = self.lock();
        if shelf.spare.len() < shelf.most {
            shelf.spare.push(scratch);
        }
        done
    }

    /// Keeps `spare`, and later no more than these.
    pub(super) fn keep(&self, spare: Vec<Scratch>) {
        *self.lock() = Shelf {
            most: spare.len(),
            spare,
        };
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self(Mutex::new(Shelf {
            spare: Vec::new(),
            most: KEPT,
        }))
    }
}

/// How many are kept where nobody said how many threads there are.
const KEPT: usize = 4;
