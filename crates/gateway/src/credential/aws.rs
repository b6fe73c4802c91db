//! Credentials of AWS, and signatures with them over requests to Bedrock (AWS Signature Version 4). What is signed is what is
//! sent: method, address, every header but `user-agent`, and the digest of the body that the record has as `forwarded`.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign},
    sign::v4,
};
use http::{HeaderName, HeaderValue, Request};
use proofroom_canonical::{Digest, Sensitive, Timestamp};
use serde::Deserialize;

use super::{
    KeyError, is_word,
    watched::{Tell, Watched},
};
use crate::config::SecretSource;

/// The name by which Bedrock's runtime is signed for.
const SERVICE: &str = "bedrock";

/// Credentials in a file, and the region that requests are signed for.
pub(crate) struct Aws {
    region: Arc<str>,
    file: Watched<AwsKey>,
    /// Whether the observer was told that what the file holds has expired.
    told_expired: Mutex<bool>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Aws")
            .field(&self.region)
            .field(&self.file)
            .finish()
    }
}

/// Credentials as a file holds them. The library keeps them in memory that is wiped, and prints none of them.
pub(crate) struct AwsKey {
    credentials: Credentials,
    expires: Option<Timestamp>,
}

/// What programs write that AWS's tools ask for credentials (`credential_process`). Other members are theirs.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

impl AwsKey {
    fn read(text: &Sensitive<String>) -> Result<Self, KeyError> {
        // what serde says of an error quotes the file
        let written: Written = serde_json::from_str(text.expose()).map_err(|_| KeyError::Form)?;
        let words = [
            Some(&written.access_key_id),
            Some(&written.secret_access_key),
            written.session_token.as_ref(),
        ];
        if written.version != 1 || !words.into_iter().flatten().all(|word| is_word(word)) {
            return Err(KeyError::Form);
        }
        let expires = written.expiration.map(|at| at.parse::<jiff::Timestamp>());
        let expires = expires.transpose().map_err(|_| KeyError::Form)?;
        let expires = expires.map(|at| Timestamp::from_unix_millis(at.as_millisecond()));
        let (id, secret) = (written.access_key_id, written.secret_access_key);
        let credentials = Credentials::new(id, secret, written.session_token, None, "file");
        Ok(Self {
            credentials,
            expires,
        })
    }
}

impl Aws {
    pub(crate) fn open(
        region: String,
        path: PathBuf,
        secrets: &Arc<dyn SecretSource>,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            region: region.into(),
            file: Watched::open(path, secrets, AwsKey::read)?,
            told_expired: Mutex::new(false),
        })
    }

    /// The credentials that are in force at `now`.
    pub(crate) fn access(&self, now: Timestamp, tell: Tell<'_>) -> Result<AwsAccess, KeyError> {
        let key = self.file.look(tell)?;
        let expired = key.expires.is_some_and(|expires| now >= expires);
        let mut told = self
            .told_expired
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if expired && !std::mem::replace(&mut *told, true) {
            tell(Err(&KeyError::Expired));
        }
        *told = expired;
        if expired {
            return Err(KeyError::Expired);
        }
        Ok(AwsAccess {
            key,
            region: Arc::clone(&self.region),
            service: SERVICE,
        })
    }
}

/// Credentials with which requests may be signed now.
pub(crate) struct AwsAccess {
    key: Arc<AwsKey>,
    region: Arc<str>,
    service: &'static str,
}

impl AwsAccess {
    /// Signs `request`, whose body has the digest `body`, as of `now`. Whatever is changed of it afterwards breaks the signature.
    ///
    /// # Errors
    /// [`KeyError::Unsignable`] where a header cannot be signed.
    pub(crate) fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: Digest,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let signed = self.signature(request, body, now);
        for (name, value) in signed.ok_or(KeyError::Unsignable)? {
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }

    /// The headers that the signature adds.
    fn signature<B>(
        &self,
        request: &Request<B>,
        body: Digest,
        now: Timestamp,
    ) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let headers = headers.collect::<Option<Vec<_>>>()?;
        let address = request.uri().to_string();
        let body = SignableBody::Precomputed(body.to_hex());
        let method = request.method().as_str();
        let signable = SignableRequest::new(method, address, headers.into_iter(), body).ok()?;
        let identity = self.key.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(system_time(now))
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let output = sign(signable, &SigningParams::from(params)).ok()?;
        let (added, _) = output.into_parts().0.into_parts();
        let added = added.into_iter().map(|header| {
            let mut value = HeaderValue::from_str(header.value()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_static(header.name()), value))
        });
        added.collect()
    }
}

fn system_time(now: Timestamp) -> SystemTime {
    let since_epoch = u64::try_from(now.unix_millis()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_millis(since_epoch)
}

#[cfg(test)]
mod tests;
