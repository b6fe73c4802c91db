//! The threads behind the writer: one asks the disk to keep what was written and gives records their
//! leaves, the other waits for the leaves and answers in order.

use std::{
    fs::File,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::{Duration, Instant},
};

use proofroom_ledger::Appending;
use tokio::sync::oneshot;

use super::Shared;

/// The disk is asked this long after a line was written that nobody waits for: half of what
/// [`super::disk::LAG`] allows, so that the disk has the other half.
const SYNC_AFTER: Duration = Duration::from_millis(5);

/// Groups that one `fdatasync` keeps at most.
const GROUPS: usize = 1024;

/// Lines that were written together.
pub(super) struct Group {
    /// The file that they are in.
    pub(super) file: Arc<File>,
    pub(super) since: Instant,
    pub(super) lines: Vec<Kept>,
}

/// A line that was written.
pub(super) struct Kept {
    /// The leaf of a record.
    pub(super) leaf: Option<Vec<u8>>,
    /// Who waits until it is durable.
    pub(super) reply: Option<oneshot::Sender<()>>,
}

/// A line that is durable, with its leaf on the way where it is a record.
pub(super) struct Durable {
    leaf: Option<Appending>,
    reply: Option<oneshot::Sender<()>>,
}

/// Makes groups durable. Ends when nobody can give it more, or when the disk failed.
pub(super) fn sync(shared: &Shared, written: &Receiver<Group>, durable: &SyncSender<Durable>) {
    while let Ok(first) = written.recv() {
        if keep(shared, &mut gather(first, written), durable).is_none() {
            shared.fail();
            return;
        }
    }
}

/// What one `fdatasync` keeps: all that is there already, and, while nobody waits, what comes until
/// the disk has to be asked.
fn gather(first: Group, written: &Receiver<Group>) -> Vec<Group> {
    let until = first.since + SYNC_AFTER;
    let mut waits = somebody_waits(&first);
    let mut groups = vec![first];
    while groups.len() < GROUPS {
        let patience = if waits {
            Duration::ZERO
        } else {
            until.saturating_duration_since(Instant::now())
        };
        let Ok(next) = written.recv_timeout(patience) else {
            break;
        };
        waits |= somebody_waits(&next);
        groups.push(next);
    }
    groups
}

fn somebody_waits(group: &Group) -> bool {
    group.lines.iter().any(|line| line.reply.is_some())
}

fn keep(shared: &Shared, groups: &mut Vec<Group>, durable: &SyncSender<Durable>) -> Option<()> {
    // an earlier file was synced before this one was begun
    let last = groups.last()?;
    shared.disk.sync(&last.file).ok()?;
    shared.disk.end(groups.len());
    for line in groups.drain(..).flat_map(|group| group.lines) {
        let leaf = match line.leaf {
            Some(leaf) => Some(shared.ledger.append(leaf).ok()?),
            None => None,
        };
        let reply = line.reply;
        durable.send(Durable { leaf, reply }).ok()?;
    }
    Some(())
}

/// Waits for leaves and answers. Ends when nobody can give it more, or when the log failed.
pub(super) fn answer(shared: &Shared, durable: &Receiver<Durable>) {
    while let Ok(Durable { leaf, reply }) = durable.recv() {
        if leaf.is_some_and(|leaf| leaf.wait().is_err()) {
            shared.fail();
            return;
        }
        if let Some(reply) = reply {
            // whoever asked may be gone; the line is durable
            reply.send(()).ok();
        }
    }
}
