//! Two threads: one writes lines in groups, the other waits for their leaves and answers in order.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use proofroom_canonical::{Digest, RunId, SessionId};
use proofroom_ledger::Appending;
use tokio::sync::oneshot;

use super::{
    Shared,
    line::{self, Kind},
    segment::{Location, Segment},
};

/// The most lines, and bytes, of one group.
const GROUP_LINES: usize = 1024;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// A line to be kept. Its answer comes when line and leaf are durable, or never.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) kind: Kind,
    pub(super) session: SessionId,
    pub(super) digest: Digest,
    pub(super) run: Option<RunId>,
    pub(super) line: Vec<u8>,
    pub(super) reply: oneshot::Sender<()>,
}

/// A line that is durable, with its leaf on the way where it is a record.
struct Written {
    leaf: Option<Appending>,
    reply: oneshot::Sender<()>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    segment: Segment,
    records: u64,
    written: SyncSender<Written>,
}

impl Writer {
    /// Starts both threads. They end when nobody can give them more work.
    pub(super) fn start(
        shared: Arc<Shared>,
        (segment, records): (Segment, u64),
        incoming: Receiver<Work>,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let (written, waiting) = sync_channel(GROUP_LINES);
        let answering = Arc::clone(&shared);
        let mut writer = Self {
            shared,
            segment,
            records,
            written,
        };
        let write = move || writer.run(&incoming);
        let answer = move || answer(&answering, &waiting);
        Ok(vec![
            thread::Builder::new()
                .name("records-write".to_owned())
                .spawn(write)?,
            thread::Builder::new()
                .name("records-answer".to_owned())
                .spawn(answer)?,
        ])
    }

    fn run(&mut self, incoming: &Receiver<Work>) {
        while let Ok(first) = incoming.recv() {
            let group = group(first, incoming);
            if self.keep(group).is_none() {
                self.shared.fail();
                return;
            }
        }
    }

    /// Keeps a group, or nothing after a failure: who waits learns it from the closed channel.
    fn keep(&mut self, group: Vec<Work>) -> Option<()> {
        if self.segment.is_full() {
            let dir = self.segment.dir.clone();
            self.segment = Segment::open(&dir, self.records, 0).ok()?;
        }
        let start = self.segment.length;
        let mut lines = Vec::new();
        for work in &group {
            lines.extend_from_slice(&work.line);
        }
        self.segment.write(&lines).ok()?;
        let mut offset = start;
        for work in group {
            let length = work.line.len() as u64;
            self.pass_on(work, offset)?;
            offset = offset.saturating_add(length);
        }
        Some(())
    }

    fn pass_on(&mut self, work: Work, offset: u64) -> Option<()> {
        let leaf = match line::leaf(work.kind, work.session, work.digest) {
            None => None,
            Some(leaf) => {
                let location = Location {
                    segment: self.segment.name,
                    offset,
                    length: u32::try_from(work.line.len().saturating_sub(1)).ok()?,
                    record: self.records,
                };
                self.records = self.records.saturating_add(1);
                let mut index = self.shared.index();
                index.insert(line::digest_key(work.digest), location);
                if let Some(run) = work.run {
                    index.insert(line::run_key(run), location);
                }
                drop(index);
                Some(self.shared.ledger.append(leaf).ok()?)
            }
        };
        let reply = work.reply;
        self.written.send(Written { leaf, reply }).ok()
    }
}

fn group(first: Work, incoming: &Receiver<Work>) -> Vec<Work> {
    let mut bytes = first.line.len();
    let mut group = vec![first];
    while group.len() < GROUP_LINES && bytes < GROUP_BYTES {
        let Ok(next) = incoming.try_recv() else { break };
        bytes = bytes.saturating_add(next.line.len());
        group.push(next);
    }
    group
}

fn answer(shared: &Shared, waiting: &Receiver<Written>) {
    while let Ok(Written { leaf, reply }) = waiting.recv() {
        if leaf.is_some_and(|leaf| leaf.wait().is_err()) {
            shared.fail();
            return;
        }
        // whoever asked may be gone; the line is durable
        reply.send(()).ok();
    }
}
