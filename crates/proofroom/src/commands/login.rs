//! `proofroom login` and `proofroom token`: a person's login at an issuer, and an access token of it for whatever program
//! asks. A refresh token is shown to nobody.

use std::{env, io::Write as _, path::PathBuf, process::ExitCode};

use clap::Args;
use proofroom::login::{Invitation, LoginAt, LoginError, access_token, default_file, login};
use proofroom_clock::wall;

use super::{Failure, INTERNAL, UNAVAILABLE, USAGE, say};

#[derive(Args, Debug)]
pub(crate) struct LoginOptions {
    /// The issuer, as the gateway's `[people]` has it.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// This program's name at the issuer.
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// What is asked for, separated by spaces. Most issuers need `offline_access` for a login that lasts.
    #[arg(long, value_name = "SCOPES", default_value = "openid offline_access")]
    scope: String,
    /// For whom the tokens are to be, where the issuer asks (RFC 8707): the gateway's `audience`.
    #[arg(long, value_name = "URL", default_value = "")]
    resource: String,
    /// The authorities of the issuer's certificate (PEM), instead of the public ones.
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    #[command(flatten)]
    file: File,
}

#[derive(Args, Debug)]
pub(crate) struct TokenOptions {
    #[command(flatten)]
    file: File,
}

#[derive(Args, Debug)]
struct File {
    /// Where the login is kept, with mode 0600; `proofroom/login.json` in the user's configuration directory without it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
#[error("neither XDG_CONFIG_HOME nor HOME says where to keep a login; give --file")]
struct NoPlace;

impl File {
    fn path(&self) -> Result<PathBuf, Failure> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let default = || {
            let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
            default_file(config, variable("HOME").map(PathBuf::from))
        };
        let found = self.file.clone().or_else(default);
        found.ok_or_else(|| Failure::new(USAGE, "login-file", NoPlace))
    }
}

pub(crate) fn log_in(options: &LoginOptions) -> Result<ExitCode, Failure> {
    let file = options.file.path()?;
    let at = LoginAt {
        issuer: options.issuer.clone(),
        client_id: options.client_id.clone(),
        scope: options.scope.clone(),
        resource: options.resource.clone(),
        authorities: options.authorities.clone(),
    };
    let done = runtime()?.block_on(login(&at, &file, wall, invite));
    done.map_err(failed)?;
    let words = "logged in; `proofroom token` prints an access token";
    // where even standard error is gone, the exit code still speaks
    drop(writeln!(anstream::stderr().lock(), "{words}"));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn token(options: &TokenOptions) -> Result<ExitCode, Failure> {
    let file = options.file.path()?;
    let token = runtime()?.block_on(access_token(&file, wall));
    let token = token.map_err(failed)?;
    say(&format!("{}\n", token.as_str())).map(|()| ExitCode::SUCCESS)
}

/// On standard error: what is on standard output is for programs.
fn invite(invitation: &Invitation) {
    let Invitation {
        page,
        code,
        page_with_code,
    } = invitation;
    let mut words = format!("open {page} and enter {code}\n");
    if let Some(page) = page_with_code {
        words.push_str(&format!("or open {page} and compare the code\n"));
    }
    // where even standard error is gone, nobody can log in, and the wait has an end
    drop(anstream::stderr().lock().write_all(words.as_bytes()));
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INTERNAL, "runtime", error))
}

fn failed(error: LoginError) -> Failure {
    let exit = match error {
        LoginError::Issuer(_) | LoginError::TooLate => UNAVAILABLE,
        _ => USAGE,
    };
    Failure::new(exit, error.code(), error)
}
