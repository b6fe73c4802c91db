//! The one place that knows `dcap-qvl`: runs its quote verification under one given root and turns
//! its answers and error texts into our checks and codes. Judges no TCB status and no measurement.

use dcap_qvl::{QuoteCollateralV3, QuotePolicy, configs::RingConfig, verify::QuoteVerifier};
use proofroom_canonical::Timestamp;
use proofroom_evidence::{Collateral, PckFacts};

use crate::{CauseCode, CheckName, TcbFacts};

/// Why `dcap-qvl` refused, and which checks it had passed by then.
pub(crate) struct Refusal {
    pub(crate) check: CheckName,
    pub(crate) cause: CauseCode,
    pub(crate) words: String,
    pub(crate) passed: &'static [CheckName],
}

pub(crate) fn verify(
    quote: &[u8],
    collateral: &Collateral,
    (root, pck): (Vec<u8>, &PckFacts),
    now: Timestamp,
) -> Result<TcbFacts, Refusal> {
    let now = u64::try_from(now.unix_seconds()).unwrap_or(0);
    let claims = QuoteVerifier::<RingConfig>::new_with_config(root)
        .verify_with_policy(
            quote,
            to_qvl(collateral),
            now,
            // TCB status and dates are judged by our policy, on the claims that this returns
            &QuotePolicy::claims_only(now),
        )
        .map_err(|error| refusal(&format!("{error:#}")))?;
    Ok(TcbFacts {
        status: claims.tcb.status,
        advisories: claims.tcb.advisory_ids,
        evaluation_data_number: claims.tcb.eval_data_number,
        fmspc: pck.fmspc,
        ppid: pck.ppid,
        collateral_expires: Timestamp::from_unix_seconds(
            i64::try_from(claims.earliest_expiration_date).unwrap_or(i64::MAX),
        ),
    })
}

fn to_qvl(collateral: &Collateral) -> QuoteCollateralV3 {
    QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain.clone(),
        root_ca_crl: collateral.root_ca_crl.clone(),
        pck_crl: collateral.pck_crl.clone(),
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain.clone(),
        tcb_info: collateral.tcb_info.clone(),
        tcb_info_signature: collateral.tcb_info_signature.clone(),
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain.clone(),
        qe_identity: collateral.qe_identity.clone(),
        qe_identity_signature: collateral.qe_identity_signature.clone(),
        // Only the chain inside the quote counts: one given beside it would leave the quote's own
        // certificates unread, and open to change.
        pck_certificate_chain: None,
    }
}

/// What `dcap-qvl` has established when it comes to match the platform's TCB, and when it comes to
/// the TD's attributes, its last step.
const BEFORE_FMSPC: &[CheckName] = &[
    CheckName::PckChainRoot,
    CheckName::CollateralTime,
    CheckName::QuoteSignature,
];
const BEFORE_TCB: &[CheckName] = &[
    CheckName::PckChainRoot,
    CheckName::CollateralTime,
    CheckName::CollateralSignature,
    CheckName::QuoteSignature,
];

/// Texts of `dcap-qvl` 0.7.1, most specific first; the first that occurs decides.
#[rustfmt::skip]
const TEXTS: &[(&str, CheckName, CauseCode)] = &[
    ("issue date is in the future", CheckName::CollateralTime, CauseCode::CollateralNotYetValid),
    ("TCBInfo expired", CheckName::CollateralTime, CauseCode::CollateralExpired),
    ("QE Identity expired", CheckName::CollateralTime, CauseCode::CollateralExpired),
    ("CrlExpired", CheckName::CollateralTime, CauseCode::CrlExpired),
    ("CertNotValidYet", CheckName::CollateralTime, CauseCode::CertificateNotYetValid),
    ("CertExpired", CheckName::CollateralTime, CauseCode::CertificateExpired),
    ("CertRevoked", CheckName::PckChainRoot, CauseCode::CertificateRevoked),
    ("UnknownRevocationStatus", CheckName::PckChainRoot, CauseCode::RevocationUnknown),
    ("CrlSignature", CheckName::CollateralSignature, CauseCode::CrlInvalid),
    ("CA CRL", CheckName::CollateralSignature, CauseCode::CrlInvalid),
    ("PCK CRL", CheckName::CollateralSignature, CauseCode::CrlInvalid),
    ("Signature is invalid for tcb_info", CheckName::CollateralSignature, CauseCode::TcbInfoSignature),
    ("Signature is invalid for qe_identity", CheckName::CollateralSignature, CauseCode::QeIdentitySignature),
    ("Failed to decode TcbInfo", CheckName::CollateralSignature, CauseCode::CollateralMalformed),
    ("Failed to decode QeIdentity", CheckName::CollateralSignature, CauseCode::CollateralMalformed),
    ("Unsupported QE Identity", CheckName::CollateralSignature, CauseCode::QeIdentityKind),
    ("non-TDX TCB info", CheckName::CollateralSignature, CauseCode::TcbInfoKind),
    ("Fmspc mismatch", CheckName::CollateralSignature, CauseCode::FmspcMismatch),
    ("Failed to verify certificate chain", CheckName::PckChainRoot, CauseCode::ChainBroken),
    ("issued directly by the root", CheckName::PckChainRoot, CauseCode::ChainBroken),
    ("intermediate certificates", CheckName::PckChainRoot, CauseCode::ChainBroken),
    ("chain is too short", CheckName::PckChainRoot, CauseCode::ChainMalformed),
    ("Failed to parse PCK certificate", CheckName::PckChainRoot, CauseCode::ChainMalformed),
    ("leaf certificate", CheckName::PckChainRoot, CauseCode::ChainMalformed),
    ("Failed to parse certs", CheckName::PckChainRoot, CauseCode::ChainMalformed),
    ("Unknown QE vendor ID", CheckName::QuoteSignature, CauseCode::QeVendor),
    ("Signature is invalid for qe_report", CheckName::QuoteSignature, CauseCode::QeReportSignature),
    ("QE report hash mismatch", CheckName::QuoteSignature, CauseCode::AttestationKeyNotBound),
    ("Invalid QE auth data length", CheckName::QuoteSignature, CauseCode::AttestationKeyNotBound),
    ("QE MRSIGNER", CheckName::QuoteSignature, CauseCode::QeIdentityMismatch),
    ("QE ISVPRODID", CheckName::QuoteSignature, CauseCode::QeIdentityMismatch),
    ("QE MISCSELECT", CheckName::QuoteSignature, CauseCode::QeIdentityMismatch),
    ("QE ATTRIBUTES", CheckName::QuoteSignature, CauseCode::QeIdentityMismatch),
    ("QE ISVSVN", CheckName::QuoteSignature, CauseCode::QeIdentityMismatch),
    ("QE report validation failed", CheckName::QuoteSignature, CauseCode::QeIdentityMismatch),
    ("ISV enclave report signature is invalid", CheckName::QuoteSignature, CauseCode::QuoteSignatureInvalid),
    ("No matching TCB level found", CheckName::TcbStatus, CauseCode::NoTcbLevel),
    ("TCB status is invalid: Revoked", CheckName::TcbStatus, CauseCode::TcbRevoked),
    ("TDX module", CheckName::TcbStatus, CauseCode::TdxModule),
    ("Debug mode is enabled", CheckName::TdAttributes, CauseCode::TdDebug),
    ("TD profiling is enabled", CheckName::TdAttributes, CauseCode::TdProfiling),
    ("Reserved bits in TD attributes", CheckName::TdAttributes, CauseCode::TdReserved),
    ("TD migration is enabled", CheckName::TdAttributes, CauseCode::TdMigratable),
    ("SERVTD_EXT is enabled", CheckName::TdAttributes, CauseCode::TdServiceTd),
    ("Invalid MR service TD", CheckName::TdAttributes, CauseCode::TdServiceTd),
    ("SEPT_VE_DISABLE is not enabled", CheckName::TdAttributes, CauseCode::TdSeptVe),
];

/// What a text that is not in the table says.
const UNKNOWN: (CheckName, CauseCode) = (CheckName::QuoteSignature, CauseCode::VerifierRefused);

fn refusal(text: &str) -> Refusal {
    let (check, cause) = TEXTS
        .iter()
        .find(|(part, _, _)| text.contains(part))
        .map_or(UNKNOWN, |(_, check, cause)| (*check, *cause));
    let passed = match (check, cause) {
        (CheckName::TcbStatus | CheckName::TdAttributes, _) => BEFORE_TCB,
        (_, CauseCode::FmspcMismatch | CauseCode::TcbInfoKind) => BEFORE_FMSPC,
        _ => &[],
    };
    Refusal {
        check,
        cause,
        words: text.chars().take(400).collect(),
        passed,
    }
}

#[cfg(test)]
mod tests {
    use super::{CauseCode, CheckName, refusal};

    #[test]
    fn an_unknown_text_fails_the_quote_signature() {
        let refused = refusal("the moon is full");
        assert_eq!(refused.check, CheckName::QuoteSignature);
        assert_eq!(refused.cause, CauseCode::VerifierRefused);
        assert!(refused.passed.is_empty());
    }

    #[test]
    fn a_refusal_never_passes_its_own_check() {
        for (text, check, _) in super::TEXTS {
            assert!(!refusal(text).passed.contains(check), "{text}");
        }
    }

    #[test]
    fn no_text_hides_behind_an_earlier_one() {
        for (text, check, cause) in super::TEXTS {
            let refused = refusal(text);
            assert_eq!((refused.check, refused.cause), (*check, *cause), "{text}");
        }
    }
}
