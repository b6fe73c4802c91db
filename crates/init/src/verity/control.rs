//! The device mapper's control device (`linux/dm-ioctl.h`, version 4): only the calls that a
//! read-only verity device needs. The only file of this module that uses `unsafe`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    io::Errno,
};

const CONTROL: &str = "/dev/mapper/control";
/// `MISC_MAJOR` and `MAPPER_CTRL_MINOR`.
const CONTROL_NUMBER: (u32, u32) = (10, 236);

/// `sizeof(struct dm_ioctl)`; `sizeof(struct dm_target_spec)`.
const HEADER_BYTES: usize = 312;
const SPEC_BYTES: usize = 40;
/// Room for an answer: names of all targets, or one status line.
const ANSWER_BYTES: usize = 16 * 1024;

const VERSION: u32 = 0;
const CREATE: u32 = 3;
const SUSPEND: u32 = 6;
const LOAD: u32 = 9;
const STATUS: u32 = 12;
const LIST_VERSIONS: u32 = 13;

const FLAG_READ_ONLY: u32 = 1;
const FLAG_BUFFER_FULL: u32 = 1 << 8;

#[derive(Debug)]
pub(super) struct Control(File);

/// What the kernel answered: the whole buffer, header included.
struct Answer(Vec<u8>);

impl Control {
    pub(super) fn open() -> io::Result<Self> {
        if !Path::new(CONTROL).exists() {
            if let Some(dir) = Path::new(CONTROL).parent() {
                fs::create_dir_all(dir)?;
            }
            let number = makedev(CONTROL_NUMBER.0, CONTROL_NUMBER.1);
            let mode = Mode::RUSR | Mode::WUSR;
            match mknodat(CWD, CONTROL, FileType::CharacterDevice, mode, number) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let control = Self(OpenOptions::new().read(true).write(true).open(CONTROL)?);
        control.call(VERSION, &Request::new("")?)?;
        Ok(control)
    }

    /// Whether the kernel has a target of this name.
    pub(super) fn has_target(&self, name: &str) -> io::Result<bool> {
        let answer = self.call(LIST_VERSIONS, &Request::new("")?)?;
        let payload = answer.payload()?;
        // Records of `next`, three version numbers and a name that ends with a zero byte. A record
        // begins where `next` says, and names have no zero byte inside.
        let mut record = payload;
        loop {
            let next = number(record, 0)?;
            if record.get(16..).map(until_zero) == Some(name.as_bytes()) {
                return Ok(true);
            }
            if next == 0 {
                return Ok(false);
            }
            let next = usize::try_from(next).map_err(io::Error::other)?;
            record = record.get(next..).ok_or_else(short)?;
        }
    }

    /// Makes an empty device; its number.
    pub(super) fn create(&self, name: &str) -> io::Result<u64> {
        let mut request = Request::new(name)?;
        request.flags = FLAG_READ_ONLY;
        let answer = self.call(CREATE, &request)?;
        let encoded = answer
            .0
            .get(40..48)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_ne_bytes)
            .ok_or_else(short)?;
        // `huge_encode_dev`: 12 bits of the major number between 8 and 12 bits of the minor one.
        let major = u32::try_from((encoded >> 8) & 0xfff).map_err(io::Error::other)?;
        let minor = u32::try_from((encoded & 0xff) | ((encoded >> 12) & 0xf_ff00))
            .map_err(io::Error::other)?;
        Ok(makedev(major, minor))
    }

    /// Gives the device a table of one read-only target.
    pub(super) fn load(
        &self,
        name: &str,
        target: &str,
        sectors: u64,
        parameters: &str,
    ) -> io::Result<()> {
        let mut request = Request::new(name)?;
        request.flags = FLAG_READ_ONLY;
        request.targets = 1;
        let mut spec = Vec::with_capacity(SPEC_BYTES + parameters.len() + 8);
        spec.extend(0_u64.to_ne_bytes());
        spec.extend(sectors.to_ne_bytes());
        spec.extend([0; 8]);
        spec.extend(padded::<16>(target)?);
        spec.extend(parameters.as_bytes());
        spec.push(0);
        // The next spec, if there were one, must be aligned.
        spec.resize(spec.len().next_multiple_of(8), 0);
        request.payload = spec;
        self.call(LOAD, &request).map(drop)
    }

    /// Makes the loaded table live.
    pub(super) fn resume(&self, name: &str) -> io::Result<()> {
        let mut request = Request::new(name)?;
        // Suspend without its flag is resume.
        request.flags = FLAG_READ_ONLY;
        self.call(SUSPEND, &request).map(drop)
    }

    /// The status line of the device's one target.
    pub(super) fn status(&self, name: &str) -> io::Result<String> {
        let answer = self.call(STATUS, &Request::new(name)?)?;
        let line = answer.payload()?.get(SPEC_BYTES..).ok_or_else(short)?;
        Ok(String::from_utf8_lossy(until_zero(line)).trim().to_owned())
    }

    fn call(&self, command: u32, request: &Request) -> io::Result<Answer> {
        let mut buffer = request.to_bytes()?;
        let size = u32::try_from(HEADER_BYTES).map_err(io::Error::other)?;
        // `_IOWR(0xfd, command, struct dm_ioctl)`
        let number = 3 << 30 | size << 16 | 0xfd << 8 | command;
        #[expect(unsafe_code, reason = "the device mapper has no other interface")]
        // SAFETY: the kernel reads and writes at most `data_size` bytes of the buffer, which
        // `Request::to_bytes` sets to the buffer's length; the buffer outlives the call, and every
        // byte of it is initialised and may hold any value afterwards.
        let returned = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                number.into(),
                buffer.as_mut_ptr().cast::<libc::c_void>(),
            )
        };
        if returned < 0 {
            return Err(io::Error::last_os_error());
        }
        let answer = Answer(buffer);
        if answer.word(28)? & FLAG_BUFFER_FULL != 0 {
            return Err(io::Error::other(
                "the device mapper has more to say than fits",
            ));
        }
        Ok(answer)
    }
}

impl Answer {
    fn word(&self, at: usize) -> io::Result<u32> {
        number(&self.0, at)
    }

    /// The bytes from `data_start` to `data_size`.
    fn payload(&self) -> io::Result<&[u8]> {
        let size = usize::try_from(self.word(12)?).map_err(io::Error::other)?;
        let start = usize::try_from(self.word(16)?).map_err(io::Error::other)?;
        self.0.get(start..size).ok_or_else(short)
    }
}

struct Request {
    name: [u8; 128],
    flags: u32,
    targets: u32,
    payload: Vec<u8>,
}

impl Request {
    fn new(name: &str) -> io::Result<Self> {
        Ok(Self {
            name: padded(name)?,
            flags: 0,
            targets: 0,
            payload: Vec::new(),
        })
    }

    /// `struct dm_ioctl`, the payload, and room for the answer.
    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let total = HEADER_BYTES + self.payload.len() + ANSWER_BYTES;
        let total_word = u32::try_from(total).map_err(io::Error::other)?;
        let start = u32::try_from(HEADER_BYTES).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(total);
        // Version, data_size, data_start, target_count, open_count, flags, event_nr, padding.
        for word in [
            4,
            0,
            0,
            total_word,
            start,
            self.targets,
            0,
            self.flags,
            0,
            0,
        ] {
            bytes.extend(word.to_ne_bytes());
        }
        // dev
        bytes.extend([0; 8]);
        bytes.extend(self.name);
        // uuid and the struct's padding
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(&self.payload);
        bytes.resize(total, 0);
        Ok(bytes)
    }
}

/// `text` and zero bytes; at least one.
fn padded<const N: usize>(text: &str) -> io::Result<[u8; N]> {
    let mut field = [0; N];
    let room = field.get_mut(..text.len()).filter(|room| room.len() < N);
    let Some(room) = room else {
        return Err(io::Error::other("a name is too long"));
    };
    room.copy_from_slice(text.as_bytes());
    Ok(field)
}

fn number(bytes: &[u8], at: usize) -> io::Result<u32> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|word| u32::from_ne_bytes(*word))
        .ok_or_else(short)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

fn short() -> io::Error {
    io::Error::other("the device mapper's answer is too short")
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, Request, padded};

    #[test]
    fn a_request_is_a_dm_ioctl_structure() {
        let mut request = Request::new("layers-0").unwrap();
        request.flags = 1;
        request.targets = 2;
        let bytes = request.to_bytes().unwrap();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(word(0), 4);
        assert_eq!(usize::try_from(word(12)).unwrap(), bytes.len());
        assert_eq!(usize::try_from(word(16)).unwrap(), HEADER_BYTES);
        assert_eq!((word(20), word(28)), (2, 1));
        assert_eq!(&bytes[48..57], b"layers-0\0");
    }

    #[test]
    fn a_name_that_leaves_no_zero_byte_is_refused() {
        assert!(padded::<4>("abc").is_ok());
        let refused = padded::<4>("abcd").unwrap_err();
        assert_eq!(refused.to_string(), "a name is too long");
    }
}
