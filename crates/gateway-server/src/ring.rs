//! The keys in force. The file is looked at before every request, by its metadata, and read again when
//! it changed, so that a revocation counts from the next request and the next chunk of an answer on.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderMap, header};
use proofroom_canonical::{Digest, Timestamp};

use crate::keys::{KeyFile, KeyFileError, KeyId, KeyRefusal, KeyToken, Permits, VirtualKey};

/// A key in force, as the runs that it permitted hold it.
#[derive(Debug)]
pub(crate) struct HeldKey {
    pub(crate) key: VirtualKey,
    pub(crate) permits: Permits,
    ended: AtomicBool,
}

impl HeldKey {
    fn new(key: VirtualKey) -> Result<Self, KeyFileError> {
        let id = key.id;
        let permits =
            Permits::of(&key.scope).map_err(|source| KeyFileError::Glob { id, source })?;
        let ended = AtomicBool::new(key.revoked.is_some());
        Ok(Self {
            key,
            permits,
            ended,
        })
    }

    /// Whether the key was revoked or taken out of the file since.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// What tells one content of a file from another.
type Stamp = (u64, u64, i64, i64, i64, i64);

/// All keys in force.
#[derive(Debug)]
pub(crate) struct KeyRing {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stamp: Option<Stamp>,
    keys: HashMap<KeyId, Arc<HeldKey>>,
    unreadable: bool,
}

impl KeyRing {
    /// The keys of the file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, KeyFileError> {
        let ring = Self {
            path: path.to_owned(),
            state: Mutex::default(),
        };
        let stamp = ring.stamp();
        let file = KeyFile::load(path)?;
        ring.lock().replace(file, stamp)?;
        Ok(ring)
    }

    /// The key with which a request came, if it may be used now over a connection whose client showed
    /// `client_key`.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        client_key: Option<Digest>,
        now: Timestamp,
    ) -> Result<Arc<HeldKey>, KeyRefusal> {
        let token = carried(headers)?;
        self.look();
        let held = {
            let state = self.lock();
            let found = state.keys.get(&token.id()).map(Arc::clone);
            found.ok_or(KeyRefusal::Unknown)?
        };
        if !token.is(held.key.digest) {
            return Err(KeyRefusal::Unknown);
        }
        held.key.usable_at(now)?;
        match held.key.client_key {
            Some(bound) if client_key != Some(bound) => Err(KeyRefusal::ClientKey),
            _ => Ok(held),
        }
    }

    /// Whether the key of this id may be used at `now`.
    pub(crate) fn is_usable(&self, id: KeyId, now: Timestamp) -> bool {
        let state = self.lock();
        let held = state.keys.get(&id);
        held.is_some_and(|held| held.key.usable_at(now).is_ok())
    }

    /// Reads the file again if it changed. A file that cannot be read closes every key: nobody knows
    /// which of them were revoked.
    pub(crate) fn look(&self) {
        let stamp = self.stamp();
        if self.lock().stamp == stamp {
            return;
        }
        let read = KeyFile::load(&self.path);
        let mut state = self.lock();
        let replaced = read.and_then(|file| state.replace(file, stamp));
        if replaced.is_err() {
            state.close_all();
            state.stamp = stamp;
            state.unreadable = true;
        }
    }

    /// Whether the file could be read when it was looked at last.
    pub(crate) fn is_readable(&self) -> bool {
        !self.lock().unreadable
    }

    fn stamp(&self) -> Option<Stamp> {
        let found = fs::metadata(&self.path).ok()?;
        Some((
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace(&mut self, file: KeyFile, stamp: Option<Stamp>) -> Result<(), KeyFileError> {
        let mut keys = HashMap::new();
        for key in file.keys {
            let held = match self.keys.get(&key.id) {
                Some(held) if held.key == key => Arc::clone(held),
                _ => Arc::new(HeldKey::new(key)?),
            };
            keys.insert(held.key.id, held);
        }
        let before = std::mem::replace(&mut self.keys, keys);
        for (id, held) in before {
            let still = self.keys.get(&id);
            if still.is_none_or(|now| now.key.revoked.is_some()) {
                held.ended.store(true, Ordering::Release);
            }
        }
        self.stamp = stamp;
        self.unreadable = false;
        Ok(())
    }

    fn close_all(&mut self) {
        for (_, held) in self.keys.drain() {
            held.ended.store(true, Ordering::Release);
        }
    }
}

/// The one key that a request carries.
fn carried(headers: &HeaderMap) -> Result<KeyToken, KeyRefusal> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter();
    let bearer = bearer.map(|value| {
        let text = value.to_str().ok()?;
        let (scheme, key) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let plain = headers.get_all("x-api-key").iter();
    let plain = plain.map(|value| value.to_str().ok());
    let mut found: Option<&str> = None;
    for text in bearer.chain(plain) {
        let text = text.ok_or(KeyRefusal::Unknown)?;
        if found.is_some_and(|other| other != text) {
            return Err(KeyRefusal::Ambiguous);
        }
        found = Some(text);
    }
    let text = found.ok_or(KeyRefusal::Missing)?;
    KeyToken::parse(text).ok_or(KeyRefusal::Unknown)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proofroom_canonical::{Digest, Timestamp};

    use super::KeyRing;
    use crate::keys::{KeyFile, KeyRefusal, KeyToken, tests::key_for};

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn bearer(token: &KeyToken) -> HeaderMap {
        headers(&[("authorization", format!("Bearer {}", token.expose()))])
    }

    struct Ring {
        dir: tempfile::TempDir,
        token: KeyToken,
        ring: KeyRing,
    }

    impl Ring {
        fn with(change: impl FnOnce(&mut crate::keys::VirtualKey)) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let token = KeyToken::generate().unwrap();
            let mut key = key_for(&token);
            change(&mut key);
            let path = dir.path().join("keys.json");
            KeyFile::change(&path, |file| {
                file.keys.push(key);
                Ok(())
            })
            .unwrap();
            let ring = KeyRing::open(&path).unwrap();
            Self { dir, token, ring }
        }

        fn ask(&self, headers: &HeaderMap, seconds: i64) -> Result<(), KeyRefusal> {
            let now = Timestamp::from_unix_seconds(seconds);
            self.ring.authenticate(headers, None, now).map(|_| ())
        }

        fn path(&self) -> std::path::PathBuf {
            self.dir.path().join("keys.json")
        }
    }

    #[test]
    fn one_key_in_either_header_and_nothing_else() {
        let one = Ring::with(|_| ());
        let other = KeyToken::generate().unwrap();
        let key = || one.token.expose().to_owned();
        let cases = [
            (vec![], Err(KeyRefusal::Missing)),
            (vec![("authorization", format!("Bearer {}", key()))], Ok(())),
            (vec![("authorization", format!("bearer {}", key()))], Ok(())),
            (vec![("x-api-key", key())], Ok(())),
            (
                vec![
                    ("x-api-key", key()),
                    ("authorization", format!("Bearer {}", key())),
                ],
                Ok(()),
            ),
            (
                vec![
                    ("x-api-key", key()),
                    ("x-api-key", other.expose().to_owned()),
                ],
                Err(KeyRefusal::Ambiguous),
            ),
            (
                vec![("authorization", format!("Basic {}", key()))],
                Err(KeyRefusal::Unknown),
            ),
            (
                vec![("x-api-key", other.expose().to_owned())],
                Err(KeyRefusal::Unknown),
            ),
            (
                vec![("x-api-key", "sk-1".to_owned())],
                Err(KeyRefusal::Unknown),
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(one.ask(&headers(&pairs), 5), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_revocation_counts_from_the_next_request_and_reaches_runs_under_way() {
        let one = Ring::with(|_| ());
        let now = Timestamp::from_unix_seconds(5);
        let held = one
            .ring
            .authenticate(&bearer(&one.token), None, now)
            .unwrap();
        assert!(!held.has_ended());
        KeyFile::change(&one.path(), |file| {
            file.find_mut(one.token.id())?.revoked = Some(now);
            Ok(())
        })
        .unwrap();
        assert_eq!(one.ask(&bearer(&one.token), 5), Err(KeyRefusal::Revoked));
        assert!(held.has_ended());
    }

    #[test]
    fn a_file_that_cannot_be_read_closes_every_key_until_it_can() {
        let one = Ring::with(|_| ());
        let good = std::fs::read(one.path()).unwrap();
        std::fs::write(one.path(), "{").unwrap();
        assert_eq!(one.ask(&bearer(&one.token), 5), Err(KeyRefusal::Unknown));
        assert!(!one.ring.is_readable());
        std::fs::write(one.path(), good).unwrap();
        assert_eq!(one.ask(&bearer(&one.token), 5), Ok(()));
        std::fs::remove_file(one.path()).unwrap();
        assert_eq!(one.ask(&bearer(&one.token), 5), Err(KeyRefusal::Unknown));
    }

    #[test]
    fn a_key_ends_at_its_expiry_and_one_bound_to_a_client_key_needs_it() {
        let one = Ring::with(|key| key.expires = Some(Timestamp::from_unix_seconds(10)));
        assert_eq!(one.ask(&bearer(&one.token), 9), Ok(()));
        assert_eq!(one.ask(&bearer(&one.token), 10), Err(KeyRefusal::Expired));
        let spki = Digest::of("client");
        let one = Ring::with(|key| key.client_key = Some(spki));
        assert_eq!(one.ask(&bearer(&one.token), 5), Err(KeyRefusal::ClientKey));
        let now = Timestamp::from_unix_seconds(5);
        let ask = |shown| one.ring.authenticate(&bearer(&one.token), Some(shown), now);
        assert!(ask(spki).is_ok());
        assert_eq!(ask(Digest::of("other")).unwrap_err(), KeyRefusal::ClientKey);
    }
}
