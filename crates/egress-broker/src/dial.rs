//! From a name to a connection: resolved once, every address judged, one of them dialled, and the
//! peer of the standing connection judged again. A second answer of the resolver is never asked for.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use proofroom_egress::{AddressRefusal, Endpoint, Rule, address};
use tokio::{net::TcpStream, time::timeout};

use crate::Refusal;

/// How long resolving a name and how long opening a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most addresses of one name that are tried.
const MAX_TRIED: usize = 4;

/// Addresses on their way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Turns a name into addresses.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// The addresses of the endpoint's name.
    fn resolve<'a>(&'a self, endpoint: &'a Endpoint) -> Resolving<'a>;
}

/// The system's resolver. A name with a dot is taken as it is: no search domain is added.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, endpoint: &'a Endpoint) -> Resolving<'a> {
        let end = if endpoint.host.is_qualified() {
            "."
        } else {
            ""
        };
        let name = format!("{}{end}", endpoint.host);
        let port = endpoint.port;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, port)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A connection and the address at its other end.
pub(crate) async fn dial(
    resolver: &dyn Resolve,
    endpoint: &Endpoint,
    rule: &Rule,
) -> Result<(TcpStream, SocketAddr), Refusal> {
    let allowed = &rule.allow_addresses;
    let unresolved = |words: &str| {
        let reason = format!(
            "the name `{}` could not be resolved: {words}",
            endpoint.host
        );
        Refusal::failed("egress-resolve", reason)
    };
    let addresses = timeout(PATIENCE, resolver.resolve(endpoint))
        .await
        .map_err(|_| unresolved("no answer in time"))?
        .map_err(|error| unresolved(&error.to_string()))?;
    if addresses.is_empty() {
        return Err(unresolved("it has no address"));
    }
    // One address that is not public spoils them all: which is tried first is not the room's choice.
    for found in &addresses {
        judge(*found, allowed)?;
    }
    let mut last = String::from("no address was tried");
    for found in addresses.into_iter().take(MAX_TRIED) {
        let wanted = SocketAddr::new(found, endpoint.port);
        match timeout(PATIENCE, TcpStream::connect(wanted)).await {
            Ok(Ok(stream)) => return connected(stream, allowed),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "no answer in time".to_owned(),
        }
    }
    let reason = format!("`{endpoint}` could not be reached: {last}");
    Err(Refusal::failed("egress-unreachable", reason))
}

/// Judges the connection itself: what it leads to, and that it does not lead back to this machine.
fn connected(
    stream: TcpStream,
    allowed: &[proofroom_egress::Network],
) -> Result<(TcpStream, SocketAddr), Refusal> {
    let broken = |error: io::Error| Refusal::failed("egress-unreachable", error.to_string());
    let peer = stream.peer_addr().map_err(broken)?;
    let own = stream.local_addr().map_err(broken)?;
    judge(peer.ip(), allowed)?;
    let named = allowed.iter().any(|network| network.holds(peer.ip()));
    if own.ip() == peer.ip() && !named {
        let what = "an address of this machine";
        let address = peer.ip();
        return Err(refused(AddressRefusal { address, what }));
    }
    stream.set_nodelay(true).map_err(broken)?;
    Ok((stream, peer))
}

fn judge(found: IpAddr, allowed: &[proofroom_egress::Network]) -> Result<(), Refusal> {
    address::judge(found, allowed).map_err(refused)
}

fn refused(refusal: AddressRefusal) -> Refusal {
    Refusal::Denied(refusal.into())
}
