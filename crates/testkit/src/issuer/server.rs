//! The issuer as a server on loopback: each path has the answer that a test gave it last, and every request is
//! written down.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::SimulatedIssuer;
use crate::tee::written;

/// The longest request that is read.
const MAX_REQUEST: usize = 64 * 1024;

/// A simulated issuer that answers. Its thread ends with the process.
#[derive(Clone, Debug)]
pub struct IssuerServer {
    /// The issuer.
    pub issuer: SimulatedIssuer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<String, Vec<(u16, String)>>,
    asked: Vec<(String, String)>,
}

impl IssuerServer {
    /// Begins to answer, with discovery document and keys of an honest issuer.
    ///
    /// # Panics
    /// When loopback cannot be listened at.
    #[must_use]
    pub fn start() -> Self {
        let listener = written(TcpListener::bind("127.0.0.1:0"));
        let url = format!("http://{}", written(listener.local_addr()));
        let server = Self {
            issuer: SimulatedIssuer::new(&url),
            state: Arc::default(),
        };
        server.answer("/keys", 200, &server.issuer.key_set());
        let discovery = server.issuer.discovery();
        server.answer("/.well-known/openid-configuration", 200, &discovery);
        let state = Arc::clone(&server.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // a client that hung up
                drop(serve(stream, &state));
            }
        });
        server
    }

    /// From now on `path` is answered like this.
    pub fn answer(&self, path: &str, status: u16, body: &Value) {
        self.answer_in_turn(path, &[(status, body.clone())]);
    }

    /// From now on `path` is answered like this, one after another and then with the last one.
    pub fn answer_in_turn(&self, path: &str, answers: &[(u16, Value)]) {
        let answers = answers
            .iter()
            .map(|(status, body)| (*status, body.to_string()));
        let mut answers: Vec<_> = answers.collect();
        answers.reverse();
        self.lock().answers.insert(path.to_owned(), answers);
    }

    /// The bodies with which `path` was asked, oldest first.
    #[must_use]
    pub fn asked(&self, path: &str) -> Vec<String> {
        let state = self.lock();
        let asked = state.asked.iter().filter(|(at, _)| at == path);
        asked.map(|(_, body)| body.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (path, body) = read(&mut stream)?;
    let (status, answer) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push((path.clone(), body));
        match state.answers.get_mut(&path) {
            Some(answers) if answers.len() > 1 => answers.pop(),
            Some(answers) => answers.last().cloned(),
            None => None,
        }
        .unwrap_or((404, "{}".to_owned()))
    };
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 {status} Simulated\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{answer}"
    )
}

/// Path and body of a request.
fn read(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let named = name.eq_ignore_ascii_case("content-length");
                named.then(|| value.trim().parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                let path = head.split(' ').nth(1).unwrap_or_default();
                return Ok((path.to_owned(), body.to_owned()));
            }
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 || bytes.len() > MAX_REQUEST {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend(chunk.iter().take(read));
    }
}
