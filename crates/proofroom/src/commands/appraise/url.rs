//! The evidence of a standalone gateway, or of an enclave of ours, asked for over a nonce made now.

use proofroom::{
    keys::random,
    verified_gateway::{Shown, ShownError},
};
use proofroom_canonical::Nonce;
use proofroom_gateway::{Answered, ask_identity};
use proofroom_record::gateway::GatewayIdentity;

use super::super::{DIFFERENT, Failure, INTERNAL, UNAVAILABLE, UNKNOWN, say};

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
) -> Result<Shown, Failure> {
    let shown = Shown::read(answered, nonce).map_err(|error| {
        let exit = match error {
            ShownError::Answer(_) => DIFFERENT,
            _ => UNKNOWN,
        };
        Failure::new(exit, error.code(), error)
    })?;
    if !json {
        say(&claimed(url, &shown.identity))?;
    }
    Ok(shown)
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
