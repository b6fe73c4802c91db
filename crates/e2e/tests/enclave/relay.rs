//! A relay that ends TLS before an enclave, as a load balancer does: it reads and keeps all that passes, and does to one
//! answer what it is told.

use std::{
    io::{Read, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use proofroom_testkit::tls::TlsIdentity;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConnection,
    SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// An answer as it passes.
pub(crate) struct Passing {
    pub(crate) status: String,
    pub(crate) kind: String,
    /// What comes before the chunks, and the chunks, each with its length before it.
    pub(crate) parts: Vec<Vec<u8>>,
}

pub(crate) type Deed = Box<dyn FnOnce(&mut Passing) + Send>;

#[derive(Default)]
pub(crate) struct Seen {
    /// All bytes, both ways, after TLS was taken off.
    pub(crate) bytes: Vec<u8>,
    /// Bodies of answers to sealed requests, as the enclave gave them.
    pub(crate) answers: Vec<Vec<u8>>,
    /// What is done to the next one.
    pub(crate) deed: Option<Deed>,
}

pub(crate) struct Relay {
    pub(crate) address: String,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Relay {
    pub(crate) fn before(enclave: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (kept, enclave, server) = (
            Arc::clone(&seen),
            enclave.to_owned(),
            TlsIdentity::self_signed().config,
        );
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (kept, enclave) = (Arc::clone(&kept), enclave.clone());
                let tls = ServerConnection::new(Arc::clone(&server)).expect("TLS");
                std::thread::spawn(move || pass(StreamOwned::new(tls, client), &enclave, &kept));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn next(&self, deed: impl FnOnce(&mut Passing) + Send + 'static) {
        self.seen.lock().expect("no panic").deed = Some(Box::new(deed));
    }
}

/// One request and its answer; then the connection ends.
fn pass(mut client: StreamOwned<ServerConnection, TcpStream>, enclave: &str, seen: &Mutex<Seen>) {
    let Some((head, body)) = message(&mut client) else {
        return;
    };
    let sealed = head.starts_with("POST /.well-known/proofroom/sealed ");
    let request = [
        head.replacen("\r\n", "\r\nconnection: close\r\n", 1)
            .as_bytes(),
        &body,
    ]
    .concat();
    let mut upstream = connect(enclave);
    upstream.write_all(&request).expect("sent");
    let Some((answer, body)) = message(&mut upstream) else {
        return;
    };
    let mut passing = Passing {
        status: answer.split(' ').nth(1).expect("a status").to_owned(),
        kind: header(&answer, "content-type")
            .unwrap_or_default()
            .to_owned(),
        parts: vec![body.clone()],
    };
    let deed = {
        let mut seen = seen.lock().expect("no panic");
        for bytes in [&request[..], answer.as_bytes(), &body] {
            seen.bytes.extend_from_slice(bytes);
        }
        let is_answer = sealed && passing.status == "200";
        is_answer.then(|| seen.answers.push(body.clone()));
        is_answer.then(|| seen.deed.take()).flatten()
    };
    if let Some(deed) = deed {
        passing.parts = taken_apart(&body);
        deed(&mut passing);
    }
    let body = passing.parts.concat();
    let head = format!(
        "HTTP/1.1 {} relayed\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        passing.status,
        passing.kind,
        body.len()
    );
    // the gateway may be gone
    drop(client.write_all(&[head.as_bytes(), &body].concat()));
    client.conn.send_close_notify();
    drop(client.flush());
}

/// Head and whole body.
fn message(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| {
        let mut buffer = [0; 16 * 1024];
        let count = stream.read(&mut buffer).unwrap_or(0);
        bytes.extend_from_slice(&buffer[..count]);
        count > 0
    };
    let end = loop {
        let found = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        match found {
            Some(at) => break at + 4,
            None if more(&mut bytes) => {}
            None => return None,
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).expect("a head");
    if let Some(length) = header(&head, "content-length") {
        let length: usize = length.parse().expect("a length");
        while body.len() < length && more(&mut body) {}
    } else if header(&head, "transfer-encoding").is_some() {
        while !body.ends_with(b"0\r\n\r\n") && more(&mut body) {}
        body = dechunked(&body);
    }
    Some((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let Some(chunk) = rest.get(end + 2..end + 2 + size).filter(|_| size > 0) else {
            break;
        };
        body.extend_from_slice(chunk);
        rest = &rest[end + 4 + size..];
    }
    body
}

/// An answer's nonce and its chunks (draft-ietf-ohai-chunked-ohttp, section 3).
fn taken_apart(sealed: &[u8]) -> Vec<Vec<u8>> {
    let (nonce, mut rest) = sealed.split_at(32);
    let mut parts = vec![nonce.to_vec()];
    while let Some(first) = rest.first() {
        // lengths of up to 16 KiB have one or two bytes, and a longer chunk four
        let prefix = 1 << (first >> 6);
        let length = rest[1..prefix]
            .iter()
            .fold(usize::from(first & 0x3f), |value, byte| {
                (value << 8) | usize::from(*byte)
            });
        let end = if length == 0 {
            rest.len()
        } else {
            prefix + length
        };
        parts.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    parts
}

fn connect(enclave: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = ServerName::try_from("enclave.invalid").expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("TLS");
    StreamOwned::new(
        tls,
        TcpStream::connect(enclave).expect("the enclave listens"),
    )
}

/// Takes whatever certificate: the relay vouches for nobody.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
