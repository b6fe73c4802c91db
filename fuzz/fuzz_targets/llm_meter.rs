//! Any bytes as a model's answer: never a panic, and how the bytes are cut makes no difference.
#![no_main]

use proofroom_llm::{Api, Framing, Metered, ResponseMeter, client::read_answer};

fn meter<'a>(api: Api, framing: Framing, pieces: impl Iterator<Item = &'a [u8]>) -> Metered {
    let mut meter = ResponseMeter::new(api, framing);
    for piece in pieces {
        meter.push(piece);
    }
    meter.finish()
}

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (size, body) = input;
    for api in Api::ALL {
        for framing in [Framing::EventStream, Framing::Json] {
            let whole = meter(api, framing, std::iter::once(body));
            let cut = meter(api, framing, body.chunks(usize::from(size).max(1)));
            assert_eq!(whole, cut);
        }
    }
    drop(read_answer(body));
});
