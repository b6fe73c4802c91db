//! What is classified: the texts of one model request, in order, each with where it came from.

/// One text of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The decoded text. Empty for [`Origin::Unreadable`].
    pub text: &'a str,
    /// Who wrote it.
    pub origin: Origin,
    /// The repository path it was read from or is written to, where that is known.
    pub path: Option<&'a str>,
}

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The system prompt.
    System,
    /// The user's turn.
    User,
    /// An earlier answer of the model.
    Assistant,
    /// Arguments the model gave to a tool.
    ToolArguments,
    /// What a tool answered.
    ToolResult,
    /// Content that cannot be read as text, such as an image or a file id. It takes the policy's
    /// `unreadable` label.
    Unreadable,
}
