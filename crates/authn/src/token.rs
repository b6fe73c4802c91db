//! Access tokens of people: JWTs of an issuer that is named in the configuration, by RFC 9068 and the advice of RFC 8725.

use proofroom_canonical::{Digest, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    algorithm::Algorithm,
    jwk::Thumbprint,
    jws::{Jws, JwsError, shown},
    key_set::KeySet,
    person::PersonId,
};

/// How far the clocks of issuer and gateway may be apart.
pub const LEEWAY_SECONDS: i64 = 30;

/// What a token's header may have. `x5t` names a certificate and is not followed; whatever brings a key, an address
/// or a condition (`jwk`, `x5c`, `jku`, `x5u`, `crit`) refuses the token.
const HEADER: [&str; 5] = ["alg", "typ", "kid", "x5t", "x5t#S256"];
/// Claims that an ID token alone has (OpenID Connect Core sections 2 and 3.3.2.11).
const OF_ID_TOKENS: [&str; 4] = ["nonce", "at_hash", "c_hash", "s_hash"];
const MAX_AUDIENCES: usize = 16;
const MAX_SUBJECT: usize = 255;
const MAX_TOKEN_ID: usize = 255;
/// The longest name of a person, as records and limits name users.
const MAX_NAME: usize = 128;

/// How an issuer's access tokens say that they are such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TokenKind {
    /// `typ` is `at+jwt`, and the claims are those of RFC 9068 section 2.2.
    #[serde(rename = "at+jwt")]
    AccessToken,
    /// `typ` is `JWT`, as of issuers from before RFC 9068: an access token is known by a scope, and by no claim
    /// that ID tokens have.
    #[serde(rename = "jwt")]
    UntypedAccessToken,
}

/// The claim that names a person for rules, limits and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameClaim {
    /// `sub`.
    Sub,
    /// `email` in lower case, of which the issuer says `email_verified`. No other claim will do: OpenID Connect Core section
    /// 5.7 has `preferred_username` neither unique nor lasting, and people may choose it.
    Email,
}

impl NameClaim {
    const fn claim(self) -> &'static str {
        match self {
            Self::Sub => "sub",
            Self::Email => "email",
        }
    }
}

/// What is asked of an issuer's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerPolicy {
    /// `iss`, exactly.
    pub issuer: String,
    /// What must be among `aud`.
    pub audience: String,
    /// The algorithms that are allowed.
    pub algorithms: Vec<Algorithm>,
    /// How its access tokens say that they are such.
    pub kind: TokenKind,
    /// The longest time from `iat` to `exp`, in seconds.
    pub longest_life_seconds: i64,
    /// The claim that names people.
    pub name: NameClaim,
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a JWS that is looked at.
    #[error("the token cannot be read: {0}")]
    Malformed(#[source] JwsError),
    /// Another type.
    #[error("the token's `typ` is `{0}`, which is not what this issuer's access tokens have")]
    Type(String),
    /// An algorithm that is not allowed.
    #[error("the token's `alg` is `{0}`, which is not allowed for this issuer")]
    Algorithm(String),
    /// No `kid`.
    #[error("the token does not name its key")]
    KeyUnnamed,
    /// A `kid` that the issuer does not publish.
    #[error("the issuer has no key `{0}` for signatures")]
    KeyUnknown(String),
    /// Another algorithm than the key's.
    #[error("the token's `alg` is not the one of the key that it names")]
    KeyUnfit,
    /// Not signed by the key.
    #[error("the token is not signed by the key that it names")]
    Signature,
    /// Another issuer than the policy's.
    #[error("no issuer `{0}` is configured")]
    Issuer(String),
    /// For somebody else.
    #[error("the token is not for this gateway: its audience is another")]
    Audience,
    /// Expired.
    #[error("the token has expired; get another, with `proofroom token` or as your client does")]
    Expired,
    /// From the future.
    #[error("the token is not valid yet; is the clock right?")]
    NotYet,
    /// Valid for too long.
    #[error("the token is valid for longer than this gateway accepts")]
    Life,
    /// A claim that is missing, or of another shape.
    #[error("the token's claim `{0}` is missing or not what it must be")]
    Claim(&'static str),
    /// An ID token.
    #[error(
        "this is no access token: it has `{0}` as ID tokens have, or no scope; send the access token"
    )]
    IdToken(&'static str),
    /// It is bound in a way that cannot be checked.
    #[error("the token is bound to its client in another way than by DPoP (`cnf.jkt`)")]
    Confirmation,
}

impl TokenError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(JwsError::Member(_)) => "token-header",
            Self::Malformed(_) => "token-malformed",
            Self::Type(_) => "token-type",
            Self::Algorithm(_) => "token-algorithm",
            Self::KeyUnnamed => "token-key-unnamed",
            Self::KeyUnknown(_) => "token-key-unknown",
            Self::KeyUnfit => "token-key-unfit",
            Self::Signature => "token-signature",
            Self::Issuer(_) => "token-issuer",
            Self::Audience => "token-audience",
            Self::Expired => "token-expired",
            Self::NotYet => "token-not-yet-valid",
            Self::Life => "token-life",
            Self::Claim(_) => "token-claim",
            Self::IdToken(_) => "token-of-a-client",
            Self::Confirmation => "token-confirmation",
        }
    }
}

/// A token that was taken apart, of which nothing is verified: what it says of issuer and key serves to find
/// that key.
#[derive(Debug)]
pub struct AccessToken<'a> {
    jws: Jws<'a>,
}

/// A person whose token was verified: signature, issuer, audience, time and form. What they may do is for rules
/// over [`Self::claims`]. [`AccessToken::verify`] alone makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedPerson {
    id: PersonId,
    issuer: String,
    name: String,
    token: Digest,
    token_id: Option<String>,
    expires: Timestamp,
    confirmation: Confirmation,
    claims: Map<String, Value>,
}

impl std::fmt::Debug for VerifiedPerson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // what the issuer says of somebody is nobody else's
        f.debug_tuple("VerifiedPerson").field(&self.id).finish()
    }
}

/// Whom a token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmation {
    /// Whoever has it.
    Bearer,
    /// Whoever has it and the key of this thumbprint (RFC 9449 section 6.1).
    Key(Thumbprint),
}

impl<'a> AccessToken<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::KeyUnnamed`], and [`TokenError::Claim`] where it names no issuer.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        let jws = Jws::parse(text, &HEADER).map_err(TokenError::Malformed)?;
        let token = Self { jws };
        if token.key().is_empty() {
            return Err(TokenError::KeyUnnamed);
        }
        if token.issuer().is_empty() {
            return Err(TokenError::Claim("iss"));
        }
        Ok(token)
    }

    /// Who is said to have issued it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        text(self.jws.claims(), "iss").unwrap_or_default()
    }

    /// The issuer's name of the key that is said to have signed it.
    #[must_use]
    pub fn key(&self) -> &str {
        self.jws.header("kid").unwrap_or_default()
    }

    /// Verifies it as `policy` asks, with the issuer's `keys`, at `now`.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(
        self,
        policy: &IssuerPolicy,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<VerifiedPerson, TokenError> {
        if self.issuer() != policy.issuer {
            return Err(TokenError::Issuer(shown(self.issuer())));
        }
        self.verify_type(policy.kind)?;
        self.verify_signature(policy, keys)?;
        let token = self.jws.digest();
        let claims = self.jws.into_claims();
        let expires = verify_times(&claims, policy, now)?;
        verify_audience(&claims, &policy.audience)?;
        verify_kind(&claims, policy.kind)?;
        let subject = bounded(&claims, "sub", MAX_SUBJECT).ok_or(TokenError::Claim("sub"))?;
        let token_id = match claims.contains_key("jti") {
            true => Some(bounded(&claims, "jti", MAX_TOKEN_ID).ok_or(TokenError::Claim("jti"))?),
            false => None,
        };
        Ok(VerifiedPerson {
            id: PersonId::of(&policy.issuer, subject),
            issuer: policy.issuer.clone(),
            name: name(&claims, policy.name)?,
            token,
            token_id: token_id.map(str::to_owned),
            expires,
            confirmation: confirmation(&claims)?,
            claims,
        })
    }

    fn verify_type(&self, kind: TokenKind) -> Result<(), TokenError> {
        let wanted = match kind {
            TokenKind::AccessToken => "at+jwt",
            TokenKind::UntypedAccessToken => "jwt",
        };
        // RFC 7515 section 4.1.9: a media type, whose `application/` may be left out
        let found = self.jws.header("typ").unwrap_or_default();
        let lower = found.to_ascii_lowercase();
        if lower.strip_prefix("application/").unwrap_or(&lower) == wanted {
            return Ok(());
        }
        Err(TokenError::Type(shown(found)))
    }

    fn verify_signature(&self, policy: &IssuerPolicy, keys: &KeySet) -> Result<(), TokenError> {
        let name = self.jws.header("alg").unwrap_or_default();
        let algorithm = name.parse::<Algorithm>();
        let allowed = algorithm.ok().filter(|one| policy.algorithms.contains(one));
        let algorithm = allowed.ok_or_else(|| TokenError::Algorithm(shown(name)))?;
        let found = keys.find(self.key());
        let (of_key, key) = found.ok_or_else(|| TokenError::KeyUnknown(shown(self.key())))?;
        if of_key != algorithm {
            return Err(TokenError::KeyUnfit);
        }
        if key.signed(algorithm, self.jws.signed(), self.jws.signature()) {
            return Ok(());
        }
        Err(TokenError::Signature)
    }
}

impl VerifiedPerson {
    /// The person: of issuer and subject alone.
    #[must_use]
    pub const fn id(&self) -> PersonId {
        self.id
    }

    /// Who says so.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Their name, 1 to 128 printable ASCII characters.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of what is signed of the token.
    #[must_use]
    pub const fn token(&self) -> Digest {
        self.token
    }

    /// The issuer's name of the token, if it has one.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// When the token ends, leeway included.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The key without which the token is nobody's, where it is bound to one.
    #[must_use]
    pub const fn bound_to(&self) -> Option<Thumbprint> {
        match self.confirmation {
            Confirmation::Bearer => None,
            Confirmation::Key(key) => Some(key),
        }
    }

    /// Whether the claim at `path` (a member of a member, from the outside) is `value`, has it among its entries, or,
    /// if it is `scope` (RFC 8693 section 4.2), among its words.
    #[must_use]
    pub fn claims(&self, path: &[String], value: &str) -> bool {
        let mut names = path.iter();
        let Some(mut found) = names.next().and_then(|name| self.claims.get(name)) else {
            return false;
        };
        for name in names {
            match found.get(name) {
                Some(inner) => found = inner,
                None => return false,
            }
        }
        let words = path
            .last()
            .is_some_and(|name| name == "scope" || name == "scp");
        match found {
            Value::String(text) if words => text.split(' ').any(|word| word == value),
            Value::String(text) => text == value,
            Value::Array(entries) => entries.iter().any(|entry| entry == value),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        }
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

fn bounded<'a>(claims: &'a Map<String, Value>, name: &str, most: usize) -> Option<&'a str> {
    let found = text(claims, name)?;
    (!found.is_empty() && found.len() <= most).then_some(found)
}

fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<i64, TokenError> {
    let found = claims.get(name).and_then(Value::as_i64);
    // after the year 9999 sums could overflow, and no token lives that long
    found
        .filter(|at| (0..253_402_300_800).contains(at))
        .ok_or(TokenError::Claim(name))
}

/// `exp`, `iat` and `nbf` (RFC 7519 section 4.1); returns when the token ends.
fn verify_times(
    claims: &Map<String, Value>,
    policy: &IssuerPolicy,
    now: Timestamp,
) -> Result<Timestamp, TokenError> {
    let now = now.unix_seconds();
    let (expires, issued) = (seconds(claims, "exp")?, seconds(claims, "iat")?);
    let begins = match claims.contains_key("nbf") {
        true => seconds(claims, "nbf")?,
        false => issued,
    };
    let ends = expires.saturating_add(LEEWAY_SECONDS);
    if now >= ends {
        return Err(TokenError::Expired);
    }
    if issued.max(begins) > now.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::NotYet);
    }
    let life = expires.saturating_sub(issued);
    if life <= 0 || life > policy.longest_life_seconds {
        return Err(TokenError::Life);
    }
    Ok(Timestamp::from_unix_seconds(ends))
}

fn verify_audience(claims: &Map<String, Value>, wanted: &str) -> Result<(), TokenError> {
    let meant = match claims.get("aud") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(all)) if all.len() <= MAX_AUDIENCES => {
            all.iter().any(|one| one == wanted)
        }
        _ => return Err(TokenError::Claim("aud")),
    };
    meant.then_some(()).ok_or(TokenError::Audience)
}

fn verify_kind(claims: &Map<String, Value>, kind: TokenKind) -> Result<(), TokenError> {
    if kind == TokenKind::AccessToken {
        for name in ["client_id", "jti"] {
            text(claims, name).ok_or(TokenError::Claim(name))?;
        }
        return Ok(());
    }
    if let Some(name) = OF_ID_TOKENS.iter().find(|name| claims.contains_key(**name)) {
        return Err(TokenError::IdToken(name));
    }
    // Keycloak says in the claims what a token is, `DPoP` of those that it binds
    let says = claims.get("typ");
    if says.is_some_and(|kind| kind != "Bearer" && kind != "DPoP") {
        return Err(TokenError::IdToken("typ"));
    }
    if !claims.contains_key("scope") && !claims.contains_key("scp") {
        return Err(TokenError::IdToken("no scope"));
    }
    Ok(())
}

fn name(claims: &Map<String, Value>, by: NameClaim) -> Result<String, TokenError> {
    let wrong = || TokenError::Claim(by.claim());
    let name = bounded(claims, by.claim(), MAX_NAME).ok_or_else(wrong)?;
    let graphic = |byte: u8| byte.is_ascii_graphic();
    match by {
        NameClaim::Sub if name.bytes().all(|byte| graphic(byte) || byte == b' ') => {
            Ok(name.to_owned())
        }
        // limits and clearances compare names letter by letter, and mail does not
        NameClaim::Email
            if name.bytes().all(graphic)
                && claims.get("email_verified") == Some(&Value::Bool(true)) =>
        {
            Ok(name.to_ascii_lowercase())
        }
        NameClaim::Sub | NameClaim::Email => Err(wrong()),
    }
}

/// `cnf` (RFC 7800): nobody, or a key by its thumbprint. A token that is bound in any other way as well is not a
/// bearer's.
fn confirmation(claims: &Map<String, Value>) -> Result<Confirmation, TokenError> {
    let Some(bound) = claims.get("cnf") else {
        return Ok(Confirmation::Bearer);
    };
    let bound = bound.as_object().ok_or(TokenError::Confirmation)?;
    let key = bound.get("jkt").and_then(Value::as_str);
    match (key.and_then(|text| text.parse().ok()), bound.len()) {
        (Some(key), 1) => Ok(Confirmation::Key(key)),
        _ => Err(TokenError::Confirmation),
    }
}
