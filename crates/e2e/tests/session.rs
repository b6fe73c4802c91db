//! x
use proofroom_e2e::{Deployment, repository_root};
#[test]
fn t() {
    let deployment =
        Deployment::with_cassette(&repository_root().join("crates/testkit/cassettes/demo.json"));
    let repository = deployment.demo_repository();
    let bundle = deployment
        .session(&repository)
        .task("The test suite fails")
        .run();
    eprintln!("{:#?}", bundle.complaint);
    eprintln!(
        "{}",
        serde_json::to_string_pretty(&bundle.model_runs().last()).unwrap()
    );
    eprintln!("{:#}", bundle.session_record());
    for e in bundle.events() {
        eprintln!("{e}");
    }
    for e in &bundle.lines {
        if e["type"] != "event" {
            eprintln!("LINE {e}");
        }
    }
    panic!();
}
