//! Any bytes as what is sealed to an enclave, and as what is found inside: a request, an answer, their heads, a key.

#![no_main]

use std::sync::Arc;

use proofroom_sealing::{
    AnswerHead, KeyPair, Piece, Request, RequestHead, RequestOpener, seal_request,
};
use proofroom_serving::KeyConfig;

const MAX: usize = 64 * 1024;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let key = Arc::new(KeyPair::from_random(&[1; 32]));
    let mut request = RequestOpener::new(Arc::clone(&key), MAX);
    if bytes
        .chunks(61)
        .try_for_each(|part| request.push(part))
        .is_ok()
        && let Ok(opened) = request.finish()
        && let Ok(request) = opened.request
    {
        assert!(request.content.len() < 2 * MAX);
    }
    let head = RequestHead {
        method: "GET",
        path: "/",
    };
    let sealed = seal_request(&key.config(), &[2; 32], head, [].into_iter(), b"");
    let (_, mut answer) = sealed.expect("a usable key");
    let mut headed = false;
    for part in bytes.chunks(61) {
        answer.push(part);
        while let Ok(Some(piece)) = answer.next() {
            assert_eq!(
                matches!(piece, Piece::Head(_)),
                !std::mem::replace(&mut headed, true)
            );
        }
    }
    let _ = answer.finish();
    let _ = Request::parse(bytes.to_vec().into());
    let _ = AnswerHead::parse(bytes);
    if let Some(config) = bytes.first_chunk().and_then(KeyConfig::parse) {
        assert!(bytes.starts_with(config.to_hex().as_bytes()));
    }
});
