//! Runs that write to sockets together. A write that wakes a sleeping processor costs several times what the next one
//! costs, for as long as that processor is awake.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::yield_now;

/// How many runs there are at once.
#[derive(Debug, Default)]
pub(crate) struct Company(AtomicUsize);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Member(Arc<Company>);

impl Company {
    /// Counts a run.
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        self.0.fetch_add(1, Ordering::Relaxed);
        Member(Arc::clone(self))
    }

    /// Comes back when others that could do something have had a turn, as tokio finds them on this thread: they then are as
    /// far, and what each does next follows closely. At once for a run that is alone.
    pub(crate) async fn gather(&self) {
        if self.0.load(Ordering::Relaxed) > 1 {
            yield_now().await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::Future, pin::pin, sync::Arc, task::Poll};

    use super::Company;

    /// Who took the first two steps of two runs that take two each.
    async fn first_two(company: &Company) -> [&'static str; 2] {
        let said = RefCell::new(Vec::new());
        let [one, two] = ["one", "two"].map(async |name| {
            said.borrow_mut().push(name);
            company.gather().await;
            said.borrow_mut().push(name);
        });
        tokio::join!(one, two);
        let said = said.into_inner();
        assert_eq!(said.len(), 4);
        [said[0], said[1]]
    }

    #[tokio::test]
    async fn runs_get_to_the_same_point_before_one_goes_on() {
        let company = Arc::new(Company::default());
        let members = [company.join(), company.join()];
        assert_eq!(first_two(&company).await, ["one", "two"]);
        drop(members);
        assert_eq!(first_two(&company).await, ["one", "one"]);
    }

    #[tokio::test]
    async fn a_run_that_is_alone_waits_for_nobody() {
        let company = Arc::new(Company::default());
        let member = company.join();
        let mut alone = pin!(company.gather());
        let polled = std::future::poll_fn(|context| Poll::Ready(alone.as_mut().poll(context)));
        assert!(polled.await.is_ready());
        drop(member);
    }
}
