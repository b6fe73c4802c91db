//! A request body in memory: read once, hashed while it arrives, wiped when the last holder lets go.

use std::fmt;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;
use proofroom_canonical::{Digest, Wiped};

use crate::beginnings::{Arriving, Beginnings};

/// A body that nothing prints. Clones share the memory.
#[derive(Clone)]
pub(crate) struct Prompt(Bytes);

impl Prompt {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Bytes::from_owner(Wiped::new(bytes)))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same memory.
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.as_slice(), other.as_slice())
    }

    /// For the wire: shares the memory, which is wiped after the last byte is written.
    pub(crate) fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What arrived from the client.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// Of what arrived, whether it is kept or not.
    pub(crate) beginnings: Beginnings,
    pub(crate) content: Content,
}

/// The body, or why there is none.
#[derive(Debug)]
pub(crate) enum Content {
    Whole(Prompt),
    /// More than the cap. Digest and size are those of the whole body, or of what was read when it
    /// went on beyond [`HASHED_BEYOND`] times the cap.
    TooLarge,
    /// The client broke off; digest and size are those of the part that arrived.
    Broken,
}

/// How many times the cap is read, hashed and thrown away of a body that is too large, so that its
/// digest is the one that the sender knows.
const HASHED_BEYOND: u64 = 4;

/// Reads `body` to its end and keeps it if it has at most `max` bytes.
pub(crate) async fn read<B>(body: B, max: usize) -> Arrival
where
    B: Body<Data = Bytes>,
{
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(max);
    let mut body = std::pin::pin!(body);
    let mut arriving = Arriving::default();
    let mut held = Wiped::new(Vec::with_capacity(expected.min(max)));
    let content = loop {
        let data = match body.frame().await {
            None if arriving.bytes() > max as u64 => break Content::TooLarge,
            None => break Content::Whole(Prompt::new(std::mem::take(&mut *held))),
            Some(Err(_)) => break Content::Broken,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue,
            },
        };
        arriving.update(&data);
        if arriving.bytes() > max as u64 {
            held = Wiped::new(Vec::new());
            if arriving.bytes() > (max as u64).saturating_mul(HASHED_BEYOND) {
                break Content::TooLarge;
            }
        } else {
            append(&mut held, &data);
        }
    };
    let bytes = arriving.bytes();
    let (digest, beginnings) = arriving.finish();
    Arrival {
        digest,
        bytes,
        beginnings,
        content,
    }
}

/// Appends, moving to a larger buffer by hand so that the smaller one is wiped.
fn append(held: &mut Wiped<Vec<u8>>, data: &[u8]) {
    let needed = held.len().saturating_add(data.len());
    if needed > held.capacity() {
        let mut larger = Vec::with_capacity(needed.saturating_mul(2));
        larger.extend_from_slice(held);
        *held = Wiped::new(larger);
    }
    held.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use proofroom_canonical::Digest;

    use super::{Content, Prompt, read};

    #[tokio::test]
    async fn a_body_of_the_cap_is_read_and_one_more_byte_is_not() {
        let whole = read(Full::new(Bytes::from_static(b"12345")), 5).await;
        assert_eq!(whole.digest, Digest::of("12345"));
        assert!(matches!(whole.content, Content::Whole(prompt) if prompt.as_slice() == b"12345"));
        let refused = read(Full::new(Bytes::from_static(b"123456")), 5).await;
        assert!(matches!(refused.content, Content::TooLarge));
        assert_eq!((refused.bytes, refused.digest), (6, Digest::of("123456")));
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_hashed_whole_up_to_four_times_the_cap() {
        for (count, hashed) in [(4, 20), (5, 25), (9, 25)] {
            let (sender, receiver) = tokio::sync::mpsc::channel(16);
            for _ in 0..count {
                let part = crate::answer::AnswerPart::Data(Bytes::from_static(b"12345"));
                sender.send(part).await.unwrap();
            }
            drop(sender);
            let body = crate::AnswerBody::stream(receiver);
            let refused = read(body, 5).await;
            assert!(matches!(refused.content, Content::TooLarge));
            assert_eq!(refused.digest, Digest::of("12345".repeat(hashed / 5)));
        }
    }

    #[test]
    fn debug_prints_nothing_of_the_body() {
        assert_eq!(
            format!("{:?}", Prompt::new(b"hunter2".to_vec())),
            "<redacted>"
        );
    }
}
