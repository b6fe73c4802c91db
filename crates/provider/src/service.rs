//! What was measured into a machine of a provider, against what the policy pins: event log, deployment,
//! application, image, and where its keys come from.

use proofroom_evidence::TdClaims;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    check::{CheckOutcome, ProviderCheckName},
    log::{DstackLog, LogError, RawLog},
    policy::ServiceRule,
};

/// The last event of a boot. What follows was extended by the application, which can write anything.
const READY: &str = "system-ready";

/// What a machine says was measured into it.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) log: &'a RawLog,
    /// The text of its deployment.
    pub(crate) compose: &'a str,
}

/// The checks `event-log` to `key-provider`, none of them proved yet.
pub(crate) fn check(
    said: Said<'_>,
    rule: &ServiceRule,
    claims: &TdClaims,
) -> Vec<(ProviderCheckName, CheckOutcome)> {
    use ProviderCheckName as Name;
    let log = match replayed(said.log, rule, claims) {
        Ok(log) => log,
        Err(outcome) => return vec![(Name::EventLog, outcome)],
    };
    let pinned = |event: &str, allowed: &[String], code| {
        let found = payload(&log, event).map(hex::encode);
        one_of(event, found, allowed, code)
    };
    vec![
        (Name::EventLog, CheckOutcome::Pass),
        (Name::Compose, compose(said.compose, rule, claims, &log)),
        (
            Name::AppId,
            pinned("app-id", &rule.app_ids, "app-not-allowed"),
        ),
        (
            Name::OsImage,
            pinned("os-image-hash", &rule.os_images, "os-image-not-allowed"),
        ),
        (Name::KeyProvider, key_provider(&log, rule)),
    ]
}

/// The identity of the application that the log names. Proves nothing unless the check `event-log` passed.
pub(crate) fn app_id(log: &RawLog) -> Option<Vec<u8>> {
    let log = DstackLog::of_raw(log).ok()?;
    payload(&log, "app-id").map(<[u8]>::to_vec)
}

/// The log, if it adds up to the quote's registers and says each thing of the boot once.
fn replayed(
    log: &RawLog,
    rule: &ServiceRule,
    claims: &TdClaims,
) -> Result<DstackLog, CheckOutcome> {
    let log = DstackLog::of_raw(log).map_err(|error| {
        let code = match error {
            LogError::Malformed(_) => "log-malformed",
            LogError::Digest(_) => "log-digest",
        };
        CheckOutcome::fail(code, error.to_string())
    })?;
    let quoted = claims.rtmr.map(|register| *register.as_bytes());
    if let Some(index) = (0..4).find(|index| log.registers().get(*index) != quoted.get(*index)) {
        let words = format!("the events do not add up to RTMR{index} of the quote");
        return Err(CheckOutcome::fail("log-replay", words));
    }
    events(&log, rule)?;
    Ok(log)
}

fn events(log: &DstackLog, rule: &ServiceRule) -> Result<(), CheckOutcome> {
    let names: Vec<&str> = log.runtime().iter().map(|event| &*event.name).collect();
    let Some(ready) = names.iter().position(|name| *name == READY) else {
        let words = format!("the boot did not end: no event `{READY}`");
        return Err(CheckOutcome::fail("log-event-missing", words));
    };
    let (boot, later) = names.split_at(ready.saturating_add(1));
    for (place, name) in boot.iter().enumerate() {
        let again = names.iter().skip(place.saturating_add(1));
        if again.into_iter().any(|other| other == name) {
            let words = format!("event `{name}` of the boot is there twice");
            return Err(CheckOutcome::fail("log-event-twice", words));
        }
    }
    match later
        .iter()
        .find(|name| !rule.later_events.iter().any(|allowed| allowed == *name))
    {
        None => Ok(()),
        Some(name) => {
            let words = format!("event `{name}` after the boot is not one that the policy allows");
            Err(CheckOutcome::fail("log-event-late", words))
        }
    }
}

/// The deployment's digest is in RTMR3, and in MRCONFIGID where that is used: `01`, digest, zeroes.
fn compose(text: &str, rule: &ServiceRule, claims: &TdClaims, log: &DstackLog) -> CheckOutcome {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let measured = payload(log, "compose-hash");
    let mut config = [0; 48];
    let used = claims.mr_config_id.repeated_byte() != Some(0);
    if used && let Some((first, rest)) = config.split_first_mut() {
        *first = 1;
        if let Some(place) = rest.first_chunk_mut() {
            *place = digest;
        }
    }
    if measured != Some(&digest[..]) || claims.mr_config_id.as_bytes() != &config {
        let words = "the deployment in the report is not the one that was measured";
        return CheckOutcome::fail("compose-mismatch", words);
    }
    let found = Some(hex::encode(digest));
    one_of(
        "compose-hash",
        found,
        &rule.compose_hashes,
        "compose-not-allowed",
    )
}

#[derive(Deserialize)]
struct Provider {
    id: String,
}

fn key_provider(log: &DstackLog, rule: &ServiceRule) -> CheckOutcome {
    let found = payload(log, "key-provider")
        .and_then(|bytes| serde_json::from_slice::<Provider>(bytes).ok())
        .map(|provider| provider.id);
    let code = "key-provider-not-allowed";
    one_of("key-provider", found, &rule.key_providers, code)
}

fn payload<'a>(log: &'a DstackLog, name: &str) -> Option<&'a [u8]> {
    let event = log.runtime().iter().find(|event| event.name == name)?;
    Some(&event.payload)
}

fn one_of(
    event: &str,
    found: Option<String>,
    allowed: &[String],
    code: &'static str,
) -> CheckOutcome {
    match found {
        None => CheckOutcome::fail("log-event-missing", format!("no usable event `{event}`")),
        Some(found) if allowed.contains(&found) => CheckOutcome::Pass,
        Some(found) => {
            let shown: String = found.chars().take(80).collect();
            CheckOutcome::fail(code, format!("`{event}` {shown} is not in the policy"))
        }
    }
}
