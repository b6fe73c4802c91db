//! The event chain: builds it line by line in the room, and verifies it from its lines alone. It
//! proves order and completeness of what was written, not that what was written happened.

use std::collections::BTreeMap;

use proofroom_canonical::{
    Digest, EvidenceLevel, Refusal, SessionId, Timestamp,
    json::{self, JsonError},
};

use crate::{
    event::{Action, Event, EventBody, MAX_EVENT_BYTES, Observation, Outcome, SessionEnd, VERSION},
    statement::EventSummary,
};

/// The most bytes that `events.jsonl` may have.
pub const MAX_CHAIN_BYTES: usize = 256 * 1024 * 1024;

/// How the chain of a session must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// With `session-closed`, every intent answered.
    Closed,
    /// Anywhere: the room was lost. Unanswered intents are kept in [`VerifiedChain::unanswered`].
    Interrupted,
}

/// Code of an event that was written by a later version of the format.
pub const UNSUPPORTED_VERSION: &str = "event-version";

fn malformed(line: u64, source: JsonError) -> Refusal {
    Refusal::new("event-malformed", format!("line {line} is not an event")).because(source)
}

fn truncated() -> Refusal {
    let words = "chain is truncated: it does not end with a whole `session-closed` line";
    Refusal::new("chain-truncated", words)
}

/// One event as it is written: its line without the newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLine {
    /// Position in the session.
    pub seq: u64,
    /// The line, without the newline.
    pub bytes: Vec<u8>,
    /// SHA-256 of `bytes`: the event's identity, and `prev` of the next.
    pub digest: Digest,
}

/// A chain under construction.
#[derive(Clone, Debug)]
pub struct EventChain(State);

impl EventChain {
    /// Starts the chain of `session` on the digest of its binding statement's bytes.
    #[must_use]
    pub const fn new(session: SessionId, binding: Digest) -> Self {
        Self(State::new(session, binding))
    }

    /// Appends one event and returns the line to be made durable. On error the chain is unchanged.
    ///
    /// # Errors
    /// The rule of the chain that this event would break.
    pub fn append(
        &mut self,
        time: Timestamp,
        level: EvidenceLevel,
        body: EventBody,
    ) -> Result<EventLine, Refusal> {
        let event = Event {
            v: VERSION,
            session: self.0.session,
            seq: self.0.next,
            prev: self.0.head,
            time,
            level,
            body,
        };
        let line = event.seq.saturating_add(1);
        let bytes = json::to_bytes(&event).map_err(|source| malformed(line, source))?;
        check_size(line, bytes.len(), MAX_EVENT_BYTES)?;
        if matches!(event.body, EventBody::SessionClosed { .. }) {
            self.0.check_answered()?;
        }
        let digest = Digest::of(&bytes);
        self.0.admit(&event, digest)?;
        Ok(EventLine {
            seq: event.seq,
            bytes,
            digest,
        })
    }

    /// `seq` of the next event.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.0.next
    }

    /// Digest of the last line: `prev` of the next event.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.0.head
    }

    /// The counts as a session record states them.
    #[must_use]
    pub fn summary(&self) -> EventSummary {
        self.0.summary()
    }
}

/// A chain that keeps every rule. Only [`verify_chain`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedChain {
    events: Vec<Event>,
    state: State,
}

impl VerifiedChain {
    /// The events, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Counts and head, computed from the events.
    #[must_use]
    pub fn summary(&self) -> EventSummary {
        self.state.summary()
    }

    /// What `session-closed` says; absent when the chain was interrupted.
    #[must_use]
    pub const fn end(&self) -> Option<SessionEnd> {
        self.state.closed
    }

    /// Intents that have no outcome; empty unless the chain was interrupted.
    #[must_use]
    pub fn unanswered(&self) -> Vec<u64> {
        self.state.unanswered().collect()
    }

    /// The action that an outcome answers.
    #[must_use]
    pub fn action_of(&self, of: u64) -> Option<&Action> {
        let event = usize::try_from(of).ok().and_then(|i| self.events.get(i))?;
        match &event.body {
            EventBody::Intent { action } => Some(action),
            _ => None,
        }
    }
}

/// Verifies the chain in `file` (the bytes of `events.jsonl`): one encoding per event, one session,
/// no gap, every line naming the one before it, first and last in their places, every intent
/// answered once.
///
/// # Errors
/// The first rule that is broken.
pub fn verify_chain(
    file: &[u8],
    session: SessionId,
    binding: Digest,
    end: ChainEnd,
) -> Result<VerifiedChain, Refusal> {
    check_size(0, file.len(), MAX_CHAIN_BYTES)?;
    let whole = file.strip_suffix(b"\n").ok_or_else(truncated)?;
    let mut state = State::new(session, binding);
    let mut events = Vec::new();
    for (line, bytes) in (1..).zip(whole.split(|byte| *byte == b'\n')) {
        let event = parse_event(line, bytes)?;
        state.admit(&event, Digest::of(bytes))?;
        events.push(event);
    }
    if end == ChainEnd::Closed {
        state.check_answered()?;
        if state.closed.is_none() {
            return Err(truncated());
        }
    }
    Ok(VerifiedChain { events, state })
}

/// Reads one event from its line, without the newline, and proves that the line is the event's one
/// encoding. `line` is for the error message.
///
/// # Errors
/// `event-too-large`, `event-malformed` or `event-not-canonical`.
pub fn parse_event(line: u64, bytes: &[u8]) -> Result<Event, Refusal> {
    check_size(line, bytes.len(), MAX_EVENT_BYTES)?;
    let malformed = |source| malformed(line, source);
    let event: Event = json::parse(bytes, MAX_EVENT_BYTES).map_err(malformed)?;
    if json::to_bytes(&event).map_err(malformed)? != bytes {
        let words = format!("line {line} is not in the one encoding of its event");
        return Err(Refusal::new("event-not-canonical", words));
    }
    Ok(event)
}

/// The name by which a session record counts events of this kind.
#[must_use]
pub const fn event_type(body: &EventBody) -> &'static str {
    match body {
        EventBody::SessionOpened { .. } => "session-opened",
        EventBody::Intent { .. } => "intent",
        EventBody::Outcome { .. } => "outcome",
        EventBody::Observed { .. } => "observed",
        EventBody::SessionClosed { .. } => "session-closed",
    }
}

/// How many stopped attempts an event stands for: denials, and blocked attempts with repeats.
#[must_use]
pub const fn stopped_attempts(body: &EventBody) -> u64 {
    match body {
        EventBody::Outcome {
            result: Outcome::Denied { .. },
            ..
        } => 1,
        EventBody::Observed {
            observation: Observation::Blocked { times, .. },
        } => *times,
        _ => 0,
    }
}

fn check_size(line: u64, have: usize, max: usize) -> Result<(), Refusal> {
    Refusal::unless(have <= max, "event-too-large", || {
        format!("line {line} of {have} bytes is larger than the {max} allowed")
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Open,
    Given,
}

#[derive(Clone, Debug)]
struct State {
    session: SessionId,
    next: u64,
    head: Digest,
    intents: BTreeMap<u64, Answer>,
    by_type: BTreeMap<&'static str, u64>,
    stopped: u64,
    closed: Option<SessionEnd>,
}

impl State {
    const fn new(session: SessionId, binding: Digest) -> Self {
        Self {
            session,
            next: 0,
            head: binding,
            intents: BTreeMap::new(),
            by_type: BTreeMap::new(),
            stopped: 0,
            closed: None,
        }
    }

    fn admit(&mut self, event: &Event, digest: Digest) -> Result<(), Refusal> {
        self.check_place(event)?;
        match &event.body {
            EventBody::Intent { .. } => {
                self.intents.insert(event.seq, Answer::Open);
            }
            EventBody::Outcome { of, .. } => self.answer(event.seq, *of)?,
            EventBody::SessionClosed { end } => self.closed = Some(*end),
            EventBody::SessionOpened { .. } | EventBody::Observed { .. } => {}
        }
        *self.by_type.entry(event_type(&event.body)).or_default() += 1;
        self.stopped = self.stopped.saturating_add(stopped_attempts(&event.body));
        self.next = self.next.saturating_add(1);
        self.head = digest;
        Ok(())
    }

    fn check_place(&self, event: &Event) -> Result<(), Refusal> {
        let (seq, next) = (event.seq, self.next);
        let opens = matches!(event.body, EventBody::SessionOpened { .. });
        Refusal::unless(event.v == VERSION, UNSUPPORTED_VERSION, || {
            let version = event.v;
            format!("event {seq} has format version {version}; this verifier reads version 1")
        })?;
        Refusal::unless(event.session == self.session, "event-wrong-session", || {
            format!("event {seq} belongs to another session")
        })?;
        Refusal::unless(seq <= next, "event-gap", || {
            format!("event {next} is missing: event {seq} stands in its place")
        })?;
        Refusal::unless(seq >= next, "event-duplicate", || {
            format!("event {seq} stands a second time or out of order")
        })?;
        Refusal::unless(event.prev == self.head, "event-wrong-prev", || {
            format!("event {seq} does not name the digest of the event before it")
        })?;
        Refusal::unless(self.closed.is_none(), "chain-after-close", || {
            format!("event {seq} follows `session-closed`")
        })?;
        Refusal::unless(
            seq != 0 || opens,
            "chain-wrong-first",
            || "event 0 is not `session-opened`",
        )?;
        Refusal::unless(seq == 0 || !opens, "chain-opened-again", || {
            format!("event {seq} opens the session a second time")
        })
    }

    fn answer(&mut self, seq: u64, of: u64) -> Result<(), Refusal> {
        match self.intents.get_mut(&of) {
            None => {
                let words =
                    format!("outcome {seq} answers event {of}, which is no intent before it");
                Err(Refusal::new("outcome-without-intent", words))
            }
            Some(Answer::Given) => {
                let words = format!("outcome {seq} answers intent {of} a second time");
                Err(Refusal::new("second-outcome", words))
            }
            Some(answer) => {
                *answer = Answer::Given;
                Ok(())
            }
        }
    }

    fn unanswered(&self) -> impl Iterator<Item = u64> {
        let open = |(seq, answer): (&u64, &Answer)| (*answer == Answer::Open).then_some(*seq);
        self.intents.iter().filter_map(open)
    }

    fn check_answered(&self) -> Result<(), Refusal> {
        match self.unanswered().next() {
            Some(seq) => {
                let words = format!("intent {seq} has no outcome");
                Err(Refusal::new("intent-without-outcome", words))
            }
            None => Ok(()),
        }
    }

    fn summary(&self) -> EventSummary {
        EventSummary {
            count: self.next,
            head: self.head,
            by_type: (self.by_type.iter())
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            stopped: self.stopped,
        }
    }
}

#[cfg(test)]
mod tests;
