//! Any bytes as frames of Bedrock's event stream, as an error of its, or as a request to say to it: never a panic, how a stream is
//! cut makes no difference, and what is said is one event for each frame.
#![no_main]

use proofroom_llm::{
    bedrock::{FrameFault, InvokeStream, error_answer},
    translate::invoke_body,
};

/// Everything that is said of a stream in these pieces, and how it ends.
fn said<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Result<(), FrameFault>) {
    let (mut stream, mut all) = (InvokeStream::default(), Vec::new());
    for piece in pieces {
        stream.push(piece);
        loop {
            match stream.next_event() {
                Ok(Some(event)) => {
                    assert!(event.starts_with(b"event: ") && event.ends_with(b"}\n\n"));
                    assert_eq!(event.iter().filter(|byte| **byte == b'\n').count(), 3);
                    all.extend(event);
                }
                Ok(None) => break,
                Err(fault) => return (all, Err(fault)),
            }
        }
    }
    (all, stream.finish())
}

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = said(std::iter::once(bytes));
    let cut = said(bytes.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut);
    let error = error_answer(500, std::str::from_utf8(bytes).ok(), bytes);
    let error: serde_json::Value = serde_json::from_slice(&error).expect("an error is json");
    assert_eq!(error["type"], "error");
    if let Ok(body) = invoke_body(bytes, &["beta"]) {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("a body is json");
        assert!(body.get("model").is_none() && body.get("stream").is_none());
    }
});
