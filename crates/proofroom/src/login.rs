//! A person's login at an issuer, from a machine that may have no browser: the device authorization grant (RFC 8628). The
//! refresh token stays in one file of mode 0600; access tokens are fetched with it as they are needed.

mod answer;

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proofroom_canonical::{Digest, Timestamp, json};
use proofroom_gateway_server::issuer_client::{Discovery, IssuerClient, IssuerClientError};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use self::answer::{Granted, Polled};
use crate::keys::{KeyError, random, read_secret};

/// The most bytes of the file: two tokens and a few names.
const MAX_LOGIN_BYTES: usize = 128 * 1024;
/// An access token that ends sooner is not handed out: whoever asked for it still has to use it.
const LEFT_SECONDS: i64 = 60;
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Why somebody is not logged in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The issuer did not answer, or as another.
    #[error(transparent)]
    Issuer(#[from] IssuerClientError),
    /// An issuer without the grant.
    #[error("the issuer has no {0}, so that one cannot log in there from a terminal")]
    NotOffered(&'static str),
    /// An answer that cannot be read.
    #[error("the issuer's answer is not what RFC 8628 and RFC 6749 say: {0}")]
    Answer(&'static str),
    /// The person said no.
    #[error("the login was denied at the issuer")]
    Denied,
    /// Nobody came.
    #[error("nobody entered the code in time; run `proofroom login` again")]
    TooLate,
    /// The issuer says no.
    #[error("the issuer refused with `{0}`")]
    Refused(String),
    /// The login is over.
    #[error("the login has ended at the issuer (`{0}`); run `proofroom login` again")]
    Ended(String),
    /// There is no login.
    #[error("nobody is logged in (`{0}` is not there); run `proofroom login` first")]
    Absent(PathBuf),
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] KeyError),
    /// What is in the file is no login.
    #[error("`{0}` does not hold a login; remove it, and run `proofroom login` again")]
    Malformed(PathBuf),
}

impl LoginError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Issuer(error) => error.code(),
            Self::NotOffered(_) => "login-not-offered",
            Self::Answer(_) => "login-answer",
            Self::Denied => "login-denied",
            Self::TooLate => "login-too-late",
            Self::Refused(_) => "login-refused",
            Self::Ended(_) => "login-ended",
            Self::Absent(_) => "login-absent",
            Self::File(_) => "login-file",
            Self::Malformed(_) => "login-malformed",
        }
    }
}

/// Where somebody logs in, and as what program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginAt {
    /// The issuer.
    pub issuer: String,
    /// This program's name there.
    pub client_id: String,
    /// What is asked for, separated by spaces.
    pub scope: String,
    /// For whom the tokens are to be (RFC 8707); empty where the issuer knows it by the program.
    pub resource: String,
    /// The authorities of the issuer's certificate, instead of the public ones.
    pub authorities: Option<PathBuf>,
}

/// What a person has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The page to open.
    pub page: String,
    /// The code to enter there.
    pub code: String,
    /// The page with the code in its address, if the issuer has one.
    pub page_with_code: Option<String>,
}

/// A login as its file holds it.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Login {
    version: u32,
    #[zeroize(skip)]
    at: LoginAt,
    refresh_token: String,
    access_token: String,
    /// Seconds since 1970 at which the access token ends.
    expires: i64,
}

/// The file that logins are kept in, in the user's configuration directory.
#[must_use]
pub fn default_file(config: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let config = config.filter(|path| path.is_absolute());
    let base = config.or_else(|| home.map(|home| home.join(".config")))?;
    Some(base.join("proofroom").join("login.json"))
}

/// Logs in: `invite` is told what the person has to do, and the issuer is asked until they have done it. The login
/// replaces whatever is in `file`.
///
/// # Errors
/// See [`LoginError`].
pub async fn login(
    at: &LoginAt,
    file: &Path,
    now: fn() -> Timestamp,
    invite: impl FnOnce(&Invitation),
) -> Result<(), LoginError> {
    let _lock = lock(file)?;
    let client = IssuerClient::new(&at.issuer, at.authorities.as_deref())?;
    let found = client.discover().await?;
    let token_endpoint = endpoint(found.token_endpoint.as_ref(), "token endpoint")?;
    let device = found.device_authorization_endpoint.as_ref();
    let device = endpoint(device, "device authorization")?;
    let challenge = Challenge::offered(&found)?;
    let mut form = Form::of(&[("client_id", &at.client_id), ("scope", &at.scope)]);
    form.add_if_any("resource", &at.resource);
    if let Some(challenge) = &challenge {
        form.add("code_challenge", &challenge.digest());
        form.add("code_challenge_method", "S256");
    }
    let begun = answer::begun(client.post(device, form.take().to_string()).await?)?;
    invite(&begun.invitation);
    let mut form = Form::of(&[
        ("grant_type", DEVICE_GRANT),
        ("device_code", &begun.device_code),
        ("client_id", &at.client_id),
    ]);
    if let Some(challenge) = &challenge {
        form.add("code_verifier", &challenge.verifier);
    }
    let form = form.take();
    let (mut pause, until) = (
        begun.interval,
        now().unix_seconds().saturating_add(begun.lasts),
    );
    loop {
        tokio::time::sleep(pause).await;
        match answer::polled(&client.post(token_endpoint, form.to_string()).await?)? {
            Polled::Granted(granted) => return keep(at, file, &granted, "", now()),
            Polled::Pending => {}
            // RFC 8628 section 3.5
            Polled::SlowDown => pause = pause.saturating_add(Duration::from_secs(5)),
        }
        if now().unix_seconds() >= until {
            return Err(LoginError::TooLate);
        }
    }
}

/// An access token that is good for a minute at least, fetched anew where the last one is not.
///
/// # Errors
/// See [`LoginError`].
pub async fn access_token(
    file: &Path,
    now: fn() -> Timestamp,
) -> Result<Zeroizing<String>, LoginError> {
    let _lock = lock(file)?;
    let login = read(file)?;
    if login.expires.saturating_sub(now().unix_seconds()) > LEFT_SECONDS {
        return Ok(Zeroizing::new(login.access_token.clone()));
    }
    let at = &login.at;
    let client = IssuerClient::new(&at.issuer, at.authorities.as_deref())?;
    let found = client.discover().await?;
    let token_endpoint = endpoint(found.token_endpoint.as_ref(), "token endpoint")?;
    let mut form = Form::of(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", &login.refresh_token),
        ("client_id", &at.client_id),
    ]);
    form.add_if_any("resource", &at.resource);
    let granted = answer::refreshed(client.post(token_endpoint, form.take().to_string()).await?)?;
    // before it is used: an issuer may have ended the old refresh token with this answer
    keep(at, file, &granted, &login.refresh_token, now())?;
    Ok(Zeroizing::new(read(file)?.access_token.clone()))
}

/// Writes a grant down. An issuer that gives no new refresh token leaves the old one in force.
fn keep(
    at: &LoginAt,
    file: &Path,
    granted: &Granted,
    old_refresh: &str,
    now: Timestamp,
) -> Result<(), LoginError> {
    let refresh = match granted.refresh_token.is_empty() {
        true => old_refresh,
        false => granted.refresh_token.as_str(),
    };
    if refresh.is_empty() {
        let words = "it has no refresh token; does --scope ask for one (`offline_access`)?";
        return Err(LoginError::Answer(words));
    }
    let login = Login {
        version: 1,
        at: at.clone(),
        refresh_token: refresh.to_owned(),
        access_token: granted.access_token.to_string(),
        expires: now.unix_seconds().saturating_add(granted.lasts),
    };
    let bytes = json::to_bytes(&login).map_err(|_| LoginError::Malformed(file.to_owned()))?;
    let bytes = Zeroizing::new(bytes);
    crate::files::replace(file, &bytes).map_err(|source| unusable(file, source))
}

fn read(file: &Path) -> Result<Login, LoginError> {
    if !file.exists() {
        return Err(LoginError::Absent(file.to_owned()));
    }
    let text = read_secret(file)?;
    let login: Login = json::parse(text.as_bytes(), MAX_LOGIN_BYTES)
        .map_err(|_| LoginError::Malformed(file.to_owned()))?;
    match login.version {
        1 => Ok(login),
        _ => Err(LoginError::Malformed(file.to_owned())),
    }
}

/// Two commands at once must not both use a refresh token that is good once.
fn lock(file: &Path) -> Result<fs::File, LoginError> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|source| unusable(folder, source))?;
    let path = file.with_extension("lock");
    crate::files::lock(&path).map_err(|source| unusable(&path, source))
}

fn unusable(path: &Path, source: std::io::Error) -> LoginError {
    LoginError::File(KeyError::File {
        path: path.to_owned(),
        source,
    })
}

fn endpoint<'a>(found: Option<&'a String>, name: &'static str) -> Result<&'a str, LoginError> {
    found
        .map(String::as_str)
        .ok_or(LoginError::NotOffered(name))
}

/// Binds the code to whoever asked for it (RFC 7636), where the issuer offers that.
struct Challenge {
    verifier: Zeroizing<String>,
}

impl Challenge {
    fn offered(found: &Discovery) -> Result<Option<Self>, LoginError> {
        let methods = &found.code_challenge_methods_supported;
        if !methods.iter().any(|method| method == "S256") {
            return Ok(None);
        }
        let bytes = Zeroizing::new(random::<32>()?);
        let verifier = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        Ok(Some(Self { verifier }))
    }

    fn digest(&self) -> String {
        URL_SAFE_NO_PAD.encode(Digest::of(self.verifier.as_bytes()).as_bytes())
    }
}

/// A form that holds secrets.
struct Form(Zeroizing<String>);

impl Form {
    fn of(pairs: &[(&str, &str)]) -> Self {
        let mut form = Self(Zeroizing::new(String::new()));
        for (name, value) in pairs {
            form.add(name, value);
        }
        form
    }

    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }

    fn add_if_any(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.add(name, value);
        }
    }

    fn take(self) -> Zeroizing<String> {
        self.0
    }
}
