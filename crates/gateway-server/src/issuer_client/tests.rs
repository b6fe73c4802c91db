//! An issuer over TLS: whose certificate counts, and what is not followed.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

use super::IssuerClient;

/// What is answered to a path by the server at this address: status, further header lines, body.
type Answers = fn(&str, &str) -> (u16, String, String);

struct Server {
    url: String,
    dir: tempfile::TempDir,
}

impl Server {
    fn start(answers: Answers) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        let (listener, config) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config));
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let own = url.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream);
                let mut bytes = [0; 4096];
                // a client that does not like the certificate hangs up
                let Ok(read) = stream.read(&mut bytes) else {
                    continue;
                };
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default();
                let (status, more, body) = answers(path, &own);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} Of a test\r\n{more}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                drop(stream.write_all(answer.as_bytes()));
                stream.conn.send_close_notify();
                drop(stream.flush());
            }
        });
        Self { url, dir }
    }

    fn authorities(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// What asking it for its keys comes to.
    fn asked(&self, authorities: Option<&Path>) -> Result<Vec<u8>, &'static str> {
        let client = IssuerClient::new(&self.url, authorities);
        let client = client.map_err(|error| error.code())?;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let keys = runtime.block_on(client.key_set());
        keys.map(|bytes| bytes.to_vec())
            .map_err(|error| error.code())
    }
}

fn honest(path: &str, own: &str) -> (u16, String, String) {
    let body = match path {
        "/keys" => "the keys".to_owned(),
        _ => format!(r#"{{"issuer":"{own}","jwks_uri":"{own}/keys"}}"#),
    };
    (200, String::new(), body)
}

#[test]
fn an_issuers_certificate_is_of_the_authorities_that_are_named_and_of_no_others() {
    let server = Server::start(honest);
    let named = server.asked(Some(&server.authorities()));
    assert_eq!(named, Ok(b"the keys".to_vec()));
    // the public ones did not certify it, and neither did another's
    assert_eq!(server.asked(None), Err("issuer-unreachable"));
    let other = Server::start(honest);
    let refused = server.asked(Some(&other.authorities()));
    assert_eq!(refused, Err("issuer-unreachable"));
    std::fs::write(server.authorities(), "no certificate").unwrap();
    let refused = server.asked(Some(&server.authorities()));
    assert_eq!(refused, Err("issuer-authorities"));
}

#[test]
fn a_redirect_is_not_followed_and_keys_do_not_come_in_the_clear() {
    let server = Server::start(|path, own| match path {
        "/keys" => (302, format!("location: {own}/others\r\n"), String::new()),
        _ => honest(path, own),
    });
    let refused = server.asked(Some(&server.authorities()));
    assert_eq!(refused, Err("issuer-status"));
    let plain: [Answers; 2] = [
        |_, own| {
            let body = format!(r#"{{"issuer":"{own}","jwks_uri":"http://192.0.2.1/keys"}}"#);
            (200, String::new(), body)
        },
        // nor from whatever listens at the gateway's own loopback
        |_, own| {
            let body = format!(r#"{{"issuer":"{own}","jwks_uri":"http://127.0.0.1:1/keys"}}"#);
            (200, String::new(), body)
        },
    ];
    for answers in plain {
        let server = Server::start(answers);
        let refused = server.asked(Some(&server.authorities()));
        assert_eq!(refused, Err("issuer-address"));
    }
}

#[test]
fn an_issuer_is_asked_over_tls_or_at_loopback() {
    for good in [
        "https://login.test",
        "http://127.0.0.1:80/realm",
        "http://[::1]",
    ] {
        assert!(IssuerClient::new(good, None).is_ok(), "{good}");
    }
    for bad in [
        "http://login.test",
        "ftp://127.0.0.1",
        "login.test",
        "",
        "https://ada@login.test",
    ] {
        let refused = IssuerClient::new(bad, None).map_err(|error| error.code());
        assert_eq!(refused.err(), Some("issuer-address"), "{bad}");
    }
}
