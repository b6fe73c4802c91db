//! Events: what happened in a session, one JSON line each, every line naming the digest of the line
//! before it. An action is two events: its intent, durable before it happens, and its outcome.

use proofroom_canonical::{Digest, EvidenceLevel, RunId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

/// The format version that [`Event::v`] carries.
pub const VERSION: u8 = 1;

/// The most bytes one event's line may have.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;

/// One event. Its identity is the SHA-256 of its line: exactly these fields in this order, compact,
/// without the newline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Always [`VERSION`].
    pub v: u8,
    /// The session that the event belongs to.
    pub session: SessionId,
    /// Position in the session, from 0, without gaps.
    pub seq: u64,
    /// Digest of the line before; for event 0, the digest of the session's binding statement.
    pub prev: Digest,
    /// The supervisor's wall clock. Order is by `seq`, never by time.
    pub time: Timestamp,
    /// Who saw it.
    pub level: EvidenceLevel,
    /// What happened.
    pub body: EventBody,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EventBody {
    /// The session began. Always event 0, and only there.
    SessionOpened {
        /// Agent that works in the room, as the access policy names it.
        agent: String,
        /// Commit the workspace was made from, 40 or 64 hex digits.
        commit: String,
        /// Digest of the task's text. The text itself is a prompt and is never written.
        task: Digest,
        /// SHA-256 of the session key's SubjectPublicKeyInfo.
        session_key: Digest,
    },
    /// An action is about to happen; it happens only after this event is durable.
    Intent {
        /// The action.
        action: Action,
    },
    /// How an intent ended.
    Outcome {
        /// `seq` of the intent.
        of: u64,
        /// What came of it.
        result: Outcome,
    },
    /// Something seen in the room that no tool call announced.
    Observed {
        /// What was seen.
        observation: Observation,
    },
    /// The session ended. Always the last event, and only there.
    SessionClosed {
        /// How it ended.
        end: SessionEnd,
    },
}

/// Something that an agent asks for through a mediated tool, the gateway or a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Read a file, or the named lines of it.
    ReadFile {
        /// Path as asked for.
        path: String,
        /// Lines asked for; absent means the whole file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<LineRange>,
    },
    /// List a directory.
    List {
        /// Path as asked for.
        path: String,
    },
    /// Search file contents.
    Search {
        /// Directory searched.
        path: String,
        /// Digest of the pattern; the pattern is model output and is not written.
        pattern: Digest,
    },
    /// Change a file by exact replacement or patch.
    Edit {
        /// Path as asked for.
        path: String,
    },
    /// Create or overwrite a file.
    WriteFile {
        /// Path as asked for.
        path: String,
        /// Size of the new content.
        bytes: u64,
    },
    /// Run a command.
    Run {
        /// Program and arguments. An argument in which a credential was found is replaced by
        /// `[redacted]`.
        argv: Vec<String>,
    },
    /// Commit the workspace's changes.
    GitCommit {
        /// Digest of the commit message.
        message: Digest,
    },
    /// Send a model request to the gateway.
    ModelRun {
        /// Request path, such as `/v1/chat/completions`.
        endpoint: String,
        /// Digest of the request body as the client sent it.
        request: Digest,
    },
    /// Go outside through the egress broker: a connection, or one request.
    Egress {
        /// Name of the host as asked for, cut to 300 characters.
        host: String,
        /// Port; 0 when none could be read.
        port: u16,
        /// `CONNECT` for a connection, otherwise the request's method, cut to 20 characters.
        method: String,
        /// Path of a request as asked for, cut to 1024 characters; `[redacted]` when a credential
        /// was found in it. Absent for a connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Digest of the request's query, when it had one. Its text may be a secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<Digest>,
    },
    /// Hand the session's commits to the git broker.
    Deliver {
        /// Tip that is handed over.
        commit: String,
    },
    /// A person ran a command in the living room, as the agent's user and confined like the agent's own.
    RunByPerson {
        /// Program and arguments. An argument in which a credential was found is replaced by
        /// `[redacted]`.
        argv: Vec<String>,
        /// The person's user id on the host, as the host saw it.
        uid: u32,
        /// The person's user name on the host.
        user: String,
    },
    /// The agent asked for a tool that does not exist or with arguments that make no sense.
    Unknown {
        /// Tool name as asked for, cut to 100 characters.
        tool: String,
    },
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// The access policy or the room's boundary refused; nothing happened.
    Denied {
        /// Stable code: `access-policy`, `outside-workspace`, `protected-path`, `limit`, …
        code: String,
        /// For a person: which rule, and what it says.
        reason: String,
    },
    /// It was allowed but did not work.
    Failed {
        /// Stable code, such as `not-found`, `no-match`, `too-large`.
        code: String,
        /// For a person.
        reason: String,
    },
    /// A file was read.
    Read {
        /// Digest of the whole file.
        digest: Digest,
        /// Lines handed to the agent.
        lines: LineRange,
        /// Bytes handed to the agent.
        bytes: u64,
    },
    /// Names or matches were handed to the agent.
    Listed {
        /// How many.
        entries: u64,
    },
    /// A file changed.
    Changed {
        /// Digest before; absent when the file did not exist.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Digest>,
        /// Digest after.
        after: Digest,
        /// Lines of the new content that differ.
        lines: LineRange,
    },
    /// A command ran to its end.
    Ran {
        /// Digest of the executable that was started.
        executable: Digest,
        /// How it ended.
        exit: Exit,
        /// Digest of everything it wrote to standard output.
        stdout: Digest,
        /// Digest of everything it wrote to standard error.
        stderr: Digest,
        /// Wall time in milliseconds.
        wall_ms: u64,
    },
    /// A commit was made.
    Committed {
        /// The commit.
        commit: String,
        /// Its tree.
        tree: String,
    },
    /// The gateway answered, from a model or with a refusal.
    ModelRun {
        /// The run.
        run: RunId,
        /// Digest of the run's signed record (its DSSE envelope file).
        record: Digest,
        /// Tier that served it; absent when it was refused before routing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<String>,
        /// Label of the request.
        label: String,
        /// How it ended.
        run_status: RunStatus,
    },
    /// The egress broker let it out.
    Egress {
        /// Rule of the egress policy that allowed it.
        rule: String,
        /// Address and port of the connection, as the broker sees them.
        connected: String,
        /// Bytes that left.
        sent: u64,
        /// Bytes that came back.
        received: u64,
        /// Status of the answer, for a request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        http_status: Option<u16>,
        /// How it ended.
        end: EgressEnd,
    },
    /// The broker took the commits.
    Delivered {
        /// Reference that now holds them.
        reference: String,
        /// Tip that was taken.
        commit: String,
    },
}

/// How a connection or a request that was let out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EgressEnd {
    /// Either side ended it.
    Complete,
    /// It was cut at a cap of the egress policy.
    CutAtCap,
    /// It broke off.
    BrokeOff,
}

/// How a model run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// The answer arrived whole.
    Complete,
    /// The client went away first.
    Cancelled,
    /// The upstream failed, hung, or broke off.
    UpstreamError,
    /// The gateway sent nothing.
    Refused,
}

impl RunStatus {
    /// As records spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::UpstreamError => "upstream-error",
            Self::Refused => "refused",
        }
    }
}

/// Something the room's kernel or supervisor saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Observation {
    /// A program was started.
    ProcessStarted {
        /// Process id inside the room.
        pid: u32,
        /// Path that was executed.
        path: String,
        /// Digest of the file, where it could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        executable: Option<Digest>,
        /// Arguments, credentials replaced by `[redacted]`, cut to 4 KiB.
        argv: Vec<String>,
    },
    /// A file of the workspace was changed by a command, not by a tool.
    FileChanged {
        /// Path inside the room.
        path: String,
        /// Digest before; absent when it did not exist or was not seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Digest>,
        /// Digest after; absent when it is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Digest>,
    },
    /// The room stopped an attempt.
    Blocked {
        /// What was tried.
        attempt: Attempt,
        /// How often, when repeats were folded together.
        times: u64,
    },
    /// A limit of the room was reached.
    LimitReached {
        /// `memory`, `processes`, `disk`, `time`, `idle`, `steps`, `tokens`, `output`, `events`.
        resource: String,
        /// For a person.
        detail: String,
    },
    /// The repository carries configuration that an agent or a person would run; it stays inert.
    InertConfiguration {
        /// Path in the repository.
        path: String,
    },
    /// A rules file of the repository holds characters that a reader does not see.
    HiddenText {
        /// Path in the repository.
        path: String,
        /// How many such characters.
        characters: u64,
    },
    /// Two levels of evidence disagree.
    Disagreement {
        /// For a person.
        detail: String,
    },
    /// The host stopped the whole room in memory for a while, and let it go on.
    Paused {
        /// When it was stopped (host's clock).
        from: Timestamp,
        /// When it went on (host's clock).
        to: Timestamp,
    },
    /// Output of the session's command, by digest.
    AgentOutput {
        /// Digest of everything it wrote to standard output.
        stdout: Digest,
        /// Digest of everything it wrote to standard error.
        stderr: Digest,
        /// How it ended.
        exit: Exit,
    },
}

/// An attempt that the room's boundary stopped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Attempt {
    /// To open, change or execute a path outside the grant.
    File {
        /// The path.
        path: String,
        /// `read`, `write`, `execute`, `link`, `mount`, …
        access: String,
    },
    /// To reach the network.
    Network {
        /// `udp 8.8.8.8:53`, `socket packet`, …
        target: String,
    },
    /// To make a system call that the room does not offer.
    Syscall {
        /// The call's name, or its number where it has none.
        name: String,
    },
    /// To see or touch another process.
    Process {
        /// What was tried.
        target: String,
    },
    /// To read environment variables or memory of the supervisor, or a key.
    Secret {
        /// What was tried.
        target: String,
    },
}

/// Lines `first..=last` of a file, from 1. An empty file or an empty range is `first: 0, last: 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineRange {
    /// First line.
    pub first: u64,
    /// Last line.
    pub last: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// The room stopped it at its time limit.
    TimedOut,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEnd {
    /// The agent finished its task.
    Completed,
    /// The agent stopped without finishing, or its command failed.
    AgentFailed,
    /// A step, time or token limit ended it.
    LimitReached,
    /// A person stopped it.
    Cancelled,
    /// The supervisor or the host failed; the record was closed from what was durable.
    Interrupted,
    /// The repository or the configuration could not be used.
    Refused,
}
