//! The server's answer on its way out: hashed as it passes, signed when it has ended, and not before.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use proofroom_canonical::Hasher;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::receipts::Pending;

/// The most bytes of an answer.
pub(crate) const MAX_ANSWER_BYTES: u64 = 256 * 1024 * 1024;
/// How long nothing may come of an answer, and how long it may take in all.
const STALL: Duration = Duration::from_secs(120);
const WHOLE: Duration = Duration::from_secs(3600);

/// Why an answer breaks off. The connection ends with it, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    #[error("the model's server broke off")]
    Server(#[source] hyper::Error),
    #[error("the model's server was silent for too long")]
    Late,
    #[error("the answer is too long")]
    TooLong,
}

/// An answer that gets a receipt at its end. One that breaks off gets none.
pub(crate) struct Signed {
    body: Incoming,
    run: Option<Pending>,
    hasher: Hasher,
    bytes: u64,
    stalled: Pin<Box<Sleep>>,
    /// Whether the server is waited for; while the client takes nothing, it is not.
    waiting: bool,
    endless: Pin<Box<Sleep>>,
}

impl Signed {
    pub(crate) fn new(body: Incoming, run: Pending) -> Self {
        Self {
            body,
            run: Some(run),
            hasher: Hasher::new(),
            bytes: 0,
            stalled: Box::pin(sleep(STALL)),
            waiting: true,
            endless: Box::pin(sleep_until(Instant::now() + WHOLE)),
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), BrokenOff> {
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);
        if self.bytes > MAX_ANSWER_BYTES {
            return Err(BrokenOff::TooLong);
        }
        self.hasher.update(chunk);
        self.waiting = false;
        Ok(())
    }

    /// Whether the server has said nothing for too long.
    fn is_stalled(&mut self, context: &mut Context<'_>) -> bool {
        if !std::mem::replace(&mut self.waiting, true) {
            self.stalled.as_mut().reset(Instant::now() + STALL);
        }
        self.stalled.as_mut().poll(context).is_ready()
    }

    fn end(&mut self) {
        if let Some(run) = self.run.take() {
            let hasher = std::mem::take(&mut self.hasher);
            run.sign(hasher.finish(), self.bytes);
        }
    }

    /// What came next; trailers of the server are not passed on.
    fn passed(&mut self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, BrokenOff>> {
        let chunk = frame.into_data().ok()?;
        if let Err(error) = self.take(&chunk) {
            self.run = None;
            return Some(Err(error));
        }
        // the last byte of a body of known length is its end: nobody asks for more
        if self.body.is_end_stream() {
            self.end();
        }
        Some(Ok(Frame::data(chunk)))
    }
}

impl Body for Signed {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.endless.as_mut().poll(context).is_ready() {
            self.run = None;
            return Poll::Ready(Some(Err(BrokenOff::Late)));
        }
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending if self.is_stalled(context) => {
                    self.run = None;
                    return Poll::Ready(Some(Err(BrokenOff::Late)));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.run = None;
                    return Poll::Ready(Some(Err(BrokenOff::Server(error))));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            if let Some(passed) = self.passed(frame) {
                return Poll::Ready(Some(passed));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.run.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
