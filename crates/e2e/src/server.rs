//! A server of the tests, plain or over TLS: each request is answered by a closure, and kept whole.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server on loopback, until its process ends.
#[derive(Debug)]
pub struct Server {
    /// Host and port.
    pub address: String,
    received: Arc<Mutex<Vec<Received>>>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The head, byte for byte.
    pub head: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
    headers: BTreeMap<String, String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    head: String,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Whole(Vec<u8>),
    /// Chunks, each written by itself.
    Pieces(Vec<Vec<u8>>),
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Received {
    /// A header, by its name in lower case; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Reply {
    /// With a body of this media type.
    #[must_use]
    pub fn whole(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            head: format!("content-type: {kind}\r\n"),
            body: Body::Whole(body.into()),
        }
    }

    /// JSON, or what is to be taken for it.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::whole(status, "application/json", body)
    }

    /// A body that comes in these pieces.
    #[must_use]
    pub fn pieces(kind: &str, pieces: Vec<Vec<u8>>) -> Self {
        Self {
            status: 200,
            head: format!("content-type: {kind}\r\n"),
            body: Body::Pieces(pieces),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    fn write(&self, out: &mut dyn Stream) -> io::Result<()> {
        let Self { status, head, body } = self;
        let framing = match body {
            Body::Whole(body) => format!("content-length: {}", body.len()),
            Body::Pieces(_) => "transfer-encoding: chunked".to_owned(),
        };
        write!(out, "HTTP/1.1 {status} Test\r\n{head}{framing}\r\n\r\n")?;
        match body {
            Body::Whole(body) => out.write_all(body)?,
            Body::Pieces(pieces) => {
                for piece in pieces {
                    write!(out, "{:x}\r\n", piece.len())?;
                    out.write_all(piece)?;
                    out.write_all(b"\r\n")?;
                    out.flush()?;
                }
                out.write_all(b"0\r\n\r\n")?;
            }
        }
        out.flush()
    }
}

impl Server {
    /// Listens, plain or as whom `tls` says.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address").to_string();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (keeps, answer) = (Arc::clone(&received), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (keeps, answer, tls) = (Arc::clone(&keeps), Arc::clone(&answer), tls.clone());
                std::thread::spawn(move || {
                    let stream: Box<dyn Stream> = match tls {
                        None => Box::new(stream),
                        Some(tls) => Box::new(over_tls(tls, stream)),
                    };
                    // whoever hangs up, or wants nothing of this certificate
                    drop(serve(stream, &keeps, &*answer));
                });
            }
        });
        Self { address, received }
    }

    /// Every request, in the order of their ends.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }

    /// Every request whose target begins so.
    #[must_use]
    pub fn asked(&self, target: &str) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|request| request.target.starts_with(target));
        received
    }
}

fn lock(received: &Mutex<Vec<Received>>) -> std::sync::MutexGuard<'_, Vec<Received>> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

fn over_tls(tls: Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    let connection = ServerConnection::new(tls).expect("a configuration of the tests");
    StreamOwned::new(connection, stream)
}

/// One connection: requests with a length, or without a body, answered one after another.
fn serve(
    stream: Box<dyn Stream>,
    keeps: &Mutex<Vec<Received>>,
    answer: &dyn Fn(&Received) -> Reply,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next(), words.next());
        let headers: BTreeMap<_, _> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        assert!(!headers.contains_key("transfer-encoding"), "{text}");
        let length = headers.get("content-length");
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let request = Received {
            method: method.unwrap_or_default().to_owned(),
            target: target.unwrap_or_default().to_owned(),
            head,
            body,
            headers,
        };
        let reply = answer(&request);
        lock(keeps).push(request);
        reply.write(stream.get_mut())?;
    }
}
