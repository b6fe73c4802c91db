//! One session from its request to its bundle: room, channel, end, destruction, receipts.

mod begin;
mod channel;
mod ending;
mod inspection;
mod recovery;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use proofroom_canonical::{Digest, SessionId, Timestamp};
use proofroom_record::{
    room_api::{Grant, Limits, TaskText},
    statement::AgentSession,
};
use rustix::fs::{FlockOperation, flock};

pub use self::{
    inspection::DeliveryInspector,
    recovery::{Recovered, recover},
};
use crate::{
    keys::{DeploymentKeys, random},
    log::LogAccess,
    policies::PolicySet,
    progress::Progress,
    state::StateDir,
};

/// What the room gets to close its session after it was told to stop.
const GRACE: Duration = Duration::from_secs(20);
/// A room that outlives its own time limit by this much is destroyed.
const OVERTIME: Duration = Duration::from_secs(30);
/// Marks a session whose bundle is written.
const DONE: &str = "done";

/// What somebody asks for.
#[derive(Debug)]
pub struct SessionRequest {
    /// The repository: a work tree or a git directory.
    pub repository: PathBuf,
    /// The agent, as the access policy names it.
    pub agent: String,
    /// What the built-in agent is to do.
    pub task: Option<TaskText>,
    /// What runs in the agent's place.
    pub command: Option<Vec<String>>,
    /// Model to ask for.
    pub model: String,
    /// What the task may touch.
    pub grant: Grant,
    /// Where the session stops.
    pub limits: Limits,
    /// Where the bundle goes, besides the state directory.
    pub out: Option<PathBuf>,
}

/// A deployment, opened.
#[derive(Debug)]
pub struct Deployment {
    /// Its directory.
    pub state: StateDir,
    /// Its keys.
    pub keys: Arc<DeploymentKeys>,
    /// Its log.
    pub log: Arc<LogAccess>,
    /// The host's clock.
    pub clock: fn() -> Timestamp,
}

/// How a session went.
#[derive(Debug)]
pub struct SessionReport {
    /// The session.
    pub session: SessionId,
    /// Its record.
    pub record: AgentSession,
    /// Where its bundle is.
    pub bundle: PathBuf,
    /// The bundle's bytes.
    pub bundle_bytes: Vec<u8>,
}

/// Runs one session to its end.
///
/// # Errors
/// When the session could not begin (bad repository, no room), or when its evidence could not be
/// kept. A session that began and went wrong is not an error: its record says how it ended.
pub async fn run(
    deployment: &Deployment,
    policies: PolicySet,
    request: SessionRequest,
    progress: Arc<Progress>,
) -> anyhow::Result<SessionReport> {
    let session = SessionId::from_random(random()?);
    let dir = deployment.state.new_session(session)?;
    let _lock = claim(&dir)?;
    let seconds = request.limits.seconds;
    let out = request.out.clone();
    let begun = begin::begin(deployment, policies, request, session, &dir, &progress).await;
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // Nothing happened that a record could be about.
            drop(fs::remove_dir_all(&dir));
            return Err(error);
        }
    };
    let limit = Duration::from_secs(seconds) + OVERTIME;
    channel::serve(&begun.room, &begun.service, begun.channel, limit, &progress).await;
    let mechanisms = begun.room.mechanisms().to_vec();
    let isolation = begun.room.isolation();
    let room = begun.room;
    let observed = tokio::task::spawn_blocking(move || room.destroy()).await??;
    let ended = ending::Ended {
        session,
        dir: &dir,
        keys: &deployment.keys,
        shelf: &begun.shelf,
        isolation,
        mechanisms,
        now: (deployment.clock)(),
    };
    let closed = match begun.service.closed().await {
        Some(closed) => closed,
        None => ended.close_for_the_room().await?,
    };
    ended
        .record_destruction(
            closed.digest,
            observed
                .facts
                .iter()
                .map(|fact| fact.as_str().to_owned())
                .collect(),
        )
        .await?;
    let own = deployment.state.bundle(session);
    let signer = closed.record.signer;
    let (bundle, bundle_bytes) = ended
        .bundle(&deployment.log, signer, &own, out.as_deref())
        .await?;
    Ok(SessionReport {
        session,
        record: closed.record,
        bundle,
        bundle_bytes,
    })
}

/// Locks a session's folder for as long as the value lives.
fn claim(dir: &Path) -> anyhow::Result<fs::File> {
    let path = dir.join("lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot open `{}`", path.display()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("`{}` is held by another process", path.display()))?;
    Ok(file)
}

fn evidence_path(dir: &Path, digest: Digest) -> PathBuf {
    dir.join("evidence")
        .join(format!("{}.json", digest.to_hex()))
}

/// What was in force when the room started, kept for the case that this process dies.
fn save_mechanisms(dir: &Path, mechanisms: &[String]) -> anyhow::Result<()> {
    let text = serde_json::to_vec(mechanisms)?;
    Ok(crate::files::replace(&dir.join("mechanisms.json"), &text)?)
}

fn saved_mechanisms(dir: &Path) -> anyhow::Result<Vec<String>> {
    Ok(serde_json::from_slice(&fs::read(
        dir.join("mechanisms.json"),
    )?)?)
}
