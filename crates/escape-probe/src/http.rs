//! Bytes to the room's one server, as they are, and the status that comes back.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

/// Where the room's server is.
pub(crate) const CHANNEL: &str = "127.0.0.1:8377";
/// The same, as a file.
pub(crate) const SOCKET: &str = "/run/proofroom/agent.sock";

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: u64 = 1 << 20;

/// What came back: the status, when it was HTTP, and everything as text.
pub(crate) struct Answered {
    pub(crate) status: Option<u16>,
    pub(crate) text: String,
}

/// Sends to the loopback port.
pub(crate) fn over_tcp(request: &[u8]) -> io::Result<Answered> {
    let stream = TcpStream::connect(CHANNEL)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(stream, request)
}

/// Sends to the socket file.
pub(crate) fn over_socket(request: &[u8]) -> io::Result<Answered> {
    let stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(stream, request)
}

/// A request with these header lines and this body.
pub(crate) fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{line}\r\nhost: room\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Answered> {
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    // a connection that is cut after its answer has answered
    let read = (&mut stream).take(MAX_ANSWER).read_to_end(&mut bytes);
    if bytes.is_empty() {
        read?;
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok());
    Ok(Answered { status, text })
}
