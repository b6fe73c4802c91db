//! Any bytes as an issuer's key set: no panic, and what is read has a key.

#![no_main]

use proofroom_authn::{Algorithm, KeySet};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let allowed = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
    if let Ok(keys) = KeySet::parse(bytes, &allowed) {
        assert_eq!(KeySet::parse(bytes, &allowed).ok(), Some(keys));
    }
});
