//! A release: a reference manifest in a statement that its maker signed (in-toto Statement v1 in a DSSE
//! envelope). Read only under a [`ReferenceSigner`] of a policy. Normative text: `docs/spec/measure.md`.

use p256::{ecdsa::VerifyingKey, pkcs8::DecodePublicKey as _};
use proofroom_canonical::{
    Digest, Refusal, Timestamp,
    json::{self, JsonError},
};
use proofroom_dsse::{Envelope, EnvelopeSigner, MAX_ENVELOPE_BYTES, key_id, not_signed};
use serde::{Deserialize, Serialize};

use super::ReferenceManifest;

/// The predicate type of every release.
pub const REFERENCE_RELEASE_V1: &str = "https://proofroom.dev/reference-release/v1";
const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";

/// What a maker says about a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceRelease {
    /// Which line of images it is of.
    pub name: String,
    /// Its place in that line: a later image has a higher one.
    pub version: u32,
    /// From when on it holds.
    pub issued: Timestamp,
    /// Until when, exclusive.
    pub expires: Timestamp,
    /// The manifest's exact text.
    pub manifest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: [Subject; 1],
    predicate_type: String,
    predicate: ReferenceRelease,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: Sha256Member,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sha256Member {
    sha256: String,
}

fn malformed(error: JsonError) -> Refusal {
    Refusal::new("release-malformed", "no statement of a release").because(error)
}

/// Whose releases a policy accepts, of which name, and from which version on.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceSigner {
    key: VerifyingKey,
    name: String,
    min_version: u32,
}

impl ReferenceSigner {
    /// None where `pem` is no P-256 public key.
    pub(crate) fn new(pem: &str, name: String, min_version: u32) -> Option<Self> {
        let key = VerifyingKey::from_public_key_pem(pem.trim()).ok()?;
        Some(Self {
            key,
            name,
            min_version,
        })
    }

    /// Whether both are for the same releases.
    pub(crate) fn vouches_as(&self, other: &Self) -> bool {
        (self.key, &self.name) == (other.key, &other.name)
    }
}

impl ReferenceRelease {
    /// Signs the release; the bytes are the envelope's file.
    ///
    /// # Errors
    /// What the manifest's reader or the signer says.
    pub fn sign(self, signer: &impl EnvelopeSigner) -> Result<Vec<u8>, Refusal> {
        ReferenceManifest::parse(self.manifest.as_bytes())?;
        let statement = Statement {
            statement_type: STATEMENT_V1.to_owned(),
            subject: [self.subject()],
            predicate_type: REFERENCE_RELEASE_V1.to_owned(),
            predicate: self,
        };
        let payload = json::to_bytes(&statement).map_err(malformed)?;
        Envelope::sign_with(&payload, signer)?.to_bytes()
    }

    fn subject(&self) -> Subject {
        Subject {
            name: self.name.clone(),
            digest: Sha256Member {
                sha256: Digest::of(&self.manifest).to_hex(),
            },
        }
    }

    fn judge(&self, signer: &ReferenceSigner, now: Timestamp) -> Result<(), Refusal> {
        let version = self.version;
        Refusal::unless(version >= signer.min_version, "release-downgrade", || {
            format!("version {version} is older than the policy's minimum")
        })?;
        Refusal::unless(now >= self.issued, "release-not-yet-valid", || {
            format!("version {version} holds from {} on", self.issued)
        })?;
        Refusal::unless(now < self.expires, "release-expired", || {
            format!("version {version} expired at {}", self.expires)
        })
    }
}

/// The manifest of the release in `bytes`, if one of `signers` made it and it holds at `now`.
pub(crate) fn open(
    bytes: &[u8],
    signers: &[ReferenceSigner],
    now: Timestamp,
) -> Result<(ReferenceManifest, ReferenceRelease), Refusal> {
    let unsigned = |error: Refusal| error.within("neither pinned nor signed by a named key");
    let envelope = Envelope::parse(bytes).map_err(unsigned)?;
    let (key, payload) = verified(&envelope, signers).map_err(unsigned)?;
    let release = read(&payload)?;
    let signer = signers
        .iter()
        .find(|signer| signer.key == *key && signer.name == release.name)
        .ok_or_else(|| Refusal::new("release-name", "the key may sign no manifest of this name"))?;
    release.judge(signer, now)?;
    let manifest = ReferenceManifest::parse(release.manifest.as_bytes())?;
    Ok((manifest, release))
}

/// The payload, and the key among those of `signers` that signed it.
fn verified<'a>(
    envelope: &Envelope,
    signers: &'a [ReferenceSigner],
) -> Result<(&'a VerifyingKey, Vec<u8>), Refusal> {
    let named = envelope.signatures.first().map(|one| one.keyid.as_str());
    let by_it = |signer: &&ReferenceSigner| Some(key_id(&signer.key).as_str()) == named;
    let key = signers.iter().find(by_it).or(signers.first());
    let key = &key.ok_or_else(not_signed)?.key;
    let payload = envelope.verify(key)?;
    Ok((key, payload.as_bytes().to_vec()))
}

fn read(payload: &[u8]) -> Result<ReferenceRelease, Refusal> {
    let statement: Statement = json::parse(payload, MAX_ENVELOPE_BYTES).map_err(malformed)?;
    let types = (&*statement.statement_type, &*statement.predicate_type);
    let is_release = types == (STATEMENT_V1, REFERENCE_RELEASE_V1);
    Refusal::unless(is_release, "release-predicate", || "signed, and no release")?;
    let is_its_own = statement.subject == [statement.predicate.subject()];
    Refusal::unless(
        is_its_own,
        "release-subject",
        || "the subject is not the manifest within",
    )?;
    Ok(statement.predicate)
}

#[cfg(test)]
mod tests;
