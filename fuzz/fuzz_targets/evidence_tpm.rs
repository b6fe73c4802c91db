//! Any bytes as what a TPM signs, its signature and its key: no panic, and a key has its names.

#![no_main]

use proofroom_evidence::{TpmKey, TpmQuote, TpmSignature, VtpmSignature};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(quote) = TpmQuote::parse(bytes) {
        let sorted = |pcrs: &[u32]| pcrs.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(quote.selections.iter().all(|bank| sorted(&bank.pcrs)));
    }
    let _ = TpmSignature::parse(bytes);
    let _ = VtpmSignature::parse(bytes);
    if let Ok(key) = TpmKey::parse(bytes) {
        assert_eq!(key.point()[0], 4);
        assert!(key.endorsement_name().is_ok());
    }
});
