//! The device mapper's control device (`linux/dm-ioctl.h`, version 4): only the calls that devices of one
//! target need. A table may hold a key, so requests are wiped, here and in the kernel.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    io::Errno,
};
use zeroize::Zeroizing;

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
const REMOVE: u32 = 4;
const SUSPEND: u32 = 6;
const LOAD: u32 = 9;
const STATUS: u32 = 12;
const LIST_VERSIONS: u32 = 13;

const FLAG_READ_ONLY: u32 = 1;
const FLAG_BUFFER_FULL: u32 = 1 << 8;
/// The kernel wipes its copy of the request.
const FLAG_SECURE_DATA: u32 = 1 << 15;

/// Whether a device may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Access {
    const fn flag(self) -> u32 {
        match self {
            Self::ReadOnly => FLAG_READ_ONLY,
            Self::ReadWrite => 0,
        }
    }
}

/// A table of one target.
pub(crate) struct Table<'a> {
    /// The target's name, such as `verity`.
    pub(crate) target: &'a str,
    /// The device's length.
    pub(crate) sectors: u64,
    /// The target's words.
    pub(crate) parameters: &'a str,
}

#[derive(Debug)]
pub(crate) struct Control(File);

/// What the kernel answered: the whole buffer, header included.
struct Answer(Zeroizing<Vec<u8>>);

impl Control {
    pub(crate) fn open() -> io::Result<Self> {
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
    pub(crate) fn has_target(&self, name: &str) -> io::Result<bool> {
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
    pub(crate) fn create(&self, name: &str, access: Access) -> io::Result<u64> {
        let mut request = Request::new(name)?;
        request.flags = access.flag();
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

    /// Gives the device its table and makes it live.
    pub(crate) fn activate(&self, name: &str, access: Access, table: &Table<'_>) -> io::Result<()> {
        let mut request = Request::new(name)?;
        request.flags = access.flag() | FLAG_SECURE_DATA;
        request.targets = 1;
        request.payload = table.to_bytes()?;
        self.call(LOAD, &request)?;
        let mut request = Request::new(name)?;
        // Suspend without its flag is resume.
        request.flags = access.flag();
        self.call(SUSPEND, &request).map(drop)
    }

    /// Removes a device that nobody uses any more (`EBUSY`), and with it what its table held.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.call(REMOVE, &Request::new(name)?).map(drop)
    }

    /// The status line of the device's one target.
    pub(crate) fn status(&self, name: &str) -> io::Result<String> {
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

impl Table<'_> {
    /// `struct dm_target_spec` and the words after it.
    fn to_bytes(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        // As large as it gets: memory that a growing vector leaves behind is not wiped.
        let capacity = SPEC_BYTES + self.parameters.len() + 8;
        let mut spec = Zeroizing::new(Vec::with_capacity(capacity));
        spec.extend(0_u64.to_ne_bytes());
        spec.extend(self.sectors.to_ne_bytes());
        spec.extend([0; 8]);
        spec.extend(padded::<16>(self.target)?);
        spec.extend(self.parameters.as_bytes());
        spec.push(0);
        // The next spec, if there were one, must be aligned.
        let aligned = spec.len().next_multiple_of(8);
        spec.resize(aligned, 0);
        Ok(spec)
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
    payload: Zeroizing<Vec<u8>>,
}

impl Request {
    fn new(name: &str) -> io::Result<Self> {
        Ok(Self {
            name: padded(name)?,
            flags: 0,
            targets: 0,
            payload: Zeroizing::default(),
        })
    }

    /// `struct dm_ioctl`, the payload, and room for the answer.
    fn to_bytes(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let total = HEADER_BYTES + self.payload.len() + ANSWER_BYTES;
        let total_word = u32::try_from(total).map_err(io::Error::other)?;
        let start = u32::try_from(HEADER_BYTES).map_err(io::Error::other)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(total));
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
        bytes.extend_from_slice(&self.payload);
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

/// Makes the device's node.
pub(crate) fn make_node(name: &str, number: u64, access: Access) -> io::Result<PathBuf> {
    let node = Path::new("/dev/mapper").join(name);
    let mode = match access {
        Access::ReadOnly => Mode::RUSR,
        Access::ReadWrite => Mode::RUSR | Mode::WUSR,
    };
    match mknodat(CWD, &node, FileType::BlockDevice, mode, number) {
        Ok(()) | Err(Errno::EXIST) => Ok(node),
        Err(error) => Err(error.into()),
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

fn short() -> io::Error {
    io::Error::other("the device mapper's answer is too short")
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, Request, SPEC_BYTES, Table, padded};

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
    fn a_table_is_a_target_specification_and_its_words_in_memory_that_did_not_move() {
        let table = Table {
            target: "crypt",
            sectors: 4096,
            parameters: "a b",
        };
        let bytes = table.to_bytes().unwrap();
        assert_eq!(&bytes[8..16], 4096_u64.to_ne_bytes());
        assert_eq!(&bytes[24..30], b"crypt\0");
        assert_eq!(&bytes[SPEC_BYTES..], b"a b\0\0\0\0\0");
        assert_eq!(bytes.capacity(), SPEC_BYTES + 3 + 8);
    }

    #[test]
    fn a_name_that_leaves_no_zero_byte_is_refused() {
        assert!(padded::<4>("abc").is_ok());
        let refused = padded::<4>("abcd").unwrap_err();
        assert_eq!(refused.to_string(), "a name is too long");
    }
}
