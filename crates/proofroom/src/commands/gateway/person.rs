//! `proofroom gateway person`: who is barred of those who come with tokens of an issuer.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use proofroom::state::StateDir;
use proofroom_authn::PersonId;
use proofroom_canonical::Digest;
use proofroom_clock::wall;
use proofroom_gateway_server::people::{Bar, BarFile, BarFileError, BarredSubject};

use super::{
    super::{Failure, USAGE, say},
    configuration,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bar a person or a token: refused from the next request on, and answers under way break off.
    Bar(Subject),
    /// Let them in again.
    Unbar(Subject),
    /// List who is barred, one a line.
    List(Config),
}

#[derive(Args, Debug)]
pub(crate) struct Config {
    /// The gateway's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Subject {
    #[command(flatten)]
    config: Config,
    /// The person, as records name them (`client.key`).
    #[arg(long, value_name = "ID", conflicts_with_all = ["issuer", "token"])]
    person: Option<PersonId>,
    /// The token, as records name it (`client.token`).
    #[arg(long, value_name = "DIGEST", conflicts_with = "issuer")]
    token: Option<Digest>,
    /// The issuer, with `--subject` or `--token-id`.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The person, as the issuer names them (`sub`).
    #[arg(
        long,
        value_name = "SUB",
        requires = "issuer",
        conflicts_with = "token_id"
    )]
    subject: Option<String>,
    /// The token, as the issuer names it (`jti`).
    #[arg(long, value_name = "JTI", requires = "issuer")]
    token_id: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("no issuer `{asked}` is in the configuration, letter by letter; it has: {known}")]
struct UnknownIssuer {
    asked: String,
    known: String,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "say who: --person ID, --issuer URL --subject SUB, --token DIGEST, or --issuer URL --token-id JTI"
)]
struct Nobody;

impl Subject {
    fn read(&self) -> Result<BarredSubject, Failure> {
        if let Some(person) = self.person {
            return Ok(BarredSubject::Person { person });
        }
        if let Some(token) = self.token {
            return Ok(BarredSubject::Token { token });
        }
        match (&self.issuer, &self.subject, &self.token_id) {
            (Some(issuer), Some(subject), None) => Ok(BarredSubject::Person {
                person: PersonId::of(issuer, subject),
            }),
            (Some(issuer), None, Some(id)) => Ok(BarredSubject::TokenId {
                issuer: issuer.clone(),
                id: id.clone(),
            }),
            _ => Err(Failure::new(USAGE, "person-unnamed", Nobody)),
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Bar(subject) => bar(subject),
        Command::Unbar(subject) => unbar(subject),
        Command::List(options) => list(options),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn bar(options: &Subject) -> Result<(), Failure> {
    let (subject, config) = (options.read()?, opened(&options.config)?);
    // a bar at an issuer that is nobody's would bar nobody, and say that it did
    if let Some(asked) = &options.issuer {
        known_issuer(asked, &config)?;
    }
    let path = config.people.bars;
    let words = format!("barred {}\n", shown(&subject));
    let bar = Bar {
        subject,
        since: wall(),
    };
    BarFile::change(&path, |file| {
        if !file.bars.iter().any(|known| known.subject == bar.subject) {
            file.bars.push(bar);
        }
    })
    .map_err(refused)?;
    say(&words)
}

fn unbar(options: &Subject) -> Result<(), Failure> {
    let (subject, path) = (options.read()?, opened(&options.config)?.people.bars);
    let found = BarFile::change(&path, |file| {
        let before = file.bars.len();
        file.bars.retain(|bar| bar.subject != subject);
        file.bars.len() < before
    })
    .map_err(refused)?;
    let words = if found {
        "let in again:"
    } else {
        "was not barred:"
    };
    say(&format!("{words} {}\n", shown(&subject)))
}

fn list(options: &Config) -> Result<(), Failure> {
    let file = BarFile::load(&opened(options)?.people.bars).map_err(refused)?;
    let lines = file
        .bars
        .iter()
        .map(|bar| format!("{} since {}\n", shown(&bar.subject), bar.since));
    say(&lines.collect::<String>())
}

fn shown(subject: &BarredSubject) -> String {
    match subject {
        BarredSubject::Person { person } => person.to_string(),
        BarredSubject::Token { token } => format!("token {token}"),
        BarredSubject::TokenId { issuer, id } => format!("token `{id}` of `{issuer}`"),
    }
}

fn known_issuer(asked: &str, config: &proofroom_gateway_server::Config) -> Result<(), Failure> {
    let issuers = config.people.issuers.iter();
    let known: Vec<&str> = issuers.map(|one| one.policy.issuer.as_str()).collect();
    if known.contains(&asked) {
        return Ok(());
    }
    let unknown = UnknownIssuer {
        asked: asked.to_owned(),
        known: match known.is_empty() {
            true => "none".to_owned(),
            false => known.join(", "),
        },
    };
    Err(Failure::new(USAGE, "issuer-unknown", unknown))
}

fn opened(options: &Config) -> Result<proofroom_gateway_server::Config, Failure> {
    let config = configuration(&options.config)?;
    // the file may be the first thing in it
    StateDir::open(&config.state).map_err(|error| Failure::new(USAGE, error.code(), error))?;
    Ok(config)
}

fn refused(error: BarFileError) -> Failure {
    Failure::new(USAGE, error.code(), error)
}
