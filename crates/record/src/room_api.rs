//! The Room API: what a room's supervisor and its host say to each other over the room's one
//! channel. Types only; `docs/spec/room-api.md` is its text. The host's answers are input like any
//! other: every type refuses unknown fields, and every body has a size cap.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::ecdsa::{DerSignature, VerifyingKey, signature::Verifier as _};
use proofroom_canonical::{
    Digest, IsolationLevel, Nonce, Refusal, RunId, SessionId, Timestamp, json,
};
use serde::{Deserialize, Serialize};

use crate::{
    attest_api::AssignmentEvent,
    dsse::Envelope,
    dsse::EnvelopeSigner,
    event::{EgressEnd, Exit, RunStatus},
    statement::{BINDING_PURPOSE, Binding, PolicyDigests},
};

/// `GET`: the session's [`Assignment`].
pub const ASSIGNMENT: &str = "/room/v1/assignment";
/// `GET`: the workspace's commit as a git bundle, `application/octet-stream`.
pub const WORKSPACE: &str = "/room/v1/workspace";
/// The one reference of that bundle, and the branch that the agent finds.
pub const WORKSPACE_REFERENCE: &str = "refs/heads/proofroom";
/// `POST`: [`IdentityRequest`] to [`IdentityAnswer`].
pub const IDENTITY: &str = "/room/v1/identity";
/// `POST`: lines of [`SignedEvent`] to [`EventsDurable`].
pub const EVENTS: &str = "/room/v1/events";
/// `POST`: a git pack, with [`COMMIT_HEADER`], to [`ResultAccepted`].
pub const RESULT: &str = "/room/v1/result";
/// `GET` with the digest of a request appended: [`RunsRecorded`], for a run whose trailers did not
/// arrive because the client went away. The host answers at once with what is recorded by now.
pub const RUNS: &str = "/room/v1/runs/";
/// `POST` with [`EGRESS_HEADER`]: one connection or one request through the egress broker. What the
/// room sends is the body, what comes back is the answer's, and [`ACCOUNT_TRAILER`] ends it.
pub const EGRESS: &str = "/room/v1/egress";
/// `GET` with an intent's number appended: [`EgressAccounted`], for an account that did not arrive
/// because the agent went away. The host answers at once.
pub const EGRESS_ACCOUNTS: &str = "/room/v1/egress/";
/// `POST`: [`Progress`]; for a terminal, never stored.
pub const PROGRESS: &str = "/room/v1/progress";
/// `GET` with the number of the first order that is wanted appended: [`OrdersGiven`]. The host answers
/// when it has one, or with none after [`ORDERS_WAIT_SECONDS`].
pub const ORDERS: &str = "/room/v1/orders/";
/// The same, answered at once.
pub const ORDERS_DUE: &str = "/room/v1/orders-due/";
/// `POST`: [`OrderReport`] to anything; what comes of an order.
pub const REPORTS: &str = "/room/v1/reports";
/// `POST`: [`CloseRequest`] to [`CloseAnswer`]; the host destroys the room after it.
pub const CLOSE: &str = "/room/v1/close";

/// Request header of [`EGRESS`]: an [`EgressAsk`] as JSON.
pub const EGRESS_HEADER: &str = "x-proofroom-egress";
/// Trailer of [`EGRESS`]'s answer, or its header when nothing went out: an [`EgressAccount`] as JSON.
pub const ACCOUNT_TRAILER: &str = "x-proofroom-account";
/// Request header of [`RESULT`]: the tip that is handed over, in hex.
pub const COMMIT_HEADER: &str = "x-proofroom-commit";
/// Response header of every model request: the run's id.
pub const RUN_HEADER: &str = "x-proofroom-run";
/// Response header of every model request: the run's place in its session, from 0.
pub const SEQUENCE_HEADER: &str = "x-proofroom-sequence";
/// Response header of every model request: the session's label that routing went by.
pub const LABEL_HEADER: &str = "x-proofroom-label";
/// Response header of a model request that was routed: its tier.
pub const TIER_HEADER: &str = "x-proofroom-tier";
/// Trailer (or header, where the body is whole) of a model answer: digest of the run's record.
pub const RECORD_TRAILER: &str = "x-proofroom-record";
/// Trailer (or header) of a model answer: the run's [`crate::event::RunStatus`].
pub const STATUS_TRAILER: &str = "x-proofroom-status";
/// Optional trailer (or header) of a model answer: its tokens, input and output together, decimal.
pub const TOKENS_TRAILER: &str = "x-proofroom-tokens";

/// How long the host keeps a request for [`ORDERS`] open.
pub const ORDERS_WAIT_SECONDS: u64 = 20;
/// The most bytes of output in one [`OrderReport`].
pub const MAX_REPORT_OUTPUT_BYTES: usize = 32 * 1024;
/// The most bytes that the arguments of an ordered command may have together.
pub const MAX_ORDER_ARGV_BYTES: usize = 32 * 1024;

/// The most bytes that an [`Assignment`] may have.
pub const MAX_ASSIGNMENT_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes that any other JSON answer may have.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The most bytes of a session key's request or of a close: with room evidence, its escapes and a
/// session record of many model runs.
pub const MAX_ATTESTED_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes that a model request may have.
pub const MAX_MODEL_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// The most bytes that a workspace bundle or a result pack may have.
pub const MAX_PACK_BYTES: usize = 2 * 1024 * 1024 * 1024;
/// The most bytes that one post of events may have.
pub const MAX_EVENTS_POST_BYTES: usize = 8 * 1024 * 1024;

/// What a room is told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The session.
    pub session: SessionId,
    /// Chosen by the session service, to be found again in the [`crate::statement::Binding`].
    pub nonce: Nonce,
    /// The agent's SPIFFE ID.
    pub spiffe_id: String,
    /// The agent, as the access policy names it.
    pub agent: String,
    /// What the built-in agent is to do; null when [`Self::command`] says what runs.
    pub task: Option<TaskText>,
    /// Program and arguments that take the agent's place; null for the built-in agent.
    pub command: Option<Vec<String>>,
    /// Name of the origin repository.
    pub repository: String,
    /// Commit the workspace is made from, 40 or 64 lower-case hex digits.
    pub commit: String,
    /// Digests of every policy in force; [`Self::access_policy`] must have the one named here.
    pub policies: PolicyDigests,
    /// Text of `access.cedar`.
    pub access_policy: String,
    /// Text of `egress.toml`: what may leave the room through the host's broker, which decides by
    /// it once more.
    pub egress_policy: String,
    /// What this task may touch. It narrows the access policy and never widens it.
    pub grant: Grant,
    /// Where the session stops.
    pub limits: Limits,
    /// How every command is confined.
    pub commands: CommandRules,
    /// Model the agent is to ask for.
    pub model: String,
    /// How strongly the room is isolated, as the host started it.
    pub isolation: IsolationLevel,
    /// Mechanisms in force, as the host started it.
    pub mechanisms: Vec<String>,
    /// The host's clock.
    pub time: Timestamp,
}

impl Assignment {
    /// Digest of the task's text; of no bytes when there is none.
    #[must_use]
    pub fn task_digest(&self) -> Digest {
        Digest::of(self.task.as_ref().map_or("", TaskText::expose))
    }

    /// What a room measures of this before it acts on it.
    #[must_use]
    pub fn measured(&self) -> AssignmentEvent {
        AssignmentEvent {
            session: self.session,
            nonce: self.nonce,
            repository: self.repository.clone(),
            commit: self.commit.clone(),
            agent: self.agent.clone(),
            policies: self.policies.by_name(),
        }
    }

    /// What a room with this session key binds itself to.
    #[must_use]
    pub fn binding(&self, session_key: Digest) -> Binding {
        Binding {
            purpose: BINDING_PURPOSE.to_owned(),
            session: self.session,
            nonce: self.nonce,
            spiffe_id: self.spiffe_id.clone(),
            commit: self.commit.clone(),
            task: self.task_digest(),
            policies: self.policies.clone(),
            session_key,
        }
    }
}

/// A task's text: a prompt. `Debug` prints nothing of it. It is serialised on the room's channel
/// and on the agent's socket, nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskText(String);

impl TaskText {
    /// Takes charge of a task's text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TaskText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What one task may touch: globs over workspace paths (relative, `/`-separated, `**` crosses
/// directories) and over program names. An empty list grants nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Files that may be read, listed and searched.
    pub read: Vec<String>,
    /// Files that may be created, changed or removed.
    pub write: Vec<String>,
    /// Programs (`argv[0]`) that the `run` tool may start. Says what is asked for, not what can
    /// happen: the room's boundary holds whatever runs.
    pub run: Vec<String>,
}

/// Where a session stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Tool calls.
    pub steps: u64,
    /// Wall time of the whole session, in seconds.
    pub seconds: u64,
    /// Wall time of one command, in seconds.
    pub command_seconds: u64,
    /// Tokens, input and output together, as the gateway reports them.
    pub tokens: u64,
    /// Bytes of one command's output that the agent gets back.
    pub output_bytes: u64,
    /// Bytes that all commands of the session may write to their standard streams together.
    pub session_output_bytes: u64,
}

/// How every command of a room is confined, as `room.toml` says. The supervisor itself is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRules {
    /// Directories of the host that the room shows at the same path, read-only.
    pub readable: Vec<String>,
    /// What may be done on the room's loopback.
    pub loopback: LoopbackUse,
    /// Which opened files are written down.
    pub file_audit: OpenAudit,
    /// Processes and threads of the agent's user together.
    pub processes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Bytes of one written file.
    pub file_bytes: u64,
}

/// What commands may do on the room's loopback, the only network interface there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoopbackUse {
    /// Connect to the supervisor's port, bind nothing.
    ChannelOnly,
    /// Bind and connect to any port.
    TestServers,
}

/// Which opened files are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenAudit {
    /// All of them.
    EveryOpen,
    /// Those that are opened for writing.
    Writes,
}

/// The session key and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityRequest {
    /// SubjectPublicKeyInfo of the session key, PEM.
    pub session_key: String,
    /// Standard base64 of the [`crate::statement::Binding`] as compact JSON: the bytes whose digest
    /// is the root of the event chain.
    pub binding: String,
    /// Evidence of the room about that binding.
    pub room_evidence: RoomEvidenceOffer,
}

/// Evidence of a room, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoomEvidenceOffer {
    /// The room has nothing that could attest. The host takes it only from a room that it started so.
    None {
        /// Why, in words.
        reason: String,
    },
    /// The room's evidence.
    Evidence {
        /// Its exact text.
        text: String,
    },
}

/// The certificate of the session key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityAnswer {
    /// Certificates, leaf first, PEM.
    pub certificate_chain: String,
    /// By which policy the room's evidence was accepted.
    pub room_appraisal: RoomAppraised,
}

/// What the host made of a room's evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoomAppraised {
    /// There was none to appraise.
    None,
    /// It was accepted.
    Accepted {
        /// Name of the policy.
        appraisal_policy: String,
    },
}

/// One event with the session key's signature over the head that it makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedEvent {
    /// The exact event line, without a newline.
    pub event: String,
    /// Standard base64 of the DER-encoded ECDSA signature over [`event_head_message`].
    pub sig: String,
}

impl SignedEvent {
    /// Lets `signer` sign `line`, which is event number `seq`.
    ///
    /// # Errors
    /// `envelope-not-signed`.
    pub fn sign(line: String, seq: u64, signer: &impl EnvelopeSigner) -> Result<Self, Refusal> {
        let message = event_head_message(seq, Digest::of(&line));
        let signature = signer.sign(&message)?;
        Ok(Self {
            event: line,
            sig: STANDARD.encode(signature),
        })
    }

    /// Whether the holder of `key` signed this line as event number `seq`.
    #[must_use]
    pub fn is_signed_by(&self, seq: u64, key: &VerifyingKey) -> bool {
        let message = event_head_message(seq, Digest::of(&self.event));
        STANDARD
            .decode(&self.sig)
            .ok()
            .and_then(|der| DerSignature::from_bytes(&der).ok())
            .is_some_and(|signature| key.verify(&message, &signature).is_ok())
    }
}

/// The bytes that the session key signs for event number `seq`, whose line has this digest.
#[must_use]
pub fn event_head_message(seq: u64, line: Digest) -> Vec<u8> {
    format!("proofroom-event-head.v1\n{seq}\n{line}\n").into_bytes()
}

/// The host has the events on disk, up to and with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsDurable {
    /// `seq` of the last durable event.
    pub durable: u64,
}

/// What became of a model run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecorded {
    /// Its place in the session, from 0.
    pub sequence: u64,
    /// The run.
    pub run: RunId,
    /// Digest of its record's file.
    pub record: Digest,
    /// How it ended.
    pub status: RunStatus,
    /// The tier it went to; none when it went nowhere.
    pub tier: Option<String>,
    /// The session's label after it.
    pub label: String,
}

/// The recorded model runs of requests with one digest, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunsRecorded {
    /// The runs.
    pub runs: Vec<RunRecorded>,
}

/// The broker took the commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultAccepted {
    /// Reference in the origin repository that now holds them.
    pub reference: String,
    /// Its commit.
    pub commit: String,
    /// The commit's tree.
    pub tree: String,
}

/// What the room wants of the egress broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressAsk {
    /// `seq` of the durable intent that announced it. It announces this once.
    pub intent: u64,
    /// `CONNECT`, or the method of a request.
    pub method: String,
    /// Name and port of a connection; URL of a request.
    pub target: String,
}

/// What became of it, as the broker saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EgressAccount {
    /// Nothing of it left.
    Denied {
        /// Stable code.
        code: String,
        /// For a person.
        reason: String,
    },
    /// It was allowed, and no connection came about.
    Failed {
        /// Stable code.
        code: String,
        /// For a person.
        reason: String,
    },
    /// It went out.
    Passed {
        /// Rule that allowed it.
        rule: String,
        /// Address and port of the connection.
        connected: String,
        /// Bytes that left.
        sent: u64,
        /// Bytes that came back.
        received: u64,
        /// How it ended.
        end: EgressEnd,
    },
}

/// The account of what one intent announced, once there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressAccounted {
    /// The account.
    pub account: Option<EgressAccount>,
}

/// Something for the person at the terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// What kind of text it is.
    pub kind: ProgressKind,
    /// The text; agent output is untrusted and may carry control characters.
    pub text: String,
}

/// What a [`Progress`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgressKind {
    /// What the supervisor is doing.
    Step,
    /// An attempt was stopped.
    Blocked,
    /// Standard output of the agent or of the command in its place.
    Stdout,
    /// Standard error of the agent or of the command in its place.
    Stderr,
    /// The agent's own closing words.
    Summary,
}

/// What the host wants of a room that is at work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its place among the session's orders, from 0.
    pub number: u64,
    /// What.
    pub what: OrderKind,
}

/// Kinds of orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OrderKind {
    /// Run a command for a person, as the agent's user and confined like the agent's own; answered
    /// with reports.
    Execute {
        /// Program and arguments.
        argv: Vec<String>,
        /// Who asked.
        by: Person,
    },
    /// Write down that a limit was reached that the host watches.
    Limit {
        /// As in [`crate::event::Observation::LimitReached`].
        resource: String,
        /// For a person.
        detail: String,
        /// What follows from it.
        effect: LimitEffect,
    },
    /// Write down that the room was stopped in memory.
    Paused {
        /// From when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
    },
}

/// What a reached limit means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitEffect {
    /// It goes on.
    Noted,
    /// It ends.
    Ends,
}

/// A user of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// User id.
    pub uid: u32,
    /// User name, or the id where there is none.
    pub name: String,
}

/// Orders, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersGiven {
    /// The orders.
    pub orders: Vec<Order>,
}

/// What comes of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderReport {
    /// The order.
    pub number: u64,
    /// What.
    pub what: ReportKind,
}

/// Kinds of reports. After `ended` and `refused` there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ReportKind {
    /// The command wrote something.
    Output {
        /// Where to.
        stream: StandardStream,
        /// Standard base64 of at most [`MAX_REPORT_OUTPUT_BYTES`].
        data: String,
    },
    /// The command ended, and its outcome is durable.
    Ended {
        /// How.
        exit: Exit,
    },
    /// The order was not carried out, or not to its end.
    Refused {
        /// Stable code.
        code: String,
        /// For a person.
        message: String,
    },
}

/// A standard stream of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandardStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Reads what came of an order.
///
/// # Errors
/// When it is no report.
pub fn parse_report(bytes: &[u8]) -> Result<OrderReport, json::JsonError> {
    json::parse(bytes, MAX_ANSWER_BYTES)
}

/// Reads the host's orders.
///
/// # Errors
/// When they are none.
pub fn parse_orders(bytes: &[u8]) -> Result<OrdersGiven, json::JsonError> {
    json::parse(bytes, MAX_ANSWER_BYTES)
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// The session record, signed by the session key.
    pub session_record: Envelope,
    /// Evidence of the room about its [`crate::statement::Closing`].
    pub room_evidence: RoomEvidenceOffer,
}

/// The host has the session record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseAnswer {
    /// Digest of the record's file.
    pub record: Digest,
}

/// Every error answer of the Room API and of the tool API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorAnswer {
    /// The error.
    pub error: ErrorDetail,
}

impl ErrorAnswer {
    /// An error answer of this code and these words.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error: ErrorDetail {
                code: code.into(),
                message: message.into(),
            },
        }
    }
}

/// A stable code with words for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorDetail {
    /// Stable, kebab-case.
    pub code: String,
    /// For a person.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use proofroom_canonical::{Digest, json};

    use super::{
        ErrorAnswer, Grant, Order, OrderKind, OrdersGiven, Person, SignedEvent, TaskText,
        event_head_message, parse_orders, parse_report,
    };

    #[test]
    fn the_head_message_is_the_one_of_the_specification() {
        let digest = Digest::of("x");
        let wanted = format!("proofroom-event-head.v1\n7\nsha256:{}\n", digest.to_hex());
        assert_eq!(event_head_message(7, digest), wanted.into_bytes());
    }

    #[test]
    fn a_signature_holds_for_its_line_and_position_only() {
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let signed = SignedEvent::sign("{}".to_owned(), 4, &key).unwrap();
        assert!(signed.is_signed_by(4, key.verifying_key()));
        assert!(!signed.is_signed_by(5, key.verifying_key()));
        let other = SignedEvent {
            event: "{ }".to_owned(),
            ..signed
        };
        assert!(!other.is_signed_by(4, key.verifying_key()));
    }

    #[test]
    fn a_task_is_not_printed() {
        let task = TaskText::new("do this".to_owned());
        assert_eq!(format!("{task:?}"), "<redacted>");
    }

    #[test]
    fn orders_and_reports_have_one_form() {
        let given = OrdersGiven {
            orders: vec![Order {
                number: 3,
                what: OrderKind::Execute {
                    argv: vec!["ls".to_owned()],
                    by: Person {
                        uid: 0,
                        name: "root".to_owned(),
                    },
                },
            }],
        };
        let bytes = json::to_bytes(&given).unwrap();
        let wanted: &[u8] = br#"{"orders":[{"number":3,"what":{"kind":"execute","argv":["ls"],"by":{"uid":0,"name":"root"}}}]}"#;
        assert_eq!(bytes, wanted);
        assert_eq!(parse_orders(&bytes).unwrap(), given);
        let ended = br#"{"number":3,"what":{"kind":"ended","exit":{"code":0}}}"#;
        assert_eq!(parse_report(ended).unwrap().number, 3);
        let more = br#"{"number":3,"what":{"kind":"ended","exit":{"code":0},"as":"root"}}"#;
        assert_eq!(parse_report(more).unwrap_err().code(), "json-shape");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let grant = br#"{"read":[],"write":[],"run":[],"network":["*"]}"#;
        let refused = json::parse::<Grant>(grant, 1000).unwrap_err();
        assert_eq!(refused.code(), "json-shape");
        let fine = json::to_bytes(&ErrorAnswer::new("a", "b")).unwrap();
        assert_eq!(fine, br#"{"error":{"code":"a","message":"b"}}"#);
    }
}
