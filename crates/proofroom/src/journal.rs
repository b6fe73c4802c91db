//! The host's copy of a session's event chain: one file, appended and synced before the room is
//! told that its events are durable. It takes nothing that the session key did not sign, and after
//! one failed write it takes nothing more.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use p256::ecdsa::VerifyingKey;
use proofroom_canonical::{Digest, SessionId, json};
use proofroom_record::{
    event::{Event, EventBody, MAX_EVENT_BYTES},
    room_api::{MAX_EVENTS_POST_BYTES, SignedEvent},
};

/// An event line as a JSON string inside another line: every byte may need an escape.
const MAX_LINE_BYTES: usize = 6 * MAX_EVENT_BYTES + 1024;

/// Why events were not taken.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The post is not lines of signed events.
    #[error("line {0} of the post is not a signed event")]
    Malformed(usize),
    /// The event does not continue the chain.
    #[error("event {found} does not continue the chain at event {wanted}: {why}")]
    Chain {
        /// Number that the event carries.
        found: u64,
        /// Number that comes next.
        wanted: u64,
        /// What does not fit.
        why: &'static str,
    },
    /// The session is closed: nothing follows its last event.
    #[error("the session is closed")]
    Closed,
    /// The file could not be written or synced; the session must end.
    #[error("the event log `{path}` cannot be written; the session ends here")]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An earlier write failed.
    #[error("the event log failed earlier and takes nothing more")]
    Failed,
}

impl JournalError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "events-malformed",
            Self::Chain { .. } => "events-chain",
            Self::Closed => "session-closed",
            Self::Storage { .. } => "event-log-storage",
            Self::Failed => "event-log-failed",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Failed,
}

/// The journal of one running session.
pub struct Journal {
    file: File,
    path: PathBuf,
    session: SessionId,
    key: VerifyingKey,
    next: u64,
    prev: Digest,
    state: State,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("session", &self.session)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Begins the journal of `session`, whose chain starts at the digest of its binding statement.
    ///
    /// # Errors
    /// [`JournalError::Storage`], also when the file exists already.
    pub fn create(
        path: &Path,
        session: SessionId,
        binding: Digest,
        key: VerifyingKey,
    ) -> Result<Self, JournalError> {
        let storage = |source| JournalError::Storage {
            path: path.to_owned(),
            source,
        };
        let file = fs::OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(storage)?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(storage)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            session,
            key,
            next: 0,
            prev: binding,
            state: State::Open,
        })
    }

    /// How many events are durable.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.next
    }

    /// Digest of the last durable event; of the binding statement when there is none.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.prev
    }

    /// Takes one post of the room: all of it or nothing. Returns the events once they are on disk.
    ///
    /// # Errors
    /// See [`JournalError`]. After [`JournalError::Storage`] every call fails.
    pub fn append(&mut self, post: &[u8]) -> Result<Vec<Event>, JournalError> {
        match self.state {
            State::Open => {}
            State::Closed => return Err(JournalError::Closed),
            State::Failed => return Err(JournalError::Failed),
        }
        let mut accepted = Accepted {
            next: self.next,
            prev: self.prev,
            events: Vec::new(),
            bytes: Vec::new(),
        };
        if post.len() > MAX_EVENTS_POST_BYTES {
            return Err(JournalError::Malformed(0));
        }
        let lines = post.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        for (number, line) in lines.enumerate() {
            let signed: SignedEvent = json::parse(line, MAX_LINE_BYTES)
                .map_err(|_| JournalError::Malformed(number + 1))?;
            accepted.take(&signed, self.session, &self.key, number + 1)?;
        }
        if let Err(source) = self
            .file
            .write_all(&accepted.bytes)
            .and_then(|()| self.file.sync_data())
        {
            self.state = State::Failed;
            return Err(JournalError::Storage {
                path: self.path.clone(),
                source,
            });
        }
        self.next = accepted.next;
        self.prev = accepted.prev;
        if matches!(
            accepted.events.last().map(|event| &event.body),
            Some(EventBody::SessionClosed { .. })
        ) {
            self.state = State::Closed;
        }
        Ok(accepted.events)
    }
}

struct Accepted {
    next: u64,
    prev: Digest,
    events: Vec<Event>,
    bytes: Vec<u8>,
}

impl Accepted {
    fn take(
        &mut self,
        signed: &SignedEvent,
        session: SessionId,
        key: &VerifyingKey,
        number: usize,
    ) -> Result<(), JournalError> {
        let event: Event = json::parse(signed.event.as_bytes(), MAX_EVENT_BYTES)
            .map_err(|_| JournalError::Malformed(number))?;
        let misfit = |why| JournalError::Chain {
            found: event.seq,
            wanted: self.next,
            why,
        };
        if event.seq != self.next {
            return Err(misfit("its number is another"));
        }
        if event.session != session {
            return Err(misfit("it belongs to another session"));
        }
        if event.prev != self.prev {
            return Err(misfit("it names another predecessor"));
        }
        let opens = matches!(event.body, EventBody::SessionOpened { .. });
        if opens != (event.seq == 0) {
            return Err(misfit(
                "a session opens with its first event and only there",
            ));
        }
        if !signed.is_signed_by(event.seq, key) {
            return Err(misfit("the session key did not sign it"));
        }
        self.prev = Digest::of(&signed.event);
        self.next = self.next.saturating_add(1);
        serde_json::to_writer(&mut self.bytes, signed)
            .map_err(|_| JournalError::Malformed(number))?;
        self.bytes.push(b'\n');
        self.events.push(event);
        Ok(())
    }
}

/// Reads a journal back: every whole line. A torn last line was never acknowledged and is left out.
///
/// # Errors
/// [`JournalError::Storage`] when the file cannot be read, [`JournalError::Malformed`] when a whole
/// line is not a signed event.
pub fn read(path: &Path) -> Result<Vec<SignedEvent>, JournalError> {
    let bytes = fs::read(path).map_err(|source| JournalError::Storage {
        path: path.to_owned(),
        source,
    })?;
    let whole = bytes.iter().rposition(|&b| b == b'\n').unwrap_or(0);
    bytes
        .get(..whole)
        .unwrap_or_default()
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .enumerate()
        .map(|(number, line)| {
            json::parse(line, MAX_LINE_BYTES).map_err(|_| JournalError::Malformed(number + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use proofroom_canonical::{Digest, EvidenceLevel, SessionId, Timestamp, json};
    use proofroom_record::{
        event::{Event, EventBody, SessionEnd, VERSION},
        room_api::SignedEvent,
    };

    use super::{Journal, read};

    const SESSION: SessionId = SessionId::from_random([1; 16]);

    fn key() -> SigningKey {
        SigningKey::from_slice(&[9; 32]).unwrap()
    }

    fn signed(seq: u64, prev: Digest, body: EventBody) -> SignedEvent {
        let event = Event {
            v: VERSION,
            session: SESSION,
            seq,
            prev,
            time: Timestamp::from_unix_seconds(1_800_000_000),
            level: EvidenceLevel::E3,
            body,
        };
        let line = String::from_utf8(json::to_bytes(&event).unwrap()).unwrap();
        SignedEvent::sign(line, seq, &key()).unwrap()
    }

    fn opened() -> SignedEvent {
        let body = EventBody::SessionOpened {
            agent: "builtin".to_owned(),
            commit: "0".repeat(40),
            task: Digest::of("t"),
            session_key: Digest::of("k"),
        };
        signed(0, Digest::of("binding"), body)
    }

    fn closed_after(first: &SignedEvent) -> SignedEvent {
        let end = SessionEnd::Completed;
        signed(
            1,
            Digest::of(&first.event),
            EventBody::SessionClosed { end },
        )
    }

    fn post(events: &[&SignedEvent]) -> Vec<u8> {
        events
            .iter()
            .flat_map(|event| [json::to_bytes(event).unwrap(), vec![b'\n']].concat())
            .collect()
    }

    fn journal(dir: &tempfile::TempDir) -> Journal {
        let path = dir.path().join("journal.jsonl");
        Journal::create(
            &path,
            SESSION,
            Digest::of("binding"),
            *key().verifying_key(),
        )
        .unwrap()
    }

    #[test]
    fn what_was_taken_is_read_back_and_a_torn_tail_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        let first = opened();
        let last = closed_after(&first);
        assert_eq!(journal.append(&post(&[&first, &last])).unwrap().len(), 2);
        assert_eq!(journal.count(), 2);
        let path = dir.path().join("journal.jsonl");
        assert_eq!(read(&path).unwrap(), [first.clone(), last]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read(&path).unwrap(), [first]);
    }

    #[test]
    fn a_post_that_does_not_continue_the_chain_is_refused_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        let first = opened();
        let last = closed_after(&first);
        let mut forged = last.clone();
        forged.sig = first.sig.clone();
        let cases: [(&str, Vec<u8>); 5] = [
            ("events-chain", post(&[&last])),
            ("events-chain", post(&[&first, &first])),
            ("events-chain", post(&[&first, &forged])),
            ("events-malformed", b"{}\n".to_vec()),
            ("events-malformed", post(&[&first])[..20].to_vec()),
        ];
        for (code, bytes) in cases {
            assert_eq!(journal.append(&bytes).unwrap_err().code(), code);
            assert_eq!(journal.count(), 0);
        }
        journal.append(&post(&[&first])).unwrap();
    }

    #[test]
    fn nothing_follows_the_last_event() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        let first = opened();
        let last = closed_after(&first);
        journal.append(&post(&[&first, &last])).unwrap();
        let refused = journal.append(&post(&[&last])).unwrap_err();
        assert_eq!(refused.code(), "session-closed");
    }

    #[test]
    fn after_a_failed_write_nothing_more_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        journal.file = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let first = opened();
        let refused = journal.append(&post(&[&first])).unwrap_err();
        assert_eq!(refused.code(), "event-log-storage");
        let refused = journal.append(&post(&[&first])).unwrap_err();
        assert_eq!(refused.code(), "event-log-failed");
    }
}
