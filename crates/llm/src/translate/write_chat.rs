//! Says a request in the words of Chat Completions.

use super::{
    TranslateError,
    json::{Json, Object, typed},
    talk::{Call, Choice, Effort, Format, Part, Role, Talk, Tool, Turn},
};

type Result<T> = std::result::Result<T, TranslateError>;

/// `max_tokens`, not `max_completion_tokens`: servers that speak Chat alone know the older name.
pub(super) fn write<'a>(talk: &Talk<'a>, model: &str) -> Result<Json<'a>> {
    let mut messages = Vec::new();
    if !talk.system.is_empty() {
        let texts = talk.system.iter().map(|text| Json::Raw(text));
        messages.push(message("system", one_or_parts(texts.collect())));
    }
    for turn in &talk.turns {
        write_turn(turn, &mut messages)?;
    }
    let tools: Vec<Json<'a>> = talk.tools.iter().map(write_tool).collect();
    let with_tools = !tools.is_empty();
    let usage = Object::default().with("include_usage", Json::Bool(true));
    Ok(Object::default()
        .with("model", Json::text(model))
        .with("messages", Json::Array(messages))
        .maybe("tools", with_tools.then_some(Json::Array(tools)))
        .maybe(
            "tool_choice",
            talk.choice
                .as_ref()
                .filter(|_| with_tools)
                .map(write_choice),
        )
        .maybe(
            "parallel_tool_calls",
            talk.parallel.filter(|_| with_tools).map(Json::Bool),
        )
        .maybe("max_tokens", talk.max_tokens.map(Json::Int))
        .maybe("temperature", talk.temperature.map(Json::Raw))
        .maybe("top_p", talk.top_p.map(Json::Raw))
        .maybe(
            "stop",
            (!talk.stop.is_empty())
                .then(|| Json::Array(talk.stop.iter().map(|stop| Json::Raw(stop)).collect())),
        )
        .maybe(
            "reasoning_effort",
            talk.effort.map(Effort::openai).map(Json::Word),
        )
        .maybe("response_format", write_format(&talk.format))
        .maybe("user", talk.user.map(Json::Raw))
        .maybe("stream", talk.stream.then_some(Json::Bool(true)))
        .maybe("stream_options", talk.stream.then(|| usage.json()))
        .json())
}

fn message<'a>(role: &'static str, content: Json<'a>) -> Json<'a> {
    Object::default()
        .with("role", Json::Word(role))
        .with("content", content)
        .json()
}

/// A lone text as a string, several as parts.
fn one_or_parts(mut texts: Vec<Json<'_>>) -> Json<'_> {
    if texts.len() == 1 {
        return texts.remove(0);
    }
    let parts = texts.into_iter();
    Json::Array(
        parts
            .map(|text| typed("text").with("text", text).json())
            .collect(),
    )
}

fn write_turn<'a>(turn: &Turn<'a>, messages: &mut Vec<Json<'a>>) -> Result<()> {
    match turn.role {
        Role::System => messages.push(message("system", one_or_parts(texts(&turn.parts)))),
        Role::User => write_user(turn, messages)?,
        Role::Assistant => messages.push(write_assistant(turn)?),
    }
    Ok(())
}

fn texts<'a>(parts: &[Part<'a>]) -> Vec<Json<'a>> {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(Json::Raw(text)),
        _ => None,
    });
    texts.collect()
}

/// Results of tools are messages of their own, and stand right after the calls.
fn write_user<'a>(turn: &Turn<'a>, messages: &mut Vec<Json<'a>>) -> Result<()> {
    let mut said = Vec::new();
    for part in &turn.parts {
        match part {
            Part::Result(id, parts) => messages.push(write_result(&turn.at, id, parts)?),
            other => said.push(other),
        }
    }
    if let [Part::Text(text)] = said.as_slice() {
        messages.push(message("user", Json::Raw(text)));
    } else if !said.is_empty() || turn.parts.is_empty() {
        let parts = said.into_iter().map(|part| write_part(&turn.at, part));
        messages.push(message("user", Json::Array(parts.collect::<Result<_>>()?)));
    }
    Ok(())
}

fn write_result<'a>(
    at: &str,
    id: &'a serde_json::value::RawValue,
    parts: &[Part<'a>],
) -> Result<Json<'a>> {
    let picture = parts.iter().find_map(|part| match part {
        Part::Text(_) => None,
        Part::Image(at, _) | Part::File(at, ..) => Some(at.as_str()),
        _ => Some(at),
    });
    if let Some(at) = picture {
        return Err(TranslateError::not_sayable(at.to_owned()));
    }
    let content = match parts {
        [] => Json::Word(""),
        _ => one_or_parts(texts(parts)),
    };
    Ok(Object::default()
        .with("role", Json::Word("tool"))
        .with("tool_call_id", Json::Raw(id))
        .with("content", content)
        .json())
}

fn write_part<'a>(at: &str, part: &Part<'a>) -> Result<Json<'a>> {
    Ok(match part {
        Part::Text(text) => typed("text").with("text", Json::Raw(text)).json(),
        Part::Image(_, media) => {
            let url = Object::default().with("url", media.as_url());
            typed("image_url").with("image_url", url.json()).json()
        }
        Part::File(_, name, media) => {
            let file = Object::default()
                .maybe("filename", name.map(Json::Raw))
                .with("file_data", media.as_url());
            typed("file").with("file", file.json()).json()
        }
        _ => return Err(TranslateError::not_sayable(at.to_owned())),
    })
}

fn write_assistant<'a>(turn: &Turn<'a>) -> Result<Json<'a>> {
    let (mut calls, mut thoughts, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for part in &turn.parts {
        match part {
            Part::Text(_) => {}
            Part::Call(call) => calls.push(write_call(call)),
            Part::Thinking(text) => thoughts.push(*text),
            Part::Refusal(text) => refusals.push(Json::Raw(text)),
            _ => return Err(TranslateError::not_sayable(turn.at.clone())),
        }
    }
    let texts = texts(&turn.parts);
    let content = match texts.len() {
        0 => Json::Null,
        _ => one_or_parts(texts),
    };
    Ok(Object::default()
        .with("role", Json::Word("assistant"))
        .with("content", content)
        .maybe("reasoning_content", joined(&turn.at, &thoughts)?)
        .maybe("refusal", refusals.pop())
        .maybe(
            "tool_calls",
            (!calls.is_empty()).then_some(Json::Array(calls)),
        )
        .json())
}

/// Thoughts as the one text that Chat has room for.
fn joined<'a>(at: &str, thoughts: &[&'a serde_json::value::RawValue]) -> Result<Option<Json<'a>>> {
    match thoughts {
        [] => Ok(None),
        [one] => Ok(Some(Json::Raw(one))),
        several => {
            let mut all = super::json::Text::default();
            for thought in several {
                all.push_str(&super::fields::unescaped(at, thought)?);
            }
            Ok(Some(Json::Text(all)))
        }
    }
}

fn write_call<'a>(call: &Call<'a>) -> Json<'a> {
    let function = Object::default()
        .with("name", Json::Raw(call.name))
        .with("arguments", call.arguments.as_text());
    Object::default()
        .with("id", Json::Raw(call.id))
        .with("type", Json::Word("function"))
        .with("function", function.json())
        .json()
}

fn write_tool<'a>(tool: &Tool<'a>) -> Json<'a> {
    let function = Object::default()
        .with("name", Json::Raw(tool.name))
        .maybe("description", tool.description.map(Json::Raw))
        .maybe("parameters", tool.schema.map(Json::Raw))
        .maybe("strict", tool.strict.map(Json::Bool));
    typed("function").with("function", function.json()).json()
}

fn write_choice<'a>(choice: &Choice<'a>) -> Json<'a> {
    match choice {
        Choice::Auto => Json::Word("auto"),
        Choice::None => Json::Word("none"),
        Choice::Any => Json::Word("required"),
        Choice::Tool(name) => {
            let function = Object::default().with("name", Json::Raw(name));
            typed("function").with("function", function.json()).json()
        }
    }
}

fn write_format<'a>(format: &Format<'a>) -> Option<Json<'a>> {
    match format {
        Format::Text => None,
        Format::AnyObject => Some(typed("json_object").json()),
        Format::Schema {
            name,
            description,
            schema,
            strict,
        } => {
            let schema = Object::default()
                .with("name", name.map_or(Json::Word("answer"), Json::Raw))
                .maybe("description", description.map(Json::Raw))
                .with("schema", Json::Raw(schema))
                .maybe("strict", strict.map(Json::Bool));
            Some(
                typed("json_schema")
                    .with("json_schema", schema.json())
                    .json(),
            )
        }
    }
}
