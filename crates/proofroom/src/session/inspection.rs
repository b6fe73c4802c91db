//! What a delivery may bring: the access policy is asked again for every path, and the classifier
//! for every new file.

use proofroom_authz::{AccessPolicy, Decision, Operation, PathAction, WorkspacePath};
use proofroom_canonical::Timestamp;
use proofroom_classify::{Classifier, Context, Origin, Segment};

use crate::{
    broker::{Inspector, Objection},
    policies::PolicySet,
};

/// Reason class of findings that no delivery may bring.
const SECRET: &str = "secret";

/// Inspects deliveries of one agent.
pub struct DeliveryInspector {
    access: AccessPolicy,
    classifier: Classifier,
    agent: String,
    repository: String,
    clock: fn() -> Timestamp,
}

impl DeliveryInspector {
    pub(super) fn new(
        policies: &PolicySet,
        agent: &str,
        repository: &str,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            access: policies.access.clone(),
            classifier: Classifier::new(&policies.classification),
            agent: agent.to_owned(),
            repository: repository.to_owned(),
            clock,
        }
    }
}

impl Inspector for DeliveryInspector {
    fn path(&self, path: &str) -> Option<Objection> {
        let object = |code, reason: String| Some(Objection { code, reason });
        let path = match WorkspacePath::parse(path) {
            Ok(path) => path,
            Err(error) => return object(error.code(), error.to_string()),
        };
        match self
            .access
            .decide(&self.agent, &Operation::Path(PathAction::WriteFile, path))
        {
            Decision::Allow { .. } => None,
            Decision::Deny { code, reason, .. } => object(code.as_str(), reason),
        }
    }

    fn content(&self, path: &str, content: &[u8]) -> Option<Objection> {
        let text = String::from_utf8_lossy(content);
        let segment = Segment {
            text: &text,
            origin: Origin::ToolResult,
            path: Some(path),
        };
        let context = Context {
            repository: &self.repository,
            now: (self.clock)(),
        };
        let found = self.classifier.classify(&[segment], &context);
        let secret = found
            .findings
            .iter()
            .find(|finding| finding.reason == SECRET)?;
        Some(Objection {
            code: "credential-in-result",
            reason: format!(
                "it holds what looks like a credential (rule `{}`)",
                secret.rule
            ),
        })
    }
}
