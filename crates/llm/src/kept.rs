//! What is not in a request cannot be classified: members that refer to texts kept elsewhere.

use crate::{Api, RequestError, inspect::member, node::Node};

/// Members by which APIs go on with a conversation, or take up texts, that the provider keeps.
const KEPT: [&str; 10] = [
    "previous_response_id",
    "previous_interaction_id",
    "conversation",
    "conversation_id",
    "thread_id",
    "container",
    "prompt",
    "cached_content",
    "cachedContent",
    "data_sources",
];

/// Refuses top-level members that refer to kept texts. A `prompt` that is a text is in the request.
pub(crate) fn refuse_members(members: &[(String, Node)]) -> Result<(), RequestError> {
    for (name, value) in members {
        let kept = KEPT
            .into_iter()
            .find(|kept| name.eq_ignore_ascii_case(kept));
        let here =
            matches!(value, Node::Null) || (kept == Some("prompt") && value.text().is_some());
        if let (Some(name), false) = (kept, here) {
            return Err(RequestError::RefersToKept { name });
        }
    }
    Ok(())
}

/// Refuses what Responses refer to further down: earlier items by id, stores that a tool searches,
/// containers that a tool goes on in, and answers that would be fetched later.
pub(crate) fn refuse_within(api: Api, members: &[(String, Node)]) -> Result<(), RequestError> {
    if api != Api::Responses {
        return Ok(());
    }
    if !matches!(
        member(members, "background"),
        None | Some(Node::Null | Node::Bool(false))
    ) {
        return Err(RequestError::RefersToKept { name: "background" });
    }
    let items = member(members, "input").map_or(&[][..], Node::items);
    if items.iter().any(is_reference) {
        return Err(RequestError::RefersToKept {
            name: "item_reference",
        });
    }
    let tools = member(members, "tools").map_or(&[][..], Node::items);
    match tools.iter().find_map(kept_by) {
        Some(name) => Err(RequestError::RefersToKept { name }),
        None => Ok(()),
    }
}

/// `{"type": "item_reference", "id"}`, of which the type may be left out.
fn is_reference(item: &Node) -> bool {
    match item.member("type") {
        Some(Node::Text(kind)) => kind.as_str() == "item_reference",
        None | Some(Node::Null) => item.member("id").is_some() && item.member("role").is_none(),
        Some(_) => false,
    }
}

fn kept_by(tool: &Node) -> Option<&'static str> {
    if tool.member("vector_store_ids").is_some() {
        return Some("vector_store_ids");
    }
    let container = tool.member("container")?;
    let fresh = matches!(container, Node::Null)
        || (container.member_text("type") == Some("auto")
            && container
                .member("file_ids")
                .is_none_or(|ids| ids.items().is_empty()));
    (!fresh).then_some("container")
}
