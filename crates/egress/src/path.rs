//! Paths of requests: one that two parties could read differently is refused, so that what was
//! compared with a rule is what the server acts on.

/// The most bytes that a path may have.
const MAX_PATH: usize = 4096;
/// The most bytes that a query may have.
const MAX_QUERY: usize = 4096;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Dots, slashes, percent signs or control characters in disguise; an empty segment.
    #[error("the path can be read in more than one way")]
    Ambiguous,
    /// No slash at its beginning, a character that no path has, or too long.
    #[error("the path is malformed or longer than 4096 bytes")]
    Malformed,
}

/// Whether a path holds an encoded slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlash {
    /// It holds none.
    Absent,
    /// It holds one or more. Only some registries use them, for names with a scope.
    Present,
}

/// A path that has one reading. It is kept as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    text: String,
    encoded_slash: EncodedSlash,
}

impl RequestPath {
    /// Reads a path, without query.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathError::Malformed);
        };
        if text.len() > MAX_PATH {
            return Err(PathError::Malformed);
        }
        let mut encoded_slash = EncodedSlash::Absent;
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            if segment.is_empty() && segments.peek().is_some() {
                return Err(PathError::Ambiguous);
            }
            if judge(segment)? == EncodedSlash::Present {
                encoded_slash = EncodedSlash::Present;
            }
        }
        Ok(Self {
            text: text.to_owned(),
            encoded_slash,
        })
    }

    /// The path as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it holds an encoded slash.
    #[must_use]
    pub const fn encoded_slash(&self) -> EncodedSlash {
        self.encoded_slash
    }
}

/// Refuses `.` and `..`, backslashes and semicolons, and everything that a second decoding would
/// turn into a dot, a slash, a percent sign or a control character.
fn judge(segment: &str) -> Result<EncodedSlash, PathError> {
    let lower = segment.to_ascii_lowercase();
    let mut parts = lower.split("%2f");
    if parts.any(|part| part == "." || part == ".." || (part.is_empty() && !lower.is_empty())) {
        return Err(PathError::Ambiguous);
    }
    let mut slash = EncodedSlash::Absent;
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(PathError::Ambiguous);
                };
                match high * 16 + low {
                    0x2f => slash = EncodedSlash::Present,
                    0x00..=0x1f | 0x25 | 0x2e | 0x3b | 0x5c | 0x7f.. => {
                        return Err(PathError::Ambiguous);
                    }
                    _ => {}
                }
            }
            b'\\' | b';' => return Err(PathError::Ambiguous),
            b if b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b) => {}
            _ => return Err(PathError::Malformed),
        }
    }
    Ok(slash)
}

/// Reads a query: printable ASCII without spaces. It is never looked into.
pub(crate) fn query(text: &str) -> Result<String, PathError> {
    let printable = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if text.len() > MAX_QUERY || !printable {
        return Err(PathError::Malformed);
    }
    Ok(text.to_owned())
}

/// Which paths a rule is about: segments, of which `*` stands for any one; a slash at the end means
/// everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<String>,
    below: Below,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    Everything,
    Nothing,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        RequestPath::parse(text)?;
        let rest = text.strip_prefix('/').ok_or(PathError::Malformed)?;
        let (rest, below) = match rest.strip_suffix('/') {
            Some(rest) => (rest, Below::Everything),
            None if rest.is_empty() => ("", Below::Everything),
            None => (rest, Below::Nothing),
        };
        let segments = rest.split('/').filter(|segment| !segment.is_empty());
        let segments: Vec<String> = segments.map(str::to_owned).collect();
        if segments.iter().any(|one| one.contains('*') && one != "*") {
            return Err(PathError::Malformed);
        }
        Ok(Self { segments, below })
    }

    /// Whether the pattern covers `path`.
    #[must_use]
    pub fn covers(&self, path: &RequestPath) -> bool {
        let rest = path.text.strip_prefix('/').unwrap_or_default();
        let mut found = rest.split('/');
        for wanted in &self.segments {
            let fits = found
                .next()
                .is_some_and(|one| one == wanted || (wanted == "*" && !one.is_empty()));
            if !fits {
                return false;
            }
        }
        match self.below {
            Below::Everything => found.next().is_some(),
            Below::Nothing => found.next().is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::{EncodedSlash, PathError, PathPattern, RequestPath};

    fn covers(pattern: &str, path: &str) -> bool {
        let path = RequestPath::parse(path).unwrap();
        PathPattern::parse(pattern).unwrap().covers(&path)
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for path in [
            "//a",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/..",
            "/.",
            "/a/..",
            "/a/;./b",
            "/a;x=1/b",
            "/a/..;/b",
            "/%2e%2e/a",
            "/a/%2E./b",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0a",
            "/a%25%32e",
            "/%252e%252e/",
            "/a%3bb",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%7f",
            "/a%ff",
            "/a%c0%ae",
            "/..%2f..%2fa",
            "/a%2f..",
            "/a%2f%2fb",
            "/%2fa",
            "/a%2f",
        ] {
            assert_eq!(
                RequestPath::parse(path),
                Err(PathError::Ambiguous),
                "{path}"
            );
        }
        let long = format!("/{}", "a".repeat(4096));
        for path in [
            "",
            "a",
            "*",
            "/a b",
            "/a\u{e9}",
            "/a\0",
            "/a\"",
            "/a{b}",
            "/a#b",
            "/a?b",
            long.as_str(),
        ] {
            assert_eq!(
                RequestPath::parse(path),
                Err(PathError::Malformed),
                "{path}"
            );
        }
    }

    #[test]
    fn ordinary_paths_are_kept_as_they_are() {
        for path in [
            "/",
            "/a/",
            "/se/rd/serde",
            "/a/1.0.0+b~c",
            "/%7euser",
            "/a/.well-known",
            "/a...b/..c",
        ] {
            assert_eq!(RequestPath::parse(path).unwrap().as_str(), path);
        }
        let scoped = RequestPath::parse("/@scope%2fname").unwrap();
        assert_eq!(scoped.encoded_slash(), EncodedSlash::Present);
    }

    #[test]
    fn patterns_go_by_segments() {
        assert!(
            covers("/v1/tickets/", "/v1/tickets/7/notes") && covers("/v1/tickets/", "/v1/tickets/")
        );
        assert!(
            !covers("/v1/tickets/", "/v1/tickets") && !covers("/v1/tickets/", "/v1/ticketsX/7")
        );
        assert!(covers("/v1/tickets", "/v1/tickets") && !covers("/v1/tickets", "/v1/tickets/7"));
        assert!(covers("/", "/") && covers("/", "/any/thing"));
        assert!(
            covers("/a/*/c", "/a/b/c") && !covers("/a/*/c", "/a/b/b/c") && !covers("/a/*", "/a/")
        );
        assert!(
            !covers("/v1/tickets/", "/v1/%74ickets/7"),
            "another spelling is another path"
        );
        assert!(!covers("/a/*", "/A/b"));
        assert_eq!(PathPattern::parse("/a*/b"), Err(PathError::Malformed));
        assert_eq!(PathPattern::parse("/a/../b"), Err(PathError::Ambiguous));
    }

    proptest! {
        #[test]
        fn no_accepted_path_climbs_out_of_its_prefix(rest in any::<String>(), escapes in "[./%2eEfF;\\\\a]{0,24}") {
            for text in [format!("/in/{rest}"), format!("/in/{escapes}")] {
                if let Ok(path) = RequestPath::parse(&text) {
                    let lower = path.as_str().to_ascii_lowercase();
                    let decoded = lower.replace("%2f", "/");
                    prop_assert!(!decoded.split('/').any(|s| s == ".." || s == "."), "{}", text);
                    prop_assert!(!lower.contains("%2e") && !lower.contains('\\') && !lower.contains(';'));
                }
            }
        }
    }
}
