//! `proofroom gateway proxy`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use proofroom::{
    collateral::CollateralSource,
    keys::open_holder_key,
    measure::read,
    proxy::{Proxy, ProxyError, ProxyParts},
    verified_gateway::{GatewayPolicy, NotVerified, ShownError},
};
use proofroom_authn::{HolderKey, Origin};
use proofroom_verifier::AppraisalPolicy;
use serde_json::json;

use super::super::{DIFFERENT, Failure, INTERNAL, UNAVAILABLE, UNKNOWN, USAGE, say};

/// Policies are refused above that.
const MAX_POLICY_BYTES: usize = 64 * 1024;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The key by which requests are proved, made with mode 0600 if it is not there.
    #[arg(long, value_name = "FILE")]
    client_key: PathBuf,
    /// Print the key's thumbprint, for `proofroom gateway key create --dpop`, and end.
    #[arg(long, conflicts_with_all = ["gateway", "token"])]
    thumbprint: bool,
    /// Where the gateway is, as its `listen.urls` has it.
    #[arg(long, value_name = "URL", required_unless_present = "thumbprint")]
    gateway: Option<Origin>,
    /// File of mode 0600 with the virtual key or token; it is read for each request.
    #[arg(long, value_name = "FILE", required_unless_present = "thumbprint")]
    token: Option<PathBuf>,
    /// The authorities of the gateway's certificate (PEM), instead of the public ones.
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// Send nothing before the gateway has shown evidence that this appraisal policy accepts, and to no other TLS key than
    /// the one in it. Renewed ahead of its end.
    #[arg(long, value_name = "FILE", requires = "collateral")]
    evidence_policy: Option<PathBuf>,
    /// What Intel says about platforms: a directory as `run --collateral` reads it.
    #[arg(long, value_name = "DIR", requires = "evidence_policy")]
    collateral: Option<PathBuf>,
    /// Where to listen; loopback only.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let key = open_holder_key(&options.client_key)
        .map_err(|error| Failure::new(USAGE, "proxy-file", error))?;
    match (&options.gateway, &options.token) {
        (Some(gateway), Some(token)) => serve(options, key, gateway.clone(), token.clone()),
        _ => say(&format!("{}\n", key.thumbprint())).map(|()| ExitCode::SUCCESS),
    }
}

fn serve(
    options: &Options,
    key: HolderKey,
    gateway: Origin,
    token: PathBuf,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INTERNAL, "runtime", error))?;
    let parts = ProxyParts {
        gateway,
        key,
        token,
        authorities: options.authorities.clone(),
        evidence: evidence(options)?,
        listen: options.listen,
    };
    runtime.block_on(async {
        let proxy = Proxy::open(parts).await.map_err(failed)?;
        // one line for whoever started it: where, what its clients have to send, and what the gateway showed
        let mut line = json!({
            "listening": format!("http://{}", proxy.address()),
            "key": proxy.secret(),
        });
        if let (Some(members), Some(verified)) = (line.as_object_mut(), proxy.verified()) {
            members.insert("gateway".to_owned(), verified);
        }
        say(&format!("{line}\n"))?;
        proxy.run(stop()).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// What the gateway has to show, if anything.
fn evidence(options: &Options) -> Result<Option<GatewayPolicy>, Failure> {
    let (Some(path), Some(collateral)) = (&options.evidence_policy, &options.collateral) else {
        return Ok(None);
    };
    let bytes = read(path, "appraisal policy", MAX_POLICY_BYTES)
        .map_err(|error| Failure::new(USAGE, error.code(), error))?;
    let text =
        String::from_utf8(bytes).map_err(|error| Failure::new(USAGE, "policy-refused", error))?;
    let policy =
        AppraisalPolicy::parse(&text, &path.display().to_string()).map_err(|problems| {
            let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::new(
                USAGE,
                "policy-refused",
                anyhow::Error::msg(words.join("; ")),
            )
        })?;
    Ok(Some(GatewayPolicy {
        policy,
        collateral: CollateralSource::Directory(collateral.clone()),
    }))
}

async fn stop() {
    // where no signal can be waited for, SIGTERM ends the process by itself
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn failed(error: ProxyError) -> Failure {
    let exit = match &error {
        ProxyError::Listen { .. } | ProxyError::Tls(_) => UNAVAILABLE,
        ProxyError::Gateway(error) => match error {
            NotVerified::Asked(_) | NotVerified::Key(_) => UNAVAILABLE,
            NotVerified::Collateral(_) | NotVerified::Unbound => USAGE,
            NotVerified::Shown(ShownError::Answer(_)) | NotVerified::Refused { .. } => DIFFERENT,
            _ => UNKNOWN,
        },
        _ => USAGE,
    };
    Failure::new(exit, error.code(), error)
}
