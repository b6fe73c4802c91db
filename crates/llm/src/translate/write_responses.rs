//! Says a request in the words of Responses. Nothing is ever to be stored.

use serde_json::value::RawValue;

use super::{
    TranslateError,
    json::{Json, Object, typed},
    talk::{Call, Choice, Effort, Format, Part, Role, Talk, Tool, Turn},
};

type Result<T> = std::result::Result<T, TranslateError>;

pub(super) fn write<'a>(talk: &Talk<'a>, model: &str) -> Result<Json<'a>> {
    if !talk.stop.is_empty() {
        return Err(TranslateError::not_sayable(talk.names.stop.to_owned()));
    }
    let mut items = Vec::new();
    let instructions = match talk.system.as_slice() {
        [one] => Some(Json::Raw(one)),
        several => {
            items.extend(
                several
                    .iter()
                    .map(|text| said("system", vec![input_text(text)])),
            );
            None
        }
    };
    for (number, turn) in talk.turns.iter().enumerate() {
        write_turn(number, turn, &mut items)?;
    }
    let tools: Vec<Json<'a>> = talk.tools.iter().map(write_tool).collect();
    let with_tools = !tools.is_empty();
    let effort = talk.effort.map(Effort::openai).map(Json::Word);
    let reasoning = effort.map(|effort| Object::default().with("effort", effort).json());
    let format = write_format(&talk.format);
    let text = format.map(|format| Object::default().with("format", format).json());
    Ok(Object::default()
        .with("model", Json::text(model))
        .maybe("instructions", instructions)
        .with("input", Json::Array(items))
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
        .maybe("max_output_tokens", talk.max_tokens.map(Json::Int))
        .maybe("temperature", talk.temperature.map(Json::Raw))
        .maybe("top_p", talk.top_p.map(Json::Raw))
        .maybe("reasoning", reasoning)
        .maybe("text", text)
        .maybe("safety_identifier", talk.user.map(Json::Raw))
        .with("store", Json::Bool(false))
        .maybe("stream", talk.stream.then_some(Json::Bool(true)))
        .json())
}

fn said<'a>(role: &'static str, content: Vec<Json<'a>>) -> Json<'a> {
    typed("message")
        .with("role", Json::Word(role))
        .with("content", Json::Array(content))
        .json()
}

fn input_text(text: &RawValue) -> Json<'_> {
    typed("input_text").with("text", Json::Raw(text)).json()
}

fn write_turn<'a>(number: usize, turn: &Turn<'a>, items: &mut Vec<Json<'a>>) -> Result<()> {
    match turn.role {
        Role::Assistant => write_assistant(number, turn, items),
        Role::System => write_side("system", turn, items),
        Role::User => write_side("user", turn, items),
    }
}

fn write_side<'a>(role: &'static str, turn: &Turn<'a>, items: &mut Vec<Json<'a>>) -> Result<()> {
    let mut content = Vec::new();
    for part in &turn.parts {
        match part {
            Part::Result(id, parts) => items.push(write_result(&turn.at, id, parts)?),
            other => content.push(write_part(&turn.at, other)?),
        }
    }
    if !content.is_empty() {
        items.push(said(role, content));
    }
    Ok(())
}

fn write_result<'a>(at: &str, id: &'a RawValue, parts: &[Part<'a>]) -> Result<Json<'a>> {
    let output = match parts {
        [] => Json::Word(""),
        [Part::Text(text)] => Json::Raw(text),
        several => {
            let parts = several.iter().map(|part| write_part(at, part));
            Json::Array(parts.collect::<Result<_>>()?)
        }
    };
    Ok(typed("function_call_output")
        .with("call_id", Json::Raw(id))
        .with("output", output)
        .json())
}

fn write_part<'a>(at: &str, part: &Part<'a>) -> Result<Json<'a>> {
    Ok(match part {
        Part::Text(text) => input_text(text),
        Part::Image(_, media) => typed("input_image")
            .with("detail", Json::Word("auto"))
            .with("image_url", media.as_url())
            .json(),
        Part::File(_, name, media) => {
            let (file_url, file_data) = match media {
                super::talk::Media::Url(url) => (Some(Json::Raw(url)), None),
                super::talk::Media::Data { .. } => (None, Some(media.as_url())),
            };
            typed("input_file")
                .maybe("filename", name.map(Json::Raw))
                .maybe("file_url", file_url)
                .maybe("file_data", file_data)
                .json()
        }
        _ => return Err(TranslateError::not_sayable(at.to_owned())),
    })
}

/// Items in the order of the parts; texts that stand together are one message.
fn write_assistant<'a>(number: usize, turn: &Turn<'a>, items: &mut Vec<Json<'a>>) -> Result<()> {
    let mut content = Vec::new();
    for (index, part) in turn.parts.iter().enumerate() {
        let item = match part {
            Part::Text(text) => {
                content.push(output_text(text));
                continue;
            }
            Part::Refusal(text) => {
                content.push(typed("refusal").with("refusal", Json::Raw(text)).json());
                continue;
            }
            Part::Call(call) => write_call(call),
            Part::Thinking(text) => write_thinking(number, index, text),
            _ => return Err(TranslateError::not_sayable(turn.at.clone())),
        };
        flush(&mut content, items);
        items.push(item);
    }
    flush(&mut content, items);
    Ok(())
}

fn flush<'a>(content: &mut Vec<Json<'a>>, items: &mut Vec<Json<'a>>) {
    if !content.is_empty() {
        items.push(said("assistant", std::mem::take(content)));
    }
}

fn output_text(text: &RawValue) -> Json<'_> {
    typed("output_text")
        .with("text", Json::Raw(text))
        .with("annotations", Json::Array(Vec::new()))
        .json()
}

/// Servers ask for an id of each reasoning item and compare it with nothing.
fn write_thinking<'a>(turn: usize, part: usize, text: &'a RawValue) -> Json<'a> {
    let thought = typed("reasoning_text").with("text", Json::Raw(text)).json();
    typed("reasoning")
        .with("id", Json::text(format!("rs_{turn}_{part}")))
        .with("summary", Json::Array(Vec::new()))
        .with("content", Json::Array(vec![thought]))
        .json()
}

fn write_call<'a>(call: &Call<'a>) -> Json<'a> {
    typed("function_call")
        .with("call_id", Json::Raw(call.id))
        .with("name", Json::Raw(call.name))
        .with("arguments", call.arguments.as_text())
        .json()
}

/// Responses takes tools as strict unless told otherwise; the other APIs do not.
fn write_tool<'a>(tool: &Tool<'a>) -> Json<'a> {
    typed("function")
        .with("name", Json::Raw(tool.name))
        .maybe("description", tool.description.map(Json::Raw))
        .with(
            "parameters",
            tool.schema.map_or(Json::Object(Vec::new()), Json::Raw),
        )
        .with("strict", Json::Bool(tool.strict.unwrap_or(false)))
        .json()
}

fn write_choice<'a>(choice: &Choice<'a>) -> Json<'a> {
    match choice {
        Choice::Auto => Json::Word("auto"),
        Choice::None => Json::Word("none"),
        Choice::Any => Json::Word("required"),
        Choice::Tool(name) => typed("function").with("name", Json::Raw(name)).json(),
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
        } => Some(
            typed("json_schema")
                .with("name", name.map_or(Json::Word("answer"), Json::Raw))
                .maybe("description", description.map(Json::Raw))
                .with("schema", Json::Raw(schema))
                .maybe("strict", strict.map(Json::Bool))
                .json(),
        ),
    }
}
