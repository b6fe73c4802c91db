//! Binary HTTP (RFC 9292) as far as it is spoken here: requests of known length; answers of indeterminate length, whose
//! first chunk is the head, every other one piece of content, and the last the end.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::{SealError, varint};

/// Framing indicators (RFC 9292, section 3.3).
const KNOWN_REQUEST: u64 = 0;
const INDETERMINATE_ANSWER: u64 = 3;
/// The end of content and an empty section of trailers.
pub(crate) const ANSWER_END: [u8; 2] = [0, 0];
/// The most header fields of a message.
const MAX_FIELDS: usize = 64;

/// Names in lower case, and values.
pub type Fields = Vec<(String, Zeroizing<Vec<u8>>)>;

/// The head of a request that is to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, with a query if there is one.
    pub path: &'a str,
}

/// A request that was sealed. Its scheme and authority say nothing and are not kept.
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, with a query if there is one.
    pub path: String,
    /// Header fields.
    pub fields: Fields,
    /// The body's exact bytes.
    pub content: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The head of an answer.
#[derive(PartialEq, Eq)]
pub struct AnswerHead {
    /// The status, 200 to 599.
    pub status: u16,
    /// Header fields.
    pub fields: Fields,
}

impl std::fmt::Debug for AnswerHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerHead")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// All of a request but its content and the empty trailers behind that.
pub(crate) fn write_request<'a>(
    head: RequestHead<'_>,
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    content: usize,
) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(vec![0]);
    for text in [head.method, "https", "", head.path] {
        write_bytes(&mut out, text.as_bytes());
    }
    let mut section = Zeroizing::new(Vec::new());
    write_fields(&mut section, fields);
    write_bytes(&mut out, &section);
    varint::write(&mut out, content);
    out
}

impl Request {
    /// Reads an opened request.
    ///
    /// # Errors
    /// `sealed-message-malformed` for anything but a request of known length without trailers.
    pub fn parse(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, SealError> {
        let (mut request, content) = read_request(&bytes)?;
        bytes.truncate(content.end);
        bytes.drain(..content.start);
        request.content = bytes;
        Ok(request)
    }
}

impl AnswerHead {
    /// Reads the first chunk of an opened answer.
    ///
    /// # Errors
    /// `sealed-message-malformed` for anything but a head, whole and alone.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealError> {
        read_answer(bytes)
    }
}

/// A request without its content, and where that is.
fn read_request(bytes: &[u8]) -> Result<(Request, Range<usize>), SealError> {
    let mut reader = Reader(bytes);
    if reader.number()? != KNOWN_REQUEST {
        return Err(SealError::Message("is no request of known length"));
    }
    let method = reader.text()?;
    let (_scheme, _authority) = (reader.bytes()?, reader.bytes()?);
    let path = reader.text()?;
    let mut section = Reader(reader.bytes()?);
    let mut fields = Fields::new();
    while !section.0.is_empty() {
        let name = section.bytes()?;
        read_field(&mut fields, name, &mut section)?;
    }
    let length = reader.bytes()?.len();
    let end = bytes.len() - reader.0.len();
    if !reader.bytes()?.is_empty() || !reader.0.is_empty() {
        return Err(SealError::Message("has trailers, or bytes behind its end"));
    }
    let request = Request {
        method,
        path,
        fields,
        content: Zeroizing::default(),
    };
    Ok((request, end - length..end))
}

/// The head of an answer, its fields ended by a zero.
pub(crate) fn write_answer<'a>(
    status: u16,
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Vec<u8> {
    let mut out = vec![3];
    varint::write(&mut out, usize::from(status));
    write_fields(&mut out, fields);
    varint::write(&mut out, 0);
    out
}

fn read_answer(bytes: &[u8]) -> Result<AnswerHead, SealError> {
    let mut reader = Reader(bytes);
    if reader.number()? != INDETERMINATE_ANSWER {
        return Err(SealError::Message("is no answer of indeterminate length"));
    }
    let status = reader.number()?;
    let status = u16::try_from(status).ok();
    let status = status.filter(|status| (200..600).contains(status));
    let status = status.ok_or(SealError::Message("has no final status"))?;
    let mut fields = Fields::new();
    loop {
        let name = reader.bytes()?;
        if name.is_empty() {
            break;
        }
        read_field(&mut fields, name, &mut reader)?;
    }
    match reader.0.is_empty() {
        true => Ok(AnswerHead { status, fields }),
        false => Err(SealError::Message(
            "has more than a head in its first chunk",
        )),
    }
}

/// One piece of content: its length and that many bytes, at least one, and nothing else.
pub(crate) fn read_content(bytes: &[u8]) -> Result<&[u8], SealError> {
    let mut reader = Reader(bytes);
    match reader.bytes()? {
        content if reader.0.is_empty() && !content.is_empty() => Ok(content),
        _ => Err(SealError::Message(
            "has a chunk that is not one piece of content",
        )),
    }
}

fn write_fields<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'a str, &'a [u8])>) {
    for (name, value) in fields {
        write_bytes(out, name.as_bytes());
        write_bytes(out, value);
    }
}

pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::write(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn read_field(fields: &mut Fields, name: &[u8], reader: &mut Reader<'_>) -> Result<(), SealError> {
    let value = reader.bytes()?;
    if fields.len() >= MAX_FIELDS {
        return Err(SealError::Message("has too many header fields"));
    }
    fields.push((text(name)?, Zeroizing::new(value.to_vec())));
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, SealError> {
    let text = std::str::from_utf8(bytes).ok();
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    text.map(str::to_owned).ok_or(SealError::Message(
        "has a method, path or name with odd characters",
    ))
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

const ENDS_EARLY: SealError = SealError::Message("ends in the middle");

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u64, SealError> {
        let (value, length) = varint::read(self.0).ok_or(ENDS_EARLY)?;
        self.0 = self.0.get(length..).unwrap_or_default();
        Ok(value)
    }

    fn bytes(&mut self) -> Result<&'a [u8], SealError> {
        let length = usize::try_from(self.number()?).map_err(|_| ENDS_EARLY)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<String, SealError> {
        text(self.bytes()?)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AnswerHead, MAX_FIELDS, Request, RequestHead, SealError, read_content, write_answer,
        write_bytes, write_request,
    };

    fn parsed(bytes: &[u8]) -> Result<Request, SealError> {
        Request::parse(bytes.to_vec().into())
    }

    const FIELDS: [(&str, &[u8]); 2] = [("accept", b"*/*"), ("x", b"")];

    fn request(path: &str) -> Vec<u8> {
        let head = RequestHead {
            method: "POST",
            path,
        };
        let mut bytes = write_request(head, FIELDS.into_iter(), 2).to_vec();
        bytes.extend(b"{}\0");
        bytes
    }

    #[test]
    fn a_request_is_whole_alone_and_plain_or_none() {
        let bytes = request("/v1/models?x=1");
        let read = parsed(&bytes).unwrap();
        assert_eq!(
            (read.method.as_str(), read.path.as_str()),
            ("POST", "/v1/models?x=1")
        );
        assert_eq!(
            (read.fields.len(), read.content.as_slice()),
            (2, &b"{}"[..])
        );
        for end in 0..bytes.len() {
            assert!(parsed(&bytes[..end]).is_err(), "{end}");
        }
        for more in [[0, 0], [1, 0]] {
            assert!(parsed(&[&bytes[..], &more].concat()).is_err());
        }
        for framing in 1..4 {
            let other = [&[framing][..], &bytes[1..]].concat();
            assert!(parsed(&other).is_err(), "{framing}");
        }
        for path in ["/ v1", "/\n", "/\u{e4}"] {
            assert!(parsed(&request(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn the_head_of_an_answer_is_whole_alone_and_has_a_final_status_or_is_none() {
        let bytes = write_answer(429, FIELDS.into_iter());
        let read = AnswerHead::parse(&bytes).unwrap();
        assert_eq!((read.status, read.fields.len()), (429, 2));
        for end in 0..bytes.len() {
            assert!(AnswerHead::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert!(AnswerHead::parse(&[&bytes[..], &[0]].concat()).is_err());
        for status in [0, 100, 199, 600, u16::MAX] {
            let bytes = write_answer(status, FIELDS.into_iter());
            assert!(AnswerHead::parse(&bytes).is_err(), "{status}");
        }
        let many = write_answer(200, std::iter::repeat_n(FIELDS[0], MAX_FIELDS + 1));
        assert!(AnswerHead::parse(&many).is_err());
    }

    #[test]
    fn content_is_one_piece() {
        let mut bytes = Vec::new();
        write_bytes(&mut bytes, b"abc");
        assert_eq!(read_content(&bytes).unwrap(), b"abc");
        for end in 0..bytes.len() {
            assert!(read_content(&bytes[..end]).is_err(), "{end}");
        }
        assert!(read_content(&[0]).is_err());
        assert!(read_content(b"\x01a\x01b").is_err());
    }
}
