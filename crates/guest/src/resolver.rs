//! The room's resolver. It answers for names that a rule allows, with addresses that lead to the
//! supervisor, and for no other; it asks nobody. What connects to such an address is an attempt to go
//! outside like any other (`egress/direct.rs`).

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use proofroom_confine::{NAME_SWITCH, RESOLVER_FILE};
use proofroom_egress::{
    EgressPolicy, Endpoint, HostName,
    dns::{Asked, Known, MAX_DATAGRAM, MAX_MESSAGE, Question, Unanswerable},
};
use proofroom_record::{event::Observation, room_api::ProgressKind};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use crate::{
    egress,
    names::Directory,
    redact::{REDACTED, holds_credential},
    session::Session,
    told::{News, Told},
};

/// The most different names, and connections to nothing, that one session writes down.
const MAX_REFUSED: usize = 256;
/// The most connections with questions at a time, and questions on each of them.
const MAX_ASKING: usize = 16;
const MAX_QUESTIONS: usize = 64;
/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most connections to names at a time.
const MAX_CONNECTIONS: usize = 128;
/// How often accepting is tried again when descriptors are short.
const RETRY: Duration = Duration::from_millis(100);

/// The resolver of one session and where it listens.
#[derive(Debug)]
pub struct Resolver {
    /// Where names lead.
    pub directory: Arc<Directory>,
    datagrams: UdpSocket,
    messages: TcpListener,
    connections: Vec<TcpListener>,
    refused: Told,
    full: OnceLock<()>,
}

impl Resolver {
    /// Listens at `server`, and on every port of a rule at every address; then names itself to
    /// programs. Nothing of the agent's may run before: who listens first has the port. A policy that
    /// allows nothing has no resolver.
    ///
    /// # Errors
    /// When anything of it cannot be had.
    pub fn establish(policy: &EgressPolicy, server: SocketAddr) -> io::Result<Option<Self>> {
        if policy.is_closed() {
            return Ok(None);
        }
        let resolver = Self::listen(policy, server)?;
        fs::write(
            NAME_SWITCH,
            "passwd: files\ngroup: files\nhosts: files dns\n",
        )?;
        fs::write(RESOLVER_FILE, format!("nameserver {}\n", server.ip()))?;
        Ok(Some(resolver))
    }

    fn listen(policy: &EgressPolicy, server: SocketAddr) -> io::Result<Self> {
        let directory = Directory::new(policy.ports());
        let connections: io::Result<_> = directory
            .ports()
            .iter()
            .map(|port| listener(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port))))
            .collect();
        let datagrams = std::net::UdpSocket::bind(server)?;
        datagrams.set_nonblocking(true)?;
        Ok(Self {
            datagrams: UdpSocket::from_std(datagrams)?,
            messages: listener(server)?,
            connections: connections?,
            directory: Arc::new(directory),
            refused: Told::new(MAX_REFUSED),
            full: OnceLock::new(),
        })
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers questions and takes connections until the future is dropped.
pub async fn serve(session: Arc<Session>) {
    let Some(resolver) = session.resolver.clone() else {
        return std::future::pending().await;
    };
    let mut serving = JoinSet::new();
    serving.spawn(answer_datagrams(
        Arc::clone(&session),
        Arc::clone(&resolver),
    ));
    serving.spawn(answer_connections(
        Arc::clone(&session),
        Arc::clone(&resolver),
    ));
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for number in 0..resolver.connections.len() {
        let (session, room) = (Arc::clone(&session), Arc::clone(&room));
        serving.spawn(take_connections(
            session,
            Arc::clone(&resolver),
            number,
            room,
        ));
    }
    while serving.join_next().await.is_some() {}
}

async fn answer_datagrams(session: Arc<Session>, resolver: Arc<Resolver>) {
    // One byte more than may come, to see what is too long.
    let mut buffer = [0; MAX_DATAGRAM + 1];
    loop {
        let Ok((length, from)) = resolver.datagrams.recv_from(&mut buffer).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let question = buffer.get(..length).unwrap_or_default();
        if let Some(answer) = answer(&session, &resolver, question, MAX_DATAGRAM).await {
            // Who asked may be gone.
            drop(resolver.datagrams.send_to(&answer, from).await);
        }
    }
}

async fn answer_connections(session: Arc<Session>, resolver: Arc<Resolver>) {
    let room = Arc::new(Semaphore::new(MAX_ASKING));
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let stream = accepted(&resolver.messages).await;
        let (session, resolver) = (Arc::clone(&session), Arc::clone(&resolver));
        drop(tokio::spawn(async move {
            // How a client's connection ends is its own business.
            drop(answer_stream(&session, &resolver, stream).await);
            drop(permit);
        }));
    }
}

/// Messages behind their length (RFC 1035, section 4.2.2).
async fn answer_stream(
    session: &Arc<Session>,
    resolver: &Resolver,
    mut stream: TcpStream,
) -> io::Result<()> {
    for _ in 0..MAX_QUESTIONS {
        let length = usize::from(timeout(PATIENCE, stream.read_u16()).await??);
        if length > MAX_MESSAGE {
            break;
        }
        let mut message = vec![0; length];
        timeout(PATIENCE, stream.read_exact(&mut message)).await??;
        let Some(answer) = answer(session, resolver, &message, MAX_MESSAGE).await else {
            break;
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let answer = [&length.to_be_bytes()[..], &answer].concat();
        timeout(PATIENCE, stream.write_all(&answer)).await??;
    }
    Ok(())
}

async fn take_connections(
    session: Arc<Session>,
    resolver: Arc<Resolver>,
    number: usize,
    room: Arc<Semaphore>,
) {
    let Some(listener) = resolver.connections.get(number) else {
        return;
    };
    loop {
        // A port on which nobody asks holds no place.
        let stream = accepted(listener).await;
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (session, resolver) = (Arc::clone(&session), Arc::clone(&resolver));
        drop(tokio::spawn(async move {
            take(session, &resolver, stream).await;
            drop(permit);
        }));
    }
}

/// A connection is for the name that its address stands for.
async fn take(session: Arc<Session>, resolver: &Resolver, stream: TcpStream) {
    let Ok(address) = stream.local_addr() else {
        return;
    };
    match resolver.directory.endpoint(address) {
        Some(endpoint) => egress::direct(session, stream, endpoint).await,
        None => resolver.refuse(&session, format!("ip {address}")).await,
    }
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// The answer to one message; none to what is no question.
async fn answer(
    session: &Arc<Session>,
    resolver: &Resolver,
    message: &[u8],
    most: usize,
) -> Option<Vec<u8>> {
    match Question::parse(message, most) {
        Ok(question) => Some(question.answer(resolver.known(session, &question).await)),
        Err(Unanswerable::Refusal(refusal)) => Some(refusal),
        Err(Unanswerable::Silence) => None,
    }
}

impl Resolver {
    async fn known(&self, session: &Arc<Session>, question: &Question<'_>) -> Known {
        let host = question.host();
        let Some(host) = host.filter(|host| is_allowed(session, &self.directory, host)) else {
            self.refuse_name(session, question.name()).await;
            return Known::NoName;
        };
        if question.asked() == Asked::Other {
            return Known::Nothing;
        }
        let address = self.directory.address_of(host);
        if address.is_none() && self.full.set(()).is_ok() {
            session.journal.note(Observation::LimitReached {
                resource: "names".to_owned(),
                detail: "further names have no address in the room".to_owned(),
            });
        }
        address.map_or(Known::Failure, Known::Address)
    }

    /// Upper and lower case are one name; a name with a credential in it is not written.
    async fn refuse_name(&self, session: &Session, name: &str) {
        let secret = holds_credential(name);
        let name = name.to_ascii_lowercase();
        let name = if secret { REDACTED } else { &name };
        self.refuse(session, format!("dns {name}")).await;
    }

    async fn refuse(&self, session: &Session, target: String) {
        let words = format!("egress: {target} is nothing that a rule allows");
        let more = "further names and connections that no rule allows are not written";
        if session.blocked(&self.refused, target, more) == News::Fresh {
            session.progress(ProgressKind::Blocked, words).await;
        }
    }
}

/// Whether both policies allow the name on any of its ports.
fn is_allowed(session: &Session, directory: &Directory, host: &HostName) -> bool {
    session.egress.knows(host)
        && directory.ports().iter().any(|port| {
            let host = host.clone();
            egress::is_allowed(session, &Endpoint { host, port: *port })
        })
}
