//! How much may be done: rates, runs at once, and budgets in tokens and money, for each key, user,
//! team and session. Decides and counts; asks nobody for the time.

mod book;
mod bucket;
mod spent;
mod window;

use serde::{Deserialize, Serialize};

pub(crate) use book::Book;
pub(crate) use spent::{Spending, Spent};
pub use window::Window;

/// What one key, user, team or session may do. What is absent is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute, of requests and answers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Runs at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs_at_once: Option<u64>,
    /// Budgets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
}

/// What may be spent in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The window.
    pub window: Window,
    /// Tokens, of requests and answers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money in millionths of the unit of the price file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
}

impl Limits {
    /// Whether a budget in money is among them.
    #[must_use]
    pub fn need_prices(&self) -> bool {
        self.budgets.iter().any(|budget| budget.micros.is_some())
    }
}

#[cfg(test)]
mod tests;
