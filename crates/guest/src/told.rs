//! What is written down once however often it happens, and only so many different things of a kind:
//! which and how many is for the agent to choose.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Things of one kind that were written down.
#[derive(Debug)]
pub struct Told {
    known: Mutex<BTreeSet<String>>,
    most: usize,
}

/// Whether something is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is, and is to be written down.
    Fresh,
    /// It is one too many: that there are more is to be written down, once.
    TooMany,
    /// It is not, or nothing more is written down.
    Old,
}

impl Told {
    /// For at most this many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            known: Mutex::default(),
            most,
        }
    }

    /// Remembers a thing.
    pub fn hear(&self, thing: &str) -> News {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > self.most || !known.insert(thing.to_owned()) {
            News::Old
        } else if known.len() > self.most {
            News::TooMany
        } else {
            News::Fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{News, Told};

    #[test]
    fn a_thing_is_news_once_and_things_are_bounded() {
        let told = Told::new(2);
        assert_eq!(told.hear("a"), News::Fresh);
        assert_eq!(told.hear("a"), News::Old);
        assert_eq!(told.hear("b"), News::Fresh);
        assert_eq!(told.hear("b"), News::Old);
        assert_eq!(told.hear("c"), News::TooMany);
        assert_eq!((told.hear("d"), told.hear("a")), (News::Old, News::Old));
    }
}
