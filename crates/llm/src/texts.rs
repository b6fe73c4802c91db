//! Finds every text in a request. Known members give the texts their origin; every other string is
//! still a text, so a member that this version does not know cannot smuggle one past the policy.

use std::collections::{BTreeMap, BTreeSet};

use proofroom_canonical::Sensitive;

use crate::{
    Api, Origin, Segment,
    flatten::{Take, flatten, flatten_member},
    node::{Budget, Node, read_nested},
    place::Begun,
};

/// Members of a tool call's arguments that name the file it is about.
const PATH_MEMBERS: [&str; 6] = [
    "path",
    "file_path",
    "filepath",
    "file",
    "filename",
    "notebook_path",
];
/// Members that the APIs define: only their value is a text.
const DEFINED: [&str; 24] = [
    "annotations",
    "arguments",
    "cache_control",
    "call_id",
    "citations",
    "content",
    "function_call",
    "id",
    "index",
    "input",
    "is_error",
    "name",
    "output",
    "reasoning_content",
    "refusal",
    "role",
    "status",
    "summary",
    "text",
    "thinking",
    "tool_call_id",
    "tool_calls",
    "tool_use_id",
    "type",
];
/// The roles that the APIs define; any other is a text.
const ROLES: [&str; 6] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
];
/// A longer path is no path.
const MAX_PATH_BYTES: usize = 4096;

/// Every text in the top-level `members`, in the order of the document. `begun` says where their names lie.
pub(crate) fn collect(api: Api, members: &[(String, Node)], begun: &[Begun]) -> Vec<Segment> {
    let mut found = Collector::default();
    for ((name, value), begun) in members.iter().zip(begun) {
        found.reached(*begun);
        match name.as_str() {
            "input" if api == Api::Responses => found.input(value),
            "input" if api == Api::Embeddings => found.embedded(value),
            "query" | "documents" if api == Api::Rerank => found.document_or_query(value),
            "instructions" if api == Api::Responses => found.content(Origin::System, None, value),
            "messages" => {
                for item in value.items() {
                    found.reached(item.begun());
                    found.message(item);
                }
            }
            "system" => found.content(Origin::System, None, value),
            "tools" | "functions" => {
                for tool in value.items() {
                    found.flat(Origin::System, None, tool, Take::Words);
                }
                if value.items().is_empty() {
                    found.flat(Origin::System, None, value, Take::Words);
                }
            }
            // a generated value that is no credential, although its name says key
            "prompt_cache_key" => found.flat(Origin::System, None, value, Take::All),
            "stream" | "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {}
            _ => found.push(
                Origin::System,
                None,
                flatten_member(name, value, Take::Words),
            ),
        }
    }
    found.call_ids();
    found.segments
}

#[derive(Default)]
pub(crate) struct Collector {
    segments: Vec<Segment>,
    /// File of each tool call so far, by the call's id.
    paths: BTreeMap<String, String>,
    /// Ids of tool calls: upstreams get them too. Apart from the conversation's texts, so that they
    /// stand between no two of them.
    ids: BTreeSet<String>,
    /// So many segments lie before a known place.
    decided: usize,
}

impl Collector {
    /// All segments so far were read from what lies before `begun`. Of a later place the same is true.
    pub(crate) fn reached(&mut self, begun: Begun) {
        let Some(place) = begun.place() else { return };
        for segment in self.segments.iter_mut().skip(self.decided) {
            segment.decided = Some(place);
        }
        self.decided = self.segments.len();
    }

    fn call_ids(&mut self) {
        let ids: Vec<String> = std::mem::take(&mut self.ids).into_iter().collect();
        self.push(Origin::System, None, ids.join("\n"));
    }

    pub(crate) fn id(&mut self, id: &str) {
        self.ids.insert(id.to_owned());
    }

    fn push(&mut self, origin: Origin, path: Option<&str>, text: String) {
        if !text.is_empty() {
            self.segments.push(Segment {
                origin,
                text: Sensitive::new(text),
                path: path.map(str::to_owned),
                decided: None,
            });
        }
    }

    pub(crate) fn flat(&mut self, origin: Origin, path: Option<&str>, node: &Node, take: Take) {
        self.push(origin, path, flatten(node, take));
    }

    /// A member that has no rule of its own. An undefined name is itself a text.
    pub(crate) fn rest(&mut self, origin: Origin, path: Option<&str>, name: &str, value: &Node) {
        if DEFINED.contains(&name) {
            self.flat(origin, path, value, Take::All);
        } else {
            self.push(origin, path, flatten_member(name, value, Take::All));
        }
    }

    pub(crate) fn message(&mut self, message: &Node) {
        let Node::Object(members, _) = message else {
            self.flat(Origin::User, None, message, Take::All);
            return;
        };
        let origin = match message.member_text("role") {
            Some("system" | "developer") => Origin::System,
            Some("assistant") => Origin::Assistant,
            Some("tool" | "function") => Origin::ToolResult,
            _ => Origin::User,
        };
        let path = self.path_of(message.member_text("tool_call_id"));
        for (name, value) in members {
            match (name.as_str(), value) {
                ("role", Node::Text(role)) if ROLES.contains(&role.as_str()) => {}
                ("type", Node::Text(kind)) if kind.as_str() == "message" => {}
                ("tool_call_id" | "id", Node::Text(id)) if is_call_id(id) => self.id(id),
                ("content", content) => self.content(origin, path.as_deref(), content),
                ("tool_calls", Node::Array(calls)) => {
                    calls.iter().for_each(|call| self.tool_call(call));
                }
                ("function_call", call) => self.call_body(None, call),
                ("audio", Node::Null) => {}
                ("audio", _) => self.unreadable("audio"),
                (name, value) => self.rest(origin, path.as_deref(), name, value),
            }
        }
    }

    pub(crate) fn content(&mut self, origin: Origin, path: Option<&str>, content: &Node) {
        match content {
            Node::Array(parts) => {
                for part in parts {
                    self.part(origin, path, part);
                }
            }
            Node::Object(..) => self.part(origin, path, content),
            // Tools answer in JSON: unescaped, a secret after a line break starts its own word.
            Node::Text(text) if origin == Origin::ToolResult && text.starts_with(['{', '[']) => {
                let nested = read_nested(text, &Budget::new());
                self.flat(origin, path, nested.as_ref().unwrap_or(content), Take::All);
            }
            other => self.flat(origin, path, other, Take::All),
        }
    }

    fn part(&mut self, origin: Origin, path: Option<&str>, part: &Node) {
        match part.member_text("type") {
            None | Some("search_result") => self.flat(origin, path, part, Take::All),
            Some(
                "text" | "input_text" | "output_text" | "summary_text" | "reasoning_text"
                | "refusal" | "thinking" | "reasoning",
            ) => self.words(origin, path, part),
            Some("tool_use" | "server_tool_use" | "mcp_tool_use") => self.tool_use(part),
            Some("tool_result" | "mcp_tool_result") => self.tool_result(part),
            Some("document") => self.document(origin, path, part),
            Some(kind) => {
                self.unreadable(if is_word(kind) { kind } else { "unknown" });
                self.flat(origin, path, part, Take::BesideData);
            }
        }
    }

    /// A part that is words: the text alone, then what else it carries.
    fn words(&mut self, origin: Origin, path: Option<&str>, part: &Node) {
        self.members(part, |found, name, value| match name {
            "type" => {}
            // A thinking block's signature is the provider's checksum over what stands beside it.
            "text" => found.content(origin, path, value),
            "signature" => found.flat(origin, path, value, Take::BesideData),
            _ => found.rest(origin, path, name, value),
        });
    }

    /// OpenAI: `{id, type, function: {name, arguments}}`, or `custom: {name, input}`.
    fn tool_call(&mut self, call: &Node) {
        let id = call.member_text("id");
        let Node::Object(members, _) = call else {
            self.flat(Origin::ToolArguments, None, call, Take::All);
            return;
        };
        for (name, value) in members {
            match (name.as_str(), value) {
                ("id", Node::Text(id)) if is_call_id(id) => self.id(id),
                ("type", Node::Text(kind)) if matches!(kind.as_str(), "function" | "custom") => {}
                ("function" | "custom", body) => self.call_body(id, body),
                (name, value) => self.rest(Origin::ToolArguments, None, name, value),
            }
        }
    }

    /// `{name, arguments}`: the arguments are JSON in a string, or (some clients) an object.
    fn call_body(&mut self, id: Option<&str>, body: &Node) {
        let Node::Object(members, _) = body else {
            self.flat(Origin::ToolArguments, None, body, Take::All);
            return;
        };
        for (name, value) in members {
            match name.as_str() {
                "arguments" | "input" => self.arguments(id, value),
                name => self.rest(Origin::ToolArguments, None, name, value),
            }
        }
    }

    pub(crate) fn arguments(&mut self, id: Option<&str>, arguments: &Node) {
        let nested = arguments
            .text()
            .and_then(|text| read_nested(text, &Budget::new()));
        let arguments = nested.as_ref().unwrap_or(arguments);
        let path = PATH_MEMBERS
            .into_iter()
            .find_map(|name| arguments.member_text(name))
            .filter(|path| path.len() <= MAX_PATH_BYTES)
            .map(str::to_owned);
        if let (Some(id), Some(path)) = (id, &path) {
            self.paths.insert(id.to_owned(), path.clone());
        }
        self.flat(Origin::ToolArguments, path.as_deref(), arguments, Take::All);
    }

    /// Anthropic: `{type, id, name, input}`.
    fn tool_use(&mut self, part: &Node) {
        let id = part.member_text("id");
        self.members(part, |found, name, value| match (name, value) {
            ("type", Node::Text(_)) => {}
            ("id", Node::Text(id)) if is_call_id(id) => found.id(id),
            ("input", input) => found.arguments(id, input),
            (name, value) => found.rest(Origin::ToolArguments, None, name, value),
        });
    }

    /// Anthropic: `{type, tool_use_id, content, is_error}`.
    fn tool_result(&mut self, part: &Node) {
        let path = self.path_of(part.member_text("tool_use_id"));
        self.members(part, |found, name, value| match (name, value) {
            ("type", Node::Text(_)) => {}
            ("tool_use_id", Node::Text(id)) if is_call_id(id) => found.id(id),
            ("content", content) => found.content(Origin::ToolResult, path.as_deref(), content),
            (name, value) => found.rest(Origin::ToolResult, path.as_deref(), name, value),
        });
    }

    /// Anthropic: a document whose `source` is text, more content, or not readable here.
    fn document(&mut self, origin: Origin, path: Option<&str>, part: &Node) {
        let source = part.member("source");
        match source.and_then(|source| source.member_text("type")) {
            Some("text") => {}
            Some("content") => {
                if let Some(content) = source.and_then(|source| source.member("content")) {
                    self.content(origin, path, content);
                }
            }
            _ => self.unreadable("document"),
        }
        self.flat(origin, path, part, Take::BesideData);
    }

    pub(crate) fn members<'n>(
        &mut self,
        node: &'n Node,
        mut each: impl FnMut(&mut Self, &str, &'n Node),
    ) {
        if let Node::Object(members, _) = node {
            for (name, value) in members {
                each(self, name, value);
            }
        }
    }

    pub(crate) fn unreadable(&mut self, kind: &str) {
        self.push(Origin::Unreadable, None, kind.to_owned());
    }

    pub(crate) fn path_of(&self, id: Option<&str>) -> Option<String> {
        id.and_then(|id| self.paths.get(id)).cloned()
    }
}

/// A short lower-case word, such as a kind of content.
pub(crate) fn is_word(text: &str) -> bool {
    text.len() <= 40
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// An identifier that an API made up for a tool call, as far as its form shows.
pub(crate) fn is_call_id(text: &str) -> bool {
    text.len() <= 64
        && [
            "call_",
            "toolu_",
            "srvtoolu_",
            "mcptoolu_",
            "chatcmpl-tool-",
            "fc_",
            "ctc_",
            "msg_",
            "rs_",
        ]
        .iter()
        .any(|prefix| text.starts_with(prefix))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests;
