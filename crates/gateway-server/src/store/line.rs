//! One line of a record file: `<kind> <session> <digest of the body> <body>`. A line that is torn or
//! damaged shows it by its digest.

use proofroom_canonical::{Digest, RunId, SessionId};
use proofroom_tlog::{LeafKind, RecordLeaf};

use crate::sessions::Event;

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A signed record; its leaf is in the log.
    Record(LeafKind),
    /// A run that is about to be.
    Intent,
    /// A session's beginning.
    Session,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Record(kind) => kind.as_str(),
            Self::Intent => "intent",
            Self::Session => "session",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [
            Self::Record(LeafKind::ModelRun),
            Self::Record(LeafKind::GatewayAccount),
            Self::Intent,
            Self::Session,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }
}

/// A whole line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) kind: Kind,
    pub(crate) session: SessionId,
    pub(crate) digest: Digest,
    pub(crate) body: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line without its newline. Nothing where it is not whole.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(parts.next()?).ok();
        let kind = Kind::parse(word()?)?;
        let session = word()?.parse().ok()?;
        let digest: Digest = word()?.parse().ok()?;
        let body = parts.next()?;
        (Digest::of(body) == digest).then_some(Self {
            kind,
            session,
            digest,
            body,
        })
    }

    /// The leaf of a record.
    pub(crate) fn leaf(&self) -> Option<Vec<u8>> {
        leaf(self.kind, self.session, self.digest)
    }
}

/// The leaf of a line that is a record.
pub(crate) fn leaf(kind: Kind, session: SessionId, digest: Digest) -> Option<Vec<u8>> {
    let Kind::Record(kind) = kind else {
        return None;
    };
    let leaf = RecordLeaf {
        kind,
        session,
        digest,
    };
    Some(leaf.to_bytes())
}

/// A line with its newline. `body` is JSON in one line, of this digest.
pub(super) fn render(kind: Kind, session: SessionId, digest: Digest, body: &[u8]) -> Vec<u8> {
    let mut line = format!("{} {session} {digest} ", kind.as_str()).into_bytes();
    line.extend_from_slice(body);
    line.push(b'\n');
    line
}

/// The run that a record is about.
pub(super) const fn run_of(event: &Event) -> Option<RunId> {
    match event {
        Event::Run(run) => Some(run.run),
        _ => None,
    }
}

/// Where the index keeps a run's record.
pub(crate) fn run_key(run: RunId) -> [u8; 16] {
    let mut key = [0; 16];
    let text = run.to_string();
    let digits = text.rsplit('_').next().unwrap_or_default();
    // a run id is 32 hex digits; if that changed, every run would have one key and tests would say so
    hex::decode_to_slice(digits, &mut key).ok();
    key
}

/// Where the index keeps the record of this digest.
pub(crate) fn digest_key(digest: Digest) -> [u8; 16] {
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    key
}
