//! Rungs `signature` and `key-chain`: who signed each record, and what the deployment's CA says
//! about those keys. Says nothing about what the records claim.

use proofroom_canonical::Digest;

use super::{Failure, Made, check::Blame};
use crate::{
    bundle::{BundleParts, LoggedRecord, POLICY_VERSION, envelope_name, model_run_name},
    certificate::{CertifiedKey, DeploymentCa, UnverifiedCertificate},
    policy_version::{PolicyVersion, read_key},
    predicate::{self, Predicate, RecordError, VerifiedRecord},
    spiffe::Role,
    statement::{AgentSession, Binding, Destruction, ModelRun, Signer},
};

/// The records, each signed by the key in the bundle's certificate for its signer.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) runs: Vec<VerifiedRecord<ModelRun>>,
    pub(crate) session: VerifiedRecord<AgentSession>,
    pub(crate) destruction: Option<VerifiedRecord<Destruction>>,
    pub(crate) version: Option<VerifiedRecord<PolicyVersion>>,
    pub(super) session_certificate: UnverifiedCertificate,
    pub(super) gateway_certificate: UnverifiedCertificate,
}

pub(super) fn verify_records(parts: &BundleParts) -> Made<Records> {
    let session_certificate = read_certificate("trust/session.pem", &parts.trust.session)?;
    let gateway_certificate = read_certificate("trust/gateway.pem", &parts.trust.gateway)?;
    let claimed: AgentSession = predicate::read_unverified(&parts.session.envelope)
        .map_err(|error| record_failure("session", &error))?;
    let signer = match claimed.signer {
        Signer::Session => &session_certificate,
        Signer::Gateway => &gateway_certificate,
    };
    let session = open("session", &parts.session, signer)?;
    let runs: Vec<_> = (parts.model_runs.iter().enumerate())
        .map(|(number, record)| open(&model_run_name(number), record, &gateway_certificate))
        .collect::<Result<_, _>>()?;
    let destruction = (parts.destruction.as_ref())
        .map(|record| open("destruction", record, &gateway_certificate))
        .transpose()?;
    let version = (parts.trust.policy_version.as_ref())
        .map(open_version)
        .transpose()?;
    let count = runs.len() + 1 + destruction.iter().count() + version.iter().count();
    let by = version.as_ref();
    let found = format!(
        "{count} records: session record by the {} key, {} model runs by the gateway key{}",
        claimed.signer.as_str(),
        runs.len(),
        by.map_or("", |_| ", the policy version by the key that it names"),
    );
    let records = Records {
        runs,
        session,
        destruction,
        version,
        session_certificate,
        gateway_certificate,
    };
    Ok((found, records))
}

fn open<P: Predicate>(
    name: &str,
    record: &LoggedRecord,
    signer: &UnverifiedCertificate,
) -> Result<VerifiedRecord<P>, Failure> {
    predicate::open(&record.envelope, signer.key()).map_err(|error| record_failure(name, &error))
}

/// An entry of the policy history, signed by the key that it names: whose key that is, the history
/// shows, which begins with one that its readers pin.
fn open_version(record: &LoggedRecord) -> Result<VerifiedRecord<PolicyVersion>, Failure> {
    let refused = |error: &RecordError| record_failure(POLICY_VERSION, error);
    let claimed: PolicyVersion =
        predicate::read_unverified(&record.envelope).map_err(|error| refused(&error))?;
    let signer = read_key(claimed.number, &claimed.signer)
        .map_err(|error| Failure::refused("policy-history-key", error.to_string()))?;
    predicate::open(&record.envelope, &signer).map_err(|error| refused(&error))
}

fn record_failure(name: &str, error: &RecordError) -> Failure {
    let failure = Failure::at(&envelope_name(name), error.code(), error);
    match error {
        RecordError::PredicateType { found, wanted } if family(found) == family(wanted) => {
            failure.blamed(Blame::Unsupported)
        }
        _ => failure,
    }
}

/// A predicate type without its version.
fn family(predicate_type: &str) -> &str {
    predicate_type
        .rsplit_once('/')
        .map_or(predicate_type, |(family, _)| family)
}

fn read_certificate(name: &str, pem: &[u8]) -> Result<UnverifiedCertificate, Failure> {
    UnverifiedCertificate::parse_pem(pem).map_err(|error| Failure::at(name, error.code(), &error))
}

/// The two certified keys of a bundle.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) session: CertifiedKey,
}

pub(super) fn verify_key_chain(ca_pem: &[u8], records: &Records, binding: &Binding) -> Made<Keys> {
    let ca = DeploymentCa::parse_pem(ca_pem)
        .map_err(|error| Failure::at("trust/ca.pem", error.code(), &error))?;
    let certify = |name, certificate| {
        ca.verify(certificate)
            .map_err(|error| Failure::at(name, error.code(), &error))
    };
    let session = certify("trust/session.pem", &records.session_certificate)?;
    let gateway = certify("trust/gateway.pem", &records.gateway_certificate)?;
    check_roles(&session, &gateway, binding)?;
    check_validity(&session, &gateway, records)?;
    let found = format!(
        "`{}` and `{}`, valid when they signed",
        session.spiffe_id(),
        gateway.spiffe_id()
    );
    Ok((found, Keys { session }))
}

fn check_roles(
    session: &CertifiedKey,
    gateway: &CertifiedKey,
    binding: &Binding,
) -> Result<(), Failure> {
    let (one, other) = (session.spiffe_id(), gateway.spiffe_id());
    let refuse = |code, cause: String| Err(Failure::refused(code, cause));
    if other.role() != &Role::Gateway {
        let cause = format!("trust/gateway.pem: `{other}` is not the gateway");
        return refuse("certificate-role", cause);
    }
    let id = binding.session;
    if !matches!(one.role(), Role::Session { session, .. } if *session == id) {
        let cause = format!("trust/session.pem: `{one}` is not session `{id}`");
        return refuse("certificate-role", cause);
    }
    if one.trust_domain() != other.trust_domain() {
        let cause = "session and gateway belong to different trust domains";
        return refuse("certificate-trust-domain", cause.to_owned());
    }
    Ok(())
}

fn check_validity(
    session: &CertifiedKey,
    gateway: &CertifiedKey,
    records: &Records,
) -> Result<(), Failure> {
    let valid = |name: &str, key: &CertifiedKey, at| match key.key_at(at) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::at(name, error.code(), &error)),
    };
    let claim = records.session.predicate();
    match claim.signer {
        Signer::Session => valid("trust/session.pem", session, claim.ended)?,
        Signer::Gateway => {
            valid("trust/session.pem", session, claim.started)?;
            valid("trust/gateway.pem", gateway, claim.ended)?;
        }
    }
    for run in &records.runs {
        valid("trust/gateway.pem", gateway, run.predicate().finished)?;
    }
    match &records.destruction {
        Some(record) => valid("trust/gateway.pem", gateway, record.predicate().at),
        None => Ok(()),
    }
}

/// Digest of the public key in a certificate.
pub(super) fn key_digest(certificate: &UnverifiedCertificate) -> Digest {
    crate::dsse::spki_digest(certificate.key())
}
