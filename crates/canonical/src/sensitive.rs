//! Secrets and prompts: unprintable, unserialisable, wiped when dropped.

use std::fmt;

use zeroize::Zeroize;

/// A value that must never reach a log, a screen or a disk. It has no `Display` and no
/// `Serialize`, its `Debug` prints `<redacted>`, and its memory is overwritten when it is dropped.
pub struct Sensitive<T: Zeroize>(T);

impl<T: Zeroize> Sensitive<T> {
    /// Takes charge of `value`. Copies made before stay where they were: move, do not clone.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The one way to the value; a search for `expose` finds every reader.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Sensitive<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::Sensitive;

    #[test]
    fn debug_prints_nothing_of_the_value() {
        let secret = Sensitive::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "<redacted>");
        assert_eq!(secret.expose(), "hunter2");
    }
}
