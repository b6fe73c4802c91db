//! What an issuer answers to a device: read strictly, and nothing of it reaches a terminal that could steer it.

use std::time::Duration;

use http::StatusCode;
use proofroom_canonical::json;
use proofroom_gateway_server::issuer_client::Answer;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Invitation, LoginError};

const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// RFC 8628 section 3.2.
const DEFAULT_INTERVAL_SECONDS: u64 = 5;
const LONGEST_INTERVAL_SECONDS: u64 = 60;
/// The longest that anybody is waited for.
const LONGEST_LOGIN_SECONDS: i64 = 1800;
const MAX_SHOWN: usize = 2048;

/// A login that a person has to allow.
pub(super) struct Begun {
    pub(super) device_code: Zeroizing<String>,
    pub(super) invitation: Invitation,
    pub(super) interval: Duration,
    /// Seconds until the code ends.
    pub(super) lasts: i64,
}

/// Tokens.
pub(super) struct Granted {
    pub(super) access_token: Zeroizing<String>,
    /// Empty where there is none.
    pub(super) refresh_token: Zeroizing<String>,
    /// Seconds until the access token ends.
    pub(super) lasts: i64,
}

/// What was answered to the question whether the person has allowed it.
pub(super) enum Polled {
    Granted(Box<Granted>),
    Pending,
    SlowDown,
}

#[derive(Deserialize)]
struct RawBegun {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: i64,
    interval: Option<u64>,
}

#[derive(Deserialize)]
struct RawGranted {
    access_token: String,
    token_type: String,
    expires_in: i64,
    #[serde(default)]
    refresh_token: String,
}

#[derive(Deserialize)]
struct RawError {
    error: String,
}

pub(super) fn begun((status, body): Answer) -> Result<Begun, LoginError> {
    if status != StatusCode::OK {
        return Err(LoginError::Refused(error_of(&body)));
    }
    let raw: RawBegun = json::parse(&body, MAX_ANSWER_BYTES)
        .map_err(|_| LoginError::Answer("it is no device authorization"))?;
    let interval = raw.interval.unwrap_or(DEFAULT_INTERVAL_SECONDS);
    Ok(Begun {
        device_code: Zeroizing::new(raw.device_code),
        invitation: Invitation {
            page: shown(raw.verification_uri)?,
            code: shown(raw.user_code)?,
            page_with_code: raw.verification_uri_complete.map(shown).transpose()?,
        },
        interval: Duration::from_secs(interval.clamp(1, LONGEST_INTERVAL_SECONDS)),
        lasts: raw.expires_in.clamp(1, LONGEST_LOGIN_SECONDS),
    })
}

pub(super) fn polled((status, body): &Answer) -> Result<Polled, LoginError> {
    if *status == StatusCode::OK {
        return granted(body).map(Box::new).map(Polled::Granted);
    }
    match error_of(body).as_str() {
        "authorization_pending" => Ok(Polled::Pending),
        "slow_down" => Ok(Polled::SlowDown),
        "access_denied" => Err(LoginError::Denied),
        "expired_token" => Err(LoginError::TooLate),
        other => Err(LoginError::Refused(other.to_owned())),
    }
}

pub(super) fn refreshed((status, body): Answer) -> Result<Granted, LoginError> {
    if status == StatusCode::OK {
        return granted(&body);
    }
    match error_of(&body) {
        ended if ended == "invalid_grant" => Err(LoginError::Ended(ended)),
        other => Err(LoginError::Refused(other)),
    }
}

fn granted(body: &[u8]) -> Result<Granted, LoginError> {
    let raw: RawGranted = json::parse(body, MAX_ANSWER_BYTES)
        .map_err(|_| LoginError::Answer("it has no access token, or does not say until when"))?;
    let (access_token, refresh_token) = (
        Zeroizing::new(raw.access_token),
        Zeroizing::new(raw.refresh_token),
    );
    if !raw.token_type.eq_ignore_ascii_case("bearer") {
        return Err(LoginError::Answer("its token is not a bearer's"));
    }
    // it is printed, and sent in a header
    let printable =
        !access_token.is_empty() && access_token.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable || raw.expires_in <= 0 {
        return Err(LoginError::Answer("its access token is none"));
    }
    Ok(Granted {
        access_token,
        refresh_token,
        lasts: raw.expires_in,
    })
}

/// An error's code (RFC 6749 section 5.2), as much of it as may be shown.
fn error_of(body: &[u8]) -> String {
    let raw: Result<RawError, _> = json::parse(body, MAX_ANSWER_BYTES);
    let code = raw.map_or_else(|_| "no reason".to_owned(), |raw| raw.error);
    code.chars()
        .filter(char::is_ascii_graphic)
        .take(100)
        .collect()
}

/// A text that a terminal shows as it is.
fn shown(text: String) -> Result<String, LoginError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && !text.is_empty() && text.len() <= MAX_SHOWN {
        return Ok(text);
    }
    Err(LoginError::Answer("its page or code is not plain text"))
}
