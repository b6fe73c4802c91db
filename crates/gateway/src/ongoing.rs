//! Work that its beginner waits for and that goes on without: a run is polled where its answer is waited for, which
//! needs no task and no other thread, and gets a task of its own when the answer has begun or its client is gone.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{runtime::Handle, sync::oneshot};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work that goes on in a task when this is dropped before its end.
struct Ongoing(Option<Work>);

impl Ongoing {
    /// Works on. A panic ends the work, as it ends a task.
    fn work(&mut self, context: &mut Context<'_>) {
        let Some(work) = &mut self.0 else { return };
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        if !matches!(polled, Ok(Poll::Pending)) {
            self.0 = None;
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        // without a runtime that takes it there is nothing that could go on; what is dropped notices
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

/// Does `work` until it has given its answer to `answer`'s other end; nothing if it ended without.
pub(crate) async fn until_answered<T>(
    work: impl Future<Output = ()> + Send + 'static,
    answer: oneshot::Receiver<T>,
) -> Option<T> {
    let mut ongoing = Ongoing(Some(Box::pin(work)));
    // dropped before the work, which so finds its client gone wherever it goes on
    let mut answer = answer;
    poll_fn(|context| {
        ongoing.work(context);
        Pin::new(&mut answer).poll(context)
    })
    .await
    .ok()
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::{sync::oneshot, time::timeout};

    use super::until_answered;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_ends_with_its_answer_is_done() {
        let (reply, answer) = oneshot::channel();
        let work = async move {
            tokio::time::sleep(SOON).await;
            reply.send(7).unwrap();
        };
        assert_eq!(until_answered(work, answer).await, Some(7));
    }

    #[tokio::test]
    async fn what_is_left_after_the_answer_goes_on() {
        let (reply, answer) = oneshot::channel();
        let (rest, done) = oneshot::channel();
        let work = async move {
            reply.send(7).unwrap();
            tokio::time::sleep(SOON).await;
            rest.send(8).unwrap();
        };
        assert_eq!(until_answered(work, answer).await, Some(7));
        assert_eq!(timeout(LATE, done).await.unwrap(), Ok(8));
    }

    #[tokio::test]
    async fn it_goes_on_when_nobody_waits_any_more_and_notices_that() {
        let (mut reply, answer) = oneshot::channel::<()>();
        let (rest, done) = oneshot::channel();
        let work = async move {
            reply.closed().await;
            tokio::time::sleep(SOON).await;
            rest.send(8).unwrap();
        };
        assert!(timeout(SOON, until_answered(work, answer)).await.is_err());
        assert_eq!(timeout(LATE, done).await.unwrap(), Ok(8));
    }

    #[tokio::test]
    async fn work_that_panics_gives_no_answer() {
        let (reply, answer) = oneshot::channel::<()>();
        let work = async move {
            let _held = reply;
            tokio::time::sleep(SOON).await;
            assert!(SOON.is_zero(), "as meant");
        };
        assert_eq!(until_answered(work, answer).await, None);
    }

    #[test]
    fn without_a_runtime_it_is_dropped() {
        let (reply, answer) = oneshot::channel::<()>();
        let (held, mut dropped) = oneshot::channel::<()>();
        let work = async move {
            let _held = (reply, held);
            pending::<()>().await;
        };
        drop(until_answered(work, answer));
        assert!(dropped.try_recv().is_err());
    }
}
