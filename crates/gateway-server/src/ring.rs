//! The keys in force. The file is looked at before every request, by its metadata, and read again when
//! it changed, so that a revocation counts from the next request and the next chunk of an answer on.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use proofroom_canonical::{Digest, Timestamp};
use proofroom_gateway::config::FileStamp;

use crate::{
    held::Grant,
    keys::{KeyFile, KeyFileError, KeyId, KeyRefusal, KeyToken, VirtualKey},
    state_file,
};

/// A key in force, as the runs that it permitted hold it.
#[derive(Debug)]
pub(crate) struct HeldKey {
    pub(crate) key: VirtualKey,
    pub(crate) grant: Arc<Grant>,
    ended: AtomicBool,
}

impl HeldKey {
    fn new(key: VirtualKey) -> Result<Self, KeyFileError> {
        let id = key.id;
        let grant = Grant::new(&key.scope, &key.limits, &key.session_limits)
            .map_err(|source| KeyFileError::Glob { id, source })?;
        let ended = AtomicBool::new(key.revoked.is_some());
        Ok(Self {
            key,
            grant: Arc::new(grant),
            ended,
        })
    }

    /// Whether the key was revoked or taken out of the file since.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// All keys in force.
#[derive(Debug)]
pub(crate) struct KeyRing {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stamp: Option<FileStamp>,
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
        let stamp = state_file::stamp(path);
        let file = KeyFile::load(path)?;
        ring.lock().replace(file, stamp)?;
        Ok(ring)
    }

    /// The key of this text, if it may be used now over a connection whose client showed `client_key`. Whether its
    /// sender has to prove more is for [`VirtualKey::proof_key`].
    pub(crate) fn authenticate(
        &self,
        text: &str,
        client_key: Option<Digest>,
        now: Timestamp,
    ) -> Result<Arc<HeldKey>, KeyRefusal> {
        let token = KeyToken::parse(text).ok_or(KeyRefusal::Unknown)?;
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
        let stamp = state_file::stamp(&self.path);
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

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace(&mut self, file: KeyFile, stamp: Option<FileStamp>) -> Result<(), KeyFileError> {
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

#[cfg(test)]
mod tests {
    use proofroom_canonical::{Digest, Timestamp};

    use super::KeyRing;
    use crate::keys::{KeyFile, KeyRefusal, KeyToken, tests::key_for};

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

        fn ask(&self, seconds: i64) -> Result<(), KeyRefusal> {
            let now = Timestamp::from_unix_seconds(seconds);
            let asked = self.ring.authenticate(self.token.expose(), None, now);
            asked.map(|_| ())
        }

        fn path(&self) -> std::path::PathBuf {
            self.dir.path().join("keys.json")
        }
    }

    #[test]
    fn a_revocation_counts_from_the_next_request_and_reaches_runs_under_way() {
        let one = Ring::with(|_| ());
        let now = Timestamp::from_unix_seconds(5);
        let held = one
            .ring
            .authenticate(one.token.expose(), None, now)
            .unwrap();
        assert!(!held.has_ended());
        KeyFile::change(&one.path(), |file| {
            file.find_mut(one.token.id())?.revoked = Some(now);
            Ok(())
        })
        .unwrap();
        assert_eq!(one.ask(5), Err(KeyRefusal::Revoked));
        assert!(held.has_ended());
    }

    #[test]
    fn a_file_that_cannot_be_read_closes_every_key_until_it_can() {
        let one = Ring::with(|_| ());
        let good = std::fs::read(one.path()).unwrap();
        std::fs::write(one.path(), "{").unwrap();
        assert_eq!(one.ask(5), Err(KeyRefusal::Unknown));
        assert!(!one.ring.is_readable());
        std::fs::write(one.path(), good).unwrap();
        assert_eq!(one.ask(5), Ok(()));
        std::fs::remove_file(one.path()).unwrap();
        assert_eq!(one.ask(5), Err(KeyRefusal::Unknown));
    }

    #[test]
    fn a_key_ends_at_its_expiry_and_one_bound_to_a_client_key_needs_it() {
        let one = Ring::with(|key| key.expires = Some(Timestamp::from_unix_seconds(10)));
        assert_eq!(one.ask(9), Ok(()));
        assert_eq!(one.ask(10), Err(KeyRefusal::Expired));
        let spki = Digest::of("client");
        let one = Ring::with(|key| key.client_key = Some(spki));
        assert_eq!(one.ask(5), Err(KeyRefusal::ClientKey));
        let now = Timestamp::from_unix_seconds(5);
        let ask = |shown| one.ring.authenticate(one.token.expose(), Some(shown), now);
        assert!(ask(spki).is_ok());
        assert_eq!(ask(Digest::of("other")).unwrap_err(), KeyRefusal::ClientKey);
    }
}
