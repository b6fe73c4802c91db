//! Bodies at the server's edge: one that must keep arriving, one that ends when its key does.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use proofroom_gateway::AnswerBody;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{connection::UnderWay, held::Held, metrics::FirstByte};

/// Why a request's body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArrivalError {
    #[error("the body paused for too long, or took too long in all")]
    Slow,
    #[error(transparent)]
    Connection(#[from] hyper::Error),
}

/// A request's body that must keep arriving.
pub(crate) struct Arriving {
    inner: Incoming,
    stall: Duration,
    paused: Pin<Box<Sleep>>,
    whole: Pin<Box<Sleep>>,
}

impl Arriving {
    pub(crate) fn new(inner: Incoming, stall: Duration, whole: Duration) -> Self {
        let now = Instant::now();
        Self {
            inner,
            stall,
            paused: Box::pin(sleep_until(now + stall)),
            whole: Box::pin(sleep_until(now + whole)),
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = ArrivalError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ArrivalError>>> {
        if self.whole.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(ArrivalError::Slow)));
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            let next = Instant::now() + self.stall;
            self.paused.as_mut().reset(next);
            return Poll::Ready(frame.map(|frame| frame.map_err(ArrivalError::from)));
        }
        if self.paused.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(ArrivalError::Slow)));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DepartureError {
    #[error("the key was revoked, or the person or token barred")]
    KeyEnded,
    #[error(transparent)]
    Answer(#[from] proofroom_gateway::AnswerError),
}

/// An answer on its way to the client.
pub(crate) struct Departing {
    content: Content,
    /// Held until the last byte is on its way.
    under_way: Option<UnderWay>,
}

enum Content {
    /// The server's own.
    Own(Full<Bytes>),
    /// The gateway's, which ends when the key under which it was asked for does.
    Run {
        body: AnswerBody,
        key: Arc<Held>,
        first: Option<FirstByte>,
    },
}

impl Departing {
    pub(crate) fn own(bytes: impl Into<Bytes>) -> Self {
        Self::of(Content::Own(Full::new(bytes.into())))
    }

    pub(crate) fn run(body: AnswerBody, key: Arc<Held>, first: FirstByte) -> Self {
        let first = Some(first);
        Self::of(Content::Run { body, key, first })
    }

    /// Keeps its connection from counting as idle.
    pub(crate) fn during(mut self, under_way: UnderWay) -> Self {
        self.under_way = Some(under_way);
        self
    }

    const fn of(content: Content) -> Self {
        Self {
            content,
            under_way: None,
        }
    }
}

impl Body for Departing {
    type Data = Bytes;
    type Error = DepartureError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DepartureError>>> {
        match &mut self.content {
            Content::Own(body) => {
                let frame = Pin::new(body).poll_frame(context);
                frame.map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
            // the run is cancelled when the body is dropped, and recorded so
            Content::Run { key, .. } if key.has_ended() => {
                Poll::Ready(Some(Err(DepartureError::KeyEnded)))
            }
            Content::Run { body, first, .. } => {
                let frame = Pin::new(body).poll_frame(context);
                if let (Poll::Ready(Some(Ok(frame))), Some(_)) = (&frame, &first)
                    && frame.is_data()
                    && let Some(first) = first.take()
                {
                    first.seen();
                }
                frame.map(|frame| frame.map(|frame| frame.map_err(DepartureError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(body) => body.is_end_stream(),
            Content::Run { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(body) => body.size_hint(),
            Content::Run { body, .. } => body.size_hint(),
        }
    }
}
