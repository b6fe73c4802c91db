//! Reads a request of Messages.

use serde_json::value::RawValue;

use super::{
    TranslateError,
    fields::{Fields, Placed, is_text, items_of},
    read_chat::{read_effort, read_function},
    talk::{Arguments, Call, Choice, Effort, Format, Media, Names, Part, Role, Talk, Tool},
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Members that change nothing of what is said; left out. `context_management` lets the server leave
/// out old turns, which others take whole.
const HINTS: [&str; 5] = [
    "betas",
    "cache_control",
    "context_management",
    "inference_geo",
    "service_tier",
];

pub(super) fn read(body: &RawValue) -> Result<Talk<'_>> {
    let mut top = Fields::read("", body)?;
    top.take("model");
    top.hints(&HINTS);
    let mut talk = Talk {
        names: Names {
            stop: "stop_sequences",
            format: "output_config.format",
        },
        ..Talk::default()
    };
    for part in read_content(&mut top, "system")? {
        match part {
            Part::Text(text) => talk.system.push(text),
            _ => return Err(TranslateError::not_sayable("system".to_owned())),
        }
    }
    for (at, message) in top.items("messages")? {
        read_message(&mut talk, at, message)?;
    }
    for (at, tool) in top.items("tools")? {
        talk.tools.push(read_tool(at, tool)?);
    }
    read_choice(&mut top, &mut talk)?;
    talk.max_tokens = top.whole("max_tokens")?;
    talk.temperature = top.number("temperature")?;
    talk.top_p = top.number("top_p")?;
    let stops = top.items("stop_sequences")?;
    talk.stop = stops.into_iter().map(|(_, stop)| stop).collect();
    talk.stream = top.flag("stream")?.unwrap_or(false);
    talk.effort = read_thinking(&mut top)?;
    read_output_config(&mut top, &mut talk)?;
    if let Some(mut metadata) = top.object("metadata")? {
        talk.user = metadata.text("user_id")?;
        metadata.done()?;
    }
    top.done()?;
    Ok(talk)
}

/// A budget is an effort; without thinking, and with as much as the model likes, nothing is said.
fn read_thinking(top: &mut Fields<'_>) -> Result<Option<Effort>> {
    let Some(mut thinking) = top.object("thinking")? else {
        return Ok(None);
    };
    let kind = thinking.word("type")?;
    thinking.hints(&["display"]);
    let effort = match kind.as_ref().map(|kind| kind.as_str()) {
        Some("enabled") => thinking.whole("budget_tokens")?.map(Effort::of_budget),
        Some("disabled" | "adaptive") => None,
        _ => return Err(TranslateError::not_sayable(thinking.at("type"))),
    };
    thinking.done()?;
    Ok(effort)
}

fn read_output_config<'a>(top: &mut Fields<'a>, talk: &mut Talk<'a>) -> Result<()> {
    let Some(mut config) = top.object("output_config")? else {
        return Ok(());
    };
    talk.effort = read_effort(&mut config, "effort")?.or(talk.effort);
    if let Some(mut format) = config.object("format")? {
        let kind = format.word("type")?;
        let schema = format.take("schema");
        match (kind.as_ref().map(|kind| kind.as_str()), schema) {
            (Some("json_schema"), Some(schema)) => {
                talk.format = Format::Schema {
                    name: None,
                    description: None,
                    schema,
                    strict: Some(true),
                };
            }
            _ => return Err(TranslateError::not_sayable(format.at("type"))),
        }
        format.done()?;
    }
    config.done()
}

fn read_message<'a>(talk: &mut Talk<'a>, at: String, raw: &'a RawValue) -> Result<()> {
    let mut message = Fields::read(at.clone(), raw)?;
    let role = message.word("role")?;
    let parts = read_content(&mut message, "content")?;
    match role.as_ref().map(|role| role.as_str()) {
        Some("user") => talk.say(at, Role::User, parts),
        Some("assistant") => talk.say(at, Role::Assistant, parts),
        Some("system") => {
            let texts = parts.into_iter().map(|part| match part {
                Part::Text(text) => Ok(text),
                _ => Err(TranslateError::not_sayable(at.clone())),
            });
            let texts = texts.collect::<Result<_>>()?;
            talk.instruct(at, texts);
        }
        _ => return Err(TranslateError::not_sayable(message.at("role"))),
    }
    message.done()
}

fn read_content<'a>(fields: &mut Fields<'a>, name: &str) -> Result<Vec<Part<'a>>> {
    let at = fields.at(name);
    match fields.take(name) {
        None => Ok(Vec::new()),
        Some(raw) if is_text(raw) => Ok(vec![Part::Text(raw)]),
        Some(raw) => {
            let items = items_of(at, raw)?.into_iter();
            items.map(read_block).collect()
        }
    }
}

fn read_block((at, raw): Placed<'_>) -> Result<Part<'_>> {
    let mut block = Fields::read(at.clone(), raw)?;
    block.hints(&["cache_control"]);
    let kind = block.word("type")?;
    let read = match kind.as_ref().map(|kind| kind.as_str()) {
        Some("text") => {
            block.neutral("citations", &["[]"]);
            Part::Text(block.needed_text("text")?)
        }
        Some("thinking") => {
            // the provider's checksum over its own words
            block.hints(&["signature"]);
            Part::Thinking(block.needed_text("thinking")?)
        }
        Some("image") => Part::Image(at.clone(), read_source(&mut block)?),
        Some("document") => {
            let title = block.text("title")?;
            block.neutral("citations", &["{\"enabled\":false}"]);
            Part::File(at.clone(), title, read_source(&mut block)?)
        }
        Some("tool_use") => {
            block.neutral("caller", &["{\"type\":\"direct\"}"]);
            let input = block.take("input");
            Part::Call(Call {
                id: block.needed_text("id")?,
                name: block.needed_text("name")?,
                arguments: Arguments::Object(
                    input.ok_or_else(|| TranslateError::shape(block.at("input")))?,
                ),
            })
        }
        Some("tool_result") => {
            // the result's text says what went wrong
            block.hints(&["is_error"]);
            let id = block.needed_text("tool_use_id")?;
            Part::Result(id, read_content(&mut block, "content")?)
        }
        _ => return Err(TranslateError::not_sayable(block.at("type"))),
    };
    block.done()?;
    Ok(read)
}

fn read_source<'a>(block: &mut Fields<'a>) -> Result<Media<'a>> {
    let at = block.at("source");
    let Some(mut source) = block.object("source")? else {
        return Err(TranslateError::shape(at));
    };
    let kind = source.word("type")?;
    let media = match kind.as_ref().map(|kind| kind.as_str()) {
        Some("url") => Media::Url(source.needed_text("url")?),
        Some("base64") => {
            let (kind, data) = (source.word("media_type")?, source.word("data")?);
            let (Some(kind), Some(base64)) = (kind, data) else {
                return Err(TranslateError::shape(at));
            };
            Media::Data {
                kind: kind.to_string(),
                base64,
            }
        }
        _ => return Err(TranslateError::not_sayable(source.at("type"))),
    };
    source.done()?;
    Ok(media)
}

fn read_tool(at: String, raw: &RawValue) -> Result<Tool<'_>> {
    let mut tool = Fields::read(at, raw)?;
    // how arguments are streamed, and what may be cached
    tool.hints(&["cache_control", "eager_input_streaming"]);
    tool.neutral("defer_loading", &["false"]);
    let kind = tool.word("type")?;
    if kind.is_some_and(|kind| kind.as_str() != "custom") {
        return Err(TranslateError::not_sayable(tool.at("type")));
    }
    let read = read_function(&mut tool, "input_schema")?;
    tool.done()?;
    Ok(read)
}

fn read_choice<'a>(top: &mut Fields<'a>, talk: &mut Talk<'a>) -> Result<()> {
    let Some(mut choice) = top.object("tool_choice")? else {
        return Ok(());
    };
    let kind = choice.word("type")?;
    talk.choice = Some(match kind.as_ref().map(|kind| kind.as_str()) {
        Some("auto") => Choice::Auto,
        Some("any") => Choice::Any,
        Some("none") => Choice::None,
        Some("tool") => Choice::Tool(choice.needed_text("name")?),
        _ => return Err(TranslateError::not_sayable(choice.at("type"))),
    });
    talk.parallel = choice.flag("disable_parallel_tool_use")?.map(|off| !off);
    choice.done()
}
