//! The gateway: what it is made of, and which request goes where.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use p256::ecdsa::SigningKey;
use proofroom_canonical::{Digest, Nonce, RunId};
use proofroom_classify::{
    Candidate, Classification, ClassificationPolicy, Classifier, Context, Label, Levels,
    RoutingPolicy, Segment, SessionVerdicts, Source,
};
use proofroom_llm::{Api, translate::Translation};
use proofroom_signer::FastSigner;
use proofroom_verifier::AppraisalPolicy;
use tokio::sync::oneshot;

use crate::{
    ambient::{Clock, Entropy},
    answer::AnswerBody,
    caller::{Caller, CallerIdentity, Standing},
    channel::Channel,
    commitment::CommitmentKey,
    company::Company,
    config::UpstreamsConfig,
    control::{Healths, balance},
    draft::Opening,
    evidence::{EvidenceSink, EvidenceStore},
    gate::{Gate, OpenGate},
    headers, models,
    observe::{RunEvent, RunObserver},
    offers::Offers,
    ongoing::until_answered,
    prompt,
    provider::{CollateralStore, Providers},
    refusal::Refusal,
    run::{self, Incoming},
    setup::{self, SetupProblem},
    shadow::{Shadow, ShadowRules},
    sink::RecordSink,
    trace::{TraceSink, Tracing, Tracked, Vocabulary},
};

/// Everything that a gateway is made of.
pub struct Config {
    /// Which findings carry which label.
    pub classification: ClassificationPolicy,
    /// Which label may go where.
    pub routing: RoutingPolicy,
    /// Rules that decide beside these and change nothing.
    pub shadow: Option<ShadowRules>,
    /// Which upstreams there are.
    pub upstreams: UpstreamsConfig,
    /// Appraisal policies by the file name that the upstreams file gives.
    pub appraisal: BTreeMap<PathBuf, AppraisalPolicy>,
    /// What providers that attest in their own format are judged by.
    pub providers: Providers,
    /// Signs model-run records.
    pub signing_key: SigningKey,
    /// Commits records to the values that were found; without it they only count.
    pub commitments: Option<CommitmentKey>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives run ids, blindings and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// Takes records.
    pub sink: Arc<dyn RecordSink>,
    /// Takes the evidence that records rest on.
    pub evidence: Arc<dyn EvidenceSink>,
    /// Watches.
    pub observer: Arc<dyn RunObserver>,
    /// Sizes and times.
    pub limits: Limits,
    /// Who is told of runs in spans; nobody where it is `None`.
    pub tracing: Option<Tracing>,
}

/// Sizes and times within which every run stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a request.
    pub request_bytes: usize,
    /// The most bytes of an answer.
    pub answer_bytes: u64,
    /// How long an upstream may take to begin its answer.
    pub first_byte: Duration,
    /// How long an upstream may pause within its answer.
    pub idle: Duration,
    /// How long an answer may take in all, from its head on.
    pub answer: Duration,
    /// The most runs of one session at once; further requests wait.
    pub runs_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: proofroom_llm::MAX_REQUEST_BYTES,
            answer_bytes: 64 * 1024 * 1024,
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(60 * 60),
            runs_at_once: 64,
        }
    }
}

/// The confidential gateway. Clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    core: Arc<Core>,
}

/// How runs are traced, with the names that traces may have.
pub(crate) struct Traced {
    tracing: Tracing,
    vocabulary: Arc<Vocabulary>,
    pub(crate) sink: Arc<dyn TraceSink>,
}

/// What every run shares.
pub(crate) struct Core {
    classifier: Classifier,
    levels: Levels,
    pub(crate) classification_digest: Digest,
    pub(crate) routing: RoutingPolicy,
    pub(crate) shadow: Option<Shadow>,
    pub(crate) upstreams: UpstreamsConfig,
    pub(crate) offers: Offers,
    channels: BTreeMap<String, Channel>,
    pub(crate) healths: Healths,
    pub(crate) company: Arc<Company>,
    pub(crate) signer: FastSigner,
    pub(crate) commitments: Option<CommitmentKey>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) sink: Arc<dyn RecordSink>,
    pub(crate) observer: Arc<dyn RunObserver>,
    pub(crate) evidence: EvidenceStore,
    pub(crate) evidence_sink: Arc<dyn EvidenceSink>,
    pub(crate) collateral: Arc<dyn CollateralStore>,
    pub(crate) limits: Limits,
    pub(crate) tracing: Option<Traced>,
    closed: AtomicBool,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("upstreams", &self.upstreams)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("upstreams", &self.core.upstreams)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Puts a gateway together. Opens no connection.
    ///
    /// # Errors
    /// Every contradiction between the policies and the upstreams, at once.
    pub fn new(config: Config) -> Result<Self, Vec<SetupProblem>> {
        let channels = setup::channels(&config)?;
        let signer = FastSigner::new(&config.signing_key);
        let signer = signer.map_err(|_| vec![SetupProblem::RecordKey])?;
        let classifier = Classifier::new(&config.classification);
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        classifier.warm(threads.min(MOST_WARM));
        let levels = config.classification.levels();
        let vocabulary = || Vocabulary::of(levels, &config.routing, &config.upstreams);
        let tracing = config.tracing.map(|tracing| Traced {
            vocabulary: Arc::new(vocabulary()),
            sink: Arc::clone(&tracing.sink),
            tracing,
        });
        let core = Core {
            tracing,
            levels: config.classification.levels().clone(),
            classification_digest: config.classification.digest(),
            classifier,
            routing: config.routing,
            shadow: config.shadow.map(Shadow::new),
            offers: Offers::of(&config.upstreams),
            upstreams: config.upstreams,
            channels,
            healths: Healths::default(),
            company: Arc::default(),
            signer,
            commitments: config.commitments,
            clock: config.clock,
            entropy: config.entropy,
            sink: config.sink,
            observer: config.observer,
            evidence: EvidenceStore::default(),
            evidence_sink: config.evidence,
            collateral: config.providers.collateral,
            limits: config.limits,
            closed: AtomicBool::new(false),
        };
        Ok(Self {
            core: Arc::new(core),
        })
    }

    /// Admits a session: once per channel, by what the channel proves. Its high-water mark starts
    /// at the lowest label.
    #[must_use]
    pub fn admit(&self, identity: CallerIdentity) -> Arc<Caller> {
        self.admit_behind(identity, Arc::new(OpenGate), self.fresh())
    }

    /// Admits a session whose runs `gate` permits and accounts for, at the place that it had reached.
    #[must_use]
    pub fn admit_behind(
        &self,
        identity: CallerIdentity,
        gate: Arc<dyn Gate>,
        standing: Standing,
    ) -> Arc<Caller> {
        let runs = self.core.limits.runs_at_once;
        let mut key = [0; 32];
        let keyed = self.core.entropy.fill(&mut key).is_ok();
        let verdicts = keyed.then(|| SessionVerdicts::new(key));
        Arc::new(Caller::new(identity, gate, standing, runs, verdicts))
    }

    /// Where a session begins: no run, the lowest label.
    #[must_use]
    pub fn fresh(&self) -> Standing {
        Standing {
            high_water: self.core.levels.lowest(),
            next: 0,
        }
    }

    /// The label of this name, if the classification policy has it.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<Label> {
        self.core.levels.label(name)
    }

    /// Name of a label.
    #[must_use]
    pub fn label_name(&self, label: Label) -> &str {
        self.core.levels.name(label)
    }

    /// The accepted evidence document of this digest, as a record cites it.
    #[must_use]
    pub fn evidence(&self, digest: Digest) -> Option<Bytes> {
        self.core.evidence.find(digest)
    }

    /// Verifies attested upstreams ahead of traffic, so that no request waits for it, and looks whether keys changed. Call it every
    /// second or so, within a runtime; it returns at once.
    pub fn tend(&self) {
        for channel in self.core.channels.values() {
            channel.keep(&self.core);
            let upstream = channel.upstream();
            upstream.credential.keep(&self.core, &upstream.name);
        }
    }

    /// Whether a record could not be kept, after which the gateway takes no requests.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Serves one request of `caller`. The answer's body ends with the trailers
    /// `x-proofroom-record` and `x-proofroom-status`; dropping it cancels the run.
    pub async fn handle<B>(&self, request: Request<B>, caller: Arc<Caller>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes>,
    {
        let path = request.uri().path();
        if request.method() == Method::GET && path == "/v1/models" {
            return models::list(&self.core, &caller);
        }
        match Api::at_path(path) {
            Some(api) if request.method() == Method::POST => self.run(api, request, caller).await,
            _ => Refusal::not_found().response(spoken_at(path)),
        }
    }

    async fn run<B>(
        &self,
        api: Api,
        request: Request<B>,
        caller: Arc<Caller>,
    ) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes>,
    {
        let core = &self.core;
        if core.is_closed() || core.sink.ready().is_err() {
            return Refusal::closed().response(api);
        }
        let Some(opening) = core.opening(api, request.headers()) else {
            return Refusal::no_entropy().response(api);
        };
        // the semaphore lives as long as the caller and is never closed
        let Ok(permit) = Arc::clone(&caller.slots).acquire_owned().await else {
            return Refusal::unfinished().response(api);
        };
        let (parts, body) = request.into_parts();
        let incoming = Incoming {
            opening,
            query: headers::forwarded_query(parts.uri.query()),
            headers: parts.headers,
            arrival: prompt::read(body, core.limits.request_bytes).await,
        };
        let (reply, head) = oneshot::channel();
        let run = run::conduct(Arc::clone(core), caller, incoming, reply, permit);
        until_answered(run, head)
            .await
            .unwrap_or_else(|| Refusal::unfinished().response(api))
    }
}

impl Core {
    pub(crate) const fn levels(&self) -> &Levels {
        &self.levels
    }

    pub(crate) fn classify(
        &self,
        segments: &[Segment<'_>],
        source: Option<&Source<'_>>,
        caller: &Caller,
    ) -> Classification {
        let context = self.context(caller);
        let classifier = &self.classifier;
        match (&caller.verdicts, source) {
            (Some(verdicts), Some(source)) => {
                classifier.classify_from(source, segments, &context, verdicts)
            }
            (Some(verdicts), None) => classifier.classify_in_session(segments, &context, verdicts),
            (None, _) => classifier.classify(segments, &context),
        }
    }

    /// What the rules beside the ones in force find; nothing where there are none.
    pub(crate) fn classify_beside(
        &self,
        segments: &[Segment<'_>],
        caller: &Caller,
    ) -> Option<Classification> {
        let shadow = self.shadow.as_ref()?;
        let context = self.context(caller);
        Some(shadow.classifier.classify(segments, &context))
    }

    fn context<'a>(&self, caller: &'a Caller) -> Context<'a> {
        Context {
            repository: &caller.identity().repository,
            now: self.clock.now(),
        }
    }

    /// Whether findings of `rule` are replaced.
    pub(crate) fn redacts(&self, rule: &str) -> bool {
        self.classifier.policy().redacts(rule)
    }

    pub(crate) fn channel(&self, upstream: &str) -> Option<&Channel> {
        self.channels.get(upstream)
    }

    /// Takes no requests from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.observer.observe(&RunEvent::GatewayClosed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The API in which the upstream of this name is asked for what a client asks in `api`.
    pub(crate) fn spoken(&self, upstream: &str, api: Api) -> Option<Api> {
        let mut upstreams = self.upstreams.iter();
        let upstream = upstreams.find(|known| known.name == upstream)?;
        upstream.spoken(api)
    }

    /// The APIs into which what a client asks in `api` is translated for one of the upstreams.
    pub(crate) fn translations_of(&self, api: Api) -> Vec<Translation> {
        let spoken: BTreeSet<&str> = (self.upstreams.iter())
            .filter_map(|upstream| upstream.spoken(api).map(Api::path))
            .collect();
        let spoken = spoken.into_iter().filter_map(Api::at_path);
        spoken
            .filter_map(|spoken| Translation::between(api, spoken))
            .collect()
    }

    /// Unpredictable bytes, unless their source fails.
    pub(crate) fn random<const N: usize>(&self) -> Option<[u8; N]> {
        let mut random = [0; N];
        self.entropy.fill(&mut random).ok()?;
        Some(random)
    }

    /// `candidates` in an order that shares requests among them by weight. Those that speak `api` stay before
    /// those that are asked in another.
    pub(crate) fn balanced(&self, candidates: Vec<Candidate>, api: Api) -> Vec<Candidate> {
        if candidates.len() < 2 {
            return candidates;
        }
        let upstream =
            |candidate: &Candidate| self.channel(&candidate.upstream).map(Channel::upstream);
        balance(
            candidates,
            |candidate| {
                (
                    candidate.model.clone(),
                    upstream(candidate).map(|upstream| upstream.speaks(api)),
                )
            },
            |candidate| upstream(candidate)?.weight,
            // without randomness no run is opened
            || self.random().map_or(0, u64::from_le_bytes),
        )
    }

    fn opening(&self, api: Api, headers: &HeaderMap) -> Option<Opening> {
        let random = self.random::<48>()?;
        let (run, blinding) = random.split_first_chunk::<16>()?;
        let blinding = blinding.first_chunk::<32>()?;
        let started = self.clock.now();
        let tracked = self.tracing.as_ref().and_then(|traced| {
            Tracked::begin(
                &traced.tracing,
                &traced.vocabulary,
                (*run, started),
                headers,
            )
        });
        Some(Opening {
            api,
            run: RunId::from_random(*run),
            blinding: Nonce::from_random(*blinding),
            started,
            tracked,
        })
    }
}

/// The format in which to answer at a path that is not served.
fn spoken_at(path: &str) -> Api {
    if path.starts_with(Api::Messages.path()) {
        Api::Messages
    } else {
        Api::ChatCompletions
    }
}

/// For so many requests at once the classifier is made warm, some 5 ms for each.
const MOST_WARM: usize = 16;
