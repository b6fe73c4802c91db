//! What a classification says: label, findings and exceptions used. Never the matched text.

use std::ops::Range;

use crate::Label;

/// One rule's hit in one segment. It says where and why, not what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Id of the rule, as the policy file writes it.
    pub rule: String,
    /// Why the rule fired, for a person; fixed text per rule.
    pub reason: &'static str,
    /// The label the policy gives to this rule.
    pub label: Label,
    /// Index of the segment; for a value split over two segments, the first of them.
    pub segment: usize,
    /// Byte range in the segment's text, on character boundaries. For a value found in decoded
    /// text it covers the encoded original.
    pub span: Range<usize>,
    /// How sure the rule is.
    pub confidence: Confidence,
}

/// How sure a rule is of a finding. It explains a finding and never weakens its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Shape and surroundings suggest it.
    Low,
    /// A format with a fixed prefix, or a name and a value that looks made by a generator.
    Medium,
    /// A checksum, a decoded structure or the customer's own word confirms it.
    High,
}

impl Confidence {
    /// `low`, `medium` or `high`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A finding that an exception of the policy took out of the label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedException {
    /// Id of the exception.
    pub exception: String,
    /// The finding that no longer counts.
    pub finding: Finding,
}

/// The classification of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classification {
    /// The highest label of all findings, at least the policy's default.
    pub label: Label,
    /// What was found, ordered by segment, position and rule. At most [`MAX_FINDINGS`]; the label
    /// counts all.
    pub findings: Vec<Finding>,
    /// What was found and excused by the policy.
    pub excepted: Vec<AppliedException>,
}

/// Most findings a classification lists.
pub const MAX_FINDINGS: usize = 1_000;
