//! Sessions whose process died: each is closed from what was durable, with a record that says so.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use proofroom_canonical::SessionId;
use proofroom_room::{Fact, Observed};
use proofroom_tlog::LeafKind;

use super::{DONE, Deployment, RoomNote, claim, ending, leftovers};
use crate::{progress::Progress, shelf::Shelf};

/// An empty resource group that is younger may belong to a room that is just being started.
const GROUP_AGE: Duration = Duration::from_secs(300);

/// What became of a session that was found open.
#[derive(Debug)]
pub enum Recovered {
    /// It has a bundle now.
    Closed,
    /// It never had an identity, so nothing had happened in it.
    NeverBegan,
}

/// Closes every session that no living process owns.
///
/// # Errors
/// When sessions cannot be looked for. One that cannot be closed is shown, and stays open for the next
/// attempt.
pub async fn recover(
    deployment: &Deployment,
    progress: &Progress,
) -> anyhow::Result<Vec<(SessionId, Recovered)>> {
    let _sessions = deployment.state.lock_sessions()?;
    let mut recovered = Vec::new();
    for (session, dir) in deployment.state.sessions()? {
        if dir.join(DONE).exists() {
            continue;
        }
        // A living session holds its folder's lock.
        let Ok(_lock) = claim(&dir) else {
            continue;
        };
        let outcome = close(deployment, session, &dir).await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            // One session's broken record must not keep others from being closed, nor new ones from
            // beginning: it stays open and is tried again every time.
            Err(error) => {
                progress.warning(&format!(
                    "session {session} had been interrupted, and its record cannot be closed; `{}` is left as it is: {error:#}",
                    dir.display()
                ));
                continue;
            }
        };
        progress.note(&match outcome {
            Recovered::Closed => format!(
                "session {session} had been interrupted; its record is closed, its bundle is {}",
                deployment.state.bundle(session).display()
            ),
            Recovered::NeverBegan => format!("session {session} had never begun; removed"),
        });
        recovered.push((session, outcome));
    }
    sweep_the_machine(deployment, progress).await?;
    Ok(recovered)
}

/// Ends what no session's folder knows of any more: rooms whose host ids have no owner, and empty
/// resource groups. Rooms of other deployments are safe: their owners hold the ids' locks.
async fn sweep_the_machine(deployment: &Deployment, progress: &Progress) -> anyhow::Result<()> {
    let known: Vec<String> = deployment
        .state
        .sessions()?
        .into_iter()
        .map(|(session, _)| session.to_string())
        .collect();
    let swept = tokio::task::spawn_blocking(move || {
        let ended = proofroom_room::sweep_slots();
        let lives = |name: &str| known.iter().any(|known| known == name);
        (ended, proofroom_room::sweep_groups(GROUP_AGE, lives))
    });
    let (rooms, groups) = swept.await?;
    for ids in rooms.done {
        progress.warning(&format!(
            "a room without an owner ran under the host ids {} and {}; it was ended",
            ids.supervisor, ids.agent
        ));
    }
    if groups.done > 0 {
        let removed = groups.done;
        progress.note(&format!("{removed} empty resource groups were removed"));
    }
    for error in rooms.remaining.iter().chain(&groups.remaining) {
        progress.warning(&format!(
            "something that rooms without an owner left is still there ({}): {}",
            error.code(),
            crate::causes::chain(error)
        ));
    }
    Ok(())
}

async fn close(
    deployment: &Deployment,
    session: SessionId,
    dir: &Path,
) -> anyhow::Result<Recovered> {
    let name = session.to_string();
    let note = super::saved_room(dir)?;
    let trace = note.as_ref().map(|note| note.trace.clone());
    let mut observed = vec![
        Observed::now(Fact::EndedByJanitor, ""),
        Observed::now(Fact::HostProcessGone, gone(note.as_ref())),
    ];
    let swept = move || proofroom_room::sweep(&name, trace.as_ref());
    observed.extend(tokio::task::spawn_blocking(swept).await??);
    observed.extend(leftovers::detach(dir)?);
    if !super::began(dir)? {
        fs::remove_dir_all(dir)?;
        return Ok(Recovered::NeverBegan);
    }
    let trace = note.context("the session has events and no note of its room")?;
    let shelf = Shelf::reopen(dir.join("records"), session, Arc::clone(&deployment.log)).await?;
    let ended = ending::Ended {
        session,
        dir,
        keys: &deployment.keys,
        shelf: &shelf,
        isolation: trace.trace.isolation,
        mechanisms: trace.trace.mechanisms,
        now: (deployment.clock)(),
    };
    let closed = match ended.closed_already()? {
        Some(closed) => closed,
        None => ended.close_for_the_room().await?,
    };
    observed.extend(ended.unlink_unneeded()?);
    if shelf.file(LeafKind::Destruction).is_none() {
        ended.record_destruction(closed.digest, &observed).await?;
    }
    let own = deployment.state.bundle(session);
    ended
        .bundle(&deployment.log, closed.record.signer, &own, None)
        .await?;
    Ok(Recovered::Closed)
}

/// Which process it was, where the session's folder says so.
fn gone(note: Option<&RoomNote>) -> String {
    note.map_or_else(String::new, |note| format!("process {}", note.owner.pid))
}
