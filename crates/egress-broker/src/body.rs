//! Bodies with an account at their end, and bytes that are counted before they leave.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use proofroom_egress::Meter;
use proofroom_record::room_api::{ACCOUNT_TRAILER, EgressAccount};
use tokio::sync::mpsc;

use crate::Broker;

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
pub(crate) type Pieces = mpsc::Sender<Result<Frame<Bytes>, BodyError>>;

/// Pieces that wait for the room before the other side has to.
const PIECES: usize = 8;

/// A body that is fed piece by piece.
pub(crate) fn piecewise() -> (Pieces, Body) {
    let (pieces, receiver) = mpsc::channel(PIECES);
    (pieces, Fed(receiver).boxed_unsync())
}

/// The last frame of an answer.
pub(crate) fn ending(account: &EgressAccount) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.extend(header(account));
    Frame::trailers(trailers)
}

/// An account as a header or trailer.
#[must_use]
pub fn header(account: &EgressAccount) -> Option<(HeaderName, HeaderValue)> {
    let text = serde_json::to_vec(account).ok()?;
    let value = HeaderValue::from_bytes(&text).ok()?;
    Some((HeaderName::from_static(ACCOUNT_TRAILER), value))
}

struct Fed(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(context)
    }
}

/// What left and what came, counted while it passes.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Passed {
    pub(crate) fn sending(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn receiving(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// A request's body on its way out: every piece is counted against the caps before it leaves.
pub(crate) struct Outgoing {
    pub(crate) body: Incoming,
    pub(crate) broker: Arc<Broker>,
    pub(crate) passed: Arc<Passed>,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        // A room's trailers are no part of what was decided.
        let Ok(data) = frame.into_data() else {
            return Poll::Ready(None);
        };
        let bytes = data.len() as u64;
        if let Err(reached) = self
            .broker
            .meter(|meter, since| Meter::send(meter, since, bytes))
        {
            return Poll::Ready(Some(Err(reached.into())));
        }
        self.passed.sending(bytes);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
