//! One session from its request to its bundle: room, channel, end, destruction, receipts.

mod begin;
mod channel;
mod ending;
mod evidence;
mod inspection;
mod leftovers;
mod living;
mod recovery;
mod reference;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use proofroom_canonical::{Digest, SessionId, Timestamp, json};
use proofroom_record::{
    room_api::{Grant, Limits, TaskText},
    statement::{AgentSession, SessionResult},
};
use proofroom_room::{ProcessTrace, Room, Trace};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub use self::begin::programs;
pub(crate) use self::living::user_name;
use self::{begin::Begun, channel::Interrupts, living::Living};
pub use self::{
    inspection::DeliveryInspector,
    recovery::{Recovered, recover},
};
use crate::{
    collateral::CollateralSource,
    control::Phase,
    isolation::Backend,
    keys::{DeploymentKeys, random},
    log::LogAccess,
    policies::PolicySet,
    progress::Progress,
    service::SessionService,
    shelf::Shelf,
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
    /// What it is opened for, as routing rules name purposes; empty for nothing in particular.
    pub purpose: String,
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
    /// What the room is to be; see [`crate::isolation::choose`].
    pub backend: Backend,
    /// Where the vendor's word on TDX platforms is taken from.
    pub collateral: Option<CollateralSource>,
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

/// Why there is no record of a session that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Somebody interrupted it before anything had happened.
    #[error("interrupted before the session began; nothing was done and nothing is recorded")]
    Interrupted,
    /// The policies and the upstreams do not fit together.
    #[error("policies and upstreams contradict each other:\n  {}", .0.join("\n  "))]
    Contradiction(Vec<String>),
    /// A machine was chosen, and there are no reference values for it.
    #[error("the machine's evidence could not be judged, so no room starts: {why}")]
    NotJudged {
        /// What is missing, and what to do.
        why: String,
    },
    /// The room ended before its first event.
    #[error(
        "the room ended before its session began; nothing was done and nothing is recorded (`proofroom doctor` tries what this machine offers)"
    )]
    RoomLost,
    /// The session took place, and its record or bundle could not be written.
    #[error(
        "the record of session {session} could not be written; what was durable is kept, and the next `proofroom run` on `{}` closes the record: {cause:#}",
        state.display()
    )]
    NotKept {
        /// The session.
        session: SessionId,
        /// The state directory.
        state: PathBuf,
        /// What failed.
        cause: anyhow::Error,
    },
}

impl SessionError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Contradiction(_) => "policy-refused",
            Self::NotJudged { .. } => "room-not-judged",
            Self::RoomLost => "room-lost",
            Self::NotKept { .. } => "record-not-kept",
        }
    }
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
    let mut interrupts = Interrupts::listen().context("signals cannot be received")?;
    let session = SessionId::from_random(random()?);
    let (dir, _lock) = new_folder(&deployment.state, session)?;
    let seconds = request.limits.seconds;
    let out = request.out.clone();
    let place = begin::Place {
        deployment,
        session,
        dir: &dir,
    };
    let begun = begin::begin(&place, policies, request, &mut interrupts, &progress).await;
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => {
            undo(session, &dir, &progress).await;
            // A terminal interrupts the room's launcher too, and its failure is not the reason.
            return Err(if interrupts.came() {
                SessionError::Interrupted.into()
            } else {
                error
            });
        }
    };
    let limit = Duration::from_secs(seconds) + OVERTIME;
    let Begun {
        room,
        channel,
        service,
        shelf,
        ahead,
    } = begun;
    let (living, mut orders) = Living::new(session, &room, &service, (deployment.clock)());
    // Without its socket a session is only not controllable from elsewhere.
    let listening = living.listen(&dir).map_err(|error| {
        progress.warning(&format!("the session takes no orders: {error}"));
    });
    let outside = channel::Outside {
        interrupts: &mut interrupts,
        orders: &mut orders,
        living: &living,
        clock: deployment.clock,
    };
    channel::serve(&room, &service, channel, limit, outside, &progress).await;
    drop(ahead);
    living.enter(Phase::Ending);
    service.end_reports();
    drop(orders);
    let finished = finish(deployment, session, &dir, room, &service, &shelf, out).await;
    drop(listening);
    finished.map_err(|cause| not_kept(&deployment.state, session, &dir, cause))
}

/// Why there is no bundle of a session that went on to its end.
fn not_kept(
    state: &StateDir,
    session: SessionId,
    dir: &Path,
    cause: anyhow::Error,
) -> anyhow::Error {
    if !began(dir).unwrap_or(true) {
        drop(fs::remove_dir_all(dir));
        return SessionError::RoomLost.into();
    }
    let state = state.path().to_owned();
    SessionError::NotKept {
        session,
        state,
        cause,
    }
    .into()
}

/// Nothing happened that a record could be about. A machine that still boots for the session was taken
/// back; what else is left is ended by its groups.
async fn undo(session: SessionId, dir: &Path, progress: &Progress) {
    let name = session.to_string();
    let swept = move || proofroom_room::sweep(&name, None);
    drop(tokio::task::spawn_blocking(swept).await);
    if let Err(error) = fs::remove_dir_all(dir) {
        let dir = dir.display();
        progress.warning(&format!(
            "`{dir}`, of a session that never began, cannot be removed: {error}"
        ));
    }
}

/// Destroys the room and writes down how the session went.
async fn finish(
    deployment: &Deployment,
    session: SessionId,
    dir: &Path,
    room: Room,
    service: &SessionService,
    shelf: &Shelf,
    out: Option<PathBuf>,
) -> anyhow::Result<SessionReport> {
    let mechanisms = room.mechanisms().to_vec();
    let isolation = room.isolation();
    let observed = tokio::task::spawn_blocking(move || room.destroy()).await??;
    service.settle().await;
    let ended = ending::Ended {
        session,
        dir,
        keys: &deployment.keys,
        shelf,
        isolation,
        mechanisms,
        now: (deployment.clock)(),
    };
    let closed = match service.closed().await {
        Some(closed) => closed,
        None => ended.close_for_the_room().await?,
    };
    let mut facts = observed.facts;
    facts.extend(ended.unlink_unneeded()?);
    ended.record_destruction(closed.digest, &facts).await?;
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

/// Makes and claims a session's folder, in one step for whoever looks for folders to recover.
fn new_folder(state: &StateDir, session: SessionId) -> anyhow::Result<(PathBuf, fs::File)> {
    let _sessions = state.lock_sessions()?;
    let dir = state.new_session(session)?;
    let lock = claim(&dir)?;
    Ok((dir, lock))
}

/// Whether a session has an event that was durable: before its first, nothing happened in it.
fn began(dir: &Path) -> anyhow::Result<bool> {
    let path = dir.join("journal.jsonl");
    Ok(path.exists() && !crate::journal::read(&path)?.is_empty())
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

/// Whether a process owns a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// One does.
    Owned,
    /// None does.
    Free,
}

/// Looks whether a process owns the session of this folder. Waits until nobody claims sessions, so
/// that the look itself is never taken for an owner.
///
/// # Errors
/// When it cannot be looked at.
pub fn ownership(state: &StateDir, dir: &Path) -> anyhow::Result<Ownership> {
    let _sessions = state.lock_sessions()?;
    let path = dir.join("lock");
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Ownership::Free),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot open `{}`", path.display()));
        }
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Ownership::Free),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Ownership::Owned),
        Err(error) => Err(error).with_context(|| format!("cannot lock `{}`", path.display())),
    }
}

pub(crate) fn evidence_path(dir: &Path, digest: Digest) -> PathBuf {
    dir.join("evidence")
        .join(format!("{}.json", digest.to_hex()))
}

/// What a session's folder says about its room, for the case that this process dies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomNote {
    /// The agent.
    pub agent: String,
    /// The process that owns the room.
    pub owner: ProcessTrace,
    /// When the room was started.
    pub started: Timestamp,
    /// What the room has outside of itself.
    pub trace: Trace,
}

/// Most bytes of a room's note.
const MAX_NOTE_BYTES: usize = 1 << 20;

fn save_room(dir: &Path, room: &Room, agent: &str, now: Timestamp) -> anyhow::Result<()> {
    let own = std::process::id().cast_signed();
    let note = RoomNote {
        agent: agent.to_owned(),
        owner: ProcessTrace::of(own).context("/proc does not show this process")?,
        started: now,
        trace: room.trace(),
    };
    let bytes = serde_json::to_vec(&note)?;
    Ok(crate::files::replace(&dir.join("room.json"), &bytes)?)
}

/// What is known about a session's room; nothing when the session ended before it had one.
///
/// # Errors
/// When the note is there and cannot be read.
pub fn saved_room(dir: &Path) -> anyhow::Result<Option<RoomNote>> {
    let path = dir.join("room.json");
    match fs::read(&path) {
        Ok(bytes) => json::parse(&bytes, MAX_NOTE_BYTES)
            .map(Some)
            .with_context(|| format!("`{}` is not a room's note", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Keeps what was delivered, for the case that the room cannot say it any more.
pub(crate) fn save_result(dir: &Path, result: &SessionResult) -> std::io::Result<()> {
    let text = serde_json::to_vec(result)?;
    crate::files::replace(&dir.join("result.json"), &text)
}

fn saved_result(dir: &Path) -> anyhow::Result<SessionResult> {
    Ok(serde_json::from_slice(&fs::read(dir.join("result.json"))?)?)
}
