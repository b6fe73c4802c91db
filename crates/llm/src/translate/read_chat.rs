//! Reads a request of Chat Completions.

use serde_json::value::RawValue;

use super::{
    TranslateError,
    fields::{Fields, Placed, is_text, items_of},
    talk::{Arguments, Call, Choice, Effort, Format, Media, Names, Part, Role, Talk, Tool},
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Members that change nothing of what is said; left out.
const HINTS: [&str; 8] = [
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "store",
    "verbosity",
];

pub(super) fn read(body: &RawValue) -> Result<Talk<'_>> {
    let mut top = Fields::read("", body)?;
    top.take("model");
    top.hints(&HINTS);
    for (name, values) in [
        ("n", &["1"][..]),
        ("logprobs", &["false"]),
        ("presence_penalty", &["0", "0.0"]),
        ("frequency_penalty", &["0", "0.0"]),
        ("logit_bias", &["{}"]),
        ("modalities", &["[\"text\"]"]),
    ] {
        top.neutral(name, values);
    }
    let mut talk = Talk {
        names: Names {
            stop: "stop",
            format: "response_format",
        },
        ..Talk::default()
    };
    for (at, message) in top.items("messages")? {
        read_message(&mut talk, at, message)?;
    }
    for (at, tool) in top.items("tools")? {
        talk.tools.push(read_tool(at, tool)?);
    }
    talk.choice = read_choice(&mut top)?;
    talk.parallel = top.flag("parallel_tool_calls")?;
    let limits = (
        top.whole("max_completion_tokens")?,
        top.whole("max_tokens")?,
    );
    talk.max_tokens = limits.0.or(limits.1);
    talk.temperature = top.number("temperature")?;
    talk.top_p = top.number("top_p")?;
    talk.stop = read_stop(&mut top)?;
    talk.stream = top.flag("stream")?.unwrap_or(false);
    if let Some(mut options) = top.object("stream_options")? {
        options.hints(&["include_usage", "include_obfuscation"]);
        options.done()?;
    }
    talk.effort = read_effort(&mut top, "reasoning_effort")?;
    talk.format = read_format(&mut top)?;
    let users = (top.text("user")?, top.text("safety_identifier")?);
    talk.user = users.0.or(users.1);
    top.done()?;
    Ok(talk)
}

pub(super) fn read_effort(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<Effort>> {
    let Some(word) = fields.word(name)? else {
        return Ok(None);
    };
    match Effort::of(&word) {
        Some(effort) => Ok(Some(effort)),
        None => Err(TranslateError::not_sayable(fields.at(name))),
    }
}

fn read_stop<'a>(top: &mut Fields<'a>) -> Result<Vec<&'a RawValue>> {
    match top.take("stop") {
        None => Ok(Vec::new()),
        Some(raw) if is_text(raw) => Ok(vec![raw]),
        Some(raw) => {
            let items = items_of("stop".to_owned(), raw)?;
            Ok(items.into_iter().map(|(_, item)| item).collect())
        }
    }
}

fn read_message<'a>(talk: &mut Talk<'a>, at: String, raw: &'a RawValue) -> Result<()> {
    let mut message = Fields::read(at.clone(), raw)?;
    let role = message.word("role")?;
    match role.as_ref().map(|role| role.as_str()) {
        Some("system" | "developer") => {
            let texts = read_texts(&mut message)?;
            talk.instruct(at, texts);
        }
        Some("user") => {
            let parts = read_content(&mut message)?;
            talk.say(at, Role::User, parts);
        }
        Some("assistant") => {
            let parts = read_assistant(&mut message)?;
            talk.say(at, Role::Assistant, parts);
        }
        Some("tool") => {
            let id = message.needed_text("tool_call_id")?;
            message.hints(&["name"]);
            let parts = read_content(&mut message)?;
            talk.say(at, Role::User, vec![Part::Result(id, parts)]);
        }
        _ => return Err(TranslateError::not_sayable(message.at("role"))),
    }
    message.done()
}

/// Content that may be texts only.
fn read_texts<'a>(message: &mut Fields<'a>) -> Result<Vec<&'a RawValue>> {
    let at = message.at("content");
    let parts = read_content(message)?;
    let texts = parts.into_iter().map(|part| match part {
        Part::Text(text) => Ok(text),
        _ => Err(TranslateError::not_sayable(at.clone())),
    });
    texts.collect()
}

fn read_content<'a>(message: &mut Fields<'a>) -> Result<Vec<Part<'a>>> {
    let at = message.at("content");
    match message.take("content") {
        None => Ok(Vec::new()),
        Some(raw) if is_text(raw) => Ok(vec![Part::Text(raw)]),
        Some(raw) => {
            let items = items_of(at, raw)?.into_iter();
            items.map(read_part).collect()
        }
    }
}

fn read_part((at, raw): Placed<'_>) -> Result<Part<'_>> {
    let mut part = Fields::read(at.clone(), raw)?;
    // marks for prompt caches that some servers take here
    part.hints(&["cache_control"]);
    let kind = part.word("type")?;
    let read = match kind.as_ref().map(|kind| kind.as_str()) {
        Some("text") => Part::Text(part.needed_text("text")?),
        Some("refusal") => Part::Refusal(part.needed_text("refusal")?),
        Some("image_url") => {
            let mut image = needed(part.object("image_url")?, &part, "image_url")?;
            image.hints(&["detail"]);
            let url = image.needed_text("url")?;
            image.done()?;
            Part::Image(at.clone(), Media::of_url(&at, url)?)
        }
        Some("file") => {
            let mut file = needed(part.object("file")?, &part, "file")?;
            let name = file.text("filename")?;
            let Some(data) = file.text("file_data")? else {
                return Err(TranslateError::not_sayable(file.at("file_id")));
            };
            file.done()?;
            Part::File(at.clone(), name, Media::of_url(&at, data)?)
        }
        _ => return Err(TranslateError::not_sayable(part.at("type"))),
    };
    part.done()?;
    Ok(read)
}

fn needed<'a>(found: Option<Fields<'a>>, of: &Fields<'_>, name: &str) -> Result<Fields<'a>> {
    found.ok_or_else(|| TranslateError::shape(of.at(name)))
}

fn read_assistant<'a>(message: &mut Fields<'a>) -> Result<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    let thoughts = (
        message.text("reasoning_content")?,
        message.text("reasoning")?,
    );
    parts.extend(thoughts.0.or(thoughts.1).map(Part::Thinking));
    parts.extend(read_content(message)?);
    parts.extend(message.text("refusal")?.map(Part::Refusal));
    for (at, call) in message.items("tool_calls")? {
        parts.push(Part::Call(read_call(at, call)?));
    }
    message.neutral("annotations", &["[]"]);
    Ok(parts)
}

fn read_call(at: String, raw: &RawValue) -> Result<Call<'_>> {
    let mut call = Fields::read(at, raw)?;
    call.hints(&["index"]);
    let kind = call.word("type")?;
    if kind.is_some_and(|kind| kind.as_str() != "function") {
        return Err(TranslateError::not_sayable(call.at("type")));
    }
    let id = call.needed_text("id")?;
    let mut function = needed(call.object("function")?, &call, "function")?;
    let name = function.needed_text("name")?;
    let arguments = Arguments::Text(function.needed_text("arguments")?);
    function.done()?;
    call.done()?;
    Ok(Call {
        id,
        name,
        arguments,
    })
}

fn read_tool(at: String, raw: &RawValue) -> Result<Tool<'_>> {
    let mut tool = Fields::read(at, raw)?;
    let kind = tool.word("type")?;
    if kind.is_none_or(|kind| kind.as_str() != "function") {
        return Err(TranslateError::not_sayable(tool.at("type")));
    }
    let mut function = needed(tool.object("function")?, &tool, "function")?;
    let read = read_function(&mut function, "parameters")?;
    function.done()?;
    tool.done()?;
    Ok(read)
}

/// Name, description, schema and strictness, which all three APIs have.
pub(super) fn read_function<'a>(function: &mut Fields<'a>, schema: &str) -> Result<Tool<'a>> {
    Ok(Tool {
        name: function.needed_text("name")?,
        description: function.text("description")?,
        schema: function.take(schema),
        strict: function.flag("strict")?,
    })
}

fn read_choice<'a>(top: &mut Fields<'a>) -> Result<Option<Choice<'a>>> {
    let Some(raw) = top.take("tool_choice") else {
        return Ok(None);
    };
    if let Some(choice) = choice_word(raw) {
        return Ok(Some(choice));
    }
    let mut choice = Fields::read("tool_choice", raw)?;
    let kind = choice.word("type")?;
    if kind.is_none_or(|kind| kind.as_str() != "function") {
        return Err(TranslateError::not_sayable(choice.at("type")));
    }
    let mut function = needed(choice.object("function")?, &choice, "function")?;
    let name = function.needed_text("name")?;
    function.done()?;
    choice.done()?;
    Ok(Some(Choice::Tool(name)))
}

/// `auto`, `none` or `required`.
pub(super) fn choice_word<'a>(raw: &RawValue) -> Option<Choice<'a>> {
    match raw.get() {
        "\"auto\"" => Some(Choice::Auto),
        "\"none\"" => Some(Choice::None),
        "\"required\"" => Some(Choice::Any),
        _ => None,
    }
}

fn read_format<'a>(top: &mut Fields<'a>) -> Result<Format<'a>> {
    let Some(mut format) = top.object("response_format")? else {
        return Ok(Format::Text);
    };
    let kind = format.word("type")?;
    let read = match kind.as_ref().map(|kind| kind.as_str()) {
        Some("text") => Format::Text,
        Some("json_object") => Format::AnyObject,
        Some("json_schema") => {
            let mut schema = needed(format.object("json_schema")?, &format, "json_schema")?;
            let read = read_schema(&mut schema)?;
            schema.done()?;
            read
        }
        _ => return Err(TranslateError::not_sayable(format.at("type"))),
    };
    format.done()?;
    Ok(read)
}

pub(super) fn read_schema<'a>(fields: &mut Fields<'a>) -> Result<Format<'a>> {
    Ok(Format::Schema {
        name: fields.text("name")?,
        description: fields.text("description")?,
        strict: fields.flag("strict")?,
        schema: fields
            .take("schema")
            .ok_or_else(|| TranslateError::shape(fields.at("schema")))?,
    })
}
