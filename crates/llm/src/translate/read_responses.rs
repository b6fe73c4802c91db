//! Reads a request of Responses.

use serde_json::value::RawValue;

use super::{
    TranslateError,
    fields::{Fields, Placed, is_text, items_of},
    read_chat::{choice_word, read_effort, read_function, read_schema},
    talk::{Arguments, Call, Choice, Format, Media, Names, Part, Role, Talk, Tool},
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Members that change nothing of what is said; left out. `store` asks the provider to keep, which no
/// translation does.
const HINTS: [&str; 8] = [
    "client_metadata",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "store",
    "stream_options",
];

pub(super) fn read(body: &RawValue) -> Result<Talk<'_>> {
    let mut top = Fields::read("", body)?;
    top.take("model");
    top.hints(&HINTS);
    for (name, values) in [
        ("background", &["false"][..]),
        ("top_logprobs", &["0"]),
        ("truncation", &["\"disabled\""]),
        ("include", &["[]", "[\"reasoning.encrypted_content\"]"]),
    ] {
        top.neutral(name, values);
    }
    let mut talk = Talk {
        names: Names {
            stop: "stop",
            format: "text.format",
        },
        ..Talk::default()
    };
    talk.system.extend(top.text("instructions")?);
    match top.take("input") {
        Some(raw) if is_text(raw) => {
            talk.say("input".to_owned(), Role::User, vec![Part::Text(raw)])
        }
        Some(raw) => {
            for (at, item) in items_of("input".to_owned(), raw)? {
                read_item(&mut talk, at, item)?;
            }
        }
        None => return Err(TranslateError::shape("input".to_owned())),
    }
    for (at, tool) in top.items("tools")? {
        talk.tools.push(read_tool(at, tool)?);
    }
    talk.choice = read_choice(&mut top)?;
    talk.parallel = top.flag("parallel_tool_calls")?;
    talk.max_tokens = top.whole("max_output_tokens")?;
    talk.temperature = top.number("temperature")?;
    talk.top_p = top.number("top_p")?;
    talk.stream = top.flag("stream")?.unwrap_or(false);
    if let Some(mut reasoning) = top.object("reasoning")? {
        // what is shown of the reasoning, not how much there is
        reasoning.hints(&["summary", "generate_summary"]);
        talk.effort = read_effort(&mut reasoning, "effort")?;
        reasoning.done()?;
    }
    if let Some(mut text) = top.object("text")? {
        text.hints(&["verbosity"]);
        talk.format = read_format(&mut text)?;
        text.done()?;
    }
    let users = (top.text("user")?, top.text("safety_identifier")?);
    talk.user = users.0.or(users.1);
    top.done()?;
    Ok(talk)
}

fn read_item<'a>(talk: &mut Talk<'a>, at: String, raw: &'a RawValue) -> Result<()> {
    let mut item = Fields::read(at.clone(), raw)?;
    let kind = item.word("type")?;
    // what the server gave an item so as to tell it from others
    item.hints(&["id", "status", "phase"]);
    match kind.as_ref().map_or("message", |kind| kind.as_str()) {
        "message" => read_message(talk, at, &mut item)?,
        "function_call" => {
            let call = Call {
                id: item.needed_text("call_id")?,
                name: item.needed_text("name")?,
                arguments: Arguments::Text(item.needed_text("arguments")?),
            };
            talk.say(at, Role::Assistant, vec![Part::Call(call)]);
        }
        "function_call_output" => {
            let id = item.needed_text("call_id")?;
            let parts = read_content(&mut item, "output")?;
            talk.say(at, Role::User, vec![Part::Result(id, parts)]);
        }
        "reasoning" => {
            let parts = read_reasoning(&mut item)?;
            talk.say(at, Role::Assistant, parts);
        }
        _ => return Err(TranslateError::not_sayable(item.at("type"))),
    }
    item.done()
}

fn read_message<'a>(talk: &mut Talk<'a>, at: String, item: &mut Fields<'a>) -> Result<()> {
    let role = item.word("role")?;
    let parts = read_content(item, "content")?;
    match role.as_ref().map(|role| role.as_str()) {
        Some("system" | "developer") => {
            let texts = parts.into_iter().map(|part| match part {
                Part::Text(text) => Ok(text),
                _ => Err(TranslateError::not_sayable(at.clone())),
            });
            let texts = texts.collect::<Result<_>>()?;
            talk.instruct(at, texts);
        }
        Some("user") => talk.say(at, Role::User, parts),
        Some("assistant") => talk.say(at, Role::Assistant, parts),
        _ => return Err(TranslateError::not_sayable(item.at("role"))),
    }
    Ok(())
}

/// The thoughts in the open; what a provider encrypted only that provider reads.
fn read_reasoning<'a>(item: &mut Fields<'a>) -> Result<Vec<Part<'a>>> {
    if item.take("encrypted_content").is_some() {
        return Err(TranslateError::not_sayable(item.at("encrypted_content")));
    }
    let (summary, content) = (item.items("summary")?, item.items("content")?);
    let thoughts = if content.is_empty() { summary } else { content };
    let mut parts = Vec::new();
    for (at, raw) in thoughts {
        let mut thought = Fields::read(at, raw)?;
        thought.take("type");
        parts.push(Part::Thinking(thought.needed_text("text")?));
        thought.done()?;
    }
    Ok(parts)
}

fn read_content<'a>(item: &mut Fields<'a>, name: &str) -> Result<Vec<Part<'a>>> {
    let at = item.at(name);
    match item.take(name) {
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
    part.neutral("annotations", &["[]"]);
    part.neutral("logprobs", &["[]"]);
    let kind = part.word("type")?;
    let read = match kind.as_ref().map(|kind| kind.as_str()) {
        Some("input_text" | "output_text" | "text") => Part::Text(part.needed_text("text")?),
        Some("refusal") => Part::Refusal(part.needed_text("refusal")?),
        Some("input_image") => {
            part.hints(&["detail"]);
            let Some(url) = part.text("image_url")? else {
                return Err(TranslateError::not_sayable(part.at("file_id")));
            };
            Part::Image(at.clone(), Media::of_url(&at, url)?)
        }
        Some("input_file") => {
            let name = part.text("filename")?;
            let data = (part.text("file_data")?, part.text("file_url")?);
            let Some(data) = data.0.or(data.1) else {
                return Err(TranslateError::not_sayable(part.at("file_id")));
            };
            Part::File(at.clone(), name, Media::of_url(&at, data)?)
        }
        _ => return Err(TranslateError::not_sayable(part.at("type"))),
    };
    part.done()?;
    Ok(read)
}

fn read_tool(at: String, raw: &RawValue) -> Result<Tool<'_>> {
    let mut tool = Fields::read(at, raw)?;
    let kind = tool.word("type")?;
    if kind.is_none_or(|kind| kind.as_str() != "function") {
        return Err(TranslateError::not_sayable(tool.at("type")));
    }
    let read = read_function(&mut tool, "parameters")?;
    tool.done()?;
    Ok(read)
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
    let name = choice.needed_text("name")?;
    choice.done()?;
    Ok(Some(Choice::Tool(name)))
}

fn read_format<'a>(text: &mut Fields<'a>) -> Result<Format<'a>> {
    let Some(mut format) = text.object("format")? else {
        return Ok(Format::Text);
    };
    let kind = format.word("type")?;
    let read = match kind.as_ref().map(|kind| kind.as_str()) {
        Some("text") => Format::Text,
        Some("json_object") => Format::AnyObject,
        Some("json_schema") => read_schema(&mut format)?,
        _ => return Err(TranslateError::not_sayable(format.at("type"))),
    };
    format.done()?;
    Ok(read)
}
