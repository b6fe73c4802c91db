//! What has been said so far, kept below a size that the gateway takes.

use proofroom_llm::client::{Answer, Message, ToolCall};
use serde_json::json;

use crate::{
    outcome::{Ended, Stop},
    tools::SYSTEM_PROMPT,
};

/// The most bytes of one tool result that the model gets.
const MAX_RESULT_BYTES: usize = 128 * 1024;
/// The most bytes of a whole conversation; a gateway takes 32 MiB of JSON, and escapes add to this.
const MAX_CONVERSATION_BYTES: usize = 8 * 1024 * 1024;

pub(crate) struct Conversation {
    messages: Vec<Message>,
    bytes: usize,
}

impl Conversation {
    pub(crate) fn about(task: String) -> Self {
        Self {
            bytes: SYSTEM_PROMPT.len() + task.len(),
            messages: vec![
                Message::System {
                    content: SYSTEM_PROMPT.to_owned(),
                },
                Message::User { content: task },
            ],
        }
    }

    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds the model's answer and hands its tool calls back.
    pub(crate) fn add_answer(&mut self, answer: Answer) -> Vec<ToolCall> {
        let calls = answer.tool_calls.clone();
        self.bytes += answer.text.as_ref().map_or(0, String::len);
        self.bytes += calls
            .iter()
            .map(|call| call.function.arguments.len() + call.function.name.len() + 64)
            .sum::<usize>();
        self.messages.push(Message::Assistant {
            content: answer.text,
            tool_calls: answer.tool_calls,
        });
        calls
    }

    pub(crate) fn add_result(&mut self, call: &ToolCall, body: &[u8]) -> Result<(), Stop> {
        let content = shorten(&String::from_utf8_lossy(body));
        self.bytes += content.len() + 64;
        self.messages.push(Message::Tool {
            tool_call_id: call.id.clone(),
            content,
        });
        if self.bytes > MAX_CONVERSATION_BYTES {
            return Err(Stop::new(
                Ended::Limit,
                "conversation-limit",
                format!("the conversation is larger than {MAX_CONVERSATION_BYTES} bytes"),
            ));
        }
        Ok(())
    }
}

/// A tool error as the model gets it.
pub(crate) fn tool_error(code: &str, message: &str) -> Vec<u8> {
    json!({"error": {"code": code, "message": message}})
        .to_string()
        .into_bytes()
}

fn shorten(text: &str) -> String {
    if text.len() <= MAX_RESULT_BYTES {
        return text.to_owned();
    }
    let mut end = MAX_RESULT_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}\n[cut here: {} bytes in all]", text.len())
}

#[cfg(test)]
mod tests {
    use super::{MAX_RESULT_BYTES, shorten};

    #[test]
    fn a_long_result_is_cut_between_characters_and_says_so() {
        let long = "é".repeat(MAX_RESULT_BYTES);
        let cut = shorten(&format!("x{long}"));
        assert!(cut.len() < MAX_RESULT_BYTES + 100);
        assert!(cut.ends_with(&format!(
            "[cut here: {} bytes in all]",
            1 + 2 * MAX_RESULT_BYTES
        )));
        assert_eq!(shorten("short"), "short");
    }
}
