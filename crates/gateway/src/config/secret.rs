//! Where keys come from: a file or an environment variable that the configuration names. Never a
//! request, never the configuration itself.

use std::{fs::File, io::Read as _, path::Path};

use proofroom_canonical::Sensitive;

/// The most bytes that a key may have.
pub const MAX_KEY_BYTES: u64 = 4096;

/// Reads the keys that an upstreams file names.
pub trait SecretSource {
    /// The text of the file at `path`; at most [`MAX_KEY_BYTES`] are read.
    ///
    /// # Errors
    /// Whatever the system says.
    fn file(&self, path: &Path) -> std::io::Result<Sensitive<String>>;

    /// The environment variable `name`, if it is set and UTF-8.
    fn variable(&self, name: &str) -> Option<Sensitive<String>>;
}

/// The files and the environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSecrets;

impl SecretSource for SystemSecrets {
    fn file(&self, path: &Path) -> std::io::Result<Sensitive<String>> {
        let mut text = String::with_capacity(usize::try_from(MAX_KEY_BYTES).unwrap_or(0));
        File::open(path)?
            .take(MAX_KEY_BYTES)
            .read_to_string(&mut text)?;
        Ok(Sensitive::new(text))
    }

    fn variable(&self, name: &str) -> Option<Sensitive<String>> {
        std::env::var(name).ok().map(Sensitive::new)
    }
}
