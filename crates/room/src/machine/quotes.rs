//! The way from QEMU's jail to the host's quote generation service: a socket that belongs to the jail
//! and to nobody else, behind which this process carries bytes to the service and back. So the
//! service's own socket, its directory and its rights stay outside.

use std::{
    fs, io,
    io::{Read, Write},
    net::Shutdown,
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use proofroom_confine::IdMap;

use crate::{RoomError, error::On as _};

const PLACE: &str = "/dev/shm";
const SOCKET: &str = "qgs.sock";
/// The most bytes of one exchange in one direction. A request is a report of 1 KiB, an answer a quote.
const MAX_EXCHANGE_BYTES: u64 = 1 << 20;
/// How long the service or QEMU may be silent within an exchange.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an exchange may last, however much is said in it.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(120);

/// A jail's socket and what serves it; both end with this value.
#[derive(Debug)]
pub(super) struct QuoteRelay {
    directory: PathBuf,
    over: Arc<AtomicBool>,
}

impl Drop for QuoteRelay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // The thread waits for connections: a last one shows it that there will be no more.
        drop(UnixStream::connect(self.socket()));
        drop(fs::remove_dir_all(&self.directory));
    }
}

impl QuoteRelay {
    /// Listens for the user that the jail's programs are.
    pub(super) fn start(service: PathBuf, ids: IdMap) -> Result<Self, RoomError> {
        Self::within(service, ids, LONGEST_EXCHANGE)
    }

    fn within(service: PathBuf, ids: IdMap, longest: Duration) -> Result<Self, RoomError> {
        let directory = place(ids);
        forget(ids)?;
        let mut builder = fs::DirBuilder::new();
        builder
            .mode(0o711)
            .create(&directory)
            .on("make", &directory)?;
        let over = Arc::new(AtomicBool::new(false));
        let relay = Self {
            directory,
            over: Arc::clone(&over),
        };
        let socket = relay.socket();
        let listener = UnixListener::bind(&socket).on("bind", &socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).on("protect", &socket)?;
        let owner = Some(ids.agent);
        chown(&socket, owner, owner).on("give away", &socket)?;
        thread::Builder::new()
            .name("quotes".to_owned())
            .spawn(move || serve(&listener, &service, &over, longest))
            .on("start", Path::new("a thread for quotes"))?;
        Ok(relay)
    }

    /// What is bound into the jail.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join(SOCKET)
    }
}

fn place(ids: IdMap) -> PathBuf {
    Path::new(PLACE).join(format!("proofroom-qgs-{}", ids.agent))
}

/// Removes what a machine of these ids left, when its host died. Nobody may run under them.
pub(crate) fn forget(ids: IdMap) -> Result<(), RoomError> {
    let place = place(ids);
    // Anybody may make a file of this name here; it must not stop a room.
    let removed = match fs::symlink_metadata(&place) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&place),
        Ok(_) => fs::remove_file(&place),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).on("remove", &place),
        _ => Ok(()),
    }
}

/// One exchange after the other, until it is over.
fn serve(listener: &UnixListener, service: &Path, over: &AtomicBool, longest: Duration) {
    for connection in listener.incoming() {
        if over.load(Ordering::SeqCst) {
            return;
        }
        // An exchange that breaks is the guest's loss: its attester says so.
        if let Ok(connection) = connection {
            drop(exchange(&connection, service, Instant::now() + longest));
        }
    }
}

fn exchange(jail: &UnixStream, service: &Path, until: Instant) -> io::Result<()> {
    let service = UnixStream::connect(service)?;
    let (request, answer) = (jail.try_clone()?, service.try_clone()?);
    let asking = thread::Builder::new()
        .name("quote-request".to_owned())
        .spawn(move || carry(&request, &answer, until))?;
    let answered = carry(&service, jail, until);
    // QEMU closes when it has its answer; what it may still say goes nowhere.
    drop(jail.shutdown(Shutdown::Both));
    drop(asking.join());
    answered
}

/// Bytes of one direction, piece by piece, up to the cap and until the exchange must be over.
fn carry(mut from: &UnixStream, mut to: &UnixStream, until: Instant) -> io::Result<()> {
    let mut left = MAX_EXCHANGE_BYTES;
    let mut piece = [0; 4096];
    while left > 0 {
        from.set_read_timeout(Some(patience(until)?))?;
        let most = piece
            .len()
            .min(usize::try_from(left).unwrap_or(piece.len()));
        let count = from.read(piece.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            break;
        }
        to.set_write_timeout(Some(patience(until)?))?;
        to.write_all(piece.get(..count).unwrap_or_default())?;
        left = left.saturating_sub(count as u64);
    }
    to.shutdown(Shutdown::Write)
}

/// How long one side may now be silent.
fn patience(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left.min(PATIENCE))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read as _, Write as _},
        net::Shutdown,
        os::unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use proofroom_confine::{IdMap, launch::MapWriter};

    use super::{MAX_EXCHANGE_BYTES, QuoteRelay};

    /// Ids of this process, which may give a socket to itself whoever it is.
    fn own() -> IdMap {
        let id = fs::metadata("/proc/self").unwrap().uid();
        IdMap {
            supervisor: id,
            agent: id,
            writer: MapWriter::Root,
        }
    }

    /// A quote service that answers with what it was asked, backwards, `times` times.
    fn service(at: &Path, times: usize) -> thread::JoinHandle<()> {
        let listener = UnixListener::bind(at).unwrap();
        thread::spawn(move || {
            for _ in 0..times {
                let (mut connection, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                connection.read_to_end(&mut asked).unwrap();
                asked.reverse();
                drop(connection.write_all(&asked));
            }
        })
    }

    fn ask(at: &Path, words: &[u8]) -> Vec<u8> {
        let mut jail = UnixStream::connect(at).unwrap();
        jail.write_all(words).unwrap();
        jail.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        jail.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_jail_asks_the_service_and_its_socket_is_its_own_and_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("qgs.socket");
        let running = service(&at, 3);
        let relay = QuoteRelay::start(at, own()).unwrap();
        let socket = relay.socket();
        let found = fs::metadata(&socket).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(found.uid(), own().agent);
        assert_eq!(ask(&socket, b"first"), b"tsrif");
        assert_eq!(ask(&socket, b"second"), b"dnoces");
        // A guest that asks without end is cut off.
        let most = usize::try_from(MAX_EXCHANGE_BYTES).unwrap();
        assert_eq!(ask(&socket, &vec![1; most]).len(), most);
        running.join().unwrap();
        drop(relay);
        assert!(!socket.exists() && !socket.parent().unwrap().exists());
    }

    #[test]
    fn an_exchange_ends_in_time_however_much_is_said_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("qgs.socket");
        let listener = UnixListener::bind(&at).unwrap();
        let talking = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            while connection.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let relay = QuoteRelay::within(at, own(), Duration::from_millis(300)).unwrap();
        let began = Instant::now();
        let mut jail = UnixStream::connect(relay.socket()).unwrap();
        let mut answer = Vec::new();
        drop(jail.read_to_end(&mut answer));
        assert!(!answer.is_empty());
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(250), "{took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        // The service is hung up on as well.
        talking.join().unwrap();
    }

    #[test]
    fn a_service_that_is_gone_answers_nothing() {
        let relay = QuoteRelay::start("/nonexistent/qgs.socket".into(), own()).unwrap();
        let mut jail = UnixStream::connect(relay.socket()).unwrap();
        drop(jail.write_all(b"report"));
        let mut answer = Vec::new();
        drop(jail.read_to_end(&mut answer));
        assert!(answer.is_empty());
    }
}
