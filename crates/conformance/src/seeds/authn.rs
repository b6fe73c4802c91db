//! Seeds of the targets that read what clients show of themselves: tokens and keys of the simulated issuer, and a proof.

use proofroom_testkit::issuer::{SimulatedIssuer, SimulatedJwtKey};
use serde_json::json;

use super::{NOW, Seeds};

pub(super) fn seeds() -> Vec<Seeds> {
    let issuer = SimulatedIssuer::new("https://login.test");
    let key = SimulatedJwtKey::es256("client");
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk()});
    let claims = json!({
        "jti": "one",
        "htm": "POST",
        "htu": "https://gateway.test/v1/messages",
        "iat": NOW.unix_seconds(),
        "ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
        "nonce": "AAAAAAAAAAA",
    });
    let token = issuer.token("ada", NOW.unix_seconds());
    vec![
        (
            "authn_key_set",
            vec![issuer.key_set().to_string().into_bytes()],
        ),
        ("authn_proof", vec![key.sign(&header, &claims).into_bytes()]),
        ("authn_token", vec![token.into_bytes()]),
    ]
}
