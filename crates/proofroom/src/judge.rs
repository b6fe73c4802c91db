//! What the classification and routing policies say about a text, without a session: for whoever
//! writes them. Reads no keys, sends nothing, and repeats nothing of the text.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use proofroom_canonical::Timestamp;
use proofroom_classify::{
    Classification, ClassificationPolicy, Classifier, Context, DEFAULT_CLASSIFICATION,
    DEFAULT_ROUTING, ExampleOutcome, Label, Origin, RouteDecision, RouteRequest, RoutingPolicy,
    Segment, UpstreamOffer,
};
use proofroom_gateway::config::{DEFAULT_UPSTREAMS, UpstreamsConfig};

use crate::causes;

/// The most bytes of one file that is judged; a larger one is content that nobody can read.
pub const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// The most bytes of a policy file.
const MAX_POLICY_BYTES: u64 = 1024 * 1024;

/// Why nothing can be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A policy file is refused; every problem, one a line.
    #[error("the policies cannot be used\n  {0}")]
    Refused(String),
}

impl JudgeError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "file-unreadable",
            Self::Refused(_) => "policy-refused",
        }
    }
}

/// The policies that decide about a text.
#[derive(Debug)]
pub struct Judge {
    classifier: Classifier,
    /// `routing.toml`.
    pub routing: RoutingPolicy,
    upstreams: UpstreamsConfig,
}

/// A finding with its place as an editor shows it: lines and columns from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// First line.
    pub line: usize,
    /// First column.
    pub column: usize,
    /// Line of the end.
    pub end_line: usize,
    /// Column behind the end.
    pub end_column: usize,
}

/// Where a model's requests would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The model asked for.
    pub model: String,
    /// What routing decides.
    pub decision: RouteDecision,
}

impl Judge {
    /// The policies of `dir`, or the built-in ones.
    ///
    /// # Errors
    /// See [`JudgeError`].
    pub fn open(dir: Option<&Path>) -> Result<Self, JudgeError> {
        let classification = text(dir, "classification.toml", DEFAULT_CLASSIFICATION)?;
        let routing = text(dir, "routing.toml", DEFAULT_ROUTING)?;
        let upstreams = text(dir, "upstreams.toml", DEFAULT_UPSTREAMS)?;
        let classification = ClassificationPolicy::parse(&classification, "classification.toml")
            .map_err(|problems| refused(&problems))?;
        let routing = RoutingPolicy::parse(&routing, "routing.toml", &classification)
            .map_err(|problems| refused(&problems))?;
        let upstreams = UpstreamsConfig::parse_without_keys(&upstreams).map_err(|p| refused(&p))?;
        Ok(Self {
            classifier: Classifier::new(&classification),
            routing,
            upstreams,
        })
    }

    /// `classification.toml`.
    #[must_use]
    pub const fn classification(&self) -> &ClassificationPolicy {
        self.classifier.policy()
    }

    /// Classifies the content of a file at `path` of `repository`. What is not text has the label
    /// of unreadable content.
    #[must_use]
    pub fn classify(
        &self,
        content: &[u8],
        path: Option<&str>,
        repository: &str,
        now: Timestamp,
    ) -> Classification {
        let (text, origin) = match std::str::from_utf8(content) {
            Ok(text) if content.len() as u64 <= MAX_FILE_BYTES => (text, Origin::ToolResult),
            _ => ("", Origin::Unreadable),
        };
        let segment = Segment { text, origin, path };
        self.classifier
            .classify(&[segment], &Context { repository, now })
    }

    /// Where requests for `model`, or for every model that an upstream names, would go.
    #[must_use]
    pub fn ways(
        &self,
        label: Label,
        model: Option<&str>,
        repository: &str,
        (person, purpose): (&str, &str),
    ) -> Vec<Way> {
        let models = model.map_or_else(|| self.models(), |one| vec![one.to_owned()]);
        let decide = |model: String| {
            let offers = self.offers(&model);
            let request = RouteRequest {
                label,
                model: &model,
                repository,
                person,
                purpose,
            };
            let decision = self.routing.route(&request, &offers);
            Way { model, decision }
        };
        models.into_iter().map(decide).collect()
    }

    fn models(&self) -> Vec<String> {
        let named = self.upstreams.upstreams().flat_map(|upstream| {
            let plain = |model: &&String| !model.contains(['*', '?', '[', '{']);
            let models = upstream.models.iter().filter(plain);
            models.chain(upstream.aliases.keys()).cloned()
        });
        let mut models: Vec<String> = named.collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    fn offers(&self, model: &str) -> Vec<UpstreamOffer> {
        offers_of(&self.upstreams, model, None)
    }
}

/// What upstreams offer to whoever asks for `model`: all of them, or those that can be asked at `path`.
pub(crate) fn offers_of(
    upstreams: &UpstreamsConfig,
    model: &str,
    path: Option<&str>,
) -> Vec<UpstreamOffer> {
    let bare = model.split_once('/').map_or(model, |(_, rest)| rest);
    let offer = |upstream: &proofroom_gateway::config::Upstream| {
        let mut models: Vec<String> = upstream.models.clone();
        models.extend(upstream.aliases.keys().cloned());
        let served = [model, bare].into_iter();
        models.extend(
            served
                .filter(|name| upstream.served(name).is_some())
                .map(str::to_owned),
        );
        UpstreamOffer {
            name: upstream.name.clone(),
            tier: upstream.tier.clone(),
            models,
            region: upstream.region.clone(),
        }
    };
    let speaking = upstreams
        .upstreams()
        .filter(|upstream| path.is_none_or(|path| upstream.answers(path)));
    speaking.map(offer).collect()
}

/// How every example of both files of `dir`, or of the built-in ones, comes out.
///
/// # Errors
/// See [`JudgeError`]; examples that come out otherwise than written are no error here.
pub fn try_examples(dir: Option<&Path>) -> Result<Vec<(&'static str, ExampleOutcome)>, JudgeError> {
    let classification = text(dir, "classification.toml", DEFAULT_CLASSIFICATION)?;
    let routing = text(dir, "routing.toml", DEFAULT_ROUTING)?;
    let first = ClassificationPolicy::try_examples(&classification, "classification.toml")
        .map_err(|problems| refused(&problems))?;
    let mut all: Vec<_> = first
        .into_iter()
        .map(|outcome| ("classification.toml", outcome))
        .collect();
    // routing needs the levels of a classification that loads
    if all.iter().all(|(_, outcome)| outcome.holds) {
        let levels = ClassificationPolicy::parse(&classification, "classification.toml")
            .map_err(|problems| refused(&problems))?;
        let second = RoutingPolicy::try_examples(&routing, "routing.toml", &levels)
            .map_err(|problems| refused(&problems))?;
        all.extend(second.into_iter().map(|outcome| ("routing.toml", outcome)));
    }
    Ok(all)
}

/// The place of the byte range `span` in `text`.
#[must_use]
pub fn place(text: &str, span: &std::ops::Range<usize>) -> Place {
    let (line, column) = position(text, span.start);
    let (end_line, end_column) = position(text, span.end);
    Place {
        line,
        column,
        end_line,
        end_column,
    }
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    let lines = before.bytes().filter(|byte| *byte == b'\n').count();
    (
        lines.saturating_add(1),
        line.chars().count().saturating_add(1),
    )
}

/// The content of a file, or `None` where it is larger than [`MAX_FILE_BYTES`].
///
/// # Errors
/// [`JudgeError::Read`].
pub fn content(path: &Path) -> Result<Option<Vec<u8>>, JudgeError> {
    let failed = |source| JudgeError::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE_BYTES {
        return Ok(None);
    }
    fs::read(path).map(Some).map_err(failed)
}

fn text(dir: Option<&Path>, name: &str, builtin: &str) -> Result<String, JudgeError> {
    let Some(dir) = dir else {
        return Ok(builtin.to_owned());
    };
    let path = dir.join(name);
    let failed = |source| JudgeError::Read {
        path: path.clone(),
        source,
    };
    if fs::metadata(&path).map_err(failed)?.len() > MAX_POLICY_BYTES {
        return Err(JudgeError::Refused(format!("{name}: more than 1 MiB")));
    }
    fs::read_to_string(&path).map_err(failed)
}

fn refused<P: std::error::Error>(problems: &[P]) -> JudgeError {
    let lines: Vec<String> = problems.iter().map(|p| causes::chain(p)).collect();
    JudgeError::Refused(lines.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::{Place, place};

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "one\nzwö key=x\n";
        let start = text.find("key").unwrap();
        let expected = Place {
            line: 2,
            column: 5,
            end_line: 2,
            end_column: 8,
        };
        assert_eq!(place(text, &(start..start + 3)), expected);
        assert_eq!(place(text, &(0..0)).column, 1);
    }
}
