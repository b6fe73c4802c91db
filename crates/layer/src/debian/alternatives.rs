//! Which alternatives a package offers, from the text of its script: literal calls of
//! `update-alternatives --install` only. What a script computes is not known here.

use std::cmp::Reverse;

/// A link that a package offers. Sorts the best first, then by name.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alternative {
    pub(super) priority: Reverse<i64>,
    pub(super) link: String,
    pub(super) path: String,
}

/// Reads the calls in `script`.
pub(super) fn read(script: &str) -> Vec<Alternative> {
    let joined = script.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|word| word.trim_matches(['"', '\'', ';']))
            .collect();
        if !words
            .iter()
            .any(|word| word.ends_with("update-alternatives"))
        {
            continue;
        }
        let Some(at) = words.iter().position(|word| *word == "--install") else {
            continue;
        };
        let Some([link, _name, path, priority]) = words.get(at + 1..at + 5) else {
            continue;
        };
        let Ok(priority) = priority.parse() else {
            continue;
        };
        let mut offer = |link: &str, path: &str| {
            if [link, path].iter().all(|word| literal(word)) {
                found.push(Alternative {
                    priority: Reverse(priority),
                    link: link.to_owned(),
                    path: path.to_owned(),
                });
            }
        };
        offer(link, path);
        let mut rest = words.get(at + 5..).unwrap_or_default();
        while let Some((first, after)) = rest.split_first() {
            if let ("--slave", [link, _name, path, ..]) = (*first, after) {
                offer(link, path);
            }
            rest = after;
        }
    }
    found
}

fn literal(word: &str) -> bool {
    word.starts_with('/') && !word.contains(['$', '`', '*', '?', '"', '\''])
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn literal_calls_are_read_and_computed_ones_are_not() {
        let script = "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n\
            update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/mawk 5 \\\n\
              --slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/mawk.1.gz \\\n\
              --slave /usr/bin/nawk nawk /usr/bin/mawk\nfi\n\
            update-alternatives --install $LINK x /usr/bin/x 10\n\
            update-alternatives --remove awk /usr/bin/mawk\n\
            update-alternatives --install /usr/bin/y y /usr/bin/z $PRIORITY\n";
        let links: Vec<String> = read(script)
            .into_iter()
            .map(|found| format!("{} {} {}", found.priority.0, found.link, found.path))
            .collect();
        assert_eq!(
            links,
            [
                "5 /usr/bin/awk /usr/bin/mawk",
                "5 /usr/share/man/man1/awk.1.gz /usr/share/man/man1/mawk.1.gz",
                "5 /usr/bin/nawk /usr/bin/mawk",
            ]
        );
    }
}
