//! What a delivery may bring: the access policy is asked again for every path, and the classifier
//! for every new file.

use proofroom_authz::{AccessPolicy, Decision, Operation, PathAction, WorkspacePath};
use proofroom_canonical::Timestamp;
use proofroom_classify::{Classifier, Context, Origin, Segment, is_credential};

use crate::{
    broker::{Inspector, Objection},
    policies::PolicySet,
};

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

impl std::fmt::Debug for DeliveryInspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryInspector")
            .field("agent", &self.agent)
            .finish_non_exhaustive()
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
            .find(|finding| is_credential(&finding.rule))?;
        Some(Objection {
            code: "credential-in-result",
            reason: format!(
                "it holds what looks like a credential (rule `{}`)",
                secret.rule
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proofroom_authz::AccessPolicy;
    use proofroom_canonical::Timestamp;
    use proofroom_classify::{
        ClassificationPolicy, Classifier, DEFAULT_CLASSIFICATION, is_credential,
    };

    use super::DeliveryInspector;
    use crate::broker::Inspector as _;

    /// Under the policies that a deployment starts from.
    fn shipped() -> DeliveryInspector {
        let classification = ClassificationPolicy::parse(DEFAULT_CLASSIFICATION, "c").unwrap();
        DeliveryInspector {
            access: AccessPolicy::parse(proofroom_authz::DEFAULT_POLICY, "a").unwrap(),
            classifier: Classifier::new(&classification),
            agent: "builtin".to_owned(),
            repository: "acme/web".to_owned(),
            clock: || Timestamp::from_unix_seconds(1_796_083_200),
        }
    }

    #[test]
    fn a_delivery_with_a_credential_is_refused_and_one_without_is_not() {
        let inspector = shipped();
        // put together here, so that no scanner takes this file for a leak
        let token = ["glpat-", "x7Kq2mRv9TzLw4NbYc8d"].concat();
        let password = ["db_password = \"", "t7Qk9fLw2zVx", "\""].concat();
        for text in [format!("TOKEN={token}\n"), password] {
            let objection = inspector.content("src/a.py", text.as_bytes()).unwrap();
            assert_eq!(objection.code, "credential-in-result");
            assert!(!objection.reason.contains("t7Qk9") && !objection.reason.contains(&token));
        }
        for text in [
            "password = os.environ[\"DB_PASSWORD\"]\n",
            "card number 4539 5787 6362 1486\n",
            "fn main() {}\n",
        ] {
            assert!(
                inspector.content("src/a.py", text.as_bytes()).is_none(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_a_credential_is_known_by_rule() {
        for rule in ["private-key", "gitlab-token", "credential-assignment"] {
            assert!(is_credential(rule), "{rule}");
        }
        for rule in [
            "credential-assignment-possible",
            "payment-card",
            "marking-cui",
            "none",
        ] {
            assert!(!is_credential(rule), "{rule}");
        }
    }
}
