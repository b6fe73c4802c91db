//! A command of the agent's from start to end: its output within bounds and by digest, its time
//! limit, and the watch over its system calls.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use proofroom_canonical::{Digest, Hasher};
use proofroom_confine::Expendable;
use proofroom_record::event::Exit;
use tokio::sync::{mpsc, watch};

use crate::{
    observe::Watch,
    session::Session,
    spawn::{AgentCommand, Ended, SpawnError, Spawner, Streams},
};

/// What a command is given, and where it stops.
#[derive(Debug)]
pub struct Job {
    /// Program, arguments, environment, directory.
    pub command: AgentCommand,
    /// Bytes for its standard input.
    pub input: Vec<u8>,
    /// When the whole tree is killed.
    pub time: Duration,
    /// Most bytes of each stream that are kept.
    pub keep: usize,
    /// What its output is counted against.
    pub output: Arc<OutputBudget>,
}

/// How many bytes the commands of a session may write together.
#[derive(Debug)]
pub struct OutputBudget {
    written: AtomicU64,
    most: u64,
    over: watch::Sender<Spent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spent {
    No,
    Yes,
}

impl OutputBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self {
            written: AtomicU64::new(0),
            most,
            over: watch::Sender::new(Spent::No),
        }
    }

    /// No limit: for what is not the agent's.
    #[must_use]
    pub fn unlimited() -> Arc<Self> {
        Arc::new(Self::new(u64::MAX))
    }

    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.most {
            self.over.send_replace(Spent::Yes);
        }
    }

    /// Waits until more was written than the budget has, perhaps for ever.
    pub async fn exceeded(&self) {
        let mut over = self.over.subscribe();
        // Cannot fail: the sender is part of `self`.
        drop(over.wait_for(|spent| *spent == Spent::Yes).await);
    }
}

/// Who sees a command's output while it runs.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Nobody.
    Nobody,
    /// Somebody who may miss pieces: the command does not wait.
    Misses(mpsc::Sender<Piece>),
    /// Somebody who gets every piece: the command waits.
    Waits(mpsc::Sender<Piece>),
}

impl Audience {
    /// Called from threads that may block.
    fn show(&self, stream: Stream, bytes: &[u8]) {
        let piece = || Piece {
            stream,
            bytes: bytes.to_vec(),
        };
        match self {
            Self::Nobody => {}
            // For a person's eyes only: when nobody keeps up, pieces are lost.
            Self::Misses(to) => drop(to.try_send(piece())),
            Self::Waits(to) => drop(to.blocking_send(piece())),
        }
    }
}

/// How a command went.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
}

/// What came out of one stream.
#[derive(Debug)]
pub struct Output {
    /// The first bytes of it.
    pub kept: Vec<u8>,
    /// Digest of all of it.
    pub digest: Digest,
    /// How many bytes there were.
    pub bytes: u64,
}

impl Output {
    /// Whether more came out than was kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        u64::try_from(self.kept.len()).is_ok_and(|kept| kept < self.bytes)
    }
}

/// Why nothing is known of a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It was not confined, and not started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The program could not be executed.
    #[error("`{program}` could not be started: {reason}")]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
    /// A pipe or a thread failed.
    #[error("the command's streams failed")]
    Streams(#[source] std::io::Error),
}

impl ProcessError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Spawn(_) => "not-confined",
            Self::NotStarted { .. } => "not-started",
            Self::Streams(_) => "streams-failed",
        }
    }
}

/// A piece of a command's output, as it comes.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Which stream.
    pub stream: Stream,
    /// What came.
    pub bytes: Vec<u8>,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The supervisor as a proxy.
const PROXY: &str = "http://127.0.0.1:8377";
/// What is inside the room.
const NOT_PROXIED: &str = "127.0.0.1,localhost";
/// Where programs look for a proxy.
const PROXY_VARIABLES: [&str; 10] = [
    "ALL_PROXY",
    "CARGO_HTTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "PIP_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "npm_config_https_proxy",
    "npm_config_proxy",
];

/// Where the certificates are that vouch for hosts outside.
const AUTHORITIES: &str = "/run/proofroom/authorities.pem";
/// Where programs look for certificates.
const AUTHORITY_VARIABLES: [&str; 8] = [
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "npm_config_cafile",
];

/// The environment that every agent command gets.
#[must_use]
pub fn agent_environment() -> Vec<(OsString, OsString)> {
    [
        ("HOME", "/home/agent"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:8377/v1"),
        ("OPENAI_API_KEY", "room"),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8377"),
        ("ANTHROPIC_API_KEY", "room"),
        ("ANTHROPIC_AUTH_TOKEN", "room"),
        ("PROOFROOM", "1"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec()
}

/// The environment of a session's commands: with the proxy, when the egress policy allows anything.
fn session_environment(session: &Session) -> Vec<(OsString, OsString)> {
    let mut environment = agent_environment();
    if !session.egress.is_closed() {
        let proxies = PROXY_VARIABLES.map(|name| (name.into(), PROXY.into()));
        environment.extend(proxies);
        let direct = ["NO_PROXY", "no_proxy"].map(|name| (name.into(), NOT_PROXIED.into()));
        environment.extend(direct);
    }
    if session.authority.is_some() {
        let authorities = AUTHORITY_VARIABLES.map(|name| (name.into(), AUTHORITIES.into()));
        environment.extend(authorities);
    }
    environment
}

/// Runs a command to its end or to `stop`. Output goes to the audience as it comes. Whatever happens,
/// the tree is gone when this returns.
///
/// # Errors
/// See [`ProcessError`].
pub async fn run(
    spawner: Arc<dyn Spawner>,
    job: Job,
    watch: Arc<dyn Watch>,
    audience: Audience,
    stop: impl Future<Output = ()> + Send,
) -> Result<Finished, ProcessError> {
    let began = Instant::now();
    let (stdin, mut input) = pipe()?;
    let (mut out, stdout) = pipe()?;
    let (mut err, stderr) = pipe()?;
    let Job {
        command,
        input: bytes,
        time,
        keep,
        output,
    } = job;
    let program = command.argv.first().cloned().unwrap_or_default();
    let streams = Streams {
        stdin: stdin.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let running = blocking(move || spawner.spawn(&command, streams, watch)).await??;
    let running: Arc<dyn crate::spawn::Running> = Arc::from(running);
    // A command that does not read its input breaks the pipe; that is its business.
    let feed = blocking(move || drop(input.write_all(&bytes)));
    let (audience_out, output_out) = (audience.clone(), Arc::clone(&output));
    let out = tokio::spawn(blocking(move || {
        drain(&mut out, keep, Stream::Stdout, &audience_out, &output_out)
    }));
    let err = tokio::spawn(blocking(move || {
        drain(&mut err, keep, Stream::Stderr, &audience, &output)
    }));
    let feed = tokio::spawn(feed);
    let waiting = Arc::clone(&running);
    let mut end = tokio::spawn(blocking(move || waiting.wait()));
    let mut timed_out = false;
    let ended = tokio::select! {
        ended = &mut end => ended,
        () = tokio::time::sleep(time) => {
            timed_out = true;
            running.kill();
            end.await
        }
        () = stop => {
            running.kill();
            end.await
        }
    };
    let ended = flat(ended)??;
    let (stdout, stderr) = (flat(out.await)?, flat(err.await)?);
    flat(feed.await)?;
    let exit = if timed_out {
        Exit::TimedOut
    } else {
        exit_of(ended, &program)?
    };
    Ok(Finished {
        exit,
        stdout,
        stderr,
        wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn exit_of(ended: Ended, program: &OsStr) -> Result<Exit, ProcessError> {
    match ended {
        Ended::Exited(code) => Ok(Exit::Code(code)),
        Ended::Killed(signal) => Ok(Exit::Signal(signal)),
        Ended::NotStarted(reason) => Err(ProcessError::NotStarted {
            program: program.to_string_lossy().into_owned(),
            reason,
        }),
    }
}

/// A command in a session's workspace, with the agent's environment, confined as the session says.
#[must_use]
pub fn in_workspace(
    session: &Session,
    argv: Vec<OsString>,
    expendable: Expendable,
) -> AgentCommand {
    AgentCommand {
        argv,
        env: session_environment(session),
        cwd: session.root.clone(),
        rules: session.assignment.commands.clone(),
        names: session
            .resolver
            .as_ref()
            .map(|resolver| Arc::clone(&resolver.directory)),
        expendable,
    }
}

fn pipe() -> Result<(File, File), ProcessError> {
    let (read, write): (OwnedFd, OwnedFd) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| ProcessError::Streams(error.into()))?;
    Ok((read.into(), write.into()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ProcessError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ProcessError::Streams(error.into()))
}

fn flat<T>(
    joined: Result<Result<T, ProcessError>, tokio::task::JoinError>,
) -> Result<T, ProcessError> {
    joined.map_err(|error| ProcessError::Streams(error.into()))?
}

fn drain(
    from: &mut File,
    keep: usize,
    stream: Stream,
    audience: &Audience,
    output: &OutputBudget,
) -> Output {
    let mut hasher = Hasher::new();
    let (mut kept, mut bytes) = (Vec::new(), 0_u64);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let piece = buffer.get(..count).unwrap_or_default();
        hasher.update(piece);
        bytes = bytes.saturating_add(u64::try_from(count).unwrap_or(0));
        let room = keep.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(piece.get(..room).unwrap_or_default());
        output.count(count);
        audience.show(stream, piece);
    }
    Output {
        kept,
        digest: hasher.finish(),
        bytes,
    }
}
