//! A rule's examples: `CONNECT name:port`, or a method and a URL. Run when the file is loaded.

use super::{EgressPolicy, PolicyProblem, Rule, problem, raw::RawRule};
use crate::{
    decide::{Denial, Way},
    target::{Endpoint, Target},
};

pub(super) fn run(policy: &EgressPolicy, raw: &RawRule, problems: &mut Vec<PolicyProblem>) {
    let mut add = |example: &str, words: String| {
        let message = format!("rule `{}`: example `{example}`: {words}", raw.name);
        problems.push(problem("example-fails", message));
    };
    for example in &raw.matching {
        match decide(policy, example) {
            Some(Ok(name)) if name.contains(&raw.name) => {}
            Some(Ok(other)) => add(example, format!("rule `{}` decides it", other.join("`, `"))),
            Some(Err(denial)) => add(example, format!("{denial} ({})", denial.code())),
            None => add(
                example,
                "it is neither `CONNECT name:port` nor a method and a URL".to_owned(),
            ),
        }
    }
    for example in &raw.not_match {
        match decide(policy, example) {
            Some(Ok(names)) if names.contains(&raw.name) => {
                add(example, "the rule allows it".to_owned());
            }
            Some(_) => {}
            None => add(
                example,
                "it is neither `CONNECT name:port` nor a method and a URL".to_owned(),
            ),
        }
    }
}

/// The names of the rules that allow what the example describes.
fn decide(policy: &EgressPolicy, example: &str) -> Option<Result<Vec<String>, Denial>> {
    let (method, rest) = example.split_once(' ')?;
    if method != "CONNECT" {
        let decided = Target::of_url(rest)
            .and_then(|target| policy.request(method, &target))
            .map(|rule| vec![rule.name.clone()]);
        return Some(decided);
    }
    let decided = Endpoint::of_connect(rest).and_then(|endpoint| {
        let way = policy.connect(&endpoint)?;
        Ok(match way {
            Way::Through(rule) => vec![rule.name.clone()],
            Way::Requests(_) => {
                let covering = policy.rules.iter().filter(|rule| rule.covers(&endpoint));
                covering.map(|rule: &Rule| rule.name.clone()).collect()
            }
        })
    });
    Some(decided)
}
