//! The ledger's two threads. The committer makes leaves durable and answers; the integrator follows
//! with tiles and heads. Either stops both at its first fault.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use proofroom_tlog::{LeafHash, LeafIndex};
use tokio::sync::oneshot;

use crate::{
    error::LedgerError,
    frame::{FRAME_FILL_BYTES, FRAME_MAX_LEAVES, Frame},
    integrate::Tree,
    ledger::Shared,
    status::Durable,
    storage::fault,
    wal::WalWriter,
};

/// A leaf and whom to tell.
pub(crate) struct Request {
    pub(crate) leaf: Vec<u8>,
    pub(crate) reply: oneshot::Sender<Durable>,
}

/// Durable leaves for the integrator, and the segment that they closed.
pub(crate) struct Committed {
    leaves: Vec<Vec<u8>>,
    closed_segment: Option<ClosedSegment>,
}

/// A segment to remove once the head holds all before `end`.
pub(crate) struct ClosedSegment {
    path: PathBuf,
    end: LeafIndex,
}

/// Owns the write-ahead log.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wal: WalWriter,
    pub(crate) next: LeafIndex,
    pub(crate) integrator: SyncSender<Committed>,
}

/// Owns the tree.
pub(crate) struct Integrator {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tree: Tree,
    pub(crate) every: Duration,
    pub(crate) closed_segments: Vec<ClosedSegment>,
}

impl Committer {
    /// Until all senders are gone or the first fault. What is left unanswered is dropped, which
    /// tells its callers.
    pub(crate) fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            if self.shared.has_failed() {
                return;
            }
            let (leaves, mut replies) = collect(first, requests);
            // replies live on until the cause is recorded: a dropped one makes its caller look for it
            if let Err(cause) = self.commit(leaves, &mut replies) {
                self.shared.fail(cause);
                return;
            }
        }
    }

    fn commit(
        &mut self,
        leaves: Vec<Vec<u8>>,
        replies: &mut Vec<oneshot::Sender<Durable>>,
    ) -> Result<(), LedgerError> {
        let frame = Frame {
            first: self.next,
            leaves,
        };
        self.wal.commit(&frame)?;
        let count = u64::try_from(frame.leaves.len()).unwrap_or(u64::MAX);
        self.next = LeafIndex::new(frame.first.get().saturating_add(count));
        self.shared
            .durable
            .store(self.next.get(), Ordering::Release);
        let at = (self.shared.clock)();
        for ((index, leaf), reply) in (frame.first.get()..)
            .zip(&frame.leaves)
            .zip(replies.drain(..))
        {
            // the caller may have gone; the leaf stays
            reply
                .send(Durable::new(LeafIndex::new(index), LeafHash::of(leaf), at))
                .ok();
        }
        let end = self.next;
        let closed_segment = self
            .wal
            .rotate(end)?
            .map(|path| ClosedSegment { path, end });
        let committed = Committed {
            leaves: frame.leaves,
            closed_segment,
        };
        self.integrator
            .send(committed)
            .map_err(|_| self.shared.why_stopped())
    }
}

impl Integrator {
    /// Until the committer is gone, then once more for the rest; or until the first fault.
    pub(crate) fn run(mut self, committed: &Receiver<Committed>) {
        while let Ok(first) = committed.recv() {
            let began = Instant::now();
            let mut leaves = Vec::new();
            self.take(first, &mut leaves);
            loop {
                let rest = self.every.saturating_sub(began.elapsed());
                match committed.recv_timeout(rest) {
                    Ok(more) => self.take(more, &mut leaves),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            if self.shared.has_failed() {
                return;
            }
            if let Err(cause) = self.integrate(&leaves) {
                self.shared.fail(cause);
                return;
            }
        }
        self.shared.head.send_modify(|head| head.last = true);
    }

    fn take(&mut self, committed: Committed, leaves: &mut Vec<Vec<u8>>) {
        leaves.extend(committed.leaves);
        self.closed_segments.extend(committed.closed_segment);
    }

    fn integrate(&mut self, leaves: &[Vec<u8>]) -> Result<(), LedgerError> {
        let checkpoint = Arc::new(self.tree.integrate(leaves)?);
        let at = (self.shared.clock)();
        // `last` stays as it is: the committer may have failed meanwhile
        self.shared.head.send_modify(|head| {
            head.checkpoint = checkpoint;
            head.at = at;
        });
        let size = self.tree.size();
        let done = |segment: &mut ClosedSegment| segment.end.get() <= size.get();
        for segment in self.closed_segments.extract_if(.., done) {
            fault(
                "remove",
                &segment.path,
                self.shared.storage.remove(&segment.path),
            )?;
        }
        Ok(())
    }
}

fn collect(
    first: Request,
    requests: &Receiver<Request>,
) -> (Vec<Vec<u8>>, Vec<oneshot::Sender<Durable>>) {
    let mut bytes = first.leaf.len();
    let (mut leaves, mut replies) = (vec![first.leaf], vec![first.reply]);
    while leaves.len() < FRAME_MAX_LEAVES && bytes < FRAME_FILL_BYTES {
        let Ok(request) = requests.try_recv() else {
            break;
        };
        bytes += request.leaf.len();
        leaves.push(request.leaf);
        replies.push(request.reply);
    }
    (leaves, replies)
}
