//! A connection that a program made to a name itself: what a `CONNECT` to the same endpoint would be,
//! and in clear where the rule speaks so.

use std::sync::Arc;

use proofroom_egress::{Endpoint, Scheme, Way};
use tokio::net::TcpStream;

use super::{Denied, connection_action, deny, may_connect, terminate, tunnel};
use crate::session::Session;

/// Carries the connection, or ends it.
pub(crate) async fn direct(session: Arc<Session>, stream: TcpStream, endpoint: Endpoint) {
    // Best effort: it costs time alone.
    drop(stream.set_nodelay(true));
    match way(&session, &endpoint) {
        Ok(Way::Through(_)) => tunnel::over(session, stream, &endpoint).await,
        Ok(Way::Requests(Scheme::Https)) => terminate::over(session, stream, endpoint).await,
        Ok(Way::Requests(Scheme::Http)) => terminate::in_clear(session, stream, endpoint).await,
        // The client is told by the connection's end; the event says why.
        Err(denied) => drop(deny(&session, connection_action(&endpoint), denied).await),
    }
}

/// Whether a connection to the endpoint would be carried.
pub(crate) fn is_allowed(session: &Session, endpoint: &Endpoint) -> bool {
    way(session, endpoint).is_ok()
}

fn way<'a>(session: &'a Session, endpoint: &Endpoint) -> Result<Way<'a>, Denied> {
    let way = session.egress.way(endpoint)?;
    may_connect(session, endpoint)?;
    Ok(way)
}
