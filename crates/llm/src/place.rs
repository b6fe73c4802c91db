//! Where parts of a request lie in its body: by their addresses, as what was read borrows from it.

use std::{fmt, num::NonZeroU32, ops::Range};

use serde::{Deserialize, Deserializer, de::Visitor};

/// Where in the request's body the first member's name of an object lies, which is after everything
/// that stands before the object. Nothing where that is not known: without members, with an escape
/// in the name, or in a document that is not the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun(Option<NonZeroU32>);

impl Begun {
    pub(crate) const UNKNOWN: Self = Self(None);

    /// That of an object whose first member has this name.
    pub(crate) fn at(name: &Name<'_>, body: Option<&str>) -> Self {
        let place = body
            .zip(name.borrowed)
            .and_then(|(body, name)| place_in(body, name));
        let place = place.and_then(|place| u32::try_from(place.start).ok());
        Self(place.and_then(NonZeroU32::new))
    }

    /// The number of bytes of the body before the name.
    pub(crate) fn place(self) -> Option<usize> {
        usize::try_from(self.0?.get()).ok()
    }
}

/// A member's name.
pub(crate) struct Name<'de> {
    pub(crate) text: String,
    /// The same as it stands in the document, where it has no escapes.
    borrowed: Option<&'de str>,
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct ReadName;

        impl<'de> Visitor<'de> for ReadName {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name {
                    text: name.to_owned(),
                    borrowed: Some(name),
                })
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name {
                    text: name.to_owned(),
                    borrowed: None,
                })
            }
        }

        d.deserialize_str(ReadName)
    }
}

/// Where `part` lies in `text`, from which it may borrow.
pub(crate) fn place_in(text: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let place = start..start.checked_add(part.len())?;
    (text.get(place.clone()) == Some(part)).then_some(place)
}

#[cfg(test)]
mod tests;
