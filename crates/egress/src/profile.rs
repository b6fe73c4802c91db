//! Ready-made rules for package registries: they fetch and do nothing else. An upload, a login and a
//! search go nowhere.

use serde::Deserialize;

use crate::policy::{PolicyProblem, RawRule, problem};

/// Every profile: its name and its rules, written as in `egress.toml`.
const PROFILES: [(&str, &str); 4] = [
    (
        "crates-io",
        include_str!("../policies/profiles/crates-io.toml"),
    ),
    ("debian", include_str!("../policies/profiles/debian.toml")),
    ("npm", include_str!("../policies/profiles/npm.toml")),
    ("pypi", include_str!("../policies/profiles/pypi.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    rule: Vec<RawRule>,
}

/// Names of all profiles.
#[must_use]
pub fn names() -> [&'static str; 4] {
    PROFILES.map(|(name, _)| name)
}

pub(crate) fn rules(name: &str) -> Result<Vec<RawRule>, PolicyProblem> {
    let found = PROFILES.iter().find(|(known, _)| *known == name);
    let Some((_, text)) = found else {
        let message = format!(
            "`profiles`: there is no profile `{}`; there are `{}`",
            crate::host::shown(name),
            names().join("`, `")
        );
        return Err(problem("profile-unknown", message));
    };
    let parsed: Profile = toml::from_str(text)
        .map_err(|error| problem("profile-malformed", format!("profile `{name}`: {error}")))?;
    Ok(parsed.rule)
}
