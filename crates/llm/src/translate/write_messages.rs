//! Says a request in the words of Messages.

use serde_json::value::RawValue;

use super::{
    TranslateError,
    json::{Json, Object, typed},
    talk::{Choice, Effort, Format, Part, Role, Talk, Tool, Turn},
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Messages requires a limit; this one is given where the client set none.
pub const DEFAULT_MAX_TOKENS: u64 = 8192;

pub(super) fn write<'a>(talk: &Talk<'a>, model: &str) -> Result<Json<'a>> {
    let system: Vec<Json<'a>> = talk.system.iter().map(|text| text_block(text)).collect();
    let tools: Vec<Json<'a>> = talk.tools.iter().map(write_tool).collect();
    let choice = write_choice(talk).filter(|_| !tools.is_empty());
    let max_tokens = talk.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let user = talk.user.map(Json::Raw);
    Ok(Object::default()
        .with("model", Json::text(model))
        .with("max_tokens", Json::Int(max_tokens))
        .maybe(
            "system",
            (!system.is_empty()).then_some(Json::Array(system)),
        )
        .with("messages", Json::Array(write_turns(&talk.turns)?))
        .maybe("tools", (!tools.is_empty()).then_some(Json::Array(tools)))
        .maybe("tool_choice", choice)
        .maybe("temperature", temperature(talk)?)
        .maybe("top_p", talk.top_p.map(Json::Raw))
        .maybe(
            "stop_sequences",
            (!talk.stop.is_empty())
                .then(|| Json::Array(talk.stop.iter().map(|stop| Json::Raw(stop)).collect())),
        )
        .maybe("output_config", write_output_config(talk)?)
        .maybe(
            "metadata",
            user.map(|user| Object::default().with("user_id", user).json()),
        )
        .maybe("stream", talk.stream.then_some(Json::Bool(true)))
        .json())
}

/// Messages takes 0 to 1, the other APIs up to 2.
fn temperature<'a>(talk: &Talk<'a>) -> Result<Option<Json<'a>>> {
    let above = |raw: &RawValue| serde_json::from_str(raw.get()).is_ok_and(|n: f64| n > 1.0);
    match talk.temperature {
        Some(raw) if above(raw) => Err(TranslateError::not_sayable("temperature".to_owned())),
        found => Ok(found.map(Json::Raw)),
    }
}

fn text_block(text: &RawValue) -> Json<'_> {
    typed("text").with("text", Json::Raw(text)).json()
}

/// Turns of one author that follow each other are one message, results of tools first.
fn write_turns<'a>(turns: &[Turn<'a>]) -> Result<Vec<Json<'a>>> {
    let mut messages: Vec<(Role, Vec<Json<'a>>)> = Vec::new();
    for turn in turns {
        if turn.role == Role::System {
            return Err(TranslateError::not_sayable(turn.at.clone()));
        }
        let blocks = turn.parts.iter().map(|part| write_part(&turn.at, part));
        let blocks: Vec<Json<'a>> = blocks
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;
        match messages.last_mut() {
            Some((role, content)) if *role == turn.role => content.extend(blocks),
            _ => messages.push((turn.role, blocks)),
        }
    }
    let said = messages
        .into_iter()
        .filter(|(_, blocks)| !blocks.is_empty());
    Ok(said
        .map(|(role, blocks)| {
            let role = match role {
                Role::Assistant => "assistant",
                Role::User | Role::System => "user",
            };
            Object::default()
                .with("role", Json::Word(role))
                .with("content", Json::Array(blocks))
                .json()
        })
        .collect())
}

/// `None` for what Messages takes from nobody but itself: thoughts need its signature.
fn write_part<'a>(at: &str, part: &Part<'a>) -> Result<Option<Json<'a>>> {
    Ok(Some(match part {
        Part::Thinking(_) => return Ok(None),
        // a text block must not be empty
        Part::Text(text) | Part::Refusal(text) if text.get() == "\"\"" => return Ok(None),
        Part::Text(text) | Part::Refusal(text) => text_block(text),
        Part::Image(_, media) => typed("image").with("source", media.as_source()).json(),
        Part::File(_, name, media) => typed("document")
            .with("source", media.as_source())
            .maybe("title", name.map(Json::Raw))
            .json(),
        Part::Call(call) => typed("tool_use")
            .with("id", Json::Raw(call.id))
            .with("name", Json::Raw(call.name))
            .with("input", call.arguments.as_object(at)?)
            .json(),
        Part::Result(id, parts) => {
            let blocks = parts.iter().map(|part| write_part(at, part));
            let blocks = blocks
                .filter_map(Result::transpose)
                .collect::<Result<_>>()?;
            typed("tool_result")
                .with("tool_use_id", Json::Raw(id))
                .with("content", Json::Array(blocks))
                .json()
        }
    }))
}

fn write_tool<'a>(tool: &Tool<'a>) -> Json<'a> {
    let no_arguments = || typed("object").with("properties", Json::Object(Vec::new()));
    Object::default()
        .with("name", Json::Raw(tool.name))
        .maybe("description", tool.description.map(Json::Raw))
        .with(
            "input_schema",
            tool.schema.map_or_else(|| no_arguments().json(), Json::Raw),
        )
        .maybe(
            "strict",
            tool.strict.filter(|strict| *strict).map(Json::Bool),
        )
        .json()
}

/// Whether several calls at once are allowed is said beside the choice.
fn write_choice<'a>(talk: &Talk<'a>) -> Option<Json<'a>> {
    let one_at_a_time = talk.parallel == Some(false);
    let choice = match (&talk.choice, one_at_a_time) {
        (None, false) => return None,
        (None | Some(Choice::Auto), _) => typed("auto"),
        (Some(Choice::None), _) => return Some(typed("none").json()),
        (Some(Choice::Any), _) => typed("any"),
        (Some(Choice::Tool(name)), _) => typed("tool").with("name", Json::Raw(name)),
    };
    let flag = one_at_a_time.then_some(Json::Bool(true));
    Some(choice.maybe("disable_parallel_tool_use", flag).json())
}

fn write_output_config<'a>(talk: &Talk<'a>) -> Result<Option<Json<'a>>> {
    let effort = talk.effort.map(Effort::anthropic).map(Json::Word);
    let format = match &talk.format {
        Format::Text => None,
        Format::AnyObject => {
            return Err(TranslateError::not_sayable(talk.names.format.to_owned()));
        }
        Format::Schema { schema, .. } => Some(
            typed("json_schema")
                .with("schema", Json::Raw(schema))
                .json(),
        ),
    };
    if effort.is_none() && format.is_none() {
        return Ok(None);
    }
    Ok(Some(
        Object::default()
            .maybe("effort", effort)
            .maybe("format", format)
            .json(),
    ))
}
