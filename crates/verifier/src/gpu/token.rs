//! Tokens of NVIDIA's attestation service: ES384 JWTs (RFC 7515, RFC 7518 section 3.4), verified with
//! a key set that was supplied and that the policy names by digest, and with no other key.

use std::collections::BTreeMap;

use p384::{
    Sec1Point,
    ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
};
use proofroom_canonical::{Digest, Timestamp, json};
use proofroom_evidence::gpu::{DetachedEat, DeviceFacts, DeviceReport, Jws};
use serde::Deserialize;
use serde_json::Value;

use super::{
    GpuCause, GpuCheckName, GpuEndorsements, GpuOutcome, GpuPolicy, GpuReason, Work,
    chain::Refusal, outcome,
};
use crate::Freshness;

/// A key set has a handful of keys, each with a certificate chain.
const MAX_JWKS_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 64;

#[derive(Deserialize)]
struct RawJwks {
    keys: Vec<RawJwk>,
}

/// A key, with what else it says ignored: the set is trusted as a whole, by its digest.
#[derive(Deserialize)]
struct RawJwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// What verified tokens say of devices.
pub(super) struct Tokens {
    state: State,
    claims: Vec<Value>,
    /// When the first token ends.
    pub(super) expires: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    NotSupplied,
    /// This check failed or rests on one that did.
    Refused(GpuCheckName),
    Verified,
}

pub(super) fn verify(work: &mut Work<'_>, endorsements: &GpuEndorsements<'_>) -> Tokens {
    if endorsements.tokens.is_empty() {
        return Tokens::none(work);
    }
    let mut tokens = Tokens::in_state(State::NotSupplied);
    let parsed: Result<Vec<DetachedEat>, _> = endorsements
        .tokens
        .iter()
        .map(|token| DetachedEat::parse(token))
        .collect();
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let outcome = GpuOutcome::malformed(GpuCause::TokenMalformed, &error);
            return tokens.refused(work, GpuCheckName::TokenParse, outcome);
        }
    };
    work.set(GpuCheckName::TokenParse, GpuOutcome::Pass);
    let signatures = verify_signatures(work.policy, endorsements.jwks, &parsed);
    if let Err(refusal) = signatures {
        return tokens.refused(work, GpuCheckName::TokenSignature, outcome(Err(refusal)));
    }
    work.set(GpuCheckName::TokenSignature, GpuOutcome::Pass);
    for token in &parsed {
        if let Err(refusal) = verify_claims(work, token) {
            return tokens.refused(work, GpuCheckName::TokenClaims, outcome(Err(refusal)));
        }
        for jws in all(token) {
            let until = number(jws, "exp").ok().map(Timestamp::from_unix_seconds);
            tokens.expires = [tokens.expires, until].into_iter().flatten().min();
        }
        let devices = token.submodules().values().map(|jws| jws.claims().clone());
        tokens.claims.extend(devices);
    }
    let fresh = match work.freshness {
        Freshness::Challenge(_) => GpuOutcome::Pass,
        Freshness::ArchiveAudit => GpuOutcome::NotEvaluated(GpuReason::ArchiveAudit),
    };
    work.set(GpuCheckName::TokenClaims, fresh);
    tokens.state = State::Verified;
    tokens
}

impl Tokens {
    const fn in_state(state: State) -> Self {
        Self {
            state,
            claims: Vec::new(),
            expires: None,
        }
    }

    /// No tokens: the checks on them are not evaluated.
    pub(super) fn none(work: &mut Work<'_>) -> Self {
        for name in [
            GpuCheckName::TokenParse,
            GpuCheckName::TokenSignature,
            GpuCheckName::TokenClaims,
        ] {
            work.set(name, GpuOutcome::NotEvaluated(GpuReason::NotSupplied));
        }
        Self::in_state(State::NotSupplied)
    }

    fn refused(mut self, work: &mut Work<'_>, name: GpuCheckName, outcome: GpuOutcome) -> Self {
        work.set(name, outcome);
        self.state = State::Refused(name);
        self.claims.clear();
        self.expires = None;
        self
    }

    /// What the tokens say of one device, and of its certificates' revocation.
    pub(super) fn judge(
        &self,
        policy: &GpuPolicy,
        facts: &DeviceFacts,
        report: &DeviceReport,
    ) -> (GpuOutcome, GpuOutcome) {
        let not_evaluated = |reason| {
            let outcome = GpuOutcome::NotEvaluated(reason);
            (outcome.clone(), outcome)
        };
        match self.state {
            State::NotSupplied => return not_evaluated(GpuReason::NotSupplied),
            State::Refused(name) => return not_evaluated(GpuReason::After(name)),
            State::Verified => {}
        }
        let mut about = self
            .claims
            .iter()
            .filter(|claims| claims.get("ueid").and_then(Value::as_str) == Some(&facts.ueid));
        let (Some(claims), None) = (about.next(), about.next()) else {
            let words = format!("there is not exactly one token about device {}", facts.ueid);
            let absent = GpuOutcome::fail(GpuCause::TokenDeviceAbsent, words);
            let reason = GpuReason::After(GpuCheckName::TokenDevice);
            return (absent, GpuOutcome::NotEvaluated(reason));
        };
        (
            outcome(judge_device(policy, claims, report)),
            outcome(judge_revocation(claims)),
        )
    }
}

fn verify_signatures(
    policy: &GpuPolicy,
    jwks: Option<&[u8]>,
    tokens: &[DetachedEat],
) -> Result<(), Refusal> {
    // an unsigned token is refused as one, whatever keys there are
    for jws in tokens.iter().flat_map(all) {
        must_be_es384(jws)?;
    }
    let keys = jwks.map_or_else(|| Ok(BTreeMap::new()), |jwks| read_jwks(policy, jwks))?;
    for jws in tokens.iter().flat_map(all) {
        verify_jws(jws, &keys)?;
    }
    Ok(())
}

fn all(token: &DetachedEat) -> impl Iterator<Item = &Jws> {
    std::iter::once(token.overall()).chain(token.submodules().values())
}

fn must_be_es384(jws: &Jws) -> Result<(), Refusal> {
    let alg = jws.header().alg.as_str();
    if alg.eq_ignore_ascii_case("none") || jws.signature().is_empty() {
        let words = "a token has no signature: anybody can write it";
        return Err((GpuCause::TokenUnsigned, words.to_owned()));
    }
    if alg == "ES384" {
        return Ok(());
    }
    let words = format!("a token is signed with `{alg}`, not with ES384");
    Err((GpuCause::TokenAlgorithm, words))
}

fn verify_jws(jws: &Jws, keys: &BTreeMap<String, VerifyingKey>) -> Result<(), Refusal> {
    let kid = jws.header().kid.as_deref().unwrap_or_default();
    let Some(key) = keys.get(kid) else {
        let words = format!("no supplied key set has key `{kid}`");
        return Err((GpuCause::TokenKeyUnknown, words));
    };
    let verified = Signature::from_slice(jws.signature())
        .is_ok_and(|signature| key.verify(jws.signed(), &signature).is_ok());
    if verified {
        return Ok(());
    }
    let words = format!("key `{kid}` did not sign a token");
    Err((GpuCause::TokenSignature, words))
}

fn read_jwks(policy: &GpuPolicy, bytes: &[u8]) -> Result<BTreeMap<String, VerifyingKey>, Refusal> {
    let malformed = |words: &str| (GpuCause::JwksMalformed, words.to_owned());
    let digest = Digest::of(bytes);
    if !policy.trusts_jwks(digest) {
        let words = format!("the policy does not name key set {digest}");
        return Err((GpuCause::JwksNotTrusted, words));
    }
    let raw: RawJwks = json::parse(bytes, MAX_JWKS_BYTES)
        .map_err(|error| malformed(&format!("the key set cannot be read: {error}")))?;
    if raw.keys.len() > MAX_KEYS {
        return Err(malformed("the key set has too many keys"));
    }
    let mut keys = BTreeMap::new();
    for jwk in raw.keys {
        // keys of other kinds sign nothing that is read here
        if jwk.kty != "EC" || jwk.crv.as_deref() != Some("P-384") {
            continue;
        }
        let kid = jwk.kid.clone().unwrap_or_default();
        let key = read_key(&jwk).ok_or_else(|| malformed("a key is not a point of P-384"))?;
        if kid.is_empty() || keys.insert(kid, key).is_some() {
            return Err(malformed("a key has no id, or the id of another"));
        }
    }
    Ok(keys)
}

/// RFC 7518 section 6.2.1: both coordinates in full length.
fn read_key(jwk: &RawJwk) -> Option<VerifyingKey> {
    let coordinate = |text: &Option<String>| -> Option<[u8; 48]> {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let bytes = URL_SAFE_NO_PAD.decode(text.as_deref()?).ok()?;
        bytes.try_into().ok()
    };
    let (x, y) = (coordinate(&jwk.x)?, coordinate(&jwk.y)?);
    let point = Sec1Point::from_affine_coordinates(&x.into(), &y.into(), false);
    VerifyingKey::from_sec1_point(&point).ok()
}

fn verify_claims(work: &Work<'_>, token: &DetachedEat) -> Result<(), Refusal> {
    for jws in all(token) {
        judge_common(work, jws)?;
    }
    let overall = token.overall().claims();
    if overall.get("x-nvidia-overall-att-result") != Some(&Value::Bool(true)) {
        let words = "NVIDIA's service says that the attestation failed";
        return Err((GpuCause::TokenResult, words.to_owned()));
    }
    let named = overall
        .get("submods")
        .and_then(Value::as_object)
        .ok_or_else(|| missing("submods"))?;
    let wrong = |name: &str| {
        let words = format!("the overall token does not name the token `{name}` by its digest");
        (GpuCause::TokenSubmodule, words)
    };
    if let Some(extra) = named
        .keys()
        .find(|name| !token.submodules().contains_key(*name))
    {
        return Err(wrong(extra));
    }
    for (name, jws) in token.submodules() {
        // RFC 9711 section 4.2.18.2: how a detached submodule is named
        let digest = serde_json::json!(["DIGEST", ["SHA-256", jws.digest().to_hex()]]);
        if named.get(name) != Some(&digest) {
            return Err(wrong(name));
        }
    }
    Ok(())
}

/// Issuer, time and nonce, which every token has.
fn judge_common(work: &Work<'_>, jws: &Jws) -> Result<(), Refusal> {
    let issuer = text(jws.claims(), "iss")?;
    if !work.policy.trusts_issuer(issuer) {
        let words = format!("the policy does not name issuer `{issuer}`");
        return Err((GpuCause::TokenIssuer, words));
    }
    let now = work.now.unix_seconds();
    if number(jws, "nbf")? > now || number(jws, "iat")? > now {
        let words = format!("a token is not valid yet at {}", work.now);
        return Err((GpuCause::TokenNotYetValid, words));
    }
    if number(jws, "exp")? <= now {
        let words = format!("a token has expired at {}", work.now);
        return Err((GpuCause::TokenExpired, words));
    }
    let nonce = text(jws.claims(), "eat_nonce")?;
    match work.freshness {
        Freshness::Challenge(wanted) if nonce != wanted.to_string() => {
            let words = "a token answers another nonce".to_owned();
            Err((GpuCause::TokenNonce, words))
        }
        _ => Ok(()),
    }
}

fn judge_device(policy: &GpuPolicy, claims: &Value, report: &DeviceReport) -> Result<(), Refusal> {
    if text(claims, "measres")? != "success" {
        let words = "NVIDIA's service found measurements that are not golden".to_owned();
        return Err((GpuCause::TokenResult, words));
    }
    if claims.get("secboot") != Some(&Value::Bool(true)) {
        let words = "NVIDIA's service does not say that the device booted securely";
        return Err((GpuCause::SecureBoot, words.to_owned()));
    }
    let status = text(claims, "dbgstat")?;
    if !policy.allows_debug_status(status) {
        let words = format!("the policy does not allow debug status `{status}`");
        return Err((GpuCause::DebugStatus, words));
    }
    if text(claims, "eat_nonce")? != report.nonce().to_string() {
        let words = "the token is about a report with another nonce".to_owned();
        return Err((GpuCause::TokenDeviceMismatch, words));
    }
    let opaque = report.opaque();
    for (names, reported) in [
        (&["x-nvidia-gpu-driver-version"][..], &opaque.driver_version),
        (
            &["x-nvidia-gpu-vbios-version", "x-nvidia-switch-bios-version"],
            &opaque.vbios_version,
        ),
    ] {
        let said = names.iter().find_map(|name| claims.get(*name)?.as_str());
        if reported.as_deref() != said {
            let words = "the token names another version than the report".to_owned();
            return Err((GpuCause::TokenDeviceMismatch, words));
        }
    }
    Ok(())
}

/// What the service's OCSP requests about the device's certificates came to.
fn judge_revocation(claims: &Value) -> Result<(), Refusal> {
    let chain = [
        "x-nvidia-gpu-attestation-report-cert-chain",
        "x-nvidia-switch-attestation-report-cert-chain",
    ]
    .iter()
    .find_map(|name| claims.get(*name))
    .ok_or_else(|| missing("x-nvidia-gpu-attestation-report-cert-chain"))?;
    let status = text(chain, "x-nvidia-cert-status")?;
    let ocsp = text(chain, "x-nvidia-cert-ocsp-status")?;
    if (status, ocsp) == ("valid", "good") {
        return Ok(());
    }
    let words = format!("NVIDIA's service says `{status}`, `{ocsp}` of the device's certificates");
    Err((GpuCause::CertificateRevoked, words))
}

fn text<'a>(claims: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    claims
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| missing(name))
}

fn number(jws: &Jws, name: &str) -> Result<i64, Refusal> {
    jws.claims()
        .get(name)
        .and_then(Value::as_i64)
        .ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Refusal {
    let words = format!("claim `{name}` is missing or of another type");
    (GpuCause::TokenClaim, words)
}
