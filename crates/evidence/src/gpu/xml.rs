//! The XML of NVIDIA's reference manifests and its canonical form (Canonical XML 1.1, without
//! comments). Reads a small part of XML and refuses the rest: ASCII, elements, attributes and text
//! alone; no document type, entity, reference, comment, CDATA, processing instruction or `xml:`
//! attribute, and nothing whose canonical form would need escaping. So what is read is what is
//! signed.

use std::collections::BTreeMap;

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use super::GpuError;

const MAX_DEPTH: usize = 16;
/// A genuine manifest has some 90.
const MAX_ELEMENTS: usize = 1024;
const MAX_ATTRIBUTES: usize = 64;
/// The most namespaces in force at one place: each element keeps its own.
const MAX_NAMESPACES: usize = 16;

/// An attribute with its namespace; none is the empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    name: String,
    namespace: String,
    local: String,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Element(Element),
    Text(String),
}

/// Prefix to namespace; the default namespace has the empty prefix.
type Scope = BTreeMap<String, String>;

/// An element with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    namespace: String,
    local: String,
    scope: Scope,
    attributes: Vec<Attribute>,
    children: Vec<Node>,
}

impl Element {
    /// Reads a whole document.
    pub(super) fn parse(text: &str) -> Result<Self, GpuError> {
        let plain = |b: u8| matches!(b, b'\n' | b'\t' | 0x20..=0x7e) && b != b'&';
        if !text.bytes().all(plain) {
            return Err(GpuError::Rim(
                "it holds a reference or a byte that is not plain",
            ));
        }
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        let mut count = 0;
        loop {
            match reader.read_event() {
                Ok(Event::Start(start)) => open.push(begin(&start, &open, &root, &mut count)?),
                Ok(Event::Empty(start)) => {
                    let element = begin(&start, &open, &root, &mut count)?;
                    close(element, &mut open, &mut root);
                }
                Ok(Event::End(_)) => {
                    let element = open.pop().ok_or(GpuError::Rim("an end has no start"))?;
                    close(element, &mut open, &mut root);
                }
                Ok(Event::Text(text)) => add_text(&text, &mut open)?,
                Ok(Event::Decl(_)) if count == 0 => {}
                Ok(Event::Eof) if open.is_empty() => break,
                _ => return Err(GpuError::Rim("it is not XML of elements and text alone")),
            }
        }
        root.ok_or(GpuError::Rim("it has no element"))
    }

    /// Whether this is the element `local` of `namespace`.
    pub(super) fn is(&self, namespace: &str, local: &str) -> bool {
        self.namespace == namespace && self.local == local
    }

    /// The elements in this one. Text between them is refused unless it is white.
    pub(super) fn elements(&self) -> Result<Vec<&Self>, GpuError> {
        let mut elements = Vec::new();
        for node in &self.children {
            match node {
                Node::Element(element) => elements.push(element),
                Node::Text(text) if text.trim().is_empty() => {}
                Node::Text(_) => return Err(GpuError::Rim("text stands between elements")),
            }
        }
        Ok(elements)
    }

    /// The text of an element that holds nothing else.
    pub(super) fn text(&self) -> Result<&str, GpuError> {
        match self.children.as_slice() {
            [Node::Text(text)] => Ok(text),
            _ => Err(GpuError::Rim("an element holds something else than text")),
        }
    }

    /// The attribute `local` without a namespace.
    pub(super) fn attribute(&self, local: &str) -> Option<&str> {
        self.attribute_of("", local)
    }

    /// The attribute `local` of `namespace`.
    pub(super) fn attribute_of(&self, namespace: &str, local: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|attribute| attribute.namespace == namespace && attribute.local == local)
            .map(|attribute| attribute.value.as_str())
    }

    /// How many attributes there are in `namespace`.
    pub(super) fn attributes_in(&self, namespace: &str) -> usize {
        self.attributes
            .iter()
            .filter(|attribute| attribute.namespace == namespace)
            .count()
    }

    /// The canonical form of this element and all in it, but for the child `without`.
    pub(super) fn canonical(&self, without: Option<&Self>) -> Vec<u8> {
        let mut out = String::new();
        self.write(&Scope::new(), without, &mut out);
        out.into_bytes()
    }

    /// `rendered` is what the output's elements around this one have declared.
    fn write(&self, rendered: &Scope, without: Option<&Self>, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (prefix, namespace) in &self.scope {
            if rendered.get(prefix) == Some(namespace) {
                continue;
            }
            let colon = if prefix.is_empty() { "" } else { ":" };
            out.push_str(&format!(" xmlns{colon}{prefix}=\"{namespace}\""));
        }
        for attribute in &self.attributes {
            out.push_str(&format!(" {}=\"{}\"", attribute.name, attribute.value));
        }
        out.push('>');
        for child in &self.children {
            match child {
                Node::Element(child) if without.is_some_and(|left| std::ptr::eq(left, child)) => {}
                Node::Element(child) => child.write(&self.scope, None, out),
                Node::Text(text) => out.push_str(text),
            }
        }
        out.push_str(&format!("</{}>", self.name));
    }
}

fn begin(
    start: &BytesStart<'_>,
    open: &[Element],
    root: &Option<Element>,
    count: &mut usize,
) -> Result<Element, GpuError> {
    *count += 1;
    if root.is_some() || open.len() >= MAX_DEPTH || *count > MAX_ELEMENTS {
        return Err(GpuError::Rim("it has two roots, or too many elements"));
    }
    let mut scope = open
        .last()
        .map_or_else(Scope::new, |outer| outer.scope.clone());
    let mut plain = Vec::new();
    for (number, attribute) in start.attributes().enumerate() {
        let attribute = attribute.map_err(|_| GpuError::Rim("an attribute is malformed"))?;
        let (name, value) = (attribute.key.into_inner(), attribute.value.as_ref());
        if value.contains(['<', '"', '\n', '\t']) || number >= MAX_ATTRIBUTES {
            return Err(GpuError::Rim("an attribute's value is not plain"));
        }
        match (name, name.strip_prefix("xmlns:")) {
            ("xmlns", _) => declare(&mut scope, "", value)?,
            (_, Some("")) => return Err(GpuError::Rim("a namespace declaration is not plain")),
            (_, Some(prefix)) => declare(&mut scope, prefix, value)?,
            _ => plain.push((name.to_owned(), value.to_owned())),
        }
    }
    let name = start.name().into_inner().to_owned();
    let (prefix, local) = split(&name)?;
    Ok(Element {
        namespace: resolve(&scope, prefix)?,
        local: local.to_owned(),
        attributes: resolve_attributes(&scope, plain)?,
        name: name.clone(),
        scope,
        children: Vec::new(),
    })
}

/// In canonical order: by namespace, then by local name (Canonical XML 1.1 section 2.2).
fn resolve_attributes(
    scope: &Scope,
    plain: Vec<(String, String)>,
) -> Result<Vec<Attribute>, GpuError> {
    let mut attributes = Vec::new();
    for (name, value) in plain {
        let (prefix, local) = split(&name)?;
        // an attribute without a prefix has no namespace, whatever the default
        let namespace = match prefix {
            "" => String::new(),
            prefix => resolve(scope, prefix)?,
        };
        let local = local.to_owned();
        attributes.push(Attribute {
            name,
            namespace,
            local,
            value,
        });
    }
    attributes.sort_by(|a, b| (&a.namespace, &a.local).cmp(&(&b.namespace, &b.local)));
    let twice = attributes.windows(2).any(|pair| match pair {
        [a, b] => a.namespace == b.namespace && a.local == b.local,
        _ => false,
    });
    if twice {
        return Err(GpuError::Rim("an attribute comes twice"));
    }
    Ok(attributes)
}

fn declare(scope: &mut Scope, prefix: &str, namespace: &str) -> Result<(), GpuError> {
    if namespace.is_empty() || prefix.starts_with("xml") || !prefix.bytes().all(is_plain) {
        return Err(GpuError::Rim("a namespace declaration is not plain"));
    }
    scope.insert(prefix.to_owned(), namespace.to_owned());
    if scope.len() > MAX_NAMESPACES {
        return Err(GpuError::Rim("it has too many namespaces"));
    }
    Ok(())
}

fn resolve(scope: &Scope, prefix: &str) -> Result<String, GpuError> {
    scope
        .get(prefix)
        .cloned()
        .ok_or(GpuError::Rim("a name has no namespace"))
}

const fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
}

fn split(name: &str) -> Result<(&str, &str), GpuError> {
    let (prefix, local) = name.split_once(':').unwrap_or(("", name));
    let whole = prefix.bytes().all(is_plain) && local.bytes().all(is_plain) && !local.is_empty();
    if whole && !(name.contains(':') && prefix.is_empty()) {
        return Ok((prefix, local));
    }
    Err(GpuError::Rim("a name is not plain"))
}

fn add_text(text: &str, open: &mut [Element]) -> Result<(), GpuError> {
    if text.contains('>') {
        return Err(GpuError::Rim("text is not plain"));
    }
    match open.last_mut() {
        Some(element) => {
            if let Some(Node::Text(before)) = element.children.last_mut() {
                before.push_str(text);
            } else {
                element.children.push(Node::Text(text.to_owned()));
            }
            Ok(())
        }
        None if text.trim().is_empty() => Ok(()),
        None => Err(GpuError::Rim("text stands outside of the document")),
    }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(outer) => outer.children.push(Node::Element(element)),
        None => *root = Some(element),
    }
}
