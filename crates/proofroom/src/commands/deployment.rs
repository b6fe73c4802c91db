//! The deployment that a command works on: its state directory, keys and log, and the clock.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom::{keys::DeploymentKeys, log::LogAccess, session::Deployment, state::StateDir};
use proofroom_canonical::Timestamp;
use proofroom_clock::steady;

use super::{Failure, INTERNAL, USAGE};

/// Trust domain of a deployment that was given none.
pub(super) const TRUST_DOMAIN: &str = "proofroom.internal";

pub(super) fn open_state(named: Option<&Path>) -> Result<StateDir, Failure> {
    named
        .map(Path::to_owned)
        .map_or_else(StateDir::default_path, Ok)
        .and_then(|path| StateDir::open(&path))
        .map_err(|error| Failure::new(USAGE, error.code(), error))
}

pub(super) fn open_deployment(state: StateDir) -> Result<Deployment, Failure> {
    let keys = DeploymentKeys::open(&state.keys(), TRUST_DOMAIN, steady())
        .map_err(|error| Failure::new(USAGE, error.code(), error))?;
    let log = LogAccess::new(state.log(), keys.trust_domain(), keys.log(), steady)
        .map_err(|error| Failure::new(INTERNAL, "log", error))?;
    Ok(Deployment {
        state,
        keys: Arc::new(keys),
        log: Arc::new(log),
        clock: steady,
    })
}

/// A time as people write it: RFC 3339 in UTC, with or without a fraction, or a day, at its beginning.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, Failure> {
    let written = if text.len() == "2026-11-20".len() {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    let parsed = written.parse::<jiff::Timestamp>().ok();
    let utc = parsed.filter(|_| written.ends_with('Z'));
    utc.map(|time| Timestamp::from_unix_millis(time.as_millisecond()))
        .ok_or_else(|| {
            let words = format!("`{text}` is no time in UTC such as 2026-11-20T08:00:00Z");
            Failure::new(USAGE, "bad-time", anyhow::Error::msg(words))
        })
}

/// Where a package puts the image that virtual machines boot.
const PACKAGED_IMAGE: &str = "/usr/share/proofroom/image";

/// The image: named, or beside the program as a build leaves it, or where a package puts it.
pub(super) fn image(named: Option<&Path>) -> PathBuf {
    if let Some(named) = named {
        return named.to_owned();
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.parent()?.join("image")))
        .filter(|image| image.join("image.json").is_file());
    beside.unwrap_or_else(|| PACKAGED_IMAGE.into())
}
