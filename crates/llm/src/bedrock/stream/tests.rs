//! Frames that were made without the library that reads them, good and broken.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{FrameFault, InvokeStream};
use crate::bedrock::{Exception, MAX_FRAME_BYTES};

/// A frame as AWS's document of the format lays it out, made without the library that reads it.
fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut names = Vec::new();
    for (name, value) in headers {
        names.push(u8::try_from(name.len()).unwrap());
        names.extend_from_slice(name.as_bytes());
        names.push(7);
        names.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        names.extend_from_slice(value.as_bytes());
    }
    let total = u32::try_from(16 + names.len() + payload.len()).unwrap();
    let mut frame = total.to_be_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(names.len()).unwrap().to_be_bytes());
    sealed(&mut frame);
    frame.extend_from_slice(&names);
    frame.extend_from_slice(payload);
    sealed(&mut frame);
    frame
}

fn sealed(bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&crc32fast::hash(bytes).to_be_bytes());
}

const CHUNK: [(&str, &str); 3] = [
    (":event-type", "chunk"),
    (":content-type", "application/json"),
    (":message-type", "event"),
];

fn chunk(event: &str) -> Vec<u8> {
    let payload = format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(event));
    frame(&CHUNK, payload.as_bytes())
}

/// What is said of `bytes` that arrive in pieces of `size`.
fn said(bytes: &[u8], size: usize) -> (String, Result<(), FrameFault>) {
    let mut stream = InvokeStream::default();
    let mut all = Vec::new();
    for piece in bytes.chunks(size) {
        stream.push(piece);
        loop {
            match stream.next_event() {
                Ok(Some(event)) => all.extend(event),
                Ok(None) => break,
                Err(fault) => return (String::from_utf8(all).unwrap(), Err(fault)),
            }
        }
    }
    (String::from_utf8(all).unwrap(), stream.finish())
}

fn refused(bytes: &[u8]) -> FrameFault {
    said(bytes, bytes.len().max(1)).1.unwrap_err()
}

#[test]
fn frames_are_said_as_events_however_they_are_cut() {
    let mut bytes = chunk(r#"{"type":"message_start","message":{"id":"ä"}}"#);
    bytes.extend(chunk("{\n \"type\": \"message_stop\"\r\n}"));
    let expected = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"ä\"}}\n\n\
        event: message_stop\ndata: {  \"type\": \"message_stop\"  }\n\n";
    for size in [1, 7, 16, 100, bytes.len()] {
        assert_eq!(said(&bytes, size), (expected.to_owned(), Ok(())), "{size}");
    }
}

/// The empty message of the test data that AWS's SDKs share: the numbers are theirs, not ours.
#[test]
fn the_published_empty_message_has_the_form_that_is_read() {
    let published = [
        0, 0, 0, 16, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff,
    ];
    assert_eq!(frame(&[], b""), published);
    assert_eq!(refused(&published), FrameFault::UnknownFrame);
}

#[test]
fn a_stream_that_ends_within_a_frame_is_cut_at_every_byte() {
    let bytes = chunk(r#"{"type":"ping"}"#);
    for end in 1..bytes.len() {
        assert_eq!(refused(&bytes[..end]), FrameFault::Cut, "{end}");
    }
    assert_eq!(InvokeStream::default().finish(), Ok(()));
}

#[test]
fn no_bit_of_a_frame_is_free() {
    let bytes = chunk(r#"{"type":"ping"}"#);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(refused(&changed), FrameFault::Checksum, "{at} {bit}");
        }
    }
}

#[test]
fn what_came_before_a_broken_frame_is_said() {
    let good = chunk(r#"{"type":"ping"}"#);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let (before, end) = said(&[good, bad].concat(), 4096);
    assert_eq!(before, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    assert_eq!(end, Err(FrameFault::Checksum));
}

/// A prelude whose checksum holds, and the message's for what there is of it.
fn with_lengths(total: u32, headers: u32) -> Vec<u8> {
    let mut bytes = total.to_be_bytes().to_vec();
    bytes.extend_from_slice(&headers.to_be_bytes());
    sealed(&mut bytes);
    let rest = usize::try_from(total).unwrap().clamp(16, 64) - 16;
    bytes.extend(std::iter::repeat_n(0, rest));
    sealed(&mut bytes);
    bytes
}

#[test]
fn lengths_out_of_bounds_are_refused_before_they_are_waited_for() {
    let most = u32::try_from(MAX_FRAME_BYTES).unwrap();
    for (total, headers, fault) in [
        (0, 0, FrameFault::Malformed),
        (15, 0, FrameFault::Malformed),
        (most + 1, 0, FrameFault::TooLarge),
        (u32::MAX, 0, FrameFault::TooLarge),
        (32, 17, FrameFault::Malformed),
        (32, 1, FrameFault::Malformed),
        (32, u32::MAX, FrameFault::Malformed),
        // headers of zeroes: a name of no bytes, of a type that is no text
        (32, 16, FrameFault::UnknownFrame),
        // the largest is waited for
        (most, 0, FrameFault::Cut),
    ] {
        let bytes = with_lengths(total, headers);
        assert_eq!(refused(&bytes), fault, "{total} {headers}");
    }
}

#[test]
fn a_frame_that_is_no_event_of_the_model_is_refused() {
    let chunk_of = |payload: &[u8]| frame(&CHUNK, payload);
    let base64 = |event: &[u8]| format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(event));
    for payload in [
        "".to_owned(),
        "{}".to_owned(),
        r#"{"bytes":"%%%"}"#.to_owned(),
        r#"{"bytes":"e30"}"#.to_owned(),
        r#"{"bytes":7}"#.to_owned(),
        base64(b""),
        base64(b"{}"),
        base64(b"\xff{\"type\":\"ping\"}"),
        base64(b"{\"type\":\"ping\"} {}"),
        base64(b"{\"type\":\"a\\nb\"}"),
        base64(b"{\"type\":\"\"}"),
        base64(b"{\"type\":\"ping\",\"x\":\"a\nb\"}"),
        base64(format!("{{\"type\":\"{}\"}}", "a".repeat(65)).as_bytes()),
    ] {
        let fault = refused(&chunk_of(payload.as_bytes()));
        assert_eq!(fault, FrameFault::Payload, "{payload}");
    }
    for headers in [
        &[][..],
        &[(":message-type", "event")],
        &[(":message-type", "event"), (":event-type", "metadata")],
        &[(":message-type", "other"), (":event-type", "chunk")],
        &[(":event-type", "chunk")],
    ] {
        let fault = refused(&frame(headers, b"{}"));
        assert_eq!(fault, FrameFault::UnknownFrame, "{headers:?}");
    }
}

#[test]
fn an_exception_is_bedrocks_own_word_for_the_end() {
    for (kind, named, value, exception) in [
        (
            "exception",
            ":exception-type",
            "throttlingException",
            Exception::Throttling,
        ),
        (
            "exception",
            ":exception-type",
            "modelStreamErrorException",
            Exception::ModelStream,
        ),
        (
            "exception",
            ":exception-type",
            "newException",
            Exception::Other,
        ),
        ("exception", ":event-type", "chunk", Exception::Other),
        (
            "error",
            ":error-code",
            "InternalServerException",
            Exception::InternalServer,
        ),
    ] {
        let headers = [(":message-type", kind), (named, value)];
        let fault = refused(&frame(&headers, br#"{"message":"wait"}"#));
        assert_eq!(fault, FrameFault::Exception(exception), "{value}");
        assert_eq!(fault.code(), exception.code());
    }
}

/// The seed of the fuzz target, which `frame` makes too: three events, and an exception.
#[test]
fn the_recorded_stream_is_read_up_to_its_exception() {
    let bytes = include_bytes!("example.frames");
    let exception = [
        (":exception-type", "throttlingException"),
        (":message-type", "exception"),
    ];
    let made = [
        chunk(
            r#"{"type":"message_start","message":{"id":"1","model":"m","usage":{"input_tokens":1,"output_tokens":1}}}"#,
        ),
        chunk(
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
        ),
        chunk(r#"{"type":"message_stop"}"#),
        frame(&exception, br#"{"message":"wait"}"#),
    ];
    assert_eq!(made.concat(), bytes);
    let (before, end) = said(bytes, 7);
    assert_eq!(before.matches("event: ").count(), 3);
    assert_eq!(end, Err(FrameFault::Exception(Exception::Throttling)));
}
