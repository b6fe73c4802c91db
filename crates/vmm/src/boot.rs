//! The boot port's words: frames of a four-byte big-endian length and strict JSON. The guest takes
//! its configuration from here and treats it as hostile until it is measured; the host treats
//! every report as hostile for ever.

use std::io::{self, Read, Write};

use proofroom_canonical::json::{self, JsonError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Shape;

/// The most bytes of one frame.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// `format` of a boot configuration.
pub const BOOT_FORMAT: &str = "proofroom.boot.v1";

/// What the guest's first process is told. Its exact bytes are measured before anything is done
/// with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootConfig {
    /// [`BOOT_FORMAT`].
    pub format: String,
    /// What the machine is for.
    pub purpose: Purpose,
    /// Processors and memory, as the host made the machine.
    pub shape: Shape,
    /// Layers, lowest first; the guest finds the n-th as logical unit n of its one disk controller.
    pub layers: Vec<Layer>,
    /// Where `/workspace` lies; in the machine's memory when there is none. None is not spelled: the
    /// configurations of such machines are those that there were before there were disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_disk: Option<WorkspaceDisk>,
    /// Caps inside the room.
    pub limits: RoomLimits,
    /// The host's clock, milliseconds since 1970: a hint until something better confirms it.
    pub time_ms: i64,
    /// 32 bytes of the host's randomness, hex, mixed into the guest's own pool and never relied on.
    pub entropy: String,
}

/// What a machine is booted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A room.
    Room,
    /// To see that machines boot here at all: says [`Report::Canary`] and ends.
    Canary,
    /// To read what the firmware was given: says [`Report::Capture`] and ends.
    Capture,
}

/// A layer by what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its name, for people.
    pub name: String,
    /// Root of its dm-verity tree, hex.
    pub root: String,
    /// The tree's salt, hex.
    pub salt: String,
    /// Data blocks of 4096 bytes.
    pub data_blocks: u64,
    /// Where the tree begins, in bytes.
    pub hash_offset: u64,
}

/// An empty disk for the workspace. What is on it is the guest's, under a key of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDisk {
    /// Its logical unit number on the machine's one disk controller.
    pub unit: u16,
    /// Its size.
    pub bytes: u64,
}

/// Caps inside the room, as `room.toml` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomLimits {
    /// Memory of the inner room.
    pub memory_bytes: u64,
    /// Processes and threads of the agent.
    pub processes: u64,
    /// Bytes of `/workspace`.
    pub workspace_bytes: u64,
    /// Bytes of `/tmp`, and again of `/home/agent`.
    pub tmp_bytes: u64,
    /// Bytes of `/dev/shm`.
    pub shm_bytes: u64,
    /// Inodes of each file system.
    pub inodes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
}

/// What the host says after the boot configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Ask the supervisor to close its session.
    Close,
}

/// What the guest's first process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Report {
    /// The first process runs and waits for its configuration.
    Up {
        /// The kernel's release.
        kernel: String,
    },
    /// The room is built and its supervisor executed.
    Ready {
        /// Mechanisms in force inside the machine.
        mechanisms: Vec<String>,
    },
    /// Something is missing; the machine ends.
    Failed {
        /// Stable code.
        code: String,
        /// For a person.
        message: String,
    },
    /// The supervisor ended; the machine powers off.
    Ended {
        /// What its wait status says, for a person.
        how: String,
    },
    /// Machines boot here.
    Canary {},
    /// What the firmware was given, by the name of its `fw_cfg` file, base64.
    Capture {
        /// Names and contents.
        files: std::collections::BTreeMap<String, String>,
    },
}

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The other side is gone.
    #[error("the boot port is closed")]
    Closed,
    /// The port.
    #[error("the boot port failed")]
    Io(#[source] io::Error),
    /// Longer than a frame may be.
    #[error("a frame of {have} bytes came, the most is {MAX_FRAME_BYTES}")]
    TooLong {
        /// Announced length.
        have: usize,
    },
    /// Not what is expected at this point.
    #[error("a frame is not what is expected here")]
    Malformed(#[source] JsonError),
}

impl FrameError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Closed => "boot-port-closed",
            Self::Io(_) => "boot-port-failed",
            Self::TooLong { .. } => "boot-frame-too-long",
            Self::Malformed(_) => "boot-frame-malformed",
        }
    }
}

/// Reads the bytes of one frame.
///
/// # Errors
/// [`FrameError::Closed`] at the end of the stream, [`FrameError::TooLong`] before anything of an
/// oversized frame is read.
pub fn read_frame(port: &mut impl Read) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; 4];
    port.read_exact(&mut length).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            FrameError::Closed
        } else {
            FrameError::Io(error)
        }
    })?;
    let have = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if have > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { have });
    }
    let mut frame = vec![0; have];
    port.read_exact(&mut frame).map_err(FrameError::Io)?;
    Ok(frame)
}

/// Parses a frame.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn parse<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    json::parse(frame, MAX_FRAME_BYTES).map_err(FrameError::Malformed)
}

/// Writes `words` as one frame and returns its bytes.
///
/// # Errors
/// [`FrameError::Io`], or [`FrameError::TooLong`] when the words do not fit into a frame.
pub fn write_frame(port: &mut impl Write, words: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let frame = json::to_bytes(words).map_err(FrameError::Malformed)?;
    let length = u32::try_from(frame.len())
        .ok()
        .filter(|_| frame.len() <= MAX_FRAME_BYTES)
        .ok_or(FrameError::TooLong { have: frame.len() })?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&frame);
    port.write_all(&bytes)
        .and_then(|()| port.flush())
        .map_err(FrameError::Io)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use proofroom_canonical::json;

    use super::{
        BOOT_FORMAT, BootConfig, MAX_FRAME_BYTES, Order, Purpose, Report, RoomLimits,
        WorkspaceDisk, parse, read_frame, write_frame,
    };
    use crate::Shape;

    fn config(workspace_disk: Option<WorkspaceDisk>) -> BootConfig {
        BootConfig {
            format: BOOT_FORMAT.to_owned(),
            purpose: Purpose::Room,
            shape: Shape {
                vcpus: 1,
                memory_mib: 1024,
            },
            layers: Vec::new(),
            workspace_disk,
            limits: RoomLimits {
                memory_bytes: 1,
                processes: 2,
                workspace_bytes: 3,
                tmp_bytes: 4,
                shm_bytes: 5,
                inodes: 6,
                open_files: 7,
                file_bytes: 8,
            },
            time_ms: 9,
            entropy: "00".repeat(32),
        }
    }

    #[test]
    fn a_configuration_without_a_disk_has_the_bytes_that_it_had_before_there_were_disks() {
        let golden = include_str!("../tests/golden/boot.json").trim_end();
        let bytes = json::to_bytes(&config(None)).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), golden);
    }

    #[test]
    fn a_configuration_with_a_disk_says_where_it_is_and_how_large() {
        let golden = include_str!("../tests/golden/boot-disk.json").trim_end();
        let with_disk = config(Some(WorkspaceDisk {
            unit: 64,
            bytes: 2_500_000_000,
        }));
        let bytes = json::to_bytes(&with_disk).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), golden);
        assert_eq!(parse::<BootConfig>(golden.as_bytes()).unwrap(), with_disk);
    }

    #[test]
    fn a_spelled_absence_is_another_spelling_and_is_refused_by_the_guest_as_such() {
        let golden = include_str!("../tests/golden/boot.json").trim_end();
        let spelled = golden.replace("\"limits\"", "\"workspace_disk\":null,\"limits\"");
        let parsed = parse::<BootConfig>(spelled.as_bytes()).unwrap();
        assert_ne!(json::to_bytes(&parsed).unwrap(), spelled.as_bytes());
        let more = golden.replace("\"limits\"", "\"workspace_disc\":{},\"limits\"");
        let refused = parse::<BootConfig>(more.as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "boot-frame-malformed");
    }

    #[test]
    fn words_survive_a_frame() {
        let mut port = Vec::new();
        let said = Report::Ended {
            how: "exit 0".to_owned(),
        };
        write_frame(&mut port, &said).unwrap();
        write_frame(&mut port, &Order::Close).unwrap();
        let mut port = port.as_slice();
        let heard: Report = parse(&read_frame(&mut port).unwrap()).unwrap();
        assert_eq!(heard, said);
        let heard: Order = parse(&read_frame(&mut port).unwrap()).unwrap();
        assert_eq!(heard, Order::Close);
        assert_eq!(
            read_frame(&mut port).unwrap_err().code(),
            "boot-port-closed"
        );
    }

    #[test]
    fn a_lie_about_the_length_is_refused_before_anything_is_read() {
        let mut port: &[u8] = &[0xff; 64];
        let refused = read_frame(&mut port).unwrap_err();
        assert_eq!(refused.code(), "boot-frame-too-long");
        assert_eq!(port.len(), 60);
        let long = "x".repeat(MAX_FRAME_BYTES);
        let refused = write_frame(&mut Vec::new(), &long).unwrap_err();
        assert_eq!(refused.code(), "boot-frame-too-long");
    }

    #[test]
    fn a_frame_that_ends_early_is_an_error_and_not_a_short_frame() {
        let mut port: &[u8] = &[0, 0, 0, 9, b'{'];
        assert_eq!(
            read_frame(&mut port).unwrap_err().code(),
            "boot-port-failed"
        );
    }

    #[test]
    fn unknown_words_are_refused() {
        for words in [
            r#"{"ended":{"how":"x","more":1}}"#,
            r#""open""#,
            r#"{"up":{}}"#,
        ] {
            let refused = parse::<Report>(words.as_bytes()).unwrap_err();
            assert_eq!(refused.code(), "boot-frame-malformed", "{words}");
        }
    }
}
