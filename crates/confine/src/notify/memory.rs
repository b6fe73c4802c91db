//! Reading the calling process's memory: bounded, page by page, every address taken as hostile. And
//! what kind of socket one of its descriptors is.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use rustix::{
    net::SocketType,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::call::{ArgvRead, SocketKind};
use crate::sys;

/// `PATH_MAX`: the kernel takes no longer path either.
const MAX_STRING_BYTES: usize = 4096;
/// Arguments of one `execve` that are read.
const MAX_ARGUMENTS: usize = 256;
/// Bytes of one argument vector that are read, all together.
const MAX_ARGV_BYTES: usize = 64 * 1024;
const PAGE: u64 = 4096;
/// Bytes of a string that are read at first: few paths are longer, and an emulated processor copies byte by
/// byte.
const FIRST_BYTES: usize = 256;

/// Why an argument could not be read.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) String);

#[expect(
    clippy::needless_pass_by_value,
    reason = "errors are handed over where they arise"
)]
fn unreadable(address: u64, why: impl ToString) -> Unreadable {
    Unreadable(format!("memory at {address:#x}: {}", why.to_string()))
}

/// Exactly `N` bytes.
pub(crate) fn bytes<const N: usize>(pid: i32, address: u64) -> Result<[u8; N], Unreadable> {
    let mut into = [0; N];
    match sys::read_memory(pid, address, &mut into) {
        Ok(read) if read == N => Ok(into),
        Ok(_) => Err(unreadable(address, "it ends too early")),
        Err(e) => Err(unreadable(address, e)),
    }
}

/// At most `length` bytes, all of which must be there.
pub(crate) fn buffer(pid: i32, address: u64, length: usize) -> Result<Vec<u8>, Unreadable> {
    let mut into = vec![0; length.min(MAX_STRING_BYTES)];
    match sys::read_memory(pid, address, &mut into) {
        Ok(read) if read == into.len() => Ok(into),
        Ok(_) => Err(unreadable(address, "it ends too early")),
        Err(e) => Err(unreadable(address, e)),
    }
}

/// A NUL-terminated string of at most [`MAX_STRING_BYTES`].
pub(crate) fn string(pid: i32, address: u64) -> Result<OsString, Unreadable> {
    let mut text = Vec::new();
    while text.len() < MAX_STRING_BYTES {
        let at = address
            .checked_add(text.len() as u64)
            .ok_or_else(|| unreadable(address, "it wraps around"))?;
        // Reads never cross a page, so a string before an unmapped page is still readable.
        let chunk = usize::try_from(PAGE - at % PAGE).unwrap_or(1);
        let most = if text.is_empty() {
            FIRST_BYTES
        } else {
            MAX_STRING_BYTES - text.len()
        };
        let mut into = vec![0; chunk.min(most)];
        let read = sys::read_memory(pid, at, &mut into).map_err(|e| unreadable(address, e))?;
        if read == 0 {
            return Err(unreadable(address, "nothing is there"));
        }
        into.truncate(read);
        if let Some(end) = into.iter().position(|byte| *byte == 0) {
            into.truncate(end);
            if text.is_empty() {
                return Ok(OsString::from_vec(into));
            }
            text.extend(into);
            return Ok(OsString::from_vec(text));
        }
        text.extend(into);
    }
    Err(unreadable(address, "the string is too long"))
}

/// A NULL-terminated vector of strings. A null vector is empty, as Linux has it; strings that
/// cannot be read end it as truncated.
pub(crate) fn vector(pid: i32, address: u64) -> Result<(Vec<OsString>, ArgvRead), Unreadable> {
    let (mut strings, mut total) = (Vec::new(), 0_usize);
    if address == 0 {
        return Ok((strings, ArgvRead::Whole));
    }
    for index in 0..MAX_ARGUMENTS as u64 {
        let at = address
            .checked_add(index * 8)
            .ok_or_else(|| unreadable(address, "it wraps around"))?;
        let pointer = u64::from_ne_bytes(bytes::<8>(pid, at)?);
        if pointer == 0 {
            return Ok((strings, ArgvRead::Whole));
        }
        let Ok(text) = string(pid, pointer) else {
            break;
        };
        total += text.len();
        if total > MAX_ARGV_BYTES {
            break;
        }
        strings.push(text);
    }
    Ok((strings, ArgvRead::Truncated))
}

/// What kind of socket the descriptor is, told by the socket itself.
pub(crate) fn socket_kind(pid: i32, descriptor: u64) -> SocketKind {
    let [a, b, c, d, ..] = descriptor.to_le_bytes();
    match borrowed_socket_type(pid, i32::from_le_bytes([a, b, c, d])) {
        Some(SocketType::DGRAM) => SocketKind::Datagram,
        _ => SocketKind::Other,
    }
}

fn borrowed_socket_type(thread: i32, descriptor: i32) -> Option<SocketType> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let mut lines = status.lines();
    let process = lines.find_map(|line| line.strip_prefix("Tgid:"))?;
    let process = Pid::from_raw(process.trim().parse().ok()?)?;
    let process = pidfd_open(process, PidfdFlags::empty()).ok()?;
    let socket = pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty()).ok()?;
    rustix::net::sockopt::socket_type(&socket).ok()
}
