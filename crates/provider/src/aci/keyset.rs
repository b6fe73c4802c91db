//! A workload's keyset: every public key that it uses, by role, in one document that the quote binds.

use proofroom_canonical::{Digest, Nonce, Timestamp, lower_hex};
use serde::Deserialize;
use serde_json::Value;

use super::canonical;

/// The most keys of one role.
const MAX_KEYS: usize = 16;
/// What stands before an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410 section 4).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A key that signs receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceiptKey {
    pub(crate) id: String,
    pub(crate) key: [u8; 32],
}

/// A key that may end TLS, for one domain or for all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsKey {
    spki_sha256: String,
    #[serde(default)]
    domain: Option<String>,
}

/// A keyset whose form is right. Proves nothing before a quote binds its digest.
#[derive(Clone, Debug)]
pub(crate) struct Keyset {
    pub(crate) digest: Digest,
    pub(crate) subject: Option<String>,
    pub(crate) not_after: Timestamp,
    pub(crate) receipt_keys: Vec<ReceiptKey>,
    tls_keys: Vec<(Digest, Option<String>)>,
}

/// The shape is fixed: a role that is not here needs another version of the protocol.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    subject: Option<String>,
    not_after: u32,
    receipt_signing_keys: Vec<RawKey>,
    e2ee_public_keys: Vec<RawKey>,
    tls_public_keys: Vec<TlsKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    key_id: String,
    algo: String,
    public_key: String,
}

impl Keyset {
    /// Reads a keyset.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn read(value: &Value) -> Result<Self, &'static str> {
        let digest = canonical::digest(value).ok_or("has a number or a name that is not read")?;
        let raw = Raw::deserialize(value).map_err(|_| "does not have exactly the known members")?;
        let most = [
            raw.receipt_signing_keys.len(),
            raw.e2ee_public_keys.len(),
            raw.tls_public_keys.len(),
        ];
        if most.into_iter().any(|count| count > MAX_KEYS) {
            return Err("has too many keys");
        }
        let keys = raw.receipt_signing_keys.iter();
        // an algorithm that nobody knows here is not used, and harms nobody
        let known = keys.filter(|key| key.algo == "ed25519").map(receipt_key);
        let receipt_keys = known.collect::<Result<Vec<_>, _>>()?;
        let tls_keys = raw.tls_public_keys.into_iter().map(tls_key);
        let tls_keys = tls_keys.collect::<Result<Vec<_>, _>>()?;
        let read = Self {
            digest,
            subject: raw.subject,
            not_after: Timestamp::from_unix_seconds(raw.not_after.into()),
            receipt_keys,
            tls_keys,
        };
        read.keeps_roles_apart(&raw.e2ee_public_keys)?;
        Ok(read)
    }

    /// A key has one role, and an id names one key.
    fn keeps_roles_apart(&self, e2ee: &[RawKey]) -> Result<(), &'static str> {
        for (place, key) in self.receipt_keys.iter().enumerate() {
            let others = self.receipt_keys.iter().skip(place.saturating_add(1));
            if others.into_iter().any(|other| other.id == key.id) {
                return Err("has two receipt keys of one id");
            }
            let spki = Digest::of([&ED25519_SPKI[..], &key.key].concat());
            let ends_tls = self.tls_keys.iter().any(|(tls, _)| *tls == spki);
            let text = hex::encode(key.key);
            if ends_tls || e2ee.iter().any(|other| other.public_key == text) {
                return Err("uses a receipt key in another role");
            }
        }
        Ok(())
    }

    /// Whether it names any key that may end TLS.
    pub(crate) const fn offers_tls(&self) -> bool {
        !self.tls_keys.is_empty()
    }

    /// Whether it names `spki` for `domain`. A key of one domain is nobody's where no domain is asked for.
    pub(crate) fn names_tls(&self, spki: Digest, domain: Option<&str>) -> bool {
        self.tls_keys.iter().any(|(key, of)| {
            let fits = of.as_deref().is_none_or(|of| Some(of) == domain);
            *key == spki && fits
        })
    }
}

fn receipt_key(raw: &RawKey) -> Result<ReceiptKey, &'static str> {
    let key = lower_hex(&raw.public_key).ok_or("has a receipt key that is not Ed25519 in hex")?;
    Ok(ReceiptKey {
        id: raw.key_id.clone(),
        key,
    })
}

fn tls_key(raw: TlsKey) -> Result<(Digest, Option<String>), &'static str> {
    let spki = lower_hex(&raw.spki_sha256).ok_or("has a TLS key that is not SHA-256 in hex")?;
    Ok((Digest::from_bytes(spki), raw.domain))
}

/// What a quote binds: SHA-256 of the statement about a keyset and a challenge, with zeroes behind it.
pub(crate) fn statement(keyset: Digest, challenge: Option<Nonce>) -> [u8; 64] {
    let nonce = challenge.map_or_else(|| "null".to_owned(), |nonce| format!("\"{nonce}\""));
    let text = format!(
        "{{\"keyset_digest\":\"sha256:{}\",\"nonce\":{nonce},\"purpose\":\"aci.report_data.v1\"}}",
        keyset.to_hex()
    );
    let mut data = [0; 64];
    data[..32].copy_from_slice(Digest::of(text).as_bytes());
    data
}
