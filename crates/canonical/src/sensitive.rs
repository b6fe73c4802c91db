//! Secrets and prompts: unprintable, unserialisable, wiped when dropped.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use zeroize::Zeroize as _;

/// Memory that can be overwritten with zeroes, together with the room that was taken beyond it.
pub trait Wipe {
    /// Overwrites it. A text or a list is empty afterwards.
    fn wipe(&mut self);
}

/// `zeroize` overwrites what a list holds byte by byte, and the room beyond it in one piece, some ten times as fast.
/// In an emptied list all is room.
impl Wipe for Vec<u8> {
    fn wipe(&mut self) {
        self.clear();
        self.zeroize();
    }
}

impl Wipe for String {
    fn wipe(&mut self) {
        self.clear();
        self.zeroize();
    }
}

impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        self.as_mut_slice().zeroize();
    }
}

/// Content in memory that is overwritten when it is dropped. For content that is passed on; what nobody may print is
/// [`Sensitive`].
#[derive(Clone, Default)]
pub struct Wiped<T: Wipe>(T);

impl<T: Wipe> Wiped<T> {
    /// Takes charge of `value`. Copies made before stay where they were: move, do not clone.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Wipe> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl AsRef<[u8]> for Wiped<Vec<u8>> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<T: Wipe> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Wipe> fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// A value that must never reach a log, a screen or a disk. It has no `Display` and no
/// `Serialize`, its `Debug` prints `<redacted>`, and its memory is overwritten when it is dropped.
pub struct Sensitive<T: Wipe>(T);

impl<T: Wipe> Sensitive<T> {
    /// Takes charge of `value`. Copies made before stay where they were: move, do not clone.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The one way to the value; a search for `expose` finds every reader.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe> Drop for Sensitive<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Wipe> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::{Sensitive, Wiped};

    #[test]
    fn debug_prints_nothing_of_the_value() {
        let secret = Sensitive::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "<redacted>");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(
            format!("{:?}", Wiped::new(b"hunter2".to_vec())),
            "<redacted>"
        );
    }
}
