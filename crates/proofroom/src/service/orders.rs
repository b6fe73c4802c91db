//! Orders of the host to a room at work, and what comes of them. The room asks; an order waits until
//! it does, and is given again until a later one is asked for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use proofroom_canonical::Timestamp;
use proofroom_record::room_api::{
    LimitEffect, Order, OrderKind, OrdersGiven, Person, ReportKind, parse_report,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::body::{Body, Refusal, json};
use crate::causes::chain;

/// Reports that wait for whoever ordered.
const REPORTS: usize = 16;
/// How long whoever ordered may take for one report; after that the room does not wait for them.
const PATIENCE: Duration = Duration::from_secs(5);

/// The orders of one session.
#[derive(Debug)]
pub(super) struct OrderBook {
    entries: Mutex<Entries>,
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Orders that may be asked for again.
    orders: Vec<Order>,
    /// Who waits for reports, by order.
    waiting: BTreeMap<u64, mpsc::Sender<ReportKind>>,
}

impl OrderBook {
    pub(super) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, what: OrderKind, reports: Option<mpsc::Sender<ReportKind>>) {
        let mut entries = self.entries();
        let number = *self.count.borrow();
        entries.orders.push(Order { number, what });
        if let Some(reports) = reports {
            entries.waiting.insert(number, reports);
        }
        self.count.send_replace(number.saturating_add(1));
    }

    pub(super) fn limit(&self, resource: &str, detail: String, effect: LimitEffect) {
        let resource = resource.to_owned();
        self.give(
            OrderKind::Limit {
                resource,
                detail,
                effect,
            },
            None,
        );
    }

    pub(super) fn paused(&self, from: Timestamp, to: Timestamp) {
        self.give(OrderKind::Paused { from, to }, None);
    }

    /// Orders a command; its reports end when it has ended, or the session has.
    pub(super) fn execute(&self, argv: Vec<String>, by: Person) -> mpsc::Receiver<ReportKind> {
        let (sender, reports) = mpsc::channel(REPORTS);
        self.give(OrderKind::Execute { argv, by }, Some(sender));
        reports
    }

    /// Nothing is reported any more.
    pub(super) fn end(&self) {
        self.entries().waiting.clear();
    }

    /// The first order from `next` on, which means that all before it have arrived.
    fn due(&self, next: u64) -> OrdersGiven {
        let mut entries = self.entries();
        entries.orders.retain(|order| order.number >= next);
        OrdersGiven {
            orders: entries.orders.first().cloned().into_iter().collect(),
        }
    }

    pub(super) fn answer_due(&self, next: &str) -> Result<Response<Body>, Refusal> {
        Ok(json(StatusCode::OK, &self.due(number(next)?)))
    }

    /// The same, when there is one, or after `most`.
    pub(super) async fn answer(
        &self,
        next: &str,
        most: Duration,
    ) -> Result<Response<Body>, Refusal> {
        let next = number(next)?;
        let mut count = self.count.subscribe();
        // None in this time is an answer too.
        drop(timeout(most, count.wait_for(|count| *count > next)).await);
        Ok(json(StatusCode::OK, &self.due(next)))
    }

    pub(super) async fn report(&self, body: &Bytes) -> Result<Response<Body>, Refusal> {
        let report =
            parse_report(body).map_err(|error| Refusal::bad("report-malformed", chain(&error)))?;
        let last = !matches!(report.what, ReportKind::Output { .. });
        let to = {
            let mut entries = self.entries();
            if last {
                entries.waiting.remove(&report.number)
            } else {
                entries.waiting.get(&report.number).cloned()
            }
        };
        if let Some(to) = to {
            // Whoever does not read gets no more.
            if !matches!(timeout(PATIENCE, to.send(report.what)).await, Ok(Ok(()))) {
                self.entries().waiting.remove(&report.number);
            }
        }
        Ok(json(StatusCode::OK, &serde_json::json!({})))
    }
}

fn number(text: &str) -> Result<u64, Refusal> {
    text.parse()
        .map_err(|_| Refusal::bad("order-malformed", "the path ends with no number"))
}

#[cfg(test)]
mod tests {
    use proofroom_record::room_api::{LimitEffect, OrderKind, Person, ReportKind};

    use super::OrderBook;

    fn person() -> Person {
        Person {
            uid: 0,
            name: "root".to_owned(),
        }
    }

    #[test]
    fn an_order_is_given_again_until_a_later_one_is_asked_for() {
        let book = OrderBook::new();
        assert_eq!(book.due(0).orders, []);
        book.limit("idle", "60 s".to_owned(), LimitEffect::Ends);
        let reports = book.execute(vec!["ls".to_owned()], person());
        let first = book.due(0).orders;
        assert_eq!((first.len(), first[0].number), (1, 0));
        assert_eq!(book.due(0).orders, first);
        let second = book.due(1).orders;
        assert!(matches!(second[0].what, OrderKind::Execute { .. }));
        assert_eq!(book.due(2).orders, []);
        drop(reports);
    }

    #[tokio::test]
    async fn reports_reach_whoever_ordered_and_end_with_the_command_or_the_session() {
        let book = OrderBook::new();
        let mut one = book.execute(vec!["a".to_owned()], person());
        let mut two = book.execute(vec!["b".to_owned()], person());
        let ended = br#"{"number":0,"what":{"kind":"ended","exit":{"code":3}}}"#;
        book.report(&ended.to_vec().into()).await.unwrap();
        assert!(matches!(one.recv().await, Some(ReportKind::Ended { .. })));
        assert_eq!(one.recv().await, None);
        let of_nobody = br#"{"number":7,"what":{"kind":"ended","exit":{"code":3}}}"#;
        book.report(&of_nobody.to_vec().into()).await.unwrap();
        book.end();
        assert_eq!(two.recv().await, None);
        let refused = book.report(&b"{}".to_vec().into()).await.unwrap_err();
        assert_eq!(refused.code, "report-malformed");
    }
}
