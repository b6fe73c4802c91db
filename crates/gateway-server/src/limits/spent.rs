//! What was spent in the present day, in the present month and in all.

use std::{cmp::Ordering, collections::BTreeMap};

use proofroom_canonical::Timestamp;
use serde::{Deserialize, Serialize};

use super::Window;

/// Tokens and money of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spending {
    pub(crate) tokens: u64,
    pub(crate) micros: u64,
}

/// Sums of one account: the latest window of each kind that something was spent in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Spent(BTreeMap<Window, Sum>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    window: i64,
    tokens: u64,
    micros: u64,
}

impl Spent {
    /// Counts what a run at `at` used.
    pub(crate) fn add(&mut self, spending: Spending, at: Timestamp) {
        for kind in Window::ALL {
            let sum = self.0.entry(kind).or_default();
            let window = kind.name_at(at);
            if sum.window < window {
                *sum = Sum {
                    window,
                    ..Sum::default()
                };
            }
            // a clock that went backwards still pays into the present window
            sum.tokens = sum.tokens.saturating_add(spending.tokens);
            sum.micros = sum.micros.saturating_add(spending.micros);
        }
    }

    /// Counts what was spent under another name too.
    pub(crate) fn absorb(&mut self, other: Self) {
        for (kind, sum) in other.0 {
            let mine = self.0.entry(kind).or_default();
            match mine.window.cmp(&sum.window) {
                Ordering::Less => *mine = sum,
                Ordering::Equal => {
                    mine.tokens = mine.tokens.saturating_add(sum.tokens);
                    mine.micros = mine.micros.saturating_add(sum.micros);
                }
                // a window that is over
                Ordering::Greater => {}
            }
        }
    }

    /// What was spent in the window that `now` lies in.
    pub(super) fn within(&self, kind: Window, now: Timestamp) -> Spending {
        match self.0.get(&kind) {
            Some(sum) if sum.window >= kind.name_at(now) => Spending {
                tokens: sum.tokens,
                micros: sum.micros,
            },
            _ => Spending::default(),
        }
    }
}
