//! Rates, places and budgets at their edges.

use std::sync::Arc;

use proofroom_canonical::Timestamp;
use proofroom_gateway::Denial;

use super::{Book, Budget, Limits, Spending, Window, book::Place};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

struct One {
    book: Arc<Book>,
    limits: Limits,
}

impl One {
    fn with(limits: Limits) -> Self {
        let book = Arc::new(Book::default());
        Self { book, limits }
    }

    fn take(&self, estimate: u64, now: Timestamp) -> Result<Place, Denial> {
        let limits = [("key k".to_owned(), &self.limits)];
        self.book.take(&limits, estimate, now)
    }

    fn spend(&self, tokens: u64, micros: u64, now: Timestamp) {
        let spending = Spending { tokens, micros };
        self.book.spend(&["key k".to_owned()], spending, now);
    }
}

fn code(taken: Result<Place, Denial>) -> &'static str {
    taken.map_or_else(|denial| denial.code, |_| "taken")
}

#[test]
fn requests_are_counted_by_the_minute_and_a_refusal_says_when() {
    let one = One::with(Limits {
        requests_per_minute: Some(2),
        ..Limits::default()
    });
    drop(one.take(0, at(0)).unwrap());
    drop(one.take(0, at(0)).unwrap());
    let refused = one.take(0, at(0)).unwrap_err();
    assert_eq!(
        (refused.code, refused.status.as_u16()),
        ("rate-requests", 429)
    );
    assert_eq!(refused.retry_after.unwrap().as_secs(), 30);
    assert_eq!(code(one.take(0, at(29))), "rate-requests");
    assert_eq!(code(one.take(0, at(30))), "taken");
    assert_eq!(
        code(one.take(0, at(0))),
        "rate-requests",
        "the clock went back"
    );
}

#[test]
fn tokens_used_beyond_the_estimate_are_owed() {
    let one = One::with(Limits {
        tokens_per_minute: Some(60),
        ..Limits::default()
    });
    drop(one.take(10, at(0)).unwrap());
    one.spend(120, 0, at(0));
    assert_eq!(code(one.take(10, at(69))), "rate-tokens");
    assert_eq!(code(one.take(10, at(70))), "taken");
}

#[test]
fn a_request_larger_than_a_minutes_tokens_waits_for_a_full_minute_and_no_longer() {
    let one = One::with(Limits {
        tokens_per_minute: Some(60),
        ..Limits::default()
    });
    assert_eq!(code(one.take(1000, at(0))), "taken");
    let none = One::with(Limits {
        tokens_per_minute: Some(0),
        ..Limits::default()
    });
    assert_eq!(code(none.take(0, at(0))), "rate-tokens");
}

#[test]
fn a_place_is_free_again_when_its_run_ends() {
    let one = One::with(Limits {
        runs_at_once: Some(1),
        ..Limits::default()
    });
    let place = one.take(0, at(0)).unwrap();
    assert_eq!(code(one.take(0, at(0))), "runs-at-once");
    drop(place);
    assert_eq!(code(one.take(0, at(0))), "taken");
}

#[test]
fn what_one_limit_refuses_costs_nothing_under_another() {
    let book = Arc::new(Book::default());
    let wide = Limits {
        requests_per_minute: Some(1),
        ..Limits::default()
    };
    let closed = Limits {
        runs_at_once: Some(0),
        ..Limits::default()
    };
    let both = [("team a".to_owned(), &wide), ("key k".to_owned(), &closed)];
    assert_eq!(code(book.take(&both, 0, at(0))), "runs-at-once");
    assert_eq!(code(book.take(&both[..1], 0, at(0))), "taken");
}

#[test]
fn budgets_count_what_is_under_way_and_end_with_their_window() {
    let budget = |window| Budget {
        window,
        tokens: Some(100),
        micros: Some(50),
    };
    let one = One::with(Limits {
        budgets: vec![budget(Window::Day)],
        ..Limits::default()
    });
    let place = one.take(60, at(0)).unwrap();
    assert_eq!(
        code(one.take(41, at(0))),
        "budget-tokens",
        "60 are under way"
    );
    assert_eq!(code(one.take(40, at(0))), "taken");
    drop(place);
    one.spend(10, 50, at(86_399));
    let refused = one.take(1, at(86_399)).unwrap_err();
    assert_eq!(
        (refused.code, refused.status.as_u16()),
        ("budget-money", 403)
    );
    assert_eq!(refused.retry_after.unwrap().as_secs(), 1);
    assert_eq!(code(one.take(1, at(86_400))), "taken");
    assert_eq!(
        code(one.take(1, at(86_399))),
        "budget-money",
        "the clock went back"
    );
    let total = One::with(Limits {
        budgets: vec![budget(Window::Total)],
        ..Limits::default()
    });
    total.spend(100, 0, at(0));
    let refused = total.take(1, at(1_000_000_000)).unwrap_err();
    assert_eq!((refused.code, refused.retry_after), ("budget-tokens", None));
}

#[test]
fn a_month_ends_on_its_last_day() {
    // 2026-02-28T23:59:59Z
    let last = at(1_772_323_199);
    assert_eq!(Window::Month.left_at(last).unwrap().as_secs(), 1);
    assert_ne!(
        Window::Month.name_at(last),
        Window::Month.name_at(at(1_772_323_200))
    );
}
