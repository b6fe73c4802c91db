//! The first message of a TLS connection (RFC 8446 §4.1.2), read for the one name in it. A message
//! that names no server, hides it, or is none is refused.

use crate::host::{HostName, NameError};

/// The most bytes in which a first message must be complete, record headers included.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// Why a connection's first bytes are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// Not TLS, or not its first message.
    #[error("the first bytes are no TLS client hello")]
    NotTls,
    /// Lengths that do not fit, or an extension twice.
    #[error("the TLS client hello is malformed")]
    Malformed,
    /// Longer than [`MAX_HELLO_BYTES`].
    #[error("the TLS client hello is longer than 16 KiB")]
    TooLarge,
    /// No server name.
    #[error("the TLS client hello names no server")]
    NoName,
    /// A server name that is none.
    #[error("the TLS client hello names a malformed server")]
    Name(#[source] NameError),
    /// The true name is encrypted.
    #[error("the TLS client hello hides its server's name")]
    Encrypted,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a first message.
    Incomplete,
    /// A whole one, to this server.
    To(HostName),
}

/// Reads the beginning of a connection.
///
/// # Errors
/// See [`HelloError`].
pub fn client_hello(bytes: &[u8]) -> Result<Hello, HelloError> {
    let message = match handshake(bytes)? {
        Some(message) => message,
        None if bytes.len() >= MAX_HELLO_BYTES => return Err(HelloError::TooLarge),
        None => return Ok(Hello::Incomplete),
    };
    let mut reader = Reader(&message);
    // legacy_version, random
    reader.skip(34)?;
    let session = reader.vector::<1>()?;
    let suites = reader.vector::<2>()?;
    let compression = reader.vector::<1>()?;
    if session.len() > 32 || suites.len() % 2 != 0 || suites.is_empty() || compression.is_empty() {
        return Err(HelloError::Malformed);
    }
    if reader.0.is_empty() {
        return Err(HelloError::NoName);
    }
    let mut extensions = Reader(reader.vector::<2>()?);
    reader.end()?;
    let mut seen = std::collections::BTreeSet::new();
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number::<2>()?;
        let body = extensions.vector::<2>()?;
        if !seen.insert(kind) {
            return Err(HelloError::Malformed);
        }
        match u16::try_from(kind).unwrap_or(u16::MAX) {
            ENCRYPTED_CLIENT_HELLO | ENCRYPTED_SERVER_NAME => return Err(HelloError::Encrypted),
            SERVER_NAME => name = Some(server_name(body)?),
            _ => {}
        }
    }
    name.map(Hello::To).ok_or(HelloError::NoName)
}

/// Exactly one name, of the one type that there is.
fn server_name(body: &[u8]) -> Result<HostName, HelloError> {
    let mut outer = Reader(body);
    let mut list = Reader(outer.vector::<2>()?);
    outer.end()?;
    if list.number::<1>()? != 0 {
        return Err(HelloError::Malformed);
    }
    let name = list.vector::<2>()?;
    list.end()?;
    let name = str::from_utf8(name).map_err(|_| HelloError::Malformed)?;
    HostName::parse(name).map_err(HelloError::Name)
}

/// The body of the client hello, put together from its records; none while it is not whole.
fn handshake(bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    let mut rest = bytes;
    let mut message = Vec::new();
    loop {
        if rest.first().is_some_and(|kind| *kind != HANDSHAKE_RECORD)
            || rest.get(1).is_some_and(|major| *major != 3)
        {
            return Err(HelloError::NotTls);
        }
        let (length, fragment) = match *rest {
            [_, _, _, high, low, ref after @ ..] => {
                (usize::from(u16::from_be_bytes([high, low])), after)
            }
            _ => return Ok(None),
        };
        if length == 0 || length > 1 << 14 {
            return Err(HelloError::Malformed);
        }
        message.extend(fragment.iter().take(length));
        if let [kind, a, b, c, ref body @ ..] = *message {
            if kind != CLIENT_HELLO {
                return Err(HelloError::NotTls);
            }
            let wanted = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            if wanted > MAX_HELLO_BYTES {
                return Err(HelloError::TooLarge);
            }
            if let Some(whole) = body.get(..wanted) {
                return Ok(Some(whole.to_vec()));
            }
        } else if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::NotTls);
        }
        match fragment.get(length..) {
            Some(next) => rest = next,
            None => return Ok(None),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn skip(&mut self, count: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const BYTES: usize>(&mut self) -> Result<usize, HelloError> {
        let bytes = self.skip(BYTES)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn vector<const LENGTH: usize>(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.number::<LENGTH>()?;
        self.skip(length)
    }

    fn end(&self) -> Result<(), HelloError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(HelloError::Malformed)
    }
}

#[cfg(test)]
mod tests;
