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

/// Parts that may wait for a slow client. Small: back pressure must reach the upstream.
pub(crate) const FRAMES_AHEAD: usize = 2;

/// Why an answer broke off.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// The run's record could not be kept, so the run must not look finished.
    #[error("the run's record could not be kept")]
    RecordNotDurable,
}

/// What goes to a client next. Small, since a channel makes room for 32 of them when it is made.
#[derive(Debug)]
pub(crate) enum AnswerPart {
    Data(Bytes),
    /// The end, and what the record is called.
    Trailers(Box<HeaderMap>),
    Broken(AnswerError),
}

impl AnswerPart {
    fn into_frame(self) -> Result<Frame<Bytes>, AnswerError> {
        match self {
            Self::Data(data) => Ok(Frame::data(data)),
            Self::Trailers(trailers) => Ok(Frame::trailers(*trailers)),
            Self::Broken(error) => Err(error),
        }
    }
}

/// A response body of the gateway.
#[derive(Debug)]
pub struct AnswerBody(Inner);

#[derive(Debug)]
enum Inner {
    Ready {
        data: Option<Bytes>,
        trailers: Option<HeaderMap>,
    },
    Stream(mpsc::Receiver<AnswerPart>),
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
    pub(crate) const fn stream(parts: mpsc::Receiver<AnswerPart>) -> Self {
        Self(Inner::Stream(parts))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match &mut self.0 {
            Inner::Ready { data, trailers } => {
                let frame = data
                    .take()
                    .map(Frame::data)
                    .or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Inner::Stream(parts) => parts
                .poll_recv(context)
                .map(|part| part.map(AnswerPart::into_frame)),
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
    if let Ok(value) = HeaderValue::try_from(record.to_string()) {
        trailers.insert(&headers::RECORD, value);
    }
    trailers.insert(&headers::STATUS, HeaderValue::from_static(status.as_str()));
    trailers
}
