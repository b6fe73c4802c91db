//! Where each record is: in memory for the record file that is written to and for those that have no
//! table yet, on disk for all others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    StoreError,
    segment::{Location, Place},
    table::{Entry, Key, Table},
};

/// The records of one file.
#[derive(Debug, Default)]
pub(super) struct Recent {
    pub(super) segment: u64,
    places: HashMap<Key, Place>,
}

impl Recent {
    pub(super) fn of(segment: u64) -> Self {
        Self {
            segment,
            places: HashMap::new(),
        }
    }

    pub(super) fn insert(&mut self, key: Key, place: Place) {
        self.places.insert(key, place);
    }

    fn find(&self, key: Key) -> Option<Location> {
        let place = *self.places.get(&key)?;
        let segment = self.segment;
        Some(Location { segment, place })
    }

    /// Every entry, in ascending order.
    pub(super) fn sorted(&self) -> Vec<Entry> {
        let entry = |(key, place): (&Key, &Place)| Entry {
            key: *key,
            at: Location {
                segment: self.segment,
                place: *place,
            },
        };
        let mut entries: Vec<Entry> = self.places.iter().map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.key);
        entries
    }
}

/// Where each record is.
#[derive(Debug)]
pub(super) struct Index(Mutex<Parts>);

#[derive(Debug)]
struct Parts {
    open: Recent,
    /// Files that have no table yet, oldest first.
    closed: Vec<Arc<Recent>>,
    /// Oldest first.
    tables: Vec<Arc<Table>>,
}

impl Index {
    pub(super) fn new(tables: Vec<Arc<Table>>, open: Recent) -> Self {
        Self(Mutex::new(Parts {
            open,
            closed: Vec::new(),
            tables,
        }))
    }

    /// A record was written.
    pub(super) fn insert(&self, keys: impl Iterator<Item = Key>, place: Place) {
        let mut parts = self.parts();
        for key in keys {
            parts.open.insert(key, place);
        }
    }

    /// The file that is written to is full; the next one begins with record `next`.
    pub(super) fn close(&self, next: u64) -> Arc<Recent> {
        let mut parts = self.parts();
        let closed = Arc::new(std::mem::replace(&mut parts.open, Recent::of(next)));
        parts.closed.push(Arc::clone(&closed));
        closed
    }

    /// The tables as they are now; they hold the oldest closed file too.
    pub(super) fn publish(&self, tables: Vec<Arc<Table>>) {
        let mut parts = self.parts();
        parts.tables = tables;
        if !parts.closed.is_empty() {
            parts.closed.remove(0);
        }
    }

    /// The latest record of this key.
    pub(super) fn find(&self, key: Key) -> Result<Option<Location>, StoreError> {
        let tables = {
            let parts = self.parts();
            let closed = parts.closed.iter().rev().map(AsRef::as_ref);
            let mut recent = std::iter::once(&parts.open).chain(closed);
            if let Some(found) = recent.find_map(|recent| recent.find(key)) {
                return Ok(Some(found));
            }
            parts.tables.clone()
        };
        for table in tables.iter().rev() {
            if let Some(found) = table.find(key)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Entries in memory, and tables on disk.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let parts = self.parts();
        let closed: usize = parts.closed.iter().map(|recent| recent.places.len()).sum();
        (parts.open.places.len() + closed, parts.tables.len())
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
