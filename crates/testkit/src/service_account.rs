//! A service account of Google Cloud: its file, and what its token endpoint is asked with. Its key is nobody's secret.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::tee::written;

/// The account's key. Made for tests, and used nowhere else.
pub const PEM: &str = include_str!("service-account.pem");
/// The account's name.
pub const EMAIL: &str = "gateway@project.iam.gserviceaccount.com";

const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";

/// The account's file, whose tokens are asked for at `token_uri`.
#[must_use]
pub fn account(token_uri: &str, key_id: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": "p",
        "client_email": EMAIL,
        "private_key_id": key_id,
        "private_key": PEM,
        "token_uri": token_uri,
    })
}

/// Head and claims of the assertion in `form`; nothing unless it is a grant of RFC 7523 that the account's key signed.
#[must_use]
pub fn asserted(form: &[u8]) -> Option<(Value, Value)> {
    let assertion = std::str::from_utf8(form).ok()?.strip_prefix(GRANT)?;
    let (signed, signature) = assertion.rsplit_once('.')?;
    let (head, claims) = signed.split_once('.')?;
    let der = written(PrivatePkcs8KeyDer::from_pem_slice(PEM.as_bytes()));
    let pair = written(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()));
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    public.verify(signed.as_bytes(), &signature).ok()?;
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    Some((part(head)?, part(claims)?))
}
