//! The evidence of a standalone gateway, or of an enclave of ours, asked for over a nonce made now.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom::keys::random;
use proofroom_canonical::Nonce;
use proofroom_evidence::{REPORT_DATA_BYTES, ReportData};
use proofroom_gateway::{Answered, ask_identity};
use proofroom_record::gateway::{GatewayEvidence, GatewayIdentity, GatewayProof};

use super::super::{DIFFERENT, Failure, INTERNAL, UNAVAILABLE, UNKNOWN, say};

/// Evidence, and the report data that it must carry to be about this gateway, this nonce and this
/// connection.
pub(super) struct Asked {
    pub(super) evidence: Vec<u8>,
    pub(super) report_data: [u8; REPORT_DATA_BYTES],
}

/// What a gateway outside of a TEE comes to.
#[derive(Debug, thiserror::Error)]
#[error(
    "the gateway shows no evidence of what it is, and says so itself: {0}; its operator's word is all there is"
)]
struct NoEvidence(String);

#[derive(Debug, thiserror::Error)]
#[error("the gateway's evidence is not base64")]
struct NotBase64;

/// Asks what is at `url`, over a nonce made now.
pub(super) fn ask(url: &str) -> Result<(Nonce, Answered), Failure> {
    let nonce = random().map_err(|error| Failure::new(INTERNAL, error.code(), error))?;
    let nonce = Nonce::from_random(nonce);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INTERNAL, "runtime", error))?;
    let answered = runtime
        .block_on(ask_identity(url, nonce))
        .map_err(|error| Failure::new(UNAVAILABLE, error.code(), error))?;
    Ok((nonce, answered))
}

/// What the gateway at `url` answered; says what it claims before that is judged.
pub(super) fn of_gateway(
    url: &str,
    (nonce, answered): (Nonce, &Answered),
    json: bool,
) -> Result<Asked, Failure> {
    let (answer, identity) = GatewayEvidence::read(&answered.document, nonce, answered.tls_key)
        .map_err(|error| Failure::new(DIFFERENT, error.code(), error))?;
    let report = match &answer.evidence {
        GatewayProof::Tee { report, .. } => report,
        GatewayProof::None { reason } => {
            let error = NoEvidence(reason.clone());
            return Err(Failure::new(UNKNOWN, "gateway-without-evidence", error));
        }
    };
    let evidence = STANDARD
        .decode(report)
        .map_err(|_| Failure::new(UNKNOWN, "gateway-evidence-malformed", NotBase64))?;
    if !json {
        say(&claimed(url, &identity))?;
    }
    let data = ReportData::of_statement(answer.identity.as_bytes());
    Ok(Asked {
        evidence,
        report_data: *data.as_bytes(),
    })
}

fn claimed(url: &str, identity: &GatewayIdentity) -> String {
    let tls = match identity.tls_key {
        Some(key) => format!("this connection's TLS key {key}"),
        None => "no TLS key: the connection is not bound".to_owned(),
    };
    format!(
        "The gateway at {url} claims, bound by the report data below:\n  records signed by {}\n  {tls}\n\n",
        identity.record_key
    )
}
