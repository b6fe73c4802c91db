//! The supervisor from start to end: assignment, identity, event 0, workspace, agent, result, record.
//! It ends every session that it began: with a record when the channel lives, with nothing when not.

use std::{
    ffi::OsString,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use proofroom_authz::{Access, AccessPolicy, PolicyProblem, TaskGrant};
use proofroom_canonical::Digest;
use proofroom_clock::steady;
use proofroom_confine::{CHANNEL_PORT, Expendable, RESOLVER_PORT};
use proofroom_egress::EgressPolicy;
use proofroom_record::{
    attest_api::{ASSIGNMENT_EVENT, RuntimeEvent},
    dsse::spki_digest,
    event::{EventBody, Exit, Observation, SessionEnd},
    room_api::{self, Assignment, MAX_ASSIGNMENT_BYTES, ProgressKind},
};
use proofroom_signer::FastSigner;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    attest::{self, AttestError, Attester},
    channel::{Channel, ChannelError},
    close::{self, CloseError},
    egress::authority::{AUTHORITIES, Authority, AuthorityError},
    gauge::{self, Gauge},
    git::Git,
    identity::{self, Identity, IdentityError},
    journal::{Journal, JournalError},
    observe::Files,
    orders,
    process::{self, Audience, Job, OutputBudget, Piece, Stream},
    resolver::{self, Resolver},
    serve,
    session::{MAX_ASTRAY, Session},
    spawn::Spawner,
    told::Told,
    tree::{Owner, Tree, TreeError},
    workspace,
};

/// How often observations are written when nothing else is.
const FLUSH: Duration = Duration::from_millis(250);
/// Exit code of the built-in agent when it stops at a limit.
const AGENT_AT_LIMIT: i32 = 2;
/// The signal with which the kernel kills.
const KILLED: i32 = 9;
/// How long the built-in agent may take to leave after it finished.
const LEAVE: Duration = Duration::from_secs(5);
/// The most bytes of one piece of output that goes to the terminal at once.
const MAX_PIECE: usize = 16 * 1024;

/// Where things are in the room.
#[derive(Clone, Debug)]
pub struct Places {
    /// The workspace.
    pub workspace: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
    /// The loopback address that serves the model API; none in tests.
    pub loopback: Option<std::net::SocketAddr>,
    /// Where the room's resolver answers, if the policy allows anything; none in tests.
    pub resolver: Option<std::net::SocketAddr>,
    /// The built-in agent's program.
    pub agent: PathBuf,
    /// Whose the files are that tools make.
    pub owner: Owner,
    /// What can measure and quote for the room.
    pub attester: Arc<dyn Attester>,
}

impl Places {
    /// The places of a real room.
    #[must_use]
    pub fn of_a_room() -> Self {
        Self {
            workspace: "/workspace".into(),
            socket: "/run/proofroom/agent.sock".into(),
            loopback: Some(std::net::SocketAddr::from(([127, 0, 0, 1], CHANNEL_PORT))),
            resolver: Some(std::net::SocketAddr::from(([127, 0, 0, 1], RESOLVER_PORT))),
            agent: "/proofroom/proofroom-agent".into(),
            owner: Owner::Agent(1000),
            attester: attest::of_a_room(),
        }
    }
}

/// Why a session could not be carried through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The access policy is not the one that the assignment names.
    #[error("the access policy's digest is not the one of the assignment")]
    PolicyDigest,
    /// The access policy has problems.
    #[error("the access policy cannot be used: {}", list(.0))]
    Policy(Vec<PolicyProblem>),
    /// The egress policy is not the one that the assignment names.
    #[error("the egress policy's digest is not the one of the assignment")]
    EgressDigest,
    /// The egress policy has problems.
    #[error("the egress policy cannot be used: {}", list(.0))]
    Egress(Vec<proofroom_egress::PolicyProblem>),
    /// There is no TLS in the room for single requests.
    #[error("hosts of single requests cannot be vouched for")]
    Authority(#[source] AuthorityError),
    /// Nobody answers for names in the room.
    #[error("the room's resolver could not be set up")]
    Resolver(#[source] std::io::Error),
    /// The grant is not one.
    #[error("the task's grant cannot be used")]
    Grant(#[source] proofroom_authz::GrantError),
    /// Neither a task nor a command, or both.
    #[error("the assignment has neither a task nor a command, or both")]
    NoWork,
    /// The host failed.
    #[error("the assignment did not arrive")]
    Host(#[source] ChannelError),
    /// The assignment is not measured.
    #[error("the assignment could not be measured")]
    Measure(#[source] AttestError),
    /// No identity.
    #[error("there is no session identity")]
    Identity(#[source] IdentityError),
    /// The chain did not open.
    #[error("the event chain did not open")]
    Journal(#[source] JournalError),
    /// The agent's socket could not be made.
    #[error("the agent's socket could not be made")]
    Socket(#[source] std::io::Error),
    /// The workspace directory cannot be used.
    #[error("the workspace directory cannot be used")]
    Tree(#[source] TreeError),
    /// The host is gone: nothing that is done now could be recorded.
    #[error("the host is gone")]
    HostGone,
    /// The session ended without a record from inside.
    #[error("the session could not be closed")]
    Close(#[source] CloseError),
}

impl SupervisorError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PolicyDigest => "access-policy-digest",
            Self::Policy(_) => "access-policy-refused",
            Self::Authority(_) => "egress-authority",
            Self::Resolver(_) => "egress-resolver",
            Self::EgressDigest => "egress-policy-digest",
            Self::Egress(_) => "egress-policy-refused",
            Self::Grant(error) => error.code(),
            Self::NoWork => "assignment-no-work",
            Self::Host(error) => error.code(),
            Self::Measure(error) => error.code(),
            Self::Identity(error) => error.code(),
            Self::Journal(error) => error.code(),
            Self::Socket(_) => "agent-socket",
            Self::Tree(error) => error.code(),
            Self::HostGone => "host-gone",
            Self::Close(error) => error.code(),
        }
    }
}

fn list<P: ToString>(problems: &[P]) -> String {
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// Carries one session through. `cancelled` resolves when the host wants it to end.
///
/// # Errors
/// See [`SupervisorError`].
pub async fn supervise(
    stream: UnixStream,
    spawner: Arc<dyn Spawner>,
    places: Places,
    cancelled: impl Future<Output = ()> + Send,
) -> Result<(SessionEnd, Digest), SupervisorError> {
    let channel = Channel::over(stream).await.map_err(SupervisorError::Host)?;
    let host = channel.clone();
    tokio::select! {
        done = carry_through(channel, spawner, places, cancelled) => done,
        // The process ends with this error, and every process of the room with it.
        () = host.gone() => Err(SupervisorError::HostGone),
    }
}

async fn carry_through(
    channel: Channel,
    spawner: Arc<dyn Spawner>,
    places: Places,
    cancelled: impl Future<Output = ()> + Send,
) -> Result<(SessionEnd, Digest), SupervisorError> {
    let started = steady();
    let assignment: Assignment = channel
        .get(room_api::ASSIGNMENT, MAX_ASSIGNMENT_BYTES)
        .await
        .map_err(SupervisorError::Host)?;
    measure(&places, &assignment).await?;
    let access = access(&assignment)?;
    let egress = egress(&assignment)?;
    let key = identity::new_key().map_err(SupervisorError::Identity)?;
    let identity = Identity::establish(&channel, &places.attester, &assignment, key)
        .await
        .map_err(SupervisorError::Identity)?;
    let session = begin(
        channel,
        assignment,
        (access, egress),
        &identity,
        spawner,
        &places,
    )?;
    let session = Arc::new(session);
    open(&session, &identity).await?;
    let end = work(&session, &places, cancelled).await;
    let digest = close::close(&session, &identity, &places.attester, end, started)
        .await
        .map_err(SupervisorError::Close)?;
    Ok((end, digest))
}

/// Has the assignment measured: before anything else is done with it.
async fn measure(places: &Places, assignment: &Assignment) -> Result<(), SupervisorError> {
    let content = assignment.measured().to_text();
    let event = content.and_then(|content| RuntimeEvent::new(ASSIGNMENT_EVENT, content));
    let event = event.map_err(|error| SupervisorError::Measure(error.into()))?;
    attest::measure(&places.attester, event)
        .await
        .map_err(SupervisorError::Measure)
}

fn access(assignment: &Assignment) -> Result<Access, SupervisorError> {
    if assignment.task.is_some() == assignment.command.is_some()
        || assignment.command.as_ref().is_some_and(Vec::is_empty)
    {
        return Err(SupervisorError::NoWork);
    }
    let policy = AccessPolicy::parse(&assignment.access_policy, "access.cedar")
        .map_err(SupervisorError::Policy)?;
    if policy.digest() != assignment.policies.access {
        return Err(SupervisorError::PolicyDigest);
    }
    let grant = &assignment.grant;
    let grant = TaskGrant::compile(&grant.read, &grant.write, &grant.run)
        .map_err(SupervisorError::Grant)?;
    Ok(Access::new(policy, grant, assignment.agent.clone()))
}

fn egress(assignment: &Assignment) -> Result<EgressPolicy, SupervisorError> {
    let policy = EgressPolicy::parse(&assignment.egress_policy).map_err(SupervisorError::Egress)?;
    if policy.digest() != assignment.policies.egress {
        return Err(SupervisorError::EgressDigest);
    }
    Ok(policy)
}

/// The session's authority, with its certificates beside the agent's socket.
fn authority(policy: &EgressPolicy, places: &Places) -> Result<Option<Authority>, SupervisorError> {
    let file = places.socket.with_file_name(AUTHORITIES);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).map_err(SupervisorError::Socket)?;
    }
    Authority::establish(policy, &file).map_err(SupervisorError::Authority)
}

/// Listens before anything of the agent's can.
fn resolver(
    policy: &EgressPolicy,
    places: &Places,
) -> Result<Option<Arc<Resolver>>, SupervisorError> {
    let Some(server) = places.resolver else {
        return Ok(None);
    };
    let resolver = Resolver::establish(policy, server).map_err(SupervisorError::Resolver)?;
    Ok(resolver.map(Arc::new))
}

fn begin(
    channel: Channel,
    assignment: Assignment,
    (access, egress): (Access, EgressPolicy),
    identity: &Identity,
    spawner: Arc<dyn Spawner>,
    places: &Places,
) -> Result<Session, SupervisorError> {
    let signer = FastSigner::new(&identity.key)
        .map_err(|_| SupervisorError::Identity(IdentityError::NoKey))?;
    let (number, root) = (assignment.session, identity.binding);
    let journal = Journal::new(channel.clone(), signer, number, root);
    let root = &places.workspace;
    let output = assignment.limits.session_output_bytes;
    Ok(Session {
        journal: Arc::new(journal),
        access,
        authority: authority(&egress, places)?,
        resolver: resolver(&egress, places)?,
        egress,
        attempts: AtomicU64::new(0),
        tree: Tree::open(root, places.owner).map_err(SupervisorError::Tree)?,
        git: Git::new(
            Arc::clone(&spawner),
            root,
            &assignment.agent,
            &assignment.commands,
        ),
        root: root.clone(),
        assignment,
        channel,
        spawner,
        programs: Arc::default(),
        runs: Mutex::default(),
        result: Mutex::default(),
        steps: AtomicU64::new(0),
        tokens: AtomicU64::new(0),
        astray: Told::new(MAX_ASTRAY),
        malformed: AtomicU64::new(0),
        output: Arc::new(OutputBudget::new(output)),
        next_order: AtomicU64::new(0),
        limits_reached: Mutex::default(),
        actions: Arc::default(),
        end: watch::Sender::new(None),
    })
}

async fn open(session: &Session, identity: &Identity) -> Result<(), SupervisorError> {
    let opened = EventBody::SessionOpened {
        agent: session.assignment.agent.clone(),
        commit: session.assignment.commit.clone(),
        task: session.assignment.task_digest(),
        session_key: spki_digest(identity.key.verifying_key()),
    };
    let opened = session.journal.open(opened).await;
    opened.map_err(SupervisorError::Journal)
}

/// Everything between the first event and the last. Whatever goes wrong in here is an end.
async fn work(
    session: &Arc<Session>,
    places: &Places,
    cancelled: impl Future<Output = ()> + Send,
) -> SessionEnd {
    let mut cancelled = std::pin::pin!(cancelled);
    let mut told = false;
    let seconds = Duration::from_secs(session.assignment.limits.seconds);
    let guard = async {
        tokio::select! {
            () = &mut cancelled => {
                told = true;
                session.cancel();
            }
            () = tokio::time::sleep(seconds) => {
                session.limit("time", format!("{} s", seconds.as_secs()));
            }
            () = session.output.exceeded() => {
                let most = session.assignment.limits.session_output_bytes;
                session.limit("output", format!("{most} bytes of all commands together"));
            }
        }
        std::future::pending::<()>().await;
    };
    let gauge = Gauge::of_a_room(
        &session.root,
        places.owner,
        session.assignment.commands.processes,
    );
    let following = tokio::spawn(orders::follow(Arc::clone(session)));
    let (enough, stop) = oneshot::channel();
    let flushing = tokio::spawn(flush(Arc::clone(session), gauge, stop));
    tokio::select! {
        () = import_and_run(session, places) => {}
        () = guard => {}
    }
    session.settle().await;
    following.abort();
    orders::take_due(session).await;
    drop(enough);
    // Whatever it is writing is written: an event cut in half would end the chain.
    drop(flushing.await);
    if session.ended() != Some(SessionEnd::Refused) {
        let delivered = {
            let mut delivery = std::pin::pin!(close::deliver(session));
            tokio::select! {
                delivered = &mut delivery => delivered,
                () = cancelled, if !told => {
                    session.cancel();
                    delivery.await
                }
            }
        };
        if let Err(error) = delivered {
            session.lost(error);
        }
    }
    session.ended().unwrap_or(SessionEnd::Interrupted)
}

/// The workspace, then the agent; returns when either is over.
async fn import_and_run(session: &Arc<Session>, places: &Places) {
    let imported = tokio::select! {
        imported = workspace::import(session) => imported,
        // What git still does is ended with the room.
        _ = session.until_ended() => return,
    };
    if let Err(error) = imported {
        let text = format!("{error}: {}", source_of(&error));
        session.progress(ProgressKind::Step, text).await;
        session.finish(SessionEnd::Refused);
        return;
    }
    match listen(places) {
        Ok((unix, tcp)) => {
            let serving = tokio::spawn(serve::serve(Arc::clone(session), unix, tcp));
            let resolving = tokio::spawn(resolver::serve(Arc::clone(session)));
            run_agent(session, places).await;
            resolving.abort();
            serving.abort();
        }
        Err(error) => {
            let text = format!("the agent's socket: {error}");
            session.progress(ProgressKind::Step, text).await;
            session.finish(SessionEnd::Interrupted);
        }
    }
}

/// Looks at the limits and writes observations from time to time, until `stop`.
async fn flush(session: Arc<Session>, mut gauge: Gauge, mut stop: oneshot::Receiver<()>) {
    while timeout(FLUSH, &mut stop).await.is_err() {
        note_limits(&session, &mut gauge);
        if let Err(error) = session.journal.flush().await {
            session.lost(error);
            return;
        }
    }
    note_limits(&session, &mut gauge);
}

fn note_limits(session: &Session, gauge: &mut Gauge) {
    for (resource, detail) in gauge.reached() {
        session.remember_limit(&resource);
        session
            .journal
            .note(Observation::LimitReached { resource, detail });
    }
}

fn source_of(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(String::new, ToString::to_string)
}

fn listen(places: &Places) -> Result<(UnixListener, Option<TcpListener>), std::io::Error> {
    if let Some(parent) = places.socket.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let unix = UnixListener::bind(&places.socket)?;
    std::fs::set_permissions(&places.socket, std::fs::Permissions::from_mode(0o666))?;
    let tcp = match places.loopback {
        None => None,
        Some(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Some(TcpListener::from_std(listener)?)
        }
    };
    Ok((unix, tcp))
}

async fn run_agent(session: &Arc<Session>, places: &Places) {
    let argv: Vec<OsString> = match &session.assignment.command {
        Some(command) => command.iter().map(OsString::from).collect(),
        None => vec![places.agent.clone().into()],
    };
    let job = Job {
        command: process::in_workspace(session, argv, Expendable::Later),
        input: vec![],
        // The session's own limit ends it, in `work`.
        time: Duration::from_secs(session.assignment.limits.seconds.saturating_add(60)),
        keep: 0,
        output: Arc::clone(&session.output),
    };
    let (live, pieces) = mpsc::channel(64);
    let show = tokio::spawn(show(Arc::clone(session), pieces));
    let stop = async {
        let end = session.until_ended().await;
        if matches!(end, SessionEnd::Completed | SessionEnd::AgentFailed) {
            tokio::time::sleep(LEAVE).await;
        }
    };
    let observer = session.observer(Files::Recorded);
    let spawner = Arc::clone(&session.spawner);
    let audience = Audience::Misses(live);
    let finished = process::run(spawner, job, Arc::clone(&observer) as _, audience, stop).await;
    observer.finish();
    drop(show.await);
    match finished {
        Ok(finished) => {
            session.journal.note(Observation::AgentOutput {
                stdout: finished.stdout.digest,
                stderr: finished.stderr.digest,
                exit: finished.exit,
            });
            if finished.exit == Exit::Signal(KILLED) && session.ended().is_none() {
                // Who killed it? The kernel, for lack of memory: the host can see that, or in a machine
                // of its own the room itself.
                orders::take_due(session).await;
                if session.was_reached("memory") || gauge::memory_kills() > 0 {
                    session.finish(SessionEnd::LimitReached);
                }
            }
            // The built-in agent says by `finish` that it is done; leaving without it is a failure,
            // unless it met one of the session's limits before the supervisor did.
            let replaced = session.assignment.command.is_some();
            session.finish(match finished.exit {
                Exit::Code(0) if replaced => SessionEnd::Completed,
                Exit::Code(AGENT_AT_LIMIT) if !replaced => SessionEnd::LimitReached,
                _ => SessionEnd::AgentFailed,
            });
        }
        Err(error) => {
            let text = format!("{error}");
            session.progress(ProgressKind::Step, text).await;
            session.finish(match error {
                process::ProcessError::NotStarted { .. } => SessionEnd::AgentFailed,
                _ => SessionEnd::Interrupted,
            });
        }
    }
}

async fn show(session: Arc<Session>, mut pieces: mpsc::Receiver<Piece>) {
    while let Some(piece) = pieces.recv().await {
        let kind = match piece.stream {
            Stream::Stdout => ProgressKind::Stdout,
            Stream::Stderr => ProgressKind::Stderr,
        };
        for part in piece.bytes.chunks(MAX_PIECE) {
            let text = String::from_utf8_lossy(part).into_owned();
            session.progress(kind, text).await;
        }
    }
}
