//! What can measure and quote for this room. The supervisor asks it before it acts on anything that
//! the host assigned; a room that has nothing of the kind says so in its record.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proofroom_canonical::Digest;
use proofroom_record::{
    attest_api::{
        self, AttestAnswer, AttestRequest, Attested, FrameError, Measured, Moment, RoomError,
        RoomEvidence, RuntimeEvent,
    },
    room_api::{RoomAppraised, RoomEvidenceOffer},
    statement::{PolicyDigests, RoomEvidenceClaim},
};

/// Why a room without an attester has no evidence.
pub const NO_ATTESTER: &str = "process room: no attester";
/// How long one answer may take: a quote of an emulated TPM in an emulated machine takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why nothing was measured or quoted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The attester cannot be reached, or went away.
    #[error("the room's attester at `{}` cannot be used", path.display())]
    Socket {
        /// Its socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A frame is no frame.
    #[error("the room's attester does not speak as it must")]
    Frame(#[from] FrameError),
    /// The attester refused.
    #[error("the room's attester refused: {message} ({code})")]
    Refused {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// An event or evidence that cannot be used.
    #[error("what was measured or quoted cannot be used")]
    Evidence(#[from] RoomError),
    /// Evidence about something else than was asked for.
    #[error("the room's attester answered for another moment or statement")]
    Other,
    /// The attester's thread ended early.
    #[error("the room's attester stopped")]
    Stopped,
    /// The host's answer does not fit what was sent.
    #[error("the host appraised evidence that was not sent, or none of what was")]
    Appraisal,
}

impl AttestError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Socket { .. } => "attester-unreachable",
            Self::Frame(error) => error.code(),
            Self::Refused { .. } => "attester-refused",
            Self::Evidence(error) => error.code(),
            Self::Other => "attester-other-evidence",
            Self::Stopped => "attester-stopped",
            Self::Appraisal => "attester-appraisal",
        }
    }
}

/// Something that can measure and quote. Its calls block.
pub trait Attester: fmt::Debug + Send + Sync {
    /// Measures `event`; it is measured when this returns.
    ///
    /// # Errors
    /// See [`AttestError`].
    fn measure(&self, event: &RuntimeEvent) -> Result<(), AttestError>;

    /// Evidence of the room about `statement`, or why there is none.
    ///
    /// # Errors
    /// See [`AttestError`].
    fn attest(&self, moment: Moment, statement: &str) -> Result<RoomEvidenceOffer, AttestError>;
}

/// The attester of a room: the one behind the socket, if the room has it.
#[must_use]
pub fn of_a_room() -> Arc<dyn Attester> {
    let socket = Path::new(attest_api::SOCKET);
    if socket.exists() {
        Arc::new(Socket(socket.to_owned()))
    } else {
        Arc::new(Nothing)
    }
}

/// A room that has nothing to attest with. Nothing reads what it would measure.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Attester for Nothing {
    fn measure(&self, _event: &RuntimeEvent) -> Result<(), AttestError> {
        Ok(())
    }

    fn attest(&self, _moment: Moment, _statement: &str) -> Result<RoomEvidenceOffer, AttestError> {
        Ok(RoomEvidenceOffer::None {
            reason: NO_ATTESTER.to_owned(),
        })
    }
}

/// The attester behind a unix socket. One connection for each question.
#[derive(Clone, Debug)]
pub struct Socket(pub PathBuf);

impl Attester for Socket {
    fn measure(&self, event: &RuntimeEvent) -> Result<(), AttestError> {
        let Measured {} = self.ask(&AttestRequest::Measure {
            name: event.name.clone(),
            content: event.content.clone(),
        })?;
        Ok(())
    }

    fn attest(&self, moment: Moment, statement: &str) -> Result<RoomEvidenceOffer, AttestError> {
        let Attested { evidence: text } = self.ask(&AttestRequest::Attest {
            moment,
            statement: statement.to_owned(),
        })?;
        let evidence = RoomEvidence::parse(&text)?;
        if evidence.moment != moment || evidence.statement != statement {
            return Err(AttestError::Other);
        }
        Ok(RoomEvidenceOffer::Evidence { text })
    }
}

impl Socket {
    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        request: &AttestRequest,
    ) -> Result<T, AttestError> {
        let frame = attest_api::frame(request)?;
        let body = self.exchange(&frame).map_err(|error| match error {
            Exchange::System(source) => AttestError::Socket {
                path: self.0.clone(),
                source,
            },
            Exchange::Frame(error) => AttestError::Frame(error),
        })?;
        match attest_api::read_frame(&body)? {
            AttestAnswer::Ok(answer) => Ok(answer),
            AttestAnswer::Error(refused) => Err(AttestError::Refused {
                code: refused.code,
                message: refused.message,
            }),
        }
    }

    fn exchange(&self, frame: &[u8]) -> Result<Vec<u8>, Exchange> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(frame)?;
        let mut header = [0; 4];
        stream.read_exact(&mut header)?;
        let length = attest_api::frame_length(header).map_err(Exchange::Frame)?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(body)
    }
}

enum Exchange {
    System(io::Error),
    Frame(FrameError),
}

impl From<io::Error> for Exchange {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// [`Attester::measure`] off the threads that serve the session.
///
/// # Errors
/// See [`AttestError`].
pub async fn measure(attester: &Arc<dyn Attester>, event: RuntimeEvent) -> Result<(), AttestError> {
    let attester = Arc::clone(attester);
    tokio::task::spawn_blocking(move || attester.measure(&event))
        .await
        .map_err(|_| AttestError::Stopped)?
}

/// [`Attester::attest`] off the threads that serve the session.
///
/// # Errors
/// See [`AttestError`].
pub async fn attest(
    attester: &Arc<dyn Attester>,
    moment: Moment,
    statement: String,
) -> Result<RoomEvidenceOffer, AttestError> {
    let attester = Arc::clone(attester);
    tokio::task::spawn_blocking(move || attester.attest(moment, &statement))
        .await
        .map_err(|_| AttestError::Stopped)?
}

/// What the session record says of evidence that was sent, and that the host `appraised` at the start.
///
/// # Errors
/// [`AttestError::Appraisal`] when the two do not fit, and what [`RoomEvidence::parse`] refuses.
pub fn claim(
    offer: &RoomEvidenceOffer,
    appraised: &RoomAppraised,
    policies: &PolicyDigests,
) -> Result<RoomEvidenceClaim, AttestError> {
    match (offer, appraised) {
        (RoomEvidenceOffer::None { reason }, RoomAppraised::None) => Ok(RoomEvidenceClaim::None {
            reason: reason.clone(),
        }),
        (RoomEvidenceOffer::Evidence { text }, RoomAppraised::Accepted { appraisal_policy }) => {
            Ok(RoomEvidenceClaim::Attested {
                evidence_type: RoomEvidence::parse(text)?.kind,
                evidence: Digest::of(text),
                appraisal_policy: appraisal_policy.clone(),
                policy: policies.room_appraisal,
            })
        }
        _ => Err(AttestError::Appraisal),
    }
}

#[cfg(test)]
mod tests;
