//! How one command talks to the host process of a living session: a unix socket in the session's
//! folder, which only the deployment's owner can enter, and of which the peer's user is looked at as
//! well. One question to a connection, one JSON value to a line.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use proofroom_canonical::{
    IsolationLevel, SessionId, Timestamp,
    json::{self, JsonError},
};
use proofroom_record::{event::Exit, room_api::StandardStream};
use serde::{Deserialize, Serialize};

/// The socket's name in a session's folder.
const SOCKET: &str = "control.sock";
/// The most bytes of one line.
pub const MAX_LINE_BYTES: usize = 256 * 1024;

/// What is asked of a living session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// How it is.
    State,
    /// To end.
    End {
        /// How.
        how: EndHow,
    },
    /// To stop its room in memory.
    Pause,
    /// To let a stopped room go on.
    Resume,
    /// To run a command in its room.
    Execute {
        /// Program and arguments.
        argv: Vec<String>,
    },
}

/// How a session is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndHow {
    /// The room is asked to close its session, as by an interrupt.
    Asked,
    /// The room is killed, and the record closed from what was durable.
    AtOnce,
}

/// What a living session says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// How it is.
    State(Box<LivingState>),
    /// It was done, or is under way.
    Done {
        /// For a person.
        message: String,
    },
    /// It was not done.
    Refused {
        /// Stable code.
        code: String,
        /// For a person.
        message: String,
    },
    /// A command's output.
    Output {
        /// Which stream.
        stream: StandardStream,
        /// Standard base64 of the bytes.
        data: String,
    },
    /// A command ended.
    Exited {
        /// How.
        exit: Exit,
    },
}

/// How a living session is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivingState {
    /// The session.
    pub session: SessionId,
    /// Its agent.
    pub agent: String,
    /// Isolation of its room.
    pub isolation: IsolationLevel,
    /// What it does.
    pub state: Phase,
    /// When its room was started.
    pub started: Timestamp,
    /// Its host process.
    pub pid: u32,
    /// Events that are durable.
    pub events: u64,
    /// What its room uses.
    pub usage: RoomUsage,
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The agent works.
    Running,
    /// The room is stopped in memory.
    Paused,
    /// The room was asked to close its session, or is gone.
    Ending,
}

impl Phase {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Ending => "ending",
        }
    }
}

/// What a room uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomUsage {
    /// Processes.
    pub processes: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Processor time, in milliseconds.
    pub cpu_millis: u64,
}

/// Why a session's host process could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens: the session is over, or its host process died, or it is only just beginning.
    #[error("session {0} has no living host process that listens; see `proofroom room list`")]
    NotListening(SessionId),
    /// The socket belongs to somebody else.
    #[error("the host process of session {0} runs as another user")]
    Foreign(SessionId),
    /// The connection failed.
    #[error("the host process of session {session} cannot be asked")]
    Broken {
        /// The session.
        session: SessionId,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The answer is none.
    #[error("the host process of session {session} answered what is no answer")]
    Answer {
        /// The session.
        session: SessionId,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// The session's host process did not do it.
    #[error("session {session} refused: {message}")]
    Refused {
        /// The session.
        session: SessionId,
        /// The code that it gave.
        code: String,
        /// Its words.
        message: String,
    },
}

impl ControlError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotListening(_) => "session-not-listening",
            Self::Foreign(_) => "session-foreign",
            Self::Broken { .. } => "control-broken",
            Self::Answer { .. } => "control-answer",
            Self::Refused { .. } => "session-refused",
        }
    }
}

/// The socket of a session's folder by a path that is short enough for every address, however deep the
/// folder lies; good while the file is open.
fn place(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

/// Makes the socket in a session's folder, for its owner only.
///
/// # Errors
/// What the system says.
pub fn listen(dir: &Path) -> io::Result<UnixListener> {
    let folder = File::open(dir)?;
    let path = place(&folder);
    // The folder is its owner's alone, so nobody comes between making and closing it.
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A question that was put, and the answers to it as they come. Blocking.
#[derive(Debug)]
pub struct Conversation {
    session: SessionId,
    lines: BufReader<UnixStream>,
}

impl Conversation {
    /// Puts a question to the host process of a session.
    ///
    /// # Errors
    /// [`ControlError::NotListening`], [`ControlError::Foreign`], [`ControlError::Broken`].
    pub fn begin(session: SessionId, dir: &Path, ask: &Ask) -> Result<Self, ControlError> {
        let broken = |source| ControlError::Broken { session, source };
        let folder = File::open(dir).map_err(|_| ControlError::NotListening(session))?;
        let mut stream = match UnixStream::connect(place(&folder)) {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Err(ControlError::NotListening(session));
            }
            Err(error) => return Err(broken(error)),
        };
        let peer =
            rustix::net::sockopt::socket_peercred(&stream).map_err(|error| broken(error.into()))?;
        if peer.uid != rustix::process::geteuid() {
            return Err(ControlError::Foreign(session));
        }
        stream.write_all(&line(ask)).map_err(broken)?;
        Ok(Self {
            session,
            lines: BufReader::new(stream),
        })
    }

    /// The next answer; nothing when there is none any more.
    ///
    /// # Errors
    /// [`ControlError::Broken`], [`ControlError::Answer`], [`ControlError::Refused`].
    pub fn answer(&mut self) -> Result<Option<Answer>, ControlError> {
        let session = self.session;
        let mut bytes = Vec::new();
        let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let read = (&mut self.lines).take(most).read_until(b'\n', &mut bytes);
        read.map_err(|source| ControlError::Broken { session, source })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let answer = parse_answer(bytes.strip_suffix(b"\n").unwrap_or(&bytes))
            .map_err(|source| ControlError::Answer { session, source })?;
        match answer {
            Answer::Refused { code, message } => Err(ControlError::Refused {
                session,
                code,
                message,
            }),
            answer => Ok(Some(answer)),
        }
    }
}

/// How a session is, asked of its host process.
///
/// # Errors
/// See [`ControlError`].
pub fn state(session: SessionId, dir: &Path) -> Result<LivingState, ControlError> {
    match Conversation::begin(session, dir, &Ask::State)?.answer()? {
        Some(Answer::State(state)) => Ok(*state),
        _ => Err(ControlError::NotListening(session)),
    }
}

/// A question or an answer as a line.
pub(crate) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = json::to_bytes(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Reads a question from its line, without the newline.
///
/// # Errors
/// When it is none.
pub fn parse_ask(bytes: &[u8]) -> Result<Ask, JsonError> {
    json::parse(bytes, MAX_LINE_BYTES)
}

/// Reads an answer from its line, without the newline.
///
/// # Errors
/// When it is none.
pub fn parse_answer(bytes: &[u8]) -> Result<Answer, JsonError> {
    json::parse(bytes, MAX_LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use proofroom_canonical::SessionId;

    use super::{Answer, Ask, Conversation, EndHow, SOCKET, line, listen, parse_answer, parse_ask};

    const SESSION: SessionId = SessionId::from_random([1; 16]);

    #[test]
    fn questions_and_answers_are_read_back_and_nothing_else_is() {
        for ask in [
            Ask::State,
            Ask::End {
                how: EndHow::AtOnce,
            },
        ] {
            let bytes = line(&ask);
            let read = parse_ask(bytes.strip_suffix(b"\n").unwrap());
            assert_eq!(read.unwrap(), ask);
        }
        let done = Answer::Done {
            message: "m".to_owned(),
        };
        let bytes = line(&done);
        let read = parse_answer(bytes.strip_suffix(b"\n").unwrap());
        assert_eq!(read.unwrap(), done);
        let refused = parse_ask(br#"{"ask":"end","how":"asked","why":"x"}"#);
        assert_eq!(refused.unwrap_err().code(), "json-shape");
    }

    #[test]
    fn the_socket_is_its_owners_alone_and_any_folder_is_short_enough() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200));
        fs::create_dir(&deep).unwrap();
        let listener = listen(&deep).unwrap();
        let mode = fs::metadata(deep.join(SOCKET)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        Conversation::begin(SESSION, &deep, &Ask::State).unwrap();
        drop(listener);
        let refused = Conversation::begin(SESSION, &deep, &Ask::State).unwrap_err();
        assert_eq!(refused.code(), "session-not-listening");
    }
}
