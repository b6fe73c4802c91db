//! How the gateway proves itself to an upstream: a key, or a signature. What comes from a file is read again whenever the file
//! changes; a file that cannot be read or used closes its upstream, and the key of before is not used again.

mod aws;
mod service_account;
#[cfg(test)]
pub(crate) mod testing;
mod watched;

use std::{fmt, io, path::PathBuf, sync::Arc};

use http::{HeaderName, HeaderValue, StatusCode, header};
use proofroom_canonical::Sensitive;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{config::SecretSource, gateway::Core, observe::RunEvent, refusal::Refusal};

pub(crate) use aws::{Aws, AwsAccess};
pub(crate) use service_account::ServiceAccount;
pub(crate) use watched::Watched;

/// How the gateway proves itself to an upstream. No key ever comes from a request.
#[derive(Debug)]
pub struct Credential(Kind);

#[derive(Debug)]
enum Kind {
    None,
    /// The configuration was read to be judged, without its keys.
    NotRead,
    Fixed(KeyHeader, Key),
    File(KeyHeader, Watched<Key>),
    Aws(Aws),
    ServiceAccount(Arc<ServiceAccount>),
}

/// Which header carries a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHeader {
    /// `authorization: Bearer <key>`.
    Bearer,
    /// `x-api-key: <key>`.
    XApiKey,
    /// `api-key: <key>`: Azure OpenAI.
    ApiKey,
}

/// One line of visible ASCII.
pub(crate) struct Key(Sensitive<String>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Why nothing can be proved to an upstream now, so that nothing is sent to it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The configuration was read without its keys.
    #[error("the gateway's keys were not read; nothing was sent")]
    NotRead,
    /// The key's file cannot be read.
    #[error(
        "the file of the gateway's key cannot be read ({0}); ask the operator to see to it; nothing was sent"
    )]
    Unreadable(io::ErrorKind),
    /// The key's file does not hold a key.
    #[error(
        "the file of the gateway's key does not hold one; ask the operator to see to it; nothing was sent"
    )]
    Form,
    /// The credentials in the file ended.
    #[error(
        "the gateway's credentials for the upstream have expired; ask the operator to renew them; nothing was sent"
    )]
    Expired,
    /// The file of a service account sends its key's assertions elsewhere than the configuration says.
    #[error(
        "the file of the gateway's service account names another token endpoint than `key.token_host`, or one that is not `https://`; ask the operator to see to it; nothing was sent"
    )]
    TokenHost,
    /// The token endpoint cannot be reached, or is busy.
    #[error(
        "the endpoint of the gateway's access token cannot be reached; try again later; nothing was sent"
    )]
    TokenUnreachable,
    /// The token endpoint refuses the service account.
    #[error(
        "the gateway's service account is refused an access token (HTTP status {0}); ask the operator to renew its key; nothing was sent"
    )]
    TokenRefused(u16),
    /// The token endpoint's answer holds no token.
    #[error(
        "the answer of the endpoint of the gateway's access token holds none; nothing was sent"
    )]
    TokenMalformed,
    /// The request cannot be signed with them.
    #[error(
        "the request cannot be signed with the gateway's credentials; ask the operator to see to them; nothing was sent"
    )]
    Unsignable,
}

impl KeyError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotRead => "key-not-read",
            Self::Unreadable(_) => "key-unreadable",
            Self::Form => "key-form",
            Self::Expired => "key-expired",
            Self::TokenHost => "token-host",
            Self::TokenUnreachable => "token-endpoint-unreachable",
            Self::TokenRefused(_) => "token-refused",
            Self::TokenMalformed => "token-malformed",
            Self::Unsignable => "key-unsignable",
        }
    }

    pub(crate) fn refusal(&self) -> Refusal {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Refusal::new(status, self.code(), self.to_string())
    }
}

impl From<io::Error> for KeyError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.kind())
    }
}

/// What a request carries to prove who sends it.
pub(crate) enum Access {
    None,
    /// A key in a header.
    Header(HeaderName, HeaderValue),
    /// A signature over the request (AWS Signature Version 4).
    Signature(AwsAccess),
}

impl Credential {
    pub(crate) const fn none() -> Self {
        Self(Kind::None)
    }

    pub(crate) const fn not_read() -> Self {
        Self(Kind::NotRead)
    }

    /// A key that stays as it is.
    pub(crate) fn fixed(header: KeyHeader, text: &Sensitive<String>) -> Result<Self, KeyError> {
        Ok(Self(Kind::Fixed(header, Key::read(text)?)))
    }

    /// The key in the file at `path`.
    pub(crate) fn file(
        header: KeyHeader,
        path: PathBuf,
        secrets: &Arc<dyn SecretSource>,
    ) -> Result<Self, KeyError> {
        let file = Watched::open(path, secrets, Key::read)?;
        Ok(Self(Kind::File(header, file)))
    }

    /// The credentials of AWS in the file at `path`, for requests to `region`.
    pub(crate) fn aws(
        region: String,
        path: PathBuf,
        secrets: &Arc<dyn SecretSource>,
    ) -> Result<Self, KeyError> {
        Ok(Self(Kind::Aws(Aws::open(region, path, secrets)?)))
    }

    /// The access tokens of the service account in the file at `path`, from an endpoint at `token_host`.
    pub(crate) fn service_account(
        token_host: String,
        path: PathBuf,
        secrets: &Arc<dyn SecretSource>,
    ) -> Result<Self, KeyError> {
        let account = ServiceAccount::open(token_host, path, secrets)?;
        Ok(Self(Kind::ServiceAccount(Arc::new(account))))
    }

    /// Whether requests are signed with credentials of AWS.
    pub(crate) const fn is_aws(&self) -> bool {
        matches!(self.0, Kind::Aws(_))
    }

    /// What a request to `upstream` carries now.
    ///
    /// # Errors
    /// [`KeyError`], which was told to the observer when it began.
    pub(crate) async fn access(
        &self,
        core: &Arc<Core>,
        upstream: &str,
    ) -> Result<Access, KeyError> {
        match &self.0 {
            // asking for a token is rare and large: it takes no room in a run's own future
            Kind::ServiceAccount(account) => Box::pin(account.access(core, upstream)).await,
            _ => self.at_hand(core, upstream),
        }
    }

    /// Looks whether files changed, and asks for tokens ahead of traffic. Returns at once.
    pub(crate) fn keep(&self, core: &Arc<Core>, upstream: &str) {
        match &self.0 {
            Kind::ServiceAccount(account) => account.keep(core, upstream),
            // what is wrong was told to the observer
            _ => drop(self.at_hand(core, upstream)),
        }
    }

    /// What a request carries for which nobody has to be asked.
    fn at_hand(&self, core: &Core, upstream: &str) -> Result<Access, KeyError> {
        match &self.0 {
            Kind::None => Ok(Access::None),
            Kind::NotRead | Kind::ServiceAccount(_) => Err(KeyError::NotRead),
            Kind::Fixed(header, key) => key.access(*header),
            Kind::File(header, file) => {
                let key = file.look(&|change| told(core, upstream, change))?;
                key.access(*header)
            }
            Kind::Aws(aws) => {
                let now = core.clock.now();
                let access = aws.access(now, &|change| told(core, upstream, change))?;
                Ok(Access::Signature(access))
            }
        }
    }
}

#[cfg(test)]
impl Credential {
    /// Name and value of the header that a request would carry now.
    pub(crate) fn header_now(&self) -> Option<(String, String)> {
        let key = match &self.0 {
            Kind::Fixed(header, key) => key.access(*header),
            Kind::File(header, file) => file.look(&|_| {}).and_then(|key| key.access(*header)),
            Kind::None | Kind::NotRead | Kind::Aws(_) | Kind::ServiceAccount(_) => return None,
        };
        match key {
            Ok(Access::Header(name, value)) => {
                Some((name.to_string(), value.to_str().unwrap().to_owned()))
            }
            _ => None,
        }
    }
}

/// Tells the observer what became of an upstream's key.
fn told(core: &Core, upstream: &str, change: Result<(), &KeyError>) {
    let upstream = upstream.to_owned();
    core.observer.observe(&match change {
        Ok(()) => RunEvent::UpstreamKeyRead { upstream },
        Err(error) => RunEvent::UpstreamClosed {
            upstream,
            code: error.code(),
        },
    });
}

impl Key {
    fn read(text: &Sensitive<String>) -> Result<Self, KeyError> {
        let key = text.expose().trim();
        if !is_word(key) {
            return Err(KeyError::Form);
        }
        Ok(Self(Sensitive::new(key.to_owned())))
    }

    fn access(&self, header: KeyHeader) -> Result<Access, KeyError> {
        let key = self.0.expose();
        let (name, text) = match header {
            KeyHeader::Bearer => (header::AUTHORIZATION, format!("Bearer {key}")),
            KeyHeader::XApiKey => (HeaderName::from_static("x-api-key"), key.clone()),
            KeyHeader::ApiKey => (HeaderName::from_static("api-key"), key.clone()),
        };
        let text = Zeroizing::new(text);
        let mut value = HeaderValue::from_str(&text).map_err(|_| KeyError::Form)?;
        value.set_sensitive(true);
        Ok(Access::Header(name, value))
    }
}

/// Whether `text` is visible ASCII, and some.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
