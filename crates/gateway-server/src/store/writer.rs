//! The thread that writes lines, in groups. It never waits for the disk, except where a new file begins.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::Instant,
};

use proofroom_canonical::{Digest, SessionId};
use proofroom_record::statement::LogMode;
use tokio::sync::oneshot;

use super::{
    Shared,
    keeper::Full,
    line::{self, Kind},
    segment::{Place, Segment},
    syncer::{Group, Kept},
};
use crate::sessions::{Event, History};

/// The most lines, and bytes, of one group.
const GROUP_LINES: usize = 1024;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// A line to be kept.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) kind: Kind,
    pub(super) session: SessionId,
    pub(super) digest: Digest,
    pub(super) event: Event,
    pub(super) line: Vec<u8>,
    /// What the answer says: that line and leaf are durable, or that the line is written.
    pub(super) log: LogMode,
    /// Never comes where that is not so.
    pub(super) reply: oneshot::Sender<()>,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) segment: Segment,
    pub(super) segment_bytes: u64,
    pub(super) records: u64,
    /// SHA-256 of the last record's leaf.
    pub(super) leaf: Digest,
    /// What all lines so far say.
    pub(super) history: History,
    pub(super) full: SyncSender<Full>,
    pub(super) written: SyncSender<Group>,
}

impl Writer {
    /// Ends when nobody can give it more work, or when a write failed.
    pub(super) fn run(mut self, incoming: &Receiver<Work>) {
        while let Ok(first) = incoming.recv() {
            let works = gather(first, incoming);
            if self.keep(works).is_none() {
                self.shared.fail();
                return;
            }
        }
    }

    /// Writes a group, or nothing after a failure: who waits learns it from the closed channel.
    fn keep(&mut self, works: Vec<Work>) -> Option<()> {
        // a file is named after its first record, so that one without any cannot be followed
        if self.segment.length >= self.segment_bytes && self.records > self.segment.name {
            self.rotate()?;
        }
        let mut offset = self.segment.length;
        let lines: Vec<u8> = works.iter().flat_map(|work| &work.line).copied().collect();
        let since = Instant::now();
        self.shared.disk.begin(since);
        self.segment.write(&lines).ok()?;
        let mut kept = Vec::with_capacity(works.len());
        for work in works {
            let length = work.line.len() as u64;
            kept.push(self.written(work, offset)?);
            offset = offset.saturating_add(length);
        }
        let group = Group {
            file: self.segment.file(),
            since,
            lines: kept,
        };
        self.written.send(group).ok()
    }

    /// Begins another file. The one before is on disk first: only the last file may have a torn end.
    fn rotate(&mut self) -> Option<()> {
        self.shared.disk.sync(&self.segment.file()).ok()?;
        let next = Segment::open(&self.segment.dir, self.records, 0).ok()?;
        let before = std::mem::replace(&mut self.segment, next);
        let full = Full {
            recent: self.shared.index.close(self.records),
            next: self.records,
            bytes: before.length,
            leaf: self.leaf,
            history: self.history.clone(),
        };
        self.full.send(full).ok()
    }

    fn written(&mut self, work: Work, offset: u64) -> Option<Kept> {
        let leaf = line::leaf(work.kind, work.session, work.digest);
        if let Some(leaf) = &leaf {
            self.place(&work, offset)?;
            self.leaf = Digest::of(leaf);
        }
        self.history.see(work.session, work.digest, work.event);
        let reply = match work.log {
            LogMode::Strict => Some(work.reply),
            LogMode::Prompt => {
                // whoever asked may be gone; the line is written
                work.reply.send(()).ok();
                None
            }
        };
        Some(Kept { leaf, reply })
    }

    /// Remembers where a record is.
    fn place(&mut self, work: &Work, offset: u64) -> Option<()> {
        let length = work.line.len().saturating_sub(1);
        let nth = self.records.saturating_sub(self.segment.name);
        let place = Place::new(offset, length, nth)?;
        self.records = self.records.saturating_add(1);
        let run = line::run_of(&work.event).map(line::run_key);
        let keys = std::iter::once(line::digest_key(work.digest)).chain(run);
        self.shared.index.insert(keys, place);
        Some(())
    }
}

fn gather(first: Work, incoming: &Receiver<Work>) -> Vec<Work> {
    let mut bytes = first.line.len();
    let mut works = vec![first];
    while works.len() < GROUP_LINES && bytes < GROUP_BYTES {
        let Ok(next) = incoming.try_recv() else { break };
        bytes = bytes.saturating_add(next.line.len());
        works.push(next);
    }
    works
}
