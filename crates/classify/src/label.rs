//! Ordered sensitivity levels, a label on that scale, and the session's high-water mark.

/// Most levels a policy may name; a person has to keep them apart.
pub const MAX_LEVELS: usize = 16;

/// A position on a policy's scale of levels: a later level is greater. It carries no name; ask the
/// [`Levels`] it came from. Labels of different policies must not be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(u8);

impl Label {
    /// Zero for the lowest level of the policy.
    #[must_use]
    pub const fn rank(self) -> u8 {
        self.0
    }
}

/// The names of a policy's levels, lowest first. At least two, all different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    names: Vec<String>,
    highest: Label,
}

impl Levels {
    /// Takes level names, lowest first.
    ///
    /// # Errors
    /// A sentence for the author: fewer than 2 or more than [`MAX_LEVELS`] names, a name twice, or
    /// a name that is not lower-case letters, digits and `-`.
    pub fn new(names: Vec<String>) -> Result<Self, String> {
        let count = names.len();
        let top = u8::try_from(count.saturating_sub(1)).unwrap_or(u8::MAX);
        if !(2..=MAX_LEVELS).contains(&count) {
            return Err(format!(
                "{count} levels given; name 2 to {MAX_LEVELS}, lowest first"
            ));
        }
        for (index, name) in names.iter().enumerate() {
            if !is_name(name) {
                return Err(format!(
                    "level `{name}` must be lower-case letters, digits and `-`"
                ));
            }
            if names.iter().take(index).any(|earlier| earlier == name) {
                return Err(format!("level `{name}` is named twice"));
            }
        }
        Ok(Self {
            names,
            highest: Label(top),
        })
    }

    /// The label called `name`, if this policy has one.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<Label> {
        let at = self.names.iter().position(|known| known == name)?;
        u8::try_from(at).ok().map(Label)
    }

    /// The name of `label`; the highest level's name for a label of some larger scale.
    #[must_use]
    pub fn name(&self, label: Label) -> &str {
        self.names
            .get(usize::from(label.0))
            .or(self.names.last())
            .map_or("", String::as_str)
    }

    /// The lowest level.
    #[must_use]
    pub const fn lowest(&self) -> Label {
        Label(0)
    }

    /// The highest level.
    #[must_use]
    pub const fn highest(&self) -> Label {
        self.highest
    }

    /// The level `steps` below the highest, or the lowest where the scale is shorter.
    #[must_use]
    pub const fn below_highest(&self, steps: u8) -> Label {
        Label(self.highest.0.saturating_sub(steps))
    }

    /// All labels, lowest first.
    pub fn labels(&self) -> impl Iterator<Item = Label> + use<> {
        (0..=self.highest.0).map(Label)
    }

    /// All names, lowest first.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            names: ["public", "internal", "confidential", "restricted"]
                .map(str::to_owned)
                .into(),
            highest: Label(3),
        }
    }
}

/// Rule id under which a label that a developer asked for is recorded. No policy may use it.
pub const RAISED: &str = "raised-by-developer";

/// The label that a developer asks for in a user's turn: a line that is `/label NAME` and nothing
/// else. Of several the highest; a name that the policy does not know asks for the highest of all,
/// because a slip of the pen must not lower what was meant.
#[must_use]
pub fn asked_for(levels: &Levels, text: &str) -> Option<Label> {
    const COMMAND: &str = "/label ";
    // nearly no text has it, and looking for it is faster than taking lines apart
    memchr::memmem::find(text.as_bytes(), COMMAND.as_bytes())?;
    let named = |line: &str| {
        let name = line.trim().strip_prefix(COMMAND)?.trim();
        Some(levels.label(name).unwrap_or_else(|| levels.highest()))
    };
    text.lines().filter_map(named).max()
}

/// The highest label a session has shown so far. It only rises: what a model has been told once
/// stays in the conversation, so a later clean request is not a clean conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HighWater(Label);

impl HighWater {
    /// Starts at `label`.
    #[must_use]
    pub const fn new(label: Label) -> Self {
        Self(label)
    }

    /// Takes in the label of one request and returns the label to decide on, which is never lower
    /// than any label seen before.
    #[must_use = "route on the returned label, not on the request's own"]
    pub fn raise(&mut self, label: Label) -> Label {
        self.0 = self.0.max(label);
        self.0
    }

    /// The highest label so far.
    #[must_use]
    pub const fn label(&self) -> Label {
        self.0
    }
}

/// Whether `name` can stand in a policy file as a level, tier or rule id.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{HighWater, Levels, asked_for};

    #[test]
    fn a_line_of_its_own_asks_for_a_label() {
        let levels = Levels::default();
        let asked = |text| asked_for(&levels, text).map(|label| levels.name(label).to_owned());
        assert_eq!(
            asked("please\n/label confidential\nthanks").as_deref(),
            Some("confidential")
        );
        assert_eq!(
            asked("/label public\n /label internal ").as_deref(),
            Some("internal")
        );
        assert_eq!(asked("/label restrcted").as_deref(), Some("restricted"));
        assert_eq!(asked("use /label restricted to raise"), None);
        assert_eq!(asked("/labels"), None);
    }

    #[test]
    fn default_levels_are_ordered_as_named() {
        let levels = Levels::default();
        let rank = |name| levels.label(name).unwrap();
        assert!(rank("public") < rank("internal"));
        assert!(rank("internal") < rank("confidential"));
        assert!(rank("confidential") < rank("restricted"));
        assert_eq!(levels.highest(), rank("restricted"));
        assert_eq!(levels.name(rank("internal")), "internal");
        assert_eq!(levels.label("secret"), None);
    }

    #[test]
    fn unusable_level_lists_are_refused() {
        let refuse = |names: &[&str]| {
            Levels::new(names.iter().map(|n| (*n).to_owned()).collect()).unwrap_err()
        };
        assert!(refuse(&["only"]).contains("1 levels given"));
        assert!(refuse(&["a", "b", "a"]).contains("`a` is named twice"));
        assert!(refuse(&["a", "Top Secret"]).contains("`Top Secret` must be lower-case"));
        assert!(refuse(&[""; 17]).contains("17 levels given"));
    }

    proptest! {
        #[test]
        fn high_water_never_falls(ranks in proptest::collection::vec(0_usize..4, 1..50)) {
            let all: Vec<_> = Levels::default().labels().collect();
            let mut mark = HighWater::new(all[0]);
            let mut highest = all[0];
            for rank in ranks {
                let before = mark.label();
                highest = highest.max(all[rank]);
                let decided = mark.raise(all[rank]);
                prop_assert!(decided >= before);
                prop_assert_eq!(decided, highest);
            }
        }
    }
}
