//! Table `[redaction]`: whose findings are replaced instead of deciding where a request goes.

use crate::{detect::is_secret, problem::Problems, table::Reader};

/// The rules named, of those in `values`: rules whose findings are a piece of text. Credentials are
/// named apart, because what an agent writes to disk then goes through a model as a placeholder.
pub(super) fn read(file: &mut Reader, values: &[String], problems: &mut Problems) -> Vec<String> {
    let Some(mut table) = file.child("redaction", problems) else {
        return Vec::new();
    };
    let at = table.at().to_owned();
    let mut named = Vec::new();
    for (key, secrets) in [("rules", false), ("secrets", true)] {
        for id in table.texts(key, problems) {
            if !values.contains(&id) {
                let text = format!("`{id}` is no detector, term or marking of this file");
                problems.add(&at, "unknown-rule", text);
            } else if is_secret(&id) && !secrets {
                let text = format!(
                    "`{id}` finds credentials: name it under `secrets` if an agent may write them to \
                     disk from a model's answer"
                );
                problems.add(&at, "redaction-of-secret", text);
            } else if secrets && !is_secret(&id) {
                let text = format!("`{id}` finds no credentials: name it under `rules`");
                problems.add(&at, "redaction-no-secret", text);
            }
            named.push(id);
        }
    }
    table.finish(problems);
    named
}
