//! The session's event chain: numbers, links, signs and posts every event, and waits until the host
//! has it on disk. When the host does not take an event, the chain is broken for good: no later
//! event is accepted, and the action that it announced does not happen.

use std::{
    collections::BTreeMap,
    sync::{Mutex as StdMutex, PoisonError},
};

use bytes::Bytes;
use http::HeaderMap;
use proofroom_canonical::{Digest, EvidenceLevel, Refusal, SessionId, Timestamp, json};
use proofroom_clock::steady;
use proofroom_record::{
    event::{Action, Event, EventBody, MAX_EVENT_BYTES, Observation, Outcome, SessionEnd, VERSION},
    room_api::{self, EventsDurable, SignedEvent},
    statement::EventSummary,
};
use proofroom_signer::FastSigner;
use tokio::sync::Mutex;

use crate::channel::{Channel, ChannelError};

/// The most observations that one session writes down; after them one `limit-reached` says so.
pub const MAX_OBSERVATIONS: u64 = 20_000;
/// The most events that go into one post.
const BATCH: usize = 64;

/// Why an event was not written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// An earlier event was not taken, or the session was closed.
    #[error("the event chain has ended: nothing more can be done in this session")]
    Ended,
    /// The host says that it has other events on disk than those sent.
    #[error("the host has events up to {have} on disk, not up to {want}")]
    NotDurable {
        /// Last event as the host says.
        have: u64,
        /// Last event that was sent.
        want: u64,
    },
    /// The host did not take the events.
    #[error("the host did not take the event")]
    NotTaken(#[source] ChannelError),
    /// The session key gave no signature.
    #[error("the session key signs no event")]
    Unsigned(#[source] Refusal),
    /// An event's line has no form, or is too long.
    #[error("event of {0} bytes cannot be written")]
    Unwritable(usize),
}

impl JournalError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ended => "journal-ended",
            Self::NotDurable { .. } => "journal-not-durable",
            Self::NotTaken(_) => "journal-not-taken",
            Self::Unsigned(_) => "journal-unsigned",
            Self::Unwritable(_) => "journal-unwritable",
        }
    }
}

/// The chain of one session.
#[derive(Debug)]
pub struct Journal {
    channel: Channel,
    signer: FastSigner,
    session: SessionId,
    chain: Mutex<Chain>,
    noted: StdMutex<Noted>,
}

#[derive(Debug)]
struct Chain {
    next: u64,
    head: Digest,
    by_type: BTreeMap<String, u64>,
    stopped: u64,
    open: Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Yes,
    No,
}

#[derive(Debug, Default)]
struct Noted {
    waiting: Vec<(Timestamp, Observation)>,
    total: u64,
}

impl Journal {
    /// A chain whose event 0 will name `root`, the digest of the session's binding statement.
    #[must_use]
    pub fn new(channel: Channel, signer: FastSigner, session: SessionId, root: Digest) -> Self {
        Self {
            channel,
            signer,
            session,
            chain: Mutex::new(Chain {
                next: 0,
                head: root,
                by_type: BTreeMap::new(),
                stopped: 0,
                open: Open::Yes,
            }),
            noted: StdMutex::new(Noted::default()),
        }
    }

    /// Writes the first event.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn open(&self, body: EventBody) -> Result<(), JournalError> {
        self.append(body).await.map(drop)
    }

    /// Announces an action. Only when this returns a number may the action happen.
    ///
    /// # Errors
    /// See [`JournalError`]: the action must not happen, and the session is over.
    pub async fn intent(&self, action: Action) -> Result<u64, JournalError> {
        self.append(EventBody::Intent { action }).await
    }

    /// Says what became of intent number `of`.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn outcome(&self, of: u64, result: Outcome) -> Result<(), JournalError> {
        self.append(EventBody::Outcome { of, result })
            .await
            .map(drop)
    }

    /// Notes something that was seen; it is written with the next event or the next [`Self::flush`].
    /// Returns at once. From [`MAX_OBSERVATIONS`] on, nothing is noted, and an event says so.
    pub fn note(&self, observation: Observation) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.total = noted.total.saturating_add(1);
        let kept = match noted.total {
            0..MAX_OBSERVATIONS => observation,
            MAX_OBSERVATIONS => Observation::LimitReached {
                resource: "events".to_owned(),
                detail: format!("further observations than {MAX_OBSERVATIONS} are not written"),
            },
            _ => return,
        };
        noted.waiting.push((steady(), kept));
    }

    /// What was noted and is not written yet.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> Vec<Observation> {
        let noted = self.noted.lock().unwrap();
        noted.waiting.iter().map(|(_, one)| one.clone()).collect()
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn flush(&self) -> Result<(), JournalError> {
        let mut chain = self.chain.lock().await;
        self.write_noted(&mut chain).await
    }

    /// Writes the last event and ends the chain.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn close(&self, end: SessionEnd) -> Result<EventSummary, JournalError> {
        let mut chain = self.chain.lock().await;
        self.write_noted(&mut chain).await?;
        self.write(
            &mut chain,
            vec![(steady(), EventBody::SessionClosed { end })],
        )
        .await?;
        chain.open = Open::No;
        Ok(EventSummary {
            count: chain.next,
            head: chain.head,
            by_type: chain.by_type.clone(),
            stopped: chain.stopped,
        })
    }

    /// Ends the chain where it is, without a last event.
    pub async fn abandon(&self) {
        self.chain.lock().await.open = Open::No;
    }

    async fn append(&self, body: EventBody) -> Result<u64, JournalError> {
        let mut chain = self.chain.lock().await;
        self.write_noted(&mut chain).await?;
        let seq = chain.next;
        self.write(&mut chain, vec![(steady(), body)]).await?;
        Ok(seq)
    }

    async fn write_noted(&self, chain: &mut Chain) -> Result<(), JournalError> {
        // Event 0 is the opening; what is noted before it waits.
        while chain.next > 0 {
            let batch: Vec<(Timestamp, EventBody)> = {
                let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
                let take = noted.waiting.len().min(BATCH);
                let taken = noted.waiting.drain(..take);
                taken
                    .map(|(time, observation)| (time, EventBody::Observed { observation }))
                    .collect()
            };
            if batch.is_empty() {
                break;
            }
            self.write(chain, batch).await?;
        }
        Ok(())
    }

    /// Whatever fails in here, or is cancelled in here, leaves the chain ended.
    async fn write(
        &self,
        chain: &mut Chain,
        bodies: Vec<(Timestamp, EventBody)>,
    ) -> Result<(), JournalError> {
        if chain.open == Open::No {
            return Err(JournalError::Ended);
        }
        chain.open = Open::No;
        let (mut next, mut head) = (chain.next, chain.head);
        let mut post = Vec::new();
        for (time, body) in &bodies {
            let line = self.line(next, head, *time, body.clone())?;
            head = Digest::of(&line);
            let signed =
                SignedEvent::sign(line, next, &self.signer).map_err(JournalError::Unsigned)?;
            post.extend(json::to_bytes(&signed).map_err(|_| JournalError::Unwritable(0))?);
            post.push(b'\n');
            next = next.saturating_add(1);
        }
        let durable: EventsDurable = self
            .channel
            .post(room_api::EVENTS, &HeaderMap::new(), Bytes::from(post))
            .await
            .map_err(JournalError::NotTaken)?;
        let want = next.saturating_sub(1);
        if durable.durable != want {
            return Err(JournalError::NotDurable {
                have: durable.durable,
                want,
            });
        }
        for (_, body) in &bodies {
            chain.count(body);
        }
        chain.next = next;
        chain.head = head;
        chain.open = Open::Yes;
        Ok(())
    }

    fn line(
        &self,
        seq: u64,
        prev: Digest,
        time: Timestamp,
        body: EventBody,
    ) -> Result<String, JournalError> {
        let event = Event {
            v: VERSION,
            session: self.session,
            seq,
            prev,
            time,
            level: EvidenceLevel::E3,
            body,
        };
        let bytes = json::to_bytes(&event).map_err(|_| JournalError::Unwritable(0))?;
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(JournalError::Unwritable(bytes.len()));
        }
        String::from_utf8(bytes).map_err(|error| JournalError::Unwritable(error.as_bytes().len()))
    }
}

impl Chain {
    fn count(&mut self, body: &EventBody) {
        let (name, stopped) = match body {
            EventBody::SessionOpened { .. } => ("session-opened", 0),
            EventBody::Intent { .. } => ("intent", 0),
            EventBody::Outcome { result, .. } => (
                "outcome",
                u64::from(matches!(result, Outcome::Denied { .. })),
            ),
            EventBody::Observed { observation } => (
                "observed",
                match observation {
                    Observation::Blocked { times, .. } => *times,
                    _ => 0,
                },
            ),
            EventBody::SessionClosed { .. } => ("session-closed", 0),
        };
        let count = self.by_type.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        self.stopped = self.stopped.saturating_add(stopped);
    }
}
