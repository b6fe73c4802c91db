//! Sessions whose process died: each is closed from what was durable, with a record that says so.

use std::{fs, path::Path, sync::Arc};

use proofroom_canonical::{IsolationLevel, SessionId};
use proofroom_room::Fact;
use proofroom_tlog::LeafKind;

use super::{DONE, Deployment, claim, ending};
use crate::{progress::Progress, shelf::Shelf};

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
    Ok(recovered)
}

async fn close(
    deployment: &Deployment,
    session: SessionId,
    dir: &Path,
) -> anyhow::Result<Recovered> {
    let name = session.to_string();
    let groups = super::saved_groups(dir)?;
    let swept =
        tokio::task::spawn_blocking(move || proofroom_room::sweep(&name, &groups)).await??;
    if !super::began(dir)? {
        fs::remove_dir_all(dir)?;
        return Ok(Recovered::NeverBegan);
    }
    let shelf = Shelf::reopen(dir.join("records"), session, Arc::clone(&deployment.log)).await?;
    let ended = ending::Ended {
        session,
        dir,
        keys: &deployment.keys,
        shelf: &shelf,
        isolation: IsolationLevel::Process,
        mechanisms: super::saved_mechanisms(dir)?,
        now: (deployment.clock)(),
    };
    let closed = match ended.closed_already()? {
        Some(closed) => closed,
        None => ended.close_for_the_room().await?,
    };
    if shelf.file(LeafKind::Destruction).is_none() {
        let mut observed = vec!["the process that owned the room is gone".to_owned()];
        if swept > 0 {
            observed.push(Fact::ResourceGroupsRemoved.as_str().to_owned());
        }
        ended.record_destruction(closed.digest, observed).await?;
    }
    let own = deployment.state.bundle(session);
    ended
        .bundle(&deployment.log, closed.record.signer, &own, None)
        .await?;
    Ok(Recovered::Closed)
}
