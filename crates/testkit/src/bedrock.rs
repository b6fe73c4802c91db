//! Amazon Bedrock's side of the wire, written by AWS's documents and not by the libraries that read it: the signature that a
//! request must have, and frames of `application/vnd.amazon.eventstream`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::Digest;
use ring::hmac;

/// Media type of a stream of frames.
pub const FRAMES: &str = "application/vnd.amazon.eventstream";
/// The region of [`authorization`].
pub const REGION: &str = "eu-central-1";

/// The `authorization` that a POST must have (Signature Version 4), worked out anew from the request as it arrived. Which of
/// its headers are signed is what it says itself; a header that is not there counts as an empty one.
#[must_use]
pub fn authorization<'a>(
    target: &str,
    header: impl Fn(&str) -> &'a str,
    body: &[u8],
    (id, secret): (&str, &str),
) -> String {
    let names = header("authorization").split_once("SignedHeaders=");
    let names = names.and_then(|(_, rest)| rest.split_once(','));
    let names = names.map_or("", |(names, _)| names);
    let date = header("x-amz-date");
    let day = date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{REGION}/bedrock/aws4_request");
    let headers: String = names
        .split(';')
        .map(|name| format!("{name}:{}\n", header(name)))
        .collect();
    let path = target.replace('%', "%25");
    let digest = Digest::of(body).to_hex();
    let canonical = format!("POST\n{path}\n\n{headers}\n{names}\n{digest}");
    let canonical = Digest::of(canonical).to_hex();
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = mac(&key, part);
    }
    let signature = hex::encode(mac(&key, &text));
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// A frame with these headers, each a text.
#[must_use]
pub fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut named = Vec::new();
    for (name, value) in headers {
        named.extend_from_slice(&u8::try_from(name.len()).unwrap_or(u8::MAX).to_be_bytes());
        named.extend_from_slice(name.as_bytes());
        named.push(7);
        named.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        named.extend_from_slice(value.as_bytes());
    }
    // two lengths and two checksums, of four bytes each
    let whole = named.len().saturating_add(payload.len()).saturating_add(16);
    let mut frame = [length(whole), length(named.len())].concat();
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&named);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// A frame with an event of Messages.
#[must_use]
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
#[must_use]
pub fn exception(named: &str) -> Vec<u8> {
    let headers = [(":exception-type", named), (":message-type", "exception")];
    frame(&headers, br#"{"message":"words of AWS"}"#)
}
