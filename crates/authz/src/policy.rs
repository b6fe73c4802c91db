//! The access policy: Cedar text, validated against the schema, its examples decided at load.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    str::FromStr as _,
};

use cedar_policy::{
    Authorizer, Context, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use miette::Diagnostic as _;
use proofroom_canonical::Digest;
use serde_json::Value;

use crate::{
    Decision, DenyCode,
    examples::{self, Example},
    operation::Operation,
    path::{RunsLater, fold},
};

/// The access policy that ships with the product.
pub const DEFAULT_POLICY: &str = include_str!("../policies/access.cedar");

/// The most bytes that a policy file may have.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

const SCHEMA: &str = include_str!("schema.cedarschema");

/// A policy that was parsed, validated, and whose examples came out as they say.
#[derive(Clone, Debug)]
pub struct AccessPolicy {
    policies: PolicySet,
    schema: Schema,
    digest: Digest,
}

/// What is wrong with a policy file.
#[derive(Debug, thiserror::Error)]
pub enum PolicyProblem {
    /// An example is decided differently, or by another policy, than it says.
    #[error("{file}:{line}: example {complaint}")]
    Example {
        /// The file.
        file: String,
        /// The example's line.
        line: usize,
        /// What came out.
        complaint: String,
    },
    /// A line begins with `//?` and is no example.
    #[error(
        "{file}:{line}: not an example: write `//? allow|deny <action> <argument> [as <agent>] [by <policy id>]`"
    )]
    ExampleSyntax {
        /// The file.
        file: String,
        /// The line.
        line: usize,
    },
    /// A policy has no `@id` or no `@reason`, or shares its id.
    #[error("{file}: policy `{policy}` needs an `@id` of its own and a `@reason`")]
    Unnamed {
        /// The file.
        file: String,
        /// Its id, or its position.
        policy: String,
    },
    /// No example is decided by this policy.
    #[error("{file}: policy `{policy}` decides none of the examples: add one `//? … by {policy}`")]
    Untested {
        /// The file.
        file: String,
        /// Its id.
        policy: String,
    },
    /// A pattern over paths that no folded path matches.
    #[error(
        "{file}: policy `{policy}` compares a path with `{literal}`, which no path looks like: write `{folded}`"
    )]
    NeverMatches {
        /// The file.
        file: String,
        /// Its id.
        policy: String,
        /// As written.
        literal: String,
        /// As paths look.
        folded: String,
    },
    /// Not Cedar.
    #[error("{file}: not a Cedar policy: {detail}")]
    Syntax {
        /// The file.
        file: String,
        /// What the parser says.
        detail: String,
    },
    /// Larger than [`MAX_POLICY_BYTES`].
    #[error("{file}: larger than 256 KiB")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// The validator found an error, or a policy that can never apply.
    #[error("{file}: {detail}")]
    Validation {
        /// The file.
        file: String,
        /// What the validator says.
        detail: String,
    },
}

impl PolicyProblem {
    /// The stable code of this problem.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Example { .. } => "policy-example",
            Self::ExampleSyntax { .. } => "policy-example-syntax",
            Self::Unnamed { .. } => "policy-unnamed",
            Self::Untested { .. } => "policy-untested",
            Self::NeverMatches { .. } => "policy-never-matches",
            Self::Syntax { .. } => "policy-syntax",
            Self::TooLarge { .. } => "policy-too-large",
            Self::Validation { .. } => "policy-validation",
        }
    }
}

impl AccessPolicy {
    /// Reads a policy. `file` is the name that problems carry.
    ///
    /// # Errors
    /// Every [`PolicyProblem`] of the file that can be found at once.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<PolicyProblem>> {
        let policy = Self::parse_untested(text, file).map_err(|problem| vec![problem])?;
        let mut problems = policy.static_problems(file);
        policy.try_examples(text, file, &mut problems);
        if problems.is_empty() {
            Ok(policy)
        } else {
            Err(problems)
        }
    }

    fn parse_untested(text: &str, file: &str) -> Result<Self, PolicyProblem> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyProblem::TooLarge { file: file.into() });
        }
        let syntax = |detail: String| PolicyProblem::Syntax {
            file: file.into(),
            detail,
        };
        let (schema, _) =
            Schema::from_cedarschema_str(SCHEMA).map_err(|error| syntax(error.to_string()))?;
        let parsed = PolicySet::from_str(text).map_err(|error| {
            let offset = error.labels().and_then(|mut labels| labels.next());
            let offset = offset.map_or(0, |label| label.offset());
            let before = text.get(..offset).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            syntax(format!("line {line}: {error}"))
        })?;
        Ok(Self {
            policies: with_own_ids(&parsed, file)?,
            schema,
            digest: Digest::of(text),
        })
    }

    /// SHA-256 of the file's bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Ids of the policies, sorted.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self
            .policies
            .policies()
            .map(|policy| policy.id().to_string())
            .collect();
        ids.sort();
        ids
    }

    /// The same file without one of its policies; the same when there is none of this id.
    #[must_use]
    pub fn without(&self, id: &str) -> Self {
        let kept = self
            .policies
            .policies()
            .filter(|policy| policy.id().to_string() != id)
            .cloned();
        Self {
            policies: PolicySet::from_policies(kept).unwrap_or_default(),
            schema: self.schema.clone(),
            digest: self.digest,
        }
    }

    /// Decides for `agent`, without any task's grant. An error on the way is a denial.
    #[must_use]
    pub fn decide(&self, agent: &str, operation: &Operation) -> Decision {
        if let Operation::Path(action, path) = operation
            && action.writes()
            && let Some(name) = path.protected_name()
        {
            return Decision::Deny {
                code: DenyCode::ProtectedPath,
                reason: format!("`{name}` cannot be written by an agent, in any spelling"),
                policies: Vec::new(),
            };
        }
        self.evaluate(agent, operation)
            .unwrap_or_else(|detail| Decision::Deny {
                code: DenyCode::PolicyError,
                reason: format!("the access policy could not be evaluated: {detail}"),
                policies: Vec::new(),
            })
    }

    fn evaluate(&self, agent: &str, operation: &Operation) -> Result<Decision, String> {
        let (request, entities) = self.question(agent, operation)?;
        let answer = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        if let Some(error) = answer.diagnostics().errors().next() {
            return Err(error.to_string());
        }
        let mut policies: Vec<String> = answer
            .diagnostics()
            .reason()
            .map(ToString::to_string)
            .collect();
        policies.sort();
        Ok(match answer.decision() {
            cedar_policy::Decision::Allow => Decision::Allow { policies },
            cedar_policy::Decision::Deny => Decision::Deny {
                code: DenyCode::AccessPolicy,
                reason: self.reason(&policies, operation),
                policies,
            },
        })
    }

    fn reason(&self, policies: &[String], operation: &Operation) -> String {
        let words: Vec<String> = policies
            .iter()
            .map(|id| {
                let says = self.policies.annotation(&PolicyId::new(id), "reason");
                format!("`{id}`: {}", says.unwrap_or_default())
            })
            .collect();
        if words.is_empty() {
            format!("no policy permits `{operation}`")
        } else {
            words.join("; ")
        }
    }

    fn question(&self, agent: &str, operation: &Operation) -> Result<(Request, Entities), String> {
        let principal = uid("Agent", agent)?;
        let action = uid("Action", operation.action())?;
        let (kind, id, attributes) = resource(operation);
        let resource = uid(kind, &id)?;
        let attributes: HashMap<String, RestrictedExpression> = attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let about = Entity::new(resource.clone(), attributes, HashSet::new())
            .map_err(|error| error.to_string())?;
        let who = Entity::new_no_attrs(principal.clone(), HashSet::new());
        let entities = Entities::from_entities([about, who], Some(&self.schema))
            .map_err(|error| error.to_string())?;
        Request::new(
            principal,
            action,
            resource,
            Context::empty(),
            Some(&self.schema),
        )
        .map(|request| (request, entities))
        .map_err(|error| error.to_string())
    }

    fn static_problems(&self, file: &str) -> Vec<PolicyProblem> {
        let validation =
            Validator::new(self.schema.clone()).validate(&self.policies, ValidationMode::Strict);
        let errors = validation.validation_errors().map(ToString::to_string);
        let warnings = validation.validation_warnings().map(ToString::to_string);
        let mut problems: Vec<PolicyProblem> = errors
            .chain(warnings)
            .map(|detail| PolicyProblem::Validation {
                file: file.into(),
                detail,
            })
            .collect();
        for policy in self.policies.policies() {
            let mut literals = Vec::new();
            if let Ok(tree) = policy.to_json() {
                path_literals(&tree, &mut literals);
            }
            problems.extend(
                literals
                    .into_iter()
                    .filter(|literal| fold(literal) != *literal)
                    .map(|literal| PolicyProblem::NeverMatches {
                        file: file.into(),
                        policy: policy.id().to_string(),
                        folded: fold(&literal),
                        literal,
                    }),
            );
        }
        problems
    }

    fn try_examples(&self, text: &str, file: &str, problems: &mut Vec<PolicyProblem>) {
        let mut tested = BTreeSet::new();
        for example in examples::read(text) {
            match example {
                Ok(example) => {
                    let made = self.decide(&example.agent, &example.operation);
                    problems.extend(complain(&example, &made, file));
                    let (Decision::Allow { policies } | Decision::Deny { policies, .. }) = made;
                    tested.extend(policies);
                }
                Err(line) => problems.push(PolicyProblem::ExampleSyntax {
                    file: file.into(),
                    line,
                }),
            }
        }
        problems.extend(
            self.ids()
                .into_iter()
                .filter(|id| !tested.contains(id))
                .map(|policy| PolicyProblem::Untested {
                    file: file.into(),
                    policy,
                }),
        );
    }

    /// Ids of the policies that permit something.
    #[must_use]
    pub fn permits(&self) -> Vec<String> {
        self.policies
            .policies()
            .filter(|policy| policy.effect() == Effect::Permit)
            .map(|policy| policy.id().to_string())
            .collect()
    }
}

fn complain(example: &Example, made: &Decision, file: &str) -> Option<PolicyProblem> {
    Some(PolicyProblem::Example {
        file: file.into(),
        line: example.line,
        complaint: example.complaint(made)?,
    })
}

/// The same policies, each under the id that its annotation gives it.
fn with_own_ids(parsed: &PolicySet, file: &str) -> Result<PolicySet, PolicyProblem> {
    let unnamed = |policy: String| PolicyProblem::Unnamed {
        file: file.into(),
        policy,
    };
    if let Some(template) = parsed.templates().next() {
        return Err(unnamed(template.id().to_string()));
    }
    let mut named = PolicySet::new();
    for policy in parsed.policies() {
        let id = policy.annotation("id").filter(|id| !id.is_empty());
        let (Some(id), Some(_)) = (id, policy.annotation("reason")) else {
            return Err(unnamed(
                id.map_or_else(|| policy.id().to_string(), str::to_owned),
            ));
        };
        named
            .add(policy.new_id(PolicyId::new(id)))
            .map_err(|_| unnamed(id.to_owned()))?;
    }
    Ok(named)
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind = EntityTypeName::from_str(kind).map_err(|error| error.to_string())?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

type Attributes = BTreeMap<&'static str, RestrictedExpression>;

fn resource(operation: &Operation) -> (&'static str, String, Attributes) {
    let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
    match operation {
        Operation::Path(_, path) => {
            let later = path.runs_later() == RunsLater::Yes;
            let attributes = BTreeMap::from([
                ("path", text(path.folded())),
                ("runs_later", RestrictedExpression::new_bool(later)),
            ]);
            ("Path", path.folded().to_owned(), attributes)
        }
        Operation::Run { argv } => {
            let program = argv.first().map_or("", String::as_str);
            let attributes =
                BTreeMap::from([("program", text(program)), ("line", text(&argv.join(" ")))]);
            ("Command", program.to_owned(), attributes)
        }
        Operation::GitCommit { repository } | Operation::Deliver { repository } => (
            "Repository",
            repository.clone(),
            BTreeMap::from([("name", text(repository))]),
        ),
        Operation::ModelRun { endpoint } => (
            "Endpoint",
            endpoint.clone(),
            BTreeMap::from([("path", text(endpoint))]),
        ),
        Operation::Connect { host, port } => {
            let name = fold(host);
            let port = RestrictedExpression::new_long(i64::from(*port));
            let attributes = BTreeMap::from([("name", text(&name)), ("port", port)]);
            ("Host", name, attributes)
        }
    }
}

/// Every literal that a policy compares `resource.path` with, by `==` or `like`, and every literal
/// path entity. Endpoints have a `path` too; theirs are lower case already.
fn path_literals(tree: &Value, found: &mut Vec<String>) {
    match tree {
        Value::Object(members) => {
            if let Some(like) = members.get("like").filter(|like| is_path(like.get("left"))) {
                let parts = like.get("pattern").and_then(Value::as_array);
                let literals = parts.into_iter().flatten().filter_map(|p| p.get("Literal"));
                let joined: String = literals.filter_map(Value::as_str).collect();
                found.push(joined);
            }
            for name in ["==", "!="] {
                let Some(both) = members.get(name) else {
                    continue;
                };
                for (side, other) in [("left", "right"), ("right", "left")] {
                    let literal = both.get(other).and_then(|value| value.get("Value"));
                    if is_path(both.get(side))
                        && let Some(literal) = literal.and_then(Value::as_str)
                    {
                        found.push(literal.to_owned());
                    }
                }
            }
            if members.get("type").and_then(Value::as_str) == Some("Path")
                && let Some(id) = members.get("id").and_then(Value::as_str)
            {
                found.push(id.to_owned());
            }
            members
                .values()
                .for_each(|value| path_literals(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| path_literals(value, found)),
        _ => {}
    }
}

fn is_path(side: Option<&Value>) -> bool {
    side.and_then(|value| value.get("."))
        .and_then(|access| access.get("attr"))
        .and_then(Value::as_str)
        == Some("path")
}
