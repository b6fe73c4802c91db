//! A file with a secret, looked at before every use and read again when its metadata changed.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use proofroom_canonical::Sensitive;

use super::KeyError;
use crate::config::{FileStamp, SecretSource};

/// Makes of a file's text what is used of it.
type Read<T> = fn(&Sensitive<String>) -> Result<T, KeyError>;

/// Is told when another content was read, or that what there is cannot be used from now on.
pub(crate) type Tell<'a> = &'a dyn Fn(Result<(), &KeyError>);

/// A file whose content is in force as long as the file is what it was when it was read.
pub(crate) struct Watched<T> {
    path: PathBuf,
    secrets: Arc<dyn SecretSource>,
    read: Read<T>,
    seen: Mutex<Seen<T>>,
}

struct Seen<T> {
    /// Of before the content was read, so that a change meanwhile is one.
    stamp: FileStamp,
    content: Result<Arc<T>, KeyError>,
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.path).finish()
    }
}

impl<T> Watched<T> {
    /// The file at `path`, which has to be in order.
    pub(crate) fn open(
        path: PathBuf,
        secrets: &Arc<dyn SecretSource>,
        read: Read<T>,
    ) -> Result<Self, KeyError> {
        let stamp = secrets.stamp(&path)?;
        let content = read(&secrets.file(&path)?)?;
        Ok(Self {
            path,
            secrets: Arc::clone(secrets),
            read,
            seen: Mutex::new(Seen {
                stamp,
                content: Ok(Arc::new(content)),
            }),
        })
    }

    /// What the file holds now. One that is not there, cannot be read or holds something else is an error from now on, until
    /// it is in order; what it held before is let go.
    pub(crate) fn look(&self, tell: Tell<'_>) -> Result<Arc<T>, KeyError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.secrets.stamp(&self.path).map_err(KeyError::from);
        if let (Ok(stamp), Ok(content)) = (&stamp, &seen.content)
            && *stamp == seen.stamp
        {
            return Ok(Arc::clone(content));
        }
        let content = stamp.and_then(|stamp| {
            seen.stamp = stamp;
            let text = self.secrets.file(&self.path)?;
            (self.read)(&text).map(Arc::new)
        });
        match (&content, &seen.content) {
            (Ok(_), _) => tell(Ok(())),
            (Err(new), Err(old)) if new == old => {}
            (Err(new), _) => tell(Err(new)),
        }
        seen.content.clone_from(&content);
        content
    }
}

#[cfg(test)]
mod tests;
