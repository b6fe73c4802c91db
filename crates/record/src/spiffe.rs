//! SPIFFE IDs as this product issues them: who in a deployment holds a key. The two roles are kept
//! apart by their paths, so that a session's key can never pass for the gateway's.

use std::{fmt, str::FromStr};

use proofroom_canonical::SessionId;

/// The most bytes that a SPIFFE ID may have (SPIFFE-ID section 2.3).
pub const MAX_SPIFFE_BYTES: usize = 2048;

/// `spiffe://<trust domain>/<path>`, read and sorted by role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeId {
    trust_domain: String,
    role: Role,
}

/// What the holder of a SPIFFE ID is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// `/session/<session id>/agent/<agent>`: one session's room.
    Session {
        /// The session.
        session: SessionId,
        /// The agent, as the access policy names it.
        agent: String,
    },
    /// `/gateway`: the deployment's gateway.
    Gateway,
}

/// Why a text is not a SPIFFE ID of this product.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not `spiffe://<domain>/session/<id>/agent/<name>` or `spiffe://<domain>/gateway`"
)]
pub struct SpiffeError(String);

impl SpiffeId {
    /// The deployment that the ID belongs to.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// What its holder is.
    #[must_use]
    pub const fn role(&self) -> &Role {
        &self.role
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let refuse = || SpiffeError(text.chars().take(200).collect());
        if text.len() > MAX_SPIFFE_BYTES {
            return Err(refuse());
        }
        let after = text.strip_prefix("spiffe://").ok_or_else(refuse)?;
        let mut parts = after.split('/');
        let trust_domain = parts.next().filter(|domain| is_name(domain));
        let trust_domain = trust_domain.ok_or_else(refuse)?;
        let path: Vec<&str> = parts.collect();
        let role = match path.as_slice() {
            ["gateway"] => Role::Gateway,
            ["session", session, "agent", agent] if is_name(agent) => Role::Session {
                session: session.parse().map_err(|_| refuse())?,
                agent: (*agent).to_owned(),
            },
            _ => return Err(refuse()),
        };
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            role,
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.trust_domain)?;
        match &self.role {
            Role::Session { session, agent } => write!(f, "/session/{session}/agent/{agent}"),
            Role::Gateway => f.write_str("/gateway"),
        }
    }
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{Role, SpiffeId};

    #[test]
    fn both_roles_survive_their_text() {
        let session = format!(
            "spiffe://proofroom.test/session/ses_{}/agent/builtin",
            "0".repeat(32)
        );
        for text in [session.as_str(), "spiffe://proofroom.test/gateway"] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
        let gateway: SpiffeId = "spiffe://d/gateway".parse().unwrap();
        assert_eq!(gateway.role(), &Role::Gateway);
        assert_eq!(gateway.trust_domain(), "d");
    }

    #[test]
    fn other_paths_are_refused() {
        for bad in [
            "",
            "spiffe://d",
            "spiffe://d/",
            "spiffe:///gateway",
            "spiffe://d/gateway/",
            "spiffe://d/session/x/agent/a",
            "https://d/gateway",
            "spiffe://d/../gateway",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
