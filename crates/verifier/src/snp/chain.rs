//! The checks on AMD's certificates and on the report's signature.

use p384::ecdsa::{Signature, signature::Verifier as _};
use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::snp::{SigningKey, SnpReport, VekFacts};

use super::{
    Refusal, SnpChain, SnpOutcome, SnpReason, Work,
    pki::{Signed, not_revoked},
    unreadable,
};
use crate::{SnpCause, SnpCheckName};

/// The certificates of one chain, read.
struct Certificates {
    leaf: Signed,
    intermediate: Signed,
    root: Signed,
}

impl Certificates {
    fn parse(chain: SnpChain<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            leaf: Signed::parse(chain.leaf, "chip key's")?,
            intermediate: Signed::parse(chain.intermediate, "signing key's")?,
            root: Signed::parse(chain.root, "root")?,
        })
    }

    /// The root's own signature is not looked at: the policy names the digest of the whole certificate.
    fn signatures_hold(&self, vek: &VekFacts) -> Result<(), Refusal> {
        let product = vek.product;
        let (leaf, intermediate) = match vek.kind() {
            SigningKey::Vlek => ("SEV-VLEK", format!("SEV-VLEK-{product}")),
            SigningKey::Vcek | SigningKey::None => ("SEV-VCEK", format!("SEV-{product}")),
        };
        self.leaf.is_named(leaf)?;
        self.intermediate.is_named(&intermediate)?;
        self.root.is_named(&format!("ARK-{product}"))?;
        self.root.is_ca(1)?;
        self.intermediate.is_ca(0)?;
        self.leaf.is_no_ca()?;
        self.intermediate.is_issued_by(&self.root)?;
        self.leaf.is_issued_by(&self.intermediate)
    }

    fn hold_until(&self, now: Timestamp) -> Result<Timestamp, Refusal> {
        let leaf = self.leaf.holds_until(now)?;
        let intermediate = self.intermediate.holds_until(now)?;
        let root = self.root.holds_until(now)?;
        Ok(leaf.min(intermediate).min(root))
    }
}

/// Makes the checks from `chain-parse` to `report-signature`, and answers what the chip key's
/// certificate says. True only if those checks passed.
pub(super) fn check(
    work: &mut Work<'_>,
    chain: SnpChain<'_>,
    report: Option<&SnpReport>,
) -> Option<VekFacts> {
    let read = Certificates::parse(chain).and_then(|certificates| {
        let vek = VekFacts::parse(chain.leaf).map_err(|error| unreadable(&error))?;
        Ok((certificates, vek))
    });
    let (certificates, vek) = match read {
        Ok(read) => read,
        Err((cause, words)) => {
            work.set(SnpCheckName::ChainParse, SnpOutcome::fail(cause, words));
            return None;
        }
    };
    work.set(SnpCheckName::ChainParse, SnpOutcome::Pass);
    check_root(work, chain.root);
    work.judge(
        SnpCheckName::ChainSignatures,
        &[SnpCheckName::ChainRoot],
        certificates.signatures_hold(&vek),
    );
    check_time(work, &certificates);
    check_revocation(work, &certificates, chain.crl);
    if let Some(report) = report {
        work.judge(
            SnpCheckName::ReportSignature,
            &[
                SnpCheckName::ChainRoot,
                SnpCheckName::ChainSignatures,
                SnpCheckName::ChainTime,
            ],
            signature_holds(report, &certificates.leaf),
        );
    }
    Some(vek)
}

fn check_root(work: &mut Work<'_>, root: &[u8]) {
    let digest = Digest::of(root);
    let judged = if work.policy.trusts_root(digest) {
        Ok(())
    } else {
        let words = format!("the policy does not name root certificate {digest}");
        Err((SnpCause::RootNotTrusted, words))
    };
    work.judge(SnpCheckName::ChainRoot, &[], judged);
}

fn check_time(work: &mut Work<'_>, certificates: &Certificates) {
    let until = certificates.hold_until(work.now);
    work.expires.extend(until.as_ref().ok());
    work.judge(
        SnpCheckName::ChainTime,
        &[SnpCheckName::ChainSignatures],
        until.map(|_| ()),
    );
}

fn check_revocation(work: &mut Work<'_>, certificates: &Certificates, crl: Option<&[u8]>) {
    let Some(crl) = crl else {
        let missing = SnpOutcome::NotEvaluated(SnpReason::NoRevocationList);
        return work.set(SnpCheckName::Revocation, missing);
    };
    let named = [&certificates.intermediate, &certificates.leaf];
    let until = not_revoked(crl, &certificates.root, &named, work.now);
    work.expires.extend(until.as_ref().ok());
    work.judge(
        SnpCheckName::Revocation,
        &[SnpCheckName::ChainSignatures],
        until.map(|_| ()),
    );
}

fn signature_holds(report: &SnpReport, leaf: &Signed) -> Result<(), Refusal> {
    if report.claims().signing_key == SigningKey::None {
        let words = "the report says that no key signed it".to_owned();
        return Err((SnpCause::ReportUnsigned, words));
    }
    let key = leaf.ecdsa_key()?;
    let signed = Signature::from_slice(report.signature())
        .is_ok_and(|signature| key.verify(report.signed(), &signature).is_ok());
    if signed {
        return Ok(());
    }
    let words = "the certificate's key did not sign the report".to_owned();
    Err((SnpCause::ReportSignatureInvalid, words))
}
