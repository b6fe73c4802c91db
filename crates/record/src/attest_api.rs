//! The attest socket: how a room's supervisor asks the one process of the room that may measure and
//! quote. Types and framing only; `docs/spec/room-api.md` is its text. Both sides read hostile input:
//! unknown members are refused and every frame has a size cap.

use proofroom_canonical::json::{self, JsonError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use proofroom_evidence::{
    ASSIGNMENT_EVENT, AssignmentEvent, BOOT_CONFIG_EVENT, EvidenceType, Moment, RoomError,
    RoomEvidence, RuntimeEvent,
};

use crate::room_api::ErrorDetail;

/// Where the socket is in a room that has an attester.
pub const SOCKET: &str = "/proofroom/attest.sock";
/// The most bytes of one frame, without its length.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// What the supervisor asks for. One request, one answer, any number of them on one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttestRequest {
    /// Measure an event; it is measured when the answer is there. Answer: [`Measured`].
    Measure {
        /// The event's name.
        name: String,
        /// The event's exact content.
        content: String,
    },
    /// Quote a statement. Answer: [`Attested`].
    Attest {
        /// When in the session.
        moment: Moment,
        /// The exact text that is bound.
        statement: String,
    },
}

/// The event is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {}

/// The room evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    /// The exact text of the room evidence.
    pub evidence: String,
}

/// An answer: `{"ok":…}` or `{"error":{"code":…,"message":…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttestAnswer<T> {
    /// It was done.
    Ok(T),
    /// It was not done.
    Error(ErrorDetail),
}

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Larger than any frame is.
    #[error("frame of {have} bytes is larger than the {MAX_FRAME_BYTES} allowed")]
    TooLarge {
        /// Its size.
        have: usize,
    },
    /// Not the JSON that it must be.
    #[error("frame refused")]
    Json(#[from] JsonError),
}

impl FrameError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "frame-too-large",
            Self::Json(_) => "frame-malformed",
        }
    }
}

/// The bytes of one frame: big-endian length of 4 bytes, then compact JSON.
///
/// # Errors
/// [`FrameError::TooLarge`].
pub fn frame<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let body = json::to_bytes(value)?;
    let have = body.len();
    let length = u32::try_from(have)
        .ok()
        .filter(|_| have <= MAX_FRAME_BYTES)
        .ok_or(FrameError::TooLarge { have })?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// How many bytes follow a frame's length; call it before any memory is set aside for them.
///
/// # Errors
/// [`FrameError::TooLarge`].
pub fn frame_length(header: [u8; 4]) -> Result<usize, FrameError> {
    let have = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if have > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge { have });
    }
    Ok(have)
}

/// Reads a frame's JSON.
///
/// # Errors
/// [`FrameError::Json`].
pub fn read_frame<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(json::parse(body, MAX_FRAME_BYTES)?)
}

#[cfg(test)]
mod tests {
    use super::{
        AttestAnswer, AttestRequest, Attested, MAX_FRAME_BYTES, Measured, Moment, frame,
        frame_length, read_frame,
    };
    use crate::room_api::ErrorDetail;

    #[test]
    fn the_frames_are_the_ones_of_the_specification() {
        let measure = AttestRequest::Measure {
            name: "assignment".to_owned(),
            content: "{}".to_owned(),
        };
        let bytes = frame(&measure).unwrap();
        let text = br#"{"op":"measure","name":"assignment","content":"{}"}"#;
        assert_eq!(bytes, [&[0, 0, 0, 51][..], text].concat());
        assert_eq!(read_frame::<AttestRequest>(text).unwrap(), measure);
        let attest = br#"{"op":"attest","moment":"start","statement":"s"}"#;
        let wanted = AttestRequest::Attest {
            moment: Moment::Start,
            statement: "s".to_owned(),
        };
        assert_eq!(read_frame::<AttestRequest>(attest).unwrap(), wanted);
        for (answer, text) in [
            (
                AttestAnswer::Ok(Attested {
                    evidence: "e".to_owned(),
                }),
                r#"{"ok":{"evidence":"e"}}"#,
            ),
            (
                AttestAnswer::Error(ErrorDetail {
                    code: "c".to_owned(),
                    message: "m".to_owned(),
                }),
                r#"{"error":{"code":"c","message":"m"}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
            let read: AttestAnswer<Attested> = read_frame(text.as_bytes()).unwrap();
            assert_eq!(read, answer);
        }
        let measured = serde_json::to_string(&AttestAnswer::Ok(Measured {})).unwrap();
        assert_eq!(measured, r#"{"ok":{}}"#);
    }

    #[test]
    fn a_frame_has_a_largest_size_and_no_unknown_member() {
        assert_eq!(
            frame_length([0, 0x10, 0, 0]).unwrap(),
            MAX_FRAME_BYTES,
            "1 MiB is allowed"
        );
        let refused = frame_length([0, 0x10, 0, 1]).unwrap_err();
        assert_eq!(refused.code(), "frame-too-large");
        let large = "x".repeat(MAX_FRAME_BYTES);
        assert_eq!(frame(&large).unwrap_err().code(), "frame-too-large");
        let more = br#"{"op":"attest","moment":"start","statement":"s","skip":1}"#;
        let refused = read_frame::<AttestRequest>(more).unwrap_err();
        assert_eq!(refused.code(), "frame-malformed");
        let both = br#"{"ok":{},"error":{"code":"c","message":"m"}}"#;
        let refused = read_frame::<AttestAnswer<Measured>>(both).unwrap_err();
        assert_eq!(refused.code(), "frame-malformed");
    }
}
