//! Questions to the room's resolver: every answer is an answer to what was asked, and short.
#![no_main]

use proofroom_egress::dns::{Known, MAX_MESSAGE, Question, Unanswerable};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Question::parse(bytes, MAX_MESSAGE) {
        Ok(question) => {
            assert!(bytes.len() <= MAX_MESSAGE && question.name().is_ascii());
            if let Some(host) = question.host() {
                assert!(host.as_str().eq_ignore_ascii_case(question.name()));
            }
            for known in [
                Known::Address([127, 64, 0, 1].into()),
                Known::Nothing,
                Known::NoName,
                Known::Failure,
            ] {
                let answer = question.answer(known);
                assert_eq!(answer[..2], bytes[..2]);
                assert!(answer[2] & 0x80 != 0 && answer.len() <= 540);
            }
        }
        Err(Unanswerable::Refusal(refusal)) => {
            assert_eq!((refusal.len(), &refusal[..2]), (12, &bytes[..2]));
        }
        Err(Unanswerable::Silence) => {}
    }
});
