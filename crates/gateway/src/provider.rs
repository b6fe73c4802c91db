//! What the gateway needs for providers that attest in their own format, and for enclaves of ours: their policies, and what Intel
//! says of their platforms, which no report brings along.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proofroom_canonical::{Nonce, Timestamp};
use proofroom_evidence::{Collateral, Fmspc};
use proofroom_provider::{
    Beside, Exchange, Format, ProviderDocument, ProviderPolicy, ReportError, VerifiedProvider,
    appraise_provider, platforms_of,
};
use proofroom_serving::REPORT_PATH;

use crate::{channel::ChannelError, transport::Fetched};

/// Gives what Intel says of a platform. Nothing of it is believed: the appraisal judges it.
pub trait CollateralStore: Send + Sync {
    /// The collateral of platforms with this FMSPC, if there is any. May read a file.
    fn of_platform(&self, platform: Fmspc) -> Option<Collateral>;
}

/// Knows of no platform.
#[derive(Clone, Copy, Debug)]
pub struct NoCollateral;

impl CollateralStore for NoCollateral {
    fn of_platform(&self, _: Fmspc) -> Option<Collateral> {
        None
    }
}

/// What the gateway judges providers by.
#[derive(Clone)]
pub struct Providers {
    /// Policies by the file name that the upstreams file gives.
    pub policies: BTreeMap<PathBuf, ProviderPolicy>,
    /// Collateral of their platforms.
    pub collateral: Arc<dyn CollateralStore>,
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers")
            .field("policies", &self.policies.keys())
            .finish_non_exhaustive()
    }
}

impl Default for Providers {
    fn default() -> Self {
        Self {
            policies: BTreeMap::new(),
            collateral: Arc::new(NoCollateral),
        }
    }
}

/// The algorithm of the key with which providers are asked to sign.
const SIGNING_ALGORITHM: &str = "ecdsa";

/// Where a provider serves its report for a challenge.
pub(crate) fn report_path(policy: &ProviderPolicy, nonce: Nonce) -> String {
    match policy.format() {
        Format::ProofroomEnclave => format!("{REPORT_PATH}?nonce={nonce}"),
        Format::Aci => format!("/v1/aci/attestation?nonce={nonce}"),
        Format::Tinfoil => format!("/.well-known/tinfoil-attestation?nonce={nonce}"),
        Format::NearAi | Format::Dstack => format!(
            "/v1/attestation/report?model={}&nonce={nonce}&signing_algo={SIGNING_ALGORITHM}&include_tls_fingerprint=true",
            escaped(policy.model())
        ),
    }
}

/// Where a service of ACI serves its receipt for an answer, and a session that a receipt cites. `id` is a segment of
/// a path.
pub(crate) fn aci_path(what: &str, id: &str) -> String {
    format!("/v1/aci/{what}/{id}")
}

/// Where a provider serves its receipt for an answer. `answer` is a segment of a path.
pub(crate) fn receipt_path(model: &str, answer: &str) -> String {
    format!(
        "/v1/signature/{answer}?model={}&signing_algo={SIGNING_ALGORITHM}",
        escaped(model)
    )
}

fn escaped(model: &str) -> String {
    utf8_percent_encode(model, NON_ALPHANUMERIC).to_string()
}

/// Appraises a report as it was fetched, and gives the document to keep of it.
pub(crate) fn appraise(
    fetched: &Fetched,
    policy: &ProviderPolicy,
    collateral: &dyn CollateralStore,
    nonce: Nonce,
    now: Timestamp,
) -> Result<(VerifiedProvider, Vec<u8>), ChannelError> {
    let malformed = |error: ReportError| match error {
        ReportError::Superseded => ChannelError::ReportSuperseded,
        _ => ChannelError::ReportMalformed,
    };
    let platforms = platforms_of(&fetched.document, policy.format()).map_err(malformed)?;
    let mut known = BTreeMap::new();
    for platform in platforms {
        let found = collateral
            .of_platform(platform)
            .ok_or_else(|| ChannelError::NoCollateral {
                platform: platform.to_string(),
            })?;
        known.insert(platform.to_string(), found);
    }
    let beside = Beside {
        collateral: known,
        challenge: (policy.format() == Format::Aci).then_some(nonce),
    };
    let document = ProviderDocument::write(policy.format(), &fetched.document, beside);
    let document = document.map_err(malformed)?;
    let exchange = Exchange::Challenge {
        nonce,
        tls_spki: fetched.tls_spki,
    };
    let proof = appraise_provider(&document, policy, exchange, now)
        .into_verified()
        .map_err(|appraisal| refused(&appraisal))?;
    Ok((proof, document))
}

fn refused(appraisal: &proofroom_provider::ProviderAppraisal) -> ChannelError {
    let obstacle = appraisal.first_obstacle();
    ChannelError::ProviderRefused {
        policy: appraisal.policy().to_owned(),
        check: obstacle.map_or_else(String::new, proofroom_provider::ProviderCheck::label),
        code: obstacle
            .and_then(|check| check.outcome.code())
            .unwrap_or("evidence-refused"),
    }
}
