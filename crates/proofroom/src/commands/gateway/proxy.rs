//! `proofroom gateway proxy`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use proofroom::{
    keys::open_holder_key,
    proxy::{Proxy, ProxyError, ProxyParts},
};
use proofroom_authn::{HolderKey, Origin};
use serde_json::json;

use super::super::{Failure, INTERNAL, UNAVAILABLE, USAGE, say};

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
        listen: options.listen,
    };
    runtime.block_on(async {
        let proxy = Proxy::open(parts).await.map_err(failed)?;
        // one line for whoever started it: where, and what its clients have to send
        let line = json!({
            "listening": format!("http://{}", proxy.address()),
            "key": proxy.secret(),
        });
        say(&format!("{line}\n"))?;
        proxy.run(stop()).await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn stop() {
    // where no signal can be waited for, SIGTERM ends the process by itself
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn failed(error: ProxyError) -> Failure {
    let exit = match error {
        ProxyError::Listen { .. } | ProxyError::Tls(_) => UNAVAILABLE,
        _ => USAGE,
    };
    Failure::new(exit, error.code(), error)
}
