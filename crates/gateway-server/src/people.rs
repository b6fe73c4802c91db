//! People: whose access tokens are accepted, and what a rule over their claims permits. A person whom no rule speaks
//! about gets nothing. Verification is `proofroom_authn`'s; here is what surrounds it: configuration, an issuer's keys
//! and who is barred.

mod bars;
mod config;
mod issuer;
mod names;

use std::{sync::Arc, time::Duration};

use globset::{Glob, GlobMatcher};
use http::StatusCode;
use proofroom_authn::{AccessToken, TokenError, VerifiedPerson};
use proofroom_canonical::Timestamp;

pub use bars::{Bar, BarFile, BarFileError, BarredSubject, MAX_BAR_FILE_BYTES};
pub use config::{ClaimIs, IssuerConfig, PeopleConfig, PersonRule, ProofDemand};
pub(crate) use {
    bars::{BarList, Barred},
    config::RawPeople,
};

use self::issuer::{Issuer, KeysUnavailable};
use crate::{
    held::{Grant, Held},
    issuer_client::IssuerClientError,
};

/// Everybody who may come with a token.
#[derive(Debug)]
pub(crate) struct People {
    issuers: Vec<Known>,
    rules: Vec<Rule>,
    bars: BarList,
}

#[derive(Debug)]
struct Known {
    issuer: Arc<Issuer>,
    names: Vec<GlobMatcher>,
    proof: ProofDemand,
}

#[derive(Debug)]
struct Rule {
    issuer: String,
    when: Vec<ClaimIs>,
    team: String,
    grant: Arc<Grant>,
}

/// Why there is no [`People`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeopleProblem {
    #[error(transparent)]
    Bars(#[from] BarFileError),
    #[error(transparent)]
    Client(#[from] IssuerClientError),
    #[error("a glob of `people` cannot be read")]
    Glob(#[from] globset::Error),
}

/// Why a person is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PersonRefusal {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the keys of the token's issuer cannot be had now; try again in a moment")]
    Issuer(#[from] KeysUnavailable),
    #[error("the issuer may not give this name")]
    Name,
    #[error("no rule of this gateway is about you; ask its operator")]
    NoRule,
    #[error("this gateway's operator has barred you; ask them")]
    PersonBarred,
    #[error("this gateway's operator has barred this token; log in again")]
    TokenBarred,
    #[error(
        "the gateway cannot tell who is barred, so it lets nobody in; ask its operator to see to its files"
    )]
    BarsUnreadable,
    #[error(
        "the issuer's tokens must be bound to a key of yours by DPoP (`cnf.jkt`), and this one is not"
    )]
    NotBound,
}

impl PersonRefusal {
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::Issuer(_) => "issuer-unreachable",
            Self::Name => "person-name",
            Self::NoRule => "person-not-permitted",
            Self::PersonBarred => "person-barred",
            Self::TokenBarred => "token-barred",
            Self::BarsUnreadable => "bars-unreadable",
            Self::NotBound => "token-not-bound",
        }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Token(_) | Self::TokenBarred | Self::NotBound => StatusCode::UNAUTHORIZED,
            Self::Issuer(_) | Self::BarsUnreadable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Name | Self::NoRule | Self::PersonBarred => StatusCode::FORBIDDEN,
        }
    }
}

impl People {
    pub(crate) fn open(config: &PeopleConfig) -> Result<Self, PeopleProblem> {
        let known = |issuer: &IssuerConfig| {
            let names = issuer.names.iter().map(|glob| Glob::new(glob));
            let names = names.map(|glob| Ok(glob?.compile_matcher()));
            Ok(Known {
                issuer: Arc::new(Issuer::new(issuer)?),
                names: names.collect::<Result<_, globset::Error>>()?,
                proof: issuer.proof,
            })
        };
        let rule = |rule: &PersonRule| {
            let grant = Grant::new(&rule.scope, &rule.limits, &rule.session_limits)?;
            Ok(Rule {
                issuer: rule.issuer.clone(),
                when: rule.when.clone(),
                team: rule.team.clone(),
                grant: Arc::new(grant),
            })
        };
        Ok(Self {
            issuers: config
                .issuers
                .iter()
                .map(known)
                .collect::<Result<_, PeopleProblem>>()?,
            rules: config
                .rules
                .iter()
                .map(rule)
                .collect::<Result<_, PeopleProblem>>()?,
            bars: BarList::open(&config.bars)?,
        })
    }

    /// Whether anybody may come with a token.
    pub(crate) fn expects_anybody(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// The person whose token this is, with what the first rule about them permits. Whether they hold the key that the
    /// token may be bound to is for [`Held::proof_key`].
    pub(crate) async fn authenticate(
        self: &Arc<Self>,
        text: &str,
        now: Timestamp,
        uptime: Duration,
    ) -> Result<Held, PersonRefusal> {
        let token = AccessToken::parse(text)?;
        let named = |known: &&Known| known.issuer.policy().issuer == token.issuer();
        let Some(known) = self.issuers.iter().find(named) else {
            return Err(TokenError::Issuer(token.issuer().chars().take(60).collect()).into());
        };
        let keys = Issuer::keys(&known.issuer, token.key(), uptime).await?;
        let person = token.verify(known.issuer.policy(), &keys, now)?;
        if !known.names.iter().any(|glob| glob.is_match(person.name())) {
            return Err(PersonRefusal::Name);
        }
        self.bars.look();
        match self.bars(&person) {
            Barred::Nothing => {}
            Barred::Person => return Err(PersonRefusal::PersonBarred),
            Barred::Token => return Err(PersonRefusal::TokenBarred),
            Barred::Unreadable => return Err(PersonRefusal::BarsUnreadable),
        }
        if known.proof == ProofDemand::Required && person.bound_to().is_none() {
            return Err(PersonRefusal::NotBound);
        }
        let rule = self.rules.iter().find(|rule| rule.is_about(&person));
        let rule = rule.ok_or(PersonRefusal::NoRule)?;
        let (team, grant) = (&rule.team, Arc::clone(&rule.grant));
        Ok(Held::of_person(person, team, grant, Arc::clone(self)))
    }

    /// What is barred of a person and their token, as the file was looked at last.
    pub(crate) fn bars(&self, person: &VerifiedPerson) -> Barred {
        self.bars.of(person)
    }

    /// Whether the person of this id is barred, or nobody can tell.
    pub(crate) fn bars_person(&self, id: proofroom_authn::PersonId) -> bool {
        self.bars.of_person(id) != Barred::Nothing
    }

    /// Reads the bars again if they changed, and renews issuers' keys ahead. Returns at once.
    pub(crate) fn tend(&self, uptime: Duration) {
        self.bars.look();
        for known in &self.issuers {
            Issuer::renew_ahead(&known.issuer, uptime);
        }
    }

    /// Whether it is known who is barred.
    pub(crate) fn is_readable(&self) -> bool {
        self.bars.is_readable()
    }
}

impl Rule {
    fn is_about(&self, person: &VerifiedPerson) -> bool {
        // a rule without conditions is refused when the configuration is read
        self.issuer == person.issuer()
            && self
                .when
                .iter()
                .all(|claim| person.claims(&claim.claim, &claim.is))
    }
}

#[cfg(test)]
mod tests;
