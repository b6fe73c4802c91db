//! The host's side of the boot port. The guest is not believed: every wait has an end, every frame
//! a cap, and what it says changes nothing but words for people.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_vmm::boot::{self, BootConfig, FrameError, Order, Report};

use crate::{RoomError, error::On as _};

/// The most bytes of the guest's words that are kept.
const MAX_WORDS: usize = 2000;
/// The most mechanisms that a guest states, and the most bytes of each.
const MAX_MECHANISMS: usize = 64;
const MAX_MECHANISM: usize = 64;
/// What a guest does first.
pub(super) const FIRST_WORD: &str = "start its first process";
/// The most reports of a room that runs: it has one to make.
const MAX_REPORTS: usize = 16;

/// What a guest said before its end. A claim of the guest, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// A code of its first process; `ended` when its room ended in order.
    pub code: String,
    /// Words.
    pub message: String,
}

#[derive(Debug)]
pub(super) struct Conversation {
    boot: UnixStream,
    /// Held open for as long as the machine lives.
    _monitor: UnixStream,
    last: Arc<Mutex<Option<Words>>>,
}

impl Conversation {
    pub(super) fn over(boot: UnixStream, monitor: UnixStream) -> Self {
        Self {
            boot,
            _monitor: monitor,
            last: Arc::default(),
        }
    }

    /// Waits for the word that the guest's first process runs: its kernel's release. Until then the guest
    /// was told nothing.
    pub(super) fn first_word(&mut self, until: Instant) -> Result<String, RoomError> {
        match self.hear(until, FIRST_WORD)? {
            Report::Up { kernel } => Ok(plain(&kernel)),
            other => Err(unexpected(&other)),
        }
    }

    /// Configures a guest that has spoken and waits until its room runs: the mechanisms that it names.
    /// From then on its reports are only listened to.
    pub(super) fn boot(
        &mut self,
        config: &BootConfig,
        until: Instant,
    ) -> Result<Vec<String>, RoomError> {
        self.configure(config)?;
        let mechanisms = match self.hear(until, "start its room")? {
            Report::Ready { mechanisms } if mechanisms.len() <= MAX_MECHANISMS => mechanisms
                .iter()
                .map(|name| stated(name))
                .collect::<Option<Vec<String>>>()
                .ok_or_else(|| unexpected(&Report::Ready { mechanisms }))?,
            other => return Err(unexpected(&other)),
        };
        self.listen()?;
        Ok(mechanisms)
    }

    /// Waits for the word of a machine that only shows that it boots.
    pub(super) fn canary(&mut self, config: &BootConfig, until: Instant) -> Result<(), RoomError> {
        self.first_word(until)?;
        self.configure(config)?;
        match self.hear(until, "sing")? {
            Report::Canary {} => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// What the firmware was given, by name.
    pub(super) fn capture(
        &mut self,
        config: &BootConfig,
        until: Instant,
    ) -> Result<BTreeMap<String, Vec<u8>>, RoomError> {
        self.first_word(until)?;
        self.configure(config)?;
        let report = self.hear(until, "read its firmware's files")?;
        let Report::Capture { files } = &report else {
            return Err(unexpected(&report));
        };
        let decoded = files.iter().map(|(name, text)| {
            let bytes = STANDARD.decode(text).map_err(|_| unexpected(&report))?;
            Ok((plain(name), bytes))
        });
        decoded.collect()
    }

    fn configure(&mut self, config: &BootConfig) -> Result<(), RoomError> {
        let written = boot::write_frame(&mut self.boot, config);
        written.map(drop).map_err(|source| RoomError::Guest {
            step: "take its configuration",
            source,
        })
    }

    pub(super) fn ask_to_close(&self) -> Result<(), RoomError> {
        let mut frame = Vec::new();
        boot::write_frame(&mut frame, &Order::Close).map_err(|error| RoomError::Guest {
            step: "be asked to close",
            source: error,
        })?;
        match (&self.boot).write_all(&frame) {
            Ok(()) => Ok(()),
            // It has ended already.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(error).on("write", Path::new("the boot port")),
        }
    }

    pub(super) fn last_words(&self) -> Option<Words> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn hear(&mut self, until: Instant, step: &'static str) -> Result<Report, RoomError> {
        let report = boot::read_frame(&mut Until(&self.boot, until))
            .and_then(|frame| boot::parse::<Report>(&frame))
            .map_err(|error| match error {
                FrameError::Io(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    RoomError::GuestSilent { step }
                }
                source => RoomError::Guest { step, source },
            })?;
        match report {
            Report::Failed { code, message } => Err(RoomError::GuestFailed {
                guest_code: plain(&code),
                message: plain(&message),
            }),
            report => Ok(report),
        }
    }

    /// Keeps the last words, on a thread that ends with the port.
    fn listen(&self) -> Result<(), RoomError> {
        let mut boot = self
            .boot
            .try_clone()
            .on("copy", Path::new("the boot port"))?;
        boot.set_read_timeout(None)
            .on("wait on", Path::new("the boot port"))?;
        let last = Arc::clone(&self.last);
        thread::Builder::new()
            .name("boot-port".to_owned())
            .spawn(move || {
                for _ in 0..MAX_REPORTS {
                    let Ok(frame) = boot::read_frame(&mut boot) else {
                        return;
                    };
                    let words = match boot::parse::<Report>(&frame) {
                        Ok(Report::Failed { code, message }) => Words {
                            code: plain(&code),
                            message: plain(&message),
                        },
                        Ok(Report::Ended { how }) => Words {
                            code: "ended".to_owned(),
                            message: plain(&how),
                        },
                        Ok(_) => continue,
                        Err(_) => return,
                    };
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
                }
            })
            .map(drop)
            .on("start", Path::new("a thread for the boot port"))
    }
}

/// Reads until a time, and not a byte later: a guest that sends a byte now and then gains nothing.
struct Until<'a>(&'a UnixStream, Instant);

impl io::Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.1.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.set_read_timeout(Some(left))?;
        let mut port = self.0;
        port.read(buffer)
    }
}

/// A mechanism that the guest states. It is the guest's word, and says so.
fn stated(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > MAX_MECHANISM || !name.chars().all(plain) {
        return None;
    }
    let own = name.strip_prefix("guest-").unwrap_or(name);
    Some(format!("guest-{own}"))
}

fn unexpected(report: &Report) -> RoomError {
    RoomError::GuestFailed {
        guest_code: "out-of-turn".to_owned(),
        message: plain(&format!("{report:?}")),
    }
}

/// What the guest says, without what could move a terminal.
fn plain(words: &str) -> String {
    words
        .chars()
        .take(MAX_WORDS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream, time::Instant};

    use proofroom_vmm::boot::{Report, write_frame};

    use super::{Conversation, stated};

    fn heard(say: impl FnOnce(&mut UnixStream)) -> Result<Report, &'static str> {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let (monitor, _qemu) = UnixStream::pair().unwrap();
        say(&mut guest);
        drop(guest);
        let until = Instant::now() + std::time::Duration::from_secs(5);
        Conversation::over(ours, monitor)
            .hear(until, "speak")
            .map_err(|error| error.code())
    }

    #[test]
    fn a_guest_that_lies_about_lengths_or_speaks_nonsense_is_an_error() {
        let long = heard(|guest| guest.write_all(&[0xff; 8]).unwrap());
        assert_eq!(long, Err("boot-frame-too-long"));
        let nonsense = heard(|guest| {
            guest.write_all(&[0, 0, 0, 2]).unwrap();
            guest.write_all(b"[]").unwrap();
        });
        assert_eq!(nonsense, Err("boot-frame-malformed"));
        assert_eq!(heard(|_| ()), Err("boot-port-closed"));
    }

    #[test]
    fn a_guest_that_is_silent_is_given_up() {
        let (ours, _guest) = UnixStream::pair().unwrap();
        let (monitor, _qemu) = UnixStream::pair().unwrap();
        let until = Instant::now() + std::time::Duration::from_millis(20);
        let mut conversation = Conversation::over(ours, monitor);
        let error = conversation.hear(until, "speak").unwrap_err();
        assert_eq!(error.code(), "guest-silent");
    }

    #[test]
    fn a_guest_that_drips_is_given_up_in_time() {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let (monitor, _qemu) = UnixStream::pair().unwrap();
        let dripping = std::thread::spawn(move || {
            drop(guest.write_all(&[0, 0, 1, 0]));
            while guest.write_all(b" ").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        });
        let began = Instant::now();
        let until = began + std::time::Duration::from_millis(100);
        let mut conversation = Conversation::over(ours, monitor);
        let error = conversation.hear(until, "speak").unwrap_err();
        assert_eq!(error.code(), "guest-silent");
        assert!(began.elapsed() < std::time::Duration::from_secs(2));
        drop(conversation);
        dripping.join().unwrap();
    }

    #[test]
    fn what_a_guest_states_says_so_and_is_plain() {
        assert_eq!(
            stated("user-namespace").as_deref(),
            Some("guest-user-namespace")
        );
        assert_eq!(stated("guest-no-swap").as_deref(), Some("guest-no-swap"));
        for bad in ["", "KVM", "a b", &"x".repeat(65)] {
            assert_eq!(stated(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_guests_words_move_no_terminal() {
        let failed = Report::Failed {
            code: "x".to_owned(),
            message: "a\u{1b}[2Jb".to_owned(),
        };
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let (monitor, _qemu) = UnixStream::pair().unwrap();
        write_frame(&mut guest, &failed).unwrap();
        let until = Instant::now() + std::time::Duration::from_secs(5);
        let error = Conversation::over(ours, monitor)
            .hear(until, "speak")
            .unwrap_err();
        assert_eq!(error.code(), "guest-failed");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
}
