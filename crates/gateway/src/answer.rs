//! The body that a client gets: a stream that ends with the record's trailers, or breaks off.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use proofroom_canonical::Digest;
use proofroom_record::event::RunStatus;
use tokio::sync::mpsc;

use crate::headers;

/// Frames that may wait for a slow client. Small: back pressure must reach the upstream.
pub(crate) const FRAMES_AHEAD: usize = 2;

/// Why an answer broke off.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// The run's record could not be kept, so the run must not look finished.
    #[error("the run's record could not be kept")]
    RecordNotDurable,
}

pub(crate) type AnswerFrame = Result<Frame<Bytes>, AnswerError>;

/// A response body of the gateway.
#[derive(Debug)]
pub struct AnswerBody(Inner);

#[derive(Debug)]
enum Inner {
    Ready {
        data: Option<Bytes>,
        trailers: Option<HeaderMap>,
    },
    Stream(mpsc::Receiver<AnswerFrame>),
}

impl AnswerBody {
    /// A body that is all there.
    pub(crate) const fn ready(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self(Inner::Ready {
            data: Some(data),
            trailers,
        })
    }

    /// A body without bytes.
    pub(crate) const fn empty() -> Self {
        Self::ready(Bytes::new(), None)
    }

    /// A body that is still arriving.
    pub(crate) const fn stream(frames: mpsc::Receiver<AnswerFrame>) -> Self {
        Self(Inner::Stream(frames))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<AnswerFrame>> {
        match &mut self.0 {
            Inner::Ready { data, trailers } => {
                let frame = data
                    .take()
                    .map(Frame::data)
                    .or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Inner::Stream(frames) => frames.poll_recv(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(
            self.0,
            Inner::Ready {
                data: None,
                trailers: None
            }
        )
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Ready {
                data: Some(data),
                trailers: None,
            } => SizeHint::with_exact(data.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// The trailers that join an answer to its record.
pub(crate) fn trailers(record: Digest, status: RunStatus) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&record.to_string()) {
        trailers.insert(&headers::RECORD, value);
    }
    trailers.insert(&headers::STATUS, HeaderValue::from_static(status.as_str()));
    trailers
}
