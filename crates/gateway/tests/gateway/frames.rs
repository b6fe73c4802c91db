//! Frames of `application/vnd.amazon.eventstream`, written by the document of the format and not by the library that reads them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A frame with these headers, each a text.
pub fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut named = Vec::new();
    for (name, value) in headers {
        named.push(u8::try_from(name.len()).unwrap());
        named.extend_from_slice(name.as_bytes());
        named.push(7);
        named.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        named.extend_from_slice(value.as_bytes());
    }
    let mut frame = Vec::new();
    for length in [16 + named.len() + payload.len(), named.len()] {
        frame.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    }
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&named);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// A frame with an event of Messages.
pub fn chunk(event: &str) -> Vec<u8> {
    let payload = format!(r#"{{"bytes":"{}","p":"abcd"}}"#, STANDARD.encode(event));
    let headers = [
        (":event-type", "chunk"),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    frame(&headers, payload.as_bytes())
}

/// A frame in which Bedrock says that it failed.
pub fn exception(named: &str) -> Vec<u8> {
    let headers = [(":exception-type", named), (":message-type", "exception")];
    frame(&headers, br#"{"message":"words of AWS"}"#)
}
