//! The texts of what is not a conversation of messages: items of Responses, inputs of Embeddings,
//! documents of Rerank.

use crate::{
    Origin,
    flatten::Take,
    node::Node,
    texts::{Collector, is_call_id, is_word},
};

/// Items of Responses that are words throughout: calls that the provider's own tools made.
const WORDS: [&str; 13] = [
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "computer_call",
    "local_shell_call",
    "shell_call",
    "apply_patch_call",
    "mcp_call",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "tool_search_call",
    "tool_search_output",
];

impl Collector {
    /// `input` of Responses: a user's text, or items.
    pub(crate) fn input(&mut self, input: &Node) {
        match input {
            Node::Array(items) => {
                for item in items {
                    self.reached(item.begun());
                    self.item(item);
                }
            }
            other => self.content(Origin::User, None, other),
        }
    }

    fn item(&mut self, item: &Node) {
        match item.member_text("type") {
            None | Some("message") => self.message(item),
            Some("function_call" | "custom_tool_call") => self.call_item(item),
            Some(
                "function_call_output"
                | "custom_tool_call_output"
                | "local_shell_call_output"
                | "shell_call_output"
                | "apply_patch_call_output",
            ) => self.output_item(item),
            Some("reasoning") => self.reasoning_item(item),
            Some(kind) if WORDS.contains(&kind) => {
                self.flat(Origin::ToolArguments, None, item, Take::All);
            }
            Some(kind) => {
                self.unreadable(if is_word(kind) { kind } else { "unknown" });
                self.flat(Origin::User, None, item, Take::BesideData);
            }
        }
    }

    /// `{type, id, call_id, name, arguments, status}`, or `input` in place of `arguments`.
    fn call_item(&mut self, item: &Node) {
        let call = item.member_text("call_id");
        self.members(item, |found, name, value| match (name, value) {
            ("type", Node::Text(_)) => {}
            ("id" | "call_id", Node::Text(id)) if is_call_id(id) => found.id(id),
            ("arguments" | "input", value) => found.arguments(call, value),
            (name, value) => found.rest(Origin::ToolArguments, None, name, value),
        });
    }

    /// `{type, id, call_id, output, status}`; the output is a text or parts.
    fn output_item(&mut self, item: &Node) {
        let path = self.path_of(item.member_text("call_id"));
        self.members(item, |found, name, value| match (name, value) {
            ("type", Node::Text(_)) => {}
            ("id" | "call_id", Node::Text(id)) if is_call_id(id) => found.id(id),
            ("output", output) => found.content(Origin::ToolResult, path.as_deref(), output),
            (name, value) => found.rest(Origin::ToolResult, path.as_deref(), name, value),
        });
    }

    /// `{type, id, summary, content, encrypted_content}`. What is encrypted only the provider reads.
    fn reasoning_item(&mut self, item: &Node) {
        self.members(item, |found, name, value| match (name, value) {
            ("type", Node::Text(_)) | ("encrypted_content", Node::Null) => {}
            ("id", Node::Text(id)) if is_call_id(id) => found.id(id),
            ("summary" | "content", parts) => found.content(Origin::Assistant, None, parts),
            ("encrypted_content", value) => {
                found.unreadable("reasoning");
                found.flat(Origin::Assistant, None, value, Take::BesideData);
            }
            (name, value) => found.rest(Origin::Assistant, None, name, value),
        });
    }

    /// `input` of Embeddings: texts, or tokens, which are texts that nobody here can read.
    pub(crate) fn embedded(&mut self, input: &Node) {
        match input {
            Node::Array(items) => {
                if items.iter().any(is_number) {
                    self.unreadable("tokens");
                }
                let beside = items.iter().filter(|item| !is_number(item));
                beside.for_each(|item| self.embedded(item));
            }
            number if is_number(number) => self.unreadable("tokens"),
            other => self.document_or_query(other),
        }
    }

    /// Query and documents of Rerank: texts, objects with texts, or pictures.
    pub(crate) fn document_or_query(&mut self, value: &Node) {
        match value {
            Node::Array(items) => items.iter().for_each(|item| self.document_or_query(item)),
            Node::Object(members, _)
                if members.iter().any(|(name, _)| name.as_str() == "image") =>
            {
                self.unreadable("image");
                self.flat(Origin::User, None, value, Take::BesideData);
            }
            other => self.content(Origin::User, None, other),
        }
    }
}

const fn is_number(node: &Node) -> bool {
    matches!(node, Node::Unsigned(_) | Node::Number(_))
}
