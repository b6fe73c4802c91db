//! Any text as an access token: no panic, what is read names issuer and key, and nobody is verified by a key that
//! signed nothing.

#![no_main]

use proofroom_authn::{AccessToken, Algorithm, IssuerPolicy, KeySet, NameClaim, TokenKind};

/// The example key of RFC 9449.
const KEYS: &[u8] = br#"{"keys":[{"kty":"EC","crv":"P-256","use":"sig","kid":"simulated-es256","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}]}"#;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(token) = AccessToken::parse(text) {
        assert!(!token.issuer().is_empty() && !token.key().is_empty());
        let policy = IssuerPolicy {
            issuer: token.issuer().to_owned(),
            audience: "https://gateway.test".to_owned(),
            algorithms: vec![Algorithm::Es256],
            kind: TokenKind::AccessToken,
            longest_life_seconds: 3600,
            name: NameClaim::Sub,
        };
        let keys = KeySet::parse(KEYS, &policy.algorithms).expect("a key set");
        let now = proofroom_canonical::Timestamp::from_unix_seconds(1_795_000_000);
        assert!(token.verify(&policy, &keys, now).is_err());
    }
});
