//! Any bytes as a frame of the attest socket: no panic, and what is read can be framed again.

#![no_main]

use proofroom_record::attest_api::{
    AttestAnswer, AttestRequest, Attested, frame, frame_length, read_frame,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = bytes.first_chunk() {
        let _ = frame_length(*header);
    }
    let _ = read_frame::<AttestAnswer<Attested>>(bytes);
    let Ok(request) = read_frame::<AttestRequest>(bytes) else {
        return;
    };
    let framed = frame(&request).expect("it was read");
    let again: AttestRequest = read_frame(&framed[4..]).expect("it was framed");
    assert_eq!(again, request);
});
