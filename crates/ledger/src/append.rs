//! A leaf on its way to disk, as a future, and waiting for one without a runtime.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use tokio::sync::oneshot;

use crate::{error::LedgerError, ledger::Shared, status::Durable};

/// A leaf that was taken but is not durable yet. Await it, or call [`Self::wait`]. Dropping it does
/// not take the leaf back.
#[must_use = "the leaf is not durable until this says so"]
pub struct Appending {
    pub(crate) answer: oneshot::Receiver<Durable>,
    pub(crate) shared: Arc<Shared>,
}

impl Appending {
    /// Blocks the thread until the leaf is durable. Not for use inside an async runtime.
    ///
    /// # Errors
    /// `ledger-storage-failed` or `ledger-closed`; the leaf may then be on disk or not.
    pub fn wait(self) -> Result<Durable, LedgerError> {
        wait_for(self)
    }
}

impl Future for Appending {
    type Output = Result<Durable, LedgerError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.map_err(|_| self.shared.why_stopped()))
    }
}

impl fmt::Debug for Appending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appending").finish_non_exhaustive()
    }
}

/// Runs a future on this thread, which sleeps while there is nothing to do.
pub(crate) fn wait_for<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
