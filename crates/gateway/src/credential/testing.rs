//! Files of the tests, in memory, and somebody who is told of changes.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use proofroom_canonical::Sensitive;

use super::KeyError;
use crate::config::{FileStamp, SecretSource};

/// Files by path: how often each was written, and its text.
#[derive(Clone, Default)]
pub(crate) struct Files(Arc<Mutex<BTreeMap<PathBuf, (u64, String)>>>);

impl Files {
    pub(crate) fn write(&self, path: &str, text: &str) {
        let mut files = self.0.lock().unwrap();
        let written = files.entry(path.into()).or_default();
        *written = (written.0 + 1, text.to_owned());
    }

    pub(crate) fn source(&self) -> Arc<dyn SecretSource> {
        Arc::new(self.clone())
    }

    pub(crate) fn listener(&self) -> Told {
        Told::default()
    }
}

impl SecretSource for Files {
    fn file(&self, path: &Path) -> io::Result<Sensitive<String>> {
        let files = self.0.lock().unwrap();
        let found = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Sensitive::new(found.1.clone()))
    }

    fn stamp(&self, path: &Path) -> io::Result<FileStamp> {
        let files = self.0.lock().unwrap();
        let found = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(FileStamp::numbered(found.0))
    }

    fn variable(&self, _: &str) -> Option<Sensitive<String>> {
        None
    }
}

/// Codes of what was told; empty for another content.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<&'static str>>);

impl Told {
    pub(crate) fn tell(&self, change: Result<(), &KeyError>) {
        let code = change.err().map_or("", KeyError::code);
        self.0.lock().unwrap().push(code);
    }

    pub(crate) fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}
