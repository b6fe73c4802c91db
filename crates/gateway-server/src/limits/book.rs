//! What was done and spent by whom, against what they may.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use proofroom_canonical::Timestamp;
use proofroom_gateway::Denial;
use proofroom_record::statement::LogMode;

use super::{Limits, Spending, Spent, bucket::Bucket};

/// Everybody's accounts, by a name such as `key k_1`.
#[derive(Debug, Default)]
pub(crate) struct Book {
    accounts: Mutex<HashMap<String, Account>>,
}

#[derive(Debug, Default)]
struct Account {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    running: u64,
    /// Tokens of runs that are under way, as estimated.
    reserved: u64,
    spent: Spent,
}

/// A run's place in the book: given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    book: Arc<Book>,
    names: Vec<String>,
    reserved: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accounts = self.book.accounts();
        for name in &self.names {
            if let Some(account) = accounts.get_mut(name) {
                account.running = account.running.saturating_sub(1);
                account.reserved = account.reserved.saturating_sub(self.reserved);
                if let Some(bucket) = &mut account.tokens {
                    bucket.give_back(self.reserved);
                }
            }
        }
    }
}

impl Book {
    /// A book that goes on from what was spent under each name.
    pub(crate) fn of(spent: impl IntoIterator<Item = (String, Spent)>) -> Self {
        let accounts = spent.into_iter().map(|(name, spent)| {
            let account = Account {
                spent,
                ..Account::default()
            };
            (name, account)
        });
        Self {
            accounts: Mutex::new(accounts.collect()),
        }
    }

    /// Nobody runs or pays under this name any more.
    pub(crate) fn close(&self, name: &str) {
        self.accounts().remove(name);
    }

    /// What was spent under `from` counts under `to`, and nobody runs under `from` any more.
    pub(crate) fn carry(&self, from: &str, to: &str) {
        let mut accounts = self.accounts();
        if let Some(account) = accounts.remove(from) {
            let to = accounts.entry(to.to_owned()).or_default();
            to.spent.absorb(account.spent);
            to.requests = account.requests;
            to.tokens = account.tokens;
        }
    }

    /// Takes a place for a run of about `estimate` tokens under every one of `limits`, or none at all.
    pub(crate) fn take(
        self: &Arc<Self>,
        limits: &[(String, &Limits)],
        estimate: u64,
        now: Timestamp,
    ) -> Result<Place, Denial> {
        let mut accounts = self.accounts();
        for (name, limits) in limits {
            let account = accounts.entry(name.clone()).or_default();
            account.refuse(name, limits, estimate, now)?;
        }
        for (name, _) in limits {
            if let Some(account) = accounts.get_mut(name) {
                account.begin(estimate, now);
            }
        }
        Ok(Place {
            book: Arc::clone(self),
            names: limits.iter().map(|(name, _)| name.clone()).collect(),
            reserved: estimate,
        })
    }

    /// Counts what a run at `at` used.
    pub(crate) fn spend(&self, names: &[String], spending: Spending, at: Timestamp) {
        let mut accounts = self.accounts();
        for name in names {
            let account = accounts.entry(name.clone()).or_default();
            account.spent.add(spending, at);
            if let Some(bucket) = &mut account.tokens {
                bucket.take(spending.tokens, at);
            }
        }
    }

    /// What was spent in all under `name`.
    #[cfg(test)]
    pub(crate) fn spent(&self, name: &str, now: Timestamp) -> Spending {
        let accounts = self.accounts();
        let account = accounts.get(name);
        account.map_or_else(Spending::default, |account| {
            account.spent.within(super::Window::Total, now)
        })
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn refuse(
        &mut self,
        name: &str,
        limits: &Limits,
        estimate: u64,
        now: Timestamp,
    ) -> Result<(), Denial> {
        if limits.runs_at_once.is_some_and(|most| self.running >= most) {
            let words = format!("{name} has as many runs under way as it may; wait for one to end");
            let second = Duration::from_secs(1);
            return Err(too_many("runs-at-once", words, Some(second)));
        }
        let rates = [
            (
                "rate-requests",
                "requests",
                &mut self.requests,
                limits.requests_per_minute,
                1,
            ),
            (
                "rate-tokens",
                "tokens",
                &mut self.tokens,
                limits.tokens_per_minute,
                estimate,
            ),
        ];
        for (code, unit, bucket, per_minute, units) in rates {
            let Some(per_minute) = per_minute else {
                *bucket = None;
                continue;
            };
            let bucket = bucket.get_or_insert_with(|| Bucket::full(per_minute, now));
            if let Some(wait) = bucket.wait_for(units, now) {
                let words = format!("{name} may use {per_minute} {unit} a minute; try again later");
                return Err(too_many(code, words, Some(wait)));
            }
        }
        self.refuse_budget(name, limits, estimate, now)
    }

    fn refuse_budget(
        &self,
        name: &str,
        limits: &Limits,
        estimate: u64,
        now: Timestamp,
    ) -> Result<(), Denial> {
        for budget in &limits.budgets {
            let spent = self.spent.within(budget.window, now);
            let tokens = spent
                .tokens
                .saturating_add(self.reserved)
                .saturating_add(estimate);
            let wait = budget.window.left_at(now);
            if budget.tokens.is_some_and(|most| tokens > most) {
                let words = format!("{name} has spent its budget of tokens; ask whoever issued it");
                return Err(spent_out("budget-tokens", words, wait));
            }
            if budget.micros.is_some_and(|most| spent.micros >= most) {
                let words = format!("{name} has spent its budget of money; ask whoever issued it");
                return Err(spent_out("budget-money", words, wait));
            }
        }
        Ok(())
    }

    fn begin(&mut self, estimate: u64, now: Timestamp) {
        self.running = self.running.saturating_add(1);
        self.reserved = self.reserved.saturating_add(estimate);
        if let Some(bucket) = &mut self.requests {
            bucket.take(1, now);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(estimate, now);
        }
    }
}

fn too_many(code: &'static str, message: String, retry_after: Option<Duration>) -> Denial {
    Denial {
        status: StatusCode::TOO_MANY_REQUESTS,
        code,
        message,
        retry_after,
        log: LogMode::Strict,
    }
}

/// 403 and not 429: clients repeat a 429 by themselves, and a budget does not come back that soon.
fn spent_out(code: &'static str, message: String, retry_after: Option<Duration>) -> Denial {
    Denial {
        status: StatusCode::FORBIDDEN,
        code,
        message,
        retry_after,
        log: LogMode::Strict,
    }
}
