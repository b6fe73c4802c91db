//! Any bytes as a request and as an answer with placeholders: never a panic, how the bytes are cut makes no
//! difference to what comes back in all, and what has no placeholder comes back byte for byte.
#![no_main]

use proofroom_canonical::Sensitive;
use proofroom_llm::{Api, Framing, Placeholder, Restorer, replace_values};

const NAME: &str = "REDACTED_abcdefghijklmnopabcdefgh";

fn placeholders() -> Vec<Placeholder> {
    vec![Placeholder {
        name: NAME.to_owned(),
        value: Sensitive::new("va\"lue".to_owned()),
    }]
}

fn restore<'a>(
    api: Api,
    framing: Framing,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<u8>, u64) {
    let mut restorer = Restorer::new(api, framing, placeholders());
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(restorer.push(piece));
    }
    out.extend(restorer.finish());
    (out, restorer.restored())
}

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (size, body) = input;
    for api in Api::ALL {
        for framing in [Framing::EventStream, Framing::Json] {
            let whole = restore(api, framing, std::iter::once(body));
            let cut = restore(api, framing, body.chunks(usize::from(size).max(1)));
            assert_eq!(whole, cut);
            // neither the first letter of a name nor an escape that could spell it
            if !body.contains(&b'R') && !body.contains(&b'\\') {
                assert_eq!(whole.0, body);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(body) {
        drop(replace_values(text, &(0..0), &placeholders()));
    }
});
