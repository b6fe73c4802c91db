//! One command out, one answer back. A character device wants the command in one write and gives the
//! answer to one read; a stream socket may give it in pieces.

use std::{
    io::{ErrorKind, Read, Write},
    thread,
    time::Duration,
};

use super::{
    MAX_MESSAGE_BYTES, Tpm2Error,
    command::{Command, TAG_NO_SESSIONS},
    error,
    wire::Reader,
};

/// Tag, size and response code.
pub(super) const HEADER_BYTES: usize = 10;
/// How often a TPM that asks for it is asked again, and after how long: a second in all.
const MAX_RETRIES: usize = 50;
const RETRY_AFTER: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Transport<T> {
    pub(super) stream: T,
    answer: Vec<u8>,
}

impl<T: Read + Write> Transport<T> {
    pub(super) const fn new(stream: T) -> Self {
        Self {
            stream,
            answer: Vec::new(),
        }
    }

    /// Sends `command`; what comes back is the answer after its header.
    pub(super) fn run(&mut self, command: &Command) -> Result<Reader<'_>, Tpm2Error> {
        let bytes = command.to_bytes()?;
        let mut retries = 0;
        loop {
            self.exchange(&bytes)?;
            let code = header(&self.answer)?.code;
            if !error::RC_ASK_AGAIN.contains(&code) || retries == MAX_RETRIES {
                break;
            }
            retries += 1;
            thread::sleep(RETRY_AFTER);
        }
        let header = header(&self.answer)?;
        if header.code != 0 {
            return Err(Tpm2Error::Refused {
                command: command.code(),
                code: header.code,
            });
        }
        if header.tag != command.tag() {
            return Err(Tpm2Error::Field {
                field: "tag",
                value: u32::from(header.tag),
            });
        }
        Ok(Reader::new(
            self.answer.get(HEADER_BYTES..).unwrap_or_default(),
        ))
    }

    fn exchange(&mut self, command: &[u8]) -> Result<(), Tpm2Error> {
        self.stream.write_all(command).map_err(Tpm2Error::Write)?;
        self.stream.flush().map_err(Tpm2Error::Write)?;
        self.answer.clear();
        loop {
            let mut piece = [0; MAX_MESSAGE_BYTES];
            let count = match self.stream.read(&mut piece) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Tpm2Error::Read(error)),
            };
            if count == 0 {
                return Err(Tpm2Error::Closed);
            }
            self.answer
                .extend_from_slice(piece.get(..count).unwrap_or_default());
            if let Some(size) = announced(&self.answer)? {
                let have = self.answer.len();
                match have.checked_sub(size) {
                    Some(0) => return Ok(()),
                    Some(count) => {
                        return Err(Tpm2Error::TrailingBytes {
                            part: "the answer",
                            count,
                        });
                    }
                    None => {}
                }
            }
        }
    }
}

pub(super) struct Header {
    tag: u16,
    pub(super) size: u32,
    pub(super) code: u32,
}

pub(super) fn header(answer: &[u8]) -> Result<Header, Tpm2Error> {
    let mut reader = Reader::new(answer);
    Ok(Header {
        tag: reader.u16("tag")?,
        size: reader.u32("responseSize")?,
        code: reader.u32("responseCode")?,
    })
}

/// How long the answer says that it is, once its header is there.
fn announced(answer: &[u8]) -> Result<Option<usize>, Tpm2Error> {
    if answer.len() < HEADER_BYTES {
        return Ok(None);
    }
    let header = header(answer)?;
    let refuse = Tpm2Error::Field {
        field: "responseSize",
        value: header.size,
    };
    match usize::try_from(header.size) {
        Ok(size @ HEADER_BYTES..=MAX_MESSAGE_BYTES) => {
            // A refusal is its header alone (Part 1 §18.4).
            if header.code != 0 && (size != HEADER_BYTES || header.tag != TAG_NO_SESSIONS) {
                return Err(refuse);
            }
            Ok(Some(size))
        }
        _ => Err(refuse),
    }
}
