//! Providers that prove themselves in their own formats, through the standalone gateway as a process and at the time that it
//! is: a prompt goes to one whose evidence was accepted, its answer counts with its receipt, and the run's record has both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proofroom_canonical::Digest;
use proofroom_e2e::{
    Deployment,
    gateway::{Answer, GatewayFiles, RunningGateway, chat_body},
    server::Server,
};
use serde_json::Value;

use simulated::{Conduct, Format, Provider, write_policies};

#[path = "providers/simulated.rs"]
mod simulated;

/// A gateway whose tier `tee` is one provider.
struct World {
    provider: Arc<Provider>,
    server: Server,
    files: GatewayFiles,
    key: String,
    _deployment: Deployment,
}

impl World {
    fn new(format: Format) -> Self {
        let (provider, server) = Provider::start(format);
        let deployment = Deployment::empty();
        let collateral = deployment.path().join("collateral");
        write_policies(
            &deployment.policy(),
            &collateral,
            &[(format, &server.address)],
        );
        let files = GatewayFiles::new(&deployment, "collateral = \"../collateral\"");
        Self {
            key: files.key(&[]),
            provider,
            server,
            files,
            _deployment: deployment,
        }
    }

    fn chat(&self, gateway: &RunningGateway) -> Answer {
        let body = body(self.provider.format);
        gateway.ask("POST", "/v1/chat/completions", &self.key, &body)
    }

    /// How many prompts it was sent.
    fn prompts(&self) -> usize {
        self.server.asked("/v1/chat/completions").len()
    }
}

/// Restricted, so that the tier `tee` alone may have it.
fn body(format: Format) -> String {
    let text = "The card is 4485 2757 4230 8327, keep it.";
    chat_body(text, false).replace("cassette-standard", format.model())
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
}

/// The checks of the evidence that a run's record has, which were not passed.
fn open_checks(run: &Value) -> Vec<(&str, &str)> {
    let checks = run["upstream"]["assurance"]["provider"]["checks"].as_array();
    let open = checks.expect("checks").iter().filter_map(|check| {
        let outcome = check["outcome"].as_str()?;
        (outcome != "pass").then_some((check["check"].as_str()?, outcome))
    });
    open.collect()
}

fn goes_through_the_gateway(format: Format, open: &[(&str, &str)]) {
    let world = World::new(format);
    // the server verifies ahead, so that what is wrong at its start is wrong for the first request too
    world.provider.behaves(Conduct::OtherProgram);
    let gateway = world.files.start();
    refused(&world.chat(&gateway), 503, "reference-mismatch");
    assert_eq!(
        world.prompts(),
        0,
        "a prompt went to a machine that nobody knows"
    );
    // another attempt is made after a pause
    world.provider.behaves(Conduct::Honest);
    let until = Instant::now() + Duration::from_secs(60);
    let accepted = loop {
        let answer = world.chat(&gateway);
        if answer.status == 200 {
            break answer;
        }
        refused(&answer, 503, "reference-mismatch");
        assert!(Instant::now() < until, "{answer:?}");
        std::thread::sleep(Duration::from_millis(500));
    };
    assert_eq!(accepted.body, world.provider.text().into_bytes());
    let number: usize = accepted.headers["x-proofroom-sequence"]
        .parse()
        .expect("a number");
    // what was accepted is kept whole
    let run = &world.files.runs()[number];
    let evidence = run["upstream"]["assurance"]["evidence"]
        .as_str()
        .expect("a digest");
    let document = gateway.ask("GET", &format!("/v1/evidence/{evidence}"), &world.key, "");
    assert_eq!(Digest::of(&document.body).to_string(), evidence);
    // a receipt over another answer: the answer is withheld, and the way closes
    world.provider.behaves(Conduct::OtherAnswer);
    refused(&world.chat(&gateway), 502, "receipt-response-differs");
    let sent = world.prompts();
    refused(&world.chat(&gateway), 503, "receipt-response-differs");
    assert_eq!((sent, world.prompts()), (2, 2));
    assert!(gateway.stop().success());
    let runs = world.files.runs();
    let accepted = &runs[number];
    assert_eq!(open_checks(accepted), open, "{accepted}");
    let (request, upstream) = (&accepted["request"], &accepted["upstream"]);
    assert_eq!(upstream["assurance"]["provider"]["format"], format.name());
    assert_eq!(
        upstream["assurance"]["tls_spki"],
        world.provider.spki.to_string()
    );
    assert_eq!(request["forwarded"], Digest::of(body(format)).to_string());
    let receipt = &accepted["response"]["receipt"];
    assert_eq!(receipt["signer"], "model-0");
    let text = receipt["text"].as_str().expect("a receipt");
    for digest in [body(format), world.provider.text()].map(Digest::of) {
        assert!(text.contains(&digest.to_hex()), "{text}");
    }
    let (withheld, closed) = (&runs[number + 1], &runs[number + 2]);
    for (run, status) in [
        (&runs[0], "refused"),
        (withheld, "upstream-error"),
        (closed, "refused"),
    ] {
        assert_eq!(run["status"], status, "{run}");
        assert_eq!(run["response"]["receipt"], Value::Null);
    }
    assert_eq!(runs[0]["request"]["forwarded"], Value::Null);
}

#[test]
fn near_ai_gets_a_prompt_after_its_evidence_and_its_answer_counts_with_its_receipt() {
    goes_through_the_gateway(Format::NearAi, &[]);
}

#[test]
fn dstack_gets_a_prompt_after_its_evidence_and_its_answer_counts_with_its_receipt() {
    goes_through_the_gateway(Format::Dstack, &[]);
}

#[test]
fn an_aci_service_gets_a_prompt_after_its_evidence_and_its_answer_counts_with_its_receipt() {
    let open = [
        ("provider: model", "not-evaluated"),
        ("model-0: gpu", "not-evaluated"),
    ];
    goes_through_the_gateway(Format::Aci, &open);
}
