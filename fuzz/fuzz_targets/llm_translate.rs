//! Any bytes as a request, an answer or a stream to translate: never a panic, and how a stream is cut
//! makes no difference.
#![no_main]

use proofroom_llm::{
    Api,
    translate::{StreamTranslator, Translation, UsageEvent},
};

/// What a stream is said as, up to the first thing that cannot be said.
fn said<'a>(mut translator: StreamTranslator, pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut pieces = pieces;
    pieces.all(|piece| translator.push(piece).is_ok()) && translator.finish().is_ok()
}

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    for client in Api::ALL {
        for translation in Api::ALL
            .into_iter()
            .filter_map(|api| Translation::between(client, api))
        {
            drop(translation.request(bytes, "m"));
            drop(translation.answer(bytes));
            drop(translation.error(500, bytes));
            let stream = || translation.stream(UsageEvent::Asked);
            let whole = said(stream(), std::iter::once(bytes));
            let cut = said(stream(), bytes.chunks(usize::from(size).max(1)));
            assert_eq!(whole, cut);
        }
    }
});
