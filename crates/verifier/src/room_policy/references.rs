//! The reference values of a room appraisal policy: manifests by digest, and by their maker's signature.

use proofroom_canonical::{Digest, Refusal, Timestamp};
use serde::Deserialize;

use crate::{
    ReferenceManifest, ReferenceRelease,
    policy::Problems,
    reference::{ReferenceSigner, open},
};

/// What the shipped policies have in the place of a manifest's digest.
pub(super) const PLACEHOLDER: &str =
    "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Whose signed manifests are reference values too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSigner {
    name: String,
    min_version: u32,
    /// P-256, PEM.
    key: String,
}

/// The manifests that are reference values: those pinned, and those that a pinned key signed.
#[derive(Clone, Debug, Default)]
pub(super) struct References {
    pub(super) pinned: Vec<Digest>,
    pub(super) signers: Vec<ReferenceSigner>,
}

impl References {
    /// The manifest in `file`, if the policy called `policy` pins it or its maker.
    pub(super) fn read(
        &self,
        policy: &str,
        file: &[u8],
        now: Timestamp,
    ) -> Result<(ReferenceManifest, Option<ReferenceRelease>), Refusal> {
        let found = Digest::of(file);
        if self.pinned.contains(&found) {
            let manifest = ReferenceManifest::parse(file);
            let unusable = |error: Refusal| error.within("the reference manifest cannot be used");
            return Ok((manifest.map_err(unusable)?, None));
        }
        Refusal::unless(
            !self.signers.is_empty(),
            "room-reference-not-pinned",
            || {
                format!(
                    "reference manifest {found} is not one that room appraisal policy `{policy}` pins"
                )
            },
        )?;
        let unusable =
            |error: Refusal| error.within("the signed reference manifest cannot be used");
        let (manifest, release) = open(file, &self.signers, now).map_err(unusable)?;
        Ok((manifest, Some(release)))
    }
}

impl RawSigner {
    fn read(self, problems: &mut Problems<'_>) -> Option<ReferenceSigner> {
        if self.name.is_empty() || self.min_version == 0 {
            let words = "`signed_reference` needs a `name`, and a `min_version` of 1 or more";
            problems.add("policy-signer", words);
        }
        let signer = ReferenceSigner::new(&self.key, self.name, self.min_version);
        if signer.is_none() {
            let words = "`signed_reference.key` is no P-256 public key in PEM";
            problems.add("policy-signer", words);
        }
        signer
    }
}

pub(super) fn read_references(
    texts: &[String],
    signers: Vec<RawSigner>,
    problems: &mut Problems<'_>,
) -> References {
    if texts.is_empty() && signers.is_empty() {
        problems.add(
            "policy-unpinned",
            "`references` must name at least one reference manifest, or a `[[signed_reference]]` who may sign one",
        );
    }
    let mut pinned = Vec::new();
    for text in texts {
        match text.parse::<Digest>() {
            Ok(_) if text == PLACEHOLDER => problems.add(
                "policy-placeholder",
                "`references` is pinned to a placeholder, put the manifest's SHA-256 there",
            ),
            Ok(digest) => pinned.push(digest),
            Err(error) => problems.add("policy-unpinned", format!("`references`: {error}")),
        }
    }
    let signers = signers.into_iter();
    let signers: Vec<_> = signers.filter_map(|it| it.read(problems)).collect();
    let repeats = |(place, one): (usize, &ReferenceSigner)| {
        let mut before = signers.iter().take(place);
        before.any(|other| other.vouches_as(one))
    };
    if signers.iter().enumerate().any(repeats) {
        let words = "two `[[signed_reference]]` have one key and name: which `min_version` counts?";
        problems.add("policy-signer", words);
    }
    References { pinned, signers }
}
