//! Whole sessions against a fake host: what is decided, what is written down, and in which order.

use http::StatusCode;
use http_body_util::BodyExt as _;
use proofroom_record::event::{
    Action, EventBody, Exit, Observation, Outcome, RunStatus, SessionEnd,
};
use serde_json::json;

use crate::fake::{Room, until};

fn outcomes(events: &[EventBody]) -> Vec<String> {
    events
        .iter()
        .filter_map(|event| match event {
            EventBody::Outcome { result, .. } => Some(match result {
                Outcome::Denied { code, .. } => format!("denied {code}"),
                Outcome::Failed { code, .. } => format!("failed {code}"),
                other => format!("{other:?}")
                    .split([' ', '{'])
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            }),
            _ => None,
        })
        .collect()
}

fn every_intent_has_its_outcome(events: &[EventBody]) {
    for (seq, event) in events.iter().enumerate() {
        if matches!(event, EventBody::Intent { .. }) {
            let answered = events.iter().skip(seq).filter(|later| {
                matches!(later, EventBody::Outcome { of, .. } if *of == u64::try_from(seq).unwrap())
            });
            assert_eq!(answered.count(), 1, "intent {seq}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reads_edits_runs_commits_and_delivers_and_its_record_verifies() {
    let mut room = Room::with(&[("src/a.txt", "one\ntwo\n")]).start().await;
    let (status, task) = room.ask("GET", "/tool/v1/task", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(task.contains("do it"));
    let read = room
        .tool("read_file", json!({"path": "src/a.txt", "first_line": 2}))
        .await;
    assert_eq!(read.unwrap()["content"], "two\n");
    let listed = room.tool("list", json!({"path": "src"})).await.unwrap();
    assert_eq!(listed["entries"][0]["name"], "a.txt");
    let found = room
        .tool("search", json!({"pattern": "t.o"}))
        .await
        .unwrap();
    assert_eq!(found["matches"][0]["line"], 2);
    let edit = json!({"path": "src/a.txt", "old": "two", "new": "deux"});
    assert_eq!(room.tool("edit", edit).await.unwrap()["first_line"], 2);
    let ran = room
        .tool("run", json!({"command": "cat src/a.txt; exit 3"}))
        .await
        .unwrap();
    assert_eq!(
        (&ran["stdout"], &ran["exit"]["code"]),
        (&json!("one\ndeux\n"), &json!(3))
    );
    let commit = room
        .tool("git_commit", json!({"message": "change"}))
        .await
        .unwrap();
    assert_eq!(room.finish().await, SessionEnd::Completed);
    let events = room.proven();
    every_intent_has_its_outcome(&events);
    assert_eq!(
        outcomes(&events),
        [
            "Read",
            "Listed",
            "Listed",
            "Changed",
            "Ran",
            "Committed",
            "Delivered"
        ]
    );
    assert!(matches!(events[0], EventBody::SessionOpened { .. }));
    assert!(matches!(
        events.last(),
        Some(EventBody::SessionClosed { .. })
    ));
    let record = room.record();
    assert_eq!(commit["commit"], record.result.unwrap().commit);
    assert_eq!(room.host.seen.lock().unwrap().packs[0].1[..4], *b"PACK");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_host_does_not_take_the_intent_the_action_does_not_happen() {
    let mut room = Room::with(&[("a", "x")]);
    room.host.lose_from = 2;
    let mut room = room.start().await;
    let write = |name: &str| json!({"path": name, "content": "y"});
    // event 1 is its intent, event 2 its outcome: the file is there, the session is over
    assert_eq!(
        room.tool("write_file", write("b")).await.unwrap_err(),
        "session-ended"
    );
    assert!(room.path("b").exists());
    assert_eq!(room.leave().await.unwrap_err().code(), "close-not-durable");

    let mut room = Room::with(&[("a", "x")]);
    room.host.lose_from = 1;
    let mut room = room.start().await;
    assert_eq!(
        room.tool("write_file", write("b")).await.unwrap_err(),
        "session-ended"
    );
    assert!(!room.path("b").exists());
    assert_eq!(room.leave().await.unwrap_err().code(), "close-not-durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_a5_a18_what_a_tool_may_not_write_a_command_cannot_smuggle_into_a_commit() {
    let mut room = Room::with(&[("a", "x")]).start().await;
    for path in [
        ".git/hooks/post-commit",
        "sub/.GIT/config",
        ".g\u{200b}it/x",
    ] {
        let refused = room
            .tool("write_file", json!({"path": path, "content": "x"}))
            .await;
        assert_eq!(refused.unwrap_err(), "protected-path", "{path}");
    }
    let ci = json!({"path": ".github/workflows/ci.yml", "content": "x"});
    assert_eq!(
        room.tool("write_file", ci).await.unwrap_err(),
        "access-policy"
    );
    let planted = "mkdir -p .vscode && echo x > .vscode/tasks.json";
    room.tool("run", json!({"command": planted})).await.unwrap();
    let commit = room.tool("git_commit", json!({"message": "m"})).await;
    assert_eq!(commit.unwrap_err(), "access-policy");
    // the agent's own git commits what it likes; delivery asks again
    let own = "git -c user.name=x -c user.email=x@x commit -q -m x -a && git add -A && git -c user.name=x -c user.email=x@x commit -q -m x";
    room.tool("run", json!({"command": format!("{own} || (git add -A; git -c user.name=x -c user.email=x@x commit -q -m x)")})).await.unwrap();
    assert_eq!(room.finish().await, SessionEnd::Completed);
    let events = room.proven();
    assert_eq!(outcomes(&events).last().unwrap(), "denied access-policy");
    assert!(room.host.seen.lock().unwrap().packs.is_empty());
    assert_eq!(room.record().events.stopped, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a3_denied_paths_leave_an_intent_and_a_denial() {
    let mut room = Room::with(&[("a", "x")]).start().await;
    room.tool("run", json!({"argv": ["ln", "-s", "/etc", "out"]}))
        .await
        .unwrap();
    for path in ["out/passwd", "../x", "/etc/passwd"] {
        let refused = room.tool("read_file", json!({"path": path})).await;
        assert_eq!(refused.unwrap_err(), "outside-workspace", "{path}");
    }
    assert_eq!(
        room.tool("read_file", json!({"path": "no"}))
            .await
            .unwrap_err(),
        "not-found"
    );
    assert_eq!(
        room.tool("fly", json!({})).await.unwrap_err(),
        "bad-arguments"
    );
    assert_eq!(
        room.tool("edit", json!({"path": "a"})).await.unwrap_err(),
        "bad-arguments"
    );
    room.finish().await;
    let events = room.proven();
    every_intent_has_its_outcome(&events);
    let denied = outcomes(&events)
        .iter()
        .filter(|o| *o == "denied outside-workspace")
        .count();
    assert_eq!(denied, 3);
    assert!(events.iter().any(|event| matches!(
        event,
        EventBody::Intent { action: Action::Unknown { tool } } if tool == "fly"
    )));
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_a19_agent_configuration_is_noted_and_hidden_text_counted() {
    let mut room = Room::with(&[
        (".claude/settings.json", "{}"),
        (".mcp.json", "{}"),
        ("AGENTS.md", "be good\u{202e}\u{200b}"),
        ("README.md", "\u{200b}"),
    ])
    .start()
    .await;
    room.finish().await;
    let events = room.proven();
    let inert = |wanted: &str| {
        events.iter().any(|event| matches!(
            event,
            EventBody::Observed { observation: Observation::InertConfiguration { path } } if path == wanted
        ))
    };
    assert!(inert(".claude/settings.json") && inert(".mcp.json"));
    let hidden: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            EventBody::Observed {
                observation: Observation::HiddenText { path, characters },
            } => Some((path.as_str(), *characters)),
            _ => None,
        })
        .collect();
    assert_eq!(hidden, [("AGENTS.md", 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a16_a17_hooks_and_drivers_of_the_repository_do_not_run_at_import_and_commit() {
    let mut room = Room::with(&[("a", "x"), (".gitattributes", "* filter=evil diff=evil\n")])
        .start()
        .await;
    let plant = "mkdir -p .git/hooks h; for h in pre-commit commit-msg post-commit; do printf '#!/bin/sh\\ntouch %s/fired\\n' \"$PWD\" | tee .git/hooks/$h h/$h >/dev/null; chmod +x .git/hooks/$h h/$h; done; git config core.hooksPath h; git config core.fsmonitor \"touch $PWD/fired; false\"; git config diff.evil.command \"touch $PWD/fired\"; git config diff.external \"touch $PWD/fired\"; echo y > a";
    room.tool("run", json!({"command": plant})).await.unwrap();
    room.tool("git_commit", json!({"message": "m"}))
        .await
        .unwrap();
    assert!(!room.path("fired").exists());
    assert_eq!(room.finish().await, SessionEnd::Completed);
    assert!(!room.path("fired").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a20_hostile_names_reach_no_shell() {
    let names = [
        "$(touch fired)",
        "`touch fired`;touch fired",
        "a\u{3000}b",
        "-rf",
        "new\nline",
        "quote'\"",
    ];
    let files: Vec<(&str, &str)> = names.iter().map(|name| (*name, "x")).collect();
    let mut room = Room::with(&files).start().await;
    for name in names {
        let edit = json!({"path": name, "old": "x", "new": "y"});
        room.tool("edit", edit).await.unwrap();
    }
    room.tool("git_commit", json!({"message": "$(touch fired)"}))
        .await
        .unwrap();
    assert_eq!(room.finish().await, SessionEnd::Completed);
    assert!(!room.path("fired").exists());
    assert_eq!(outcomes(&room.proven()).last().unwrap(), "Delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_answer_streams_back_with_its_record_and_without_the_agent_s_credentials() {
    let mut room = Room::with(&[("a", "x")]).start().await;
    let (status, body) = room.ask("POST", "/v1/messages", "{}").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "one two"));
    let (status, _) = room.ask("POST", "/v1/files", "{}").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    room.finish().await;
    let headers = room.host.seen.lock().unwrap().model_headers.clone();
    assert!(headers.contains_key("anthropic-version"));
    assert!(!headers.contains_key("authorization") && !headers.contains_key("x-api-key"));
    let record = room.record();
    assert_eq!(record.model_runs.len(), 1);
    assert_eq!(record.model_runs[0].status, RunStatus::Complete);
    assert_eq!(record.high_water, "internal");
    assert_eq!(
        outcomes(&room.proven()),
        ["ModelRun", "denied access-policy"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_goes_away_cancels_its_run_and_the_run_is_still_recorded() {
    let mut room = Room::with(&[("a", "x")]).start().await;
    let mut response = room.begin("POST", "/v1/messages", "hang").await;
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "one ");
    drop(response);
    let seen = room.host.seen.clone();
    until(|| seen.lock().unwrap().cancelled).await;
    until(|| seen.lock().unwrap().events.len() >= 3).await;
    room.finish().await;
    assert_eq!(room.record().model_runs[0].status, RunStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_the_agent_s_place_gets_no_tools_and_what_it_leaves_is_delivered() {
    let mut room = Room::with(&[("a", "x")]);
    room.host.assignment.task = None;
    let command = ["/bin/sh", "-c", "echo hello; echo new > b"];
    room.host.assignment.command = Some(command.map(str::to_owned).to_vec());
    room.spawn();
    let (end, _) = room.leave().await.unwrap();
    assert_eq!(end, SessionEnd::Completed);
    let events = room.proven();
    assert_eq!(outcomes(&events), ["Committed", "Delivered"]);
    let hello = proofroom_canonical::Digest::of("hello\n");
    assert!(events.iter().any(|event| matches!(
        event,
        EventBody::Observed { observation: Observation::AgentOutput { stdout, exit: Exit::Code(0), .. } }
            if *stdout == hello
    )));
    let progress = &room.host.seen.lock().unwrap().progress;
    assert!(progress.iter().any(|said| said.text == "hello\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_git_refuses_ends_the_session_as_refused_with_a_record() {
    let mut room = Room::with(&[("a", "x")]);
    room.host.bundle = b"not a bundle".to_vec();
    room.spawn();
    assert_eq!(room.leave().await.unwrap().0, SessionEnd::Refused);
    assert_eq!(room.record().end, SessionEnd::Refused);
    assert_eq!(room.proven().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_another_commit_or_of_more_than_it_ends_the_session_as_refused() {
    let (_, other) = {
        let directory = tempfile::tempdir().unwrap();
        crate::fake::bundle(directory.path(), &[("b", "another")])
    };
    let with_more = |bundle: &[u8]| {
        let text = String::from_utf8_lossy(bundle);
        let first = text.lines().nth(1).unwrap().to_owned();
        let (id, _) = first.split_once(' ').unwrap();
        let at = "# v2 git bundle\n".len();
        let more = format!("{id} HEAD\n");
        [&bundle[..at], more.as_bytes(), &bundle[at..]].concat()
    };
    let room = Room::with(&[("a", "x")]);
    let cut = room.host.bundle[..40].to_vec();
    for bundle in [other, with_more(&room.host.bundle), cut] {
        let mut room = Room::with(&[("a", "x")]);
        room.host.bundle = bundle;
        room.spawn();
        assert_eq!(room.leave().await.unwrap().0, SessionEnd::Refused);
        assert!(!room.path("a").exists() && !room.path("b").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_cancellation_end_the_session_with_a_record() {
    let mut room = Room::with(&[("a", "x")]);
    room.host.assignment.limits.steps = 1;
    let mut room = room.start().await;
    room.tool("list", json!({"path": "."})).await.unwrap();
    let refused = room.tool("list", json!({"path": "."})).await;
    assert_eq!(refused.unwrap_err(), "session-ended");
    assert_eq!(room.leave().await.unwrap().0, SessionEnd::LimitReached);

    let mut room = Room::with(&[("a", "x")]).start().await;
    room.cancel.take().unwrap().send(()).unwrap();
    until(|| room.host.seen.lock().unwrap().record.is_some()).await;
    assert_eq!(room.leave().await.unwrap().0, SessionEnd::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_end_is_killed_at_its_time() {
    let mut room = Room::with(&[("a", "x")]).start().await;
    let slow = json!({"argv": ["sleep", "30"], "timeout_s": 1});
    assert_eq!(room.tool("run", slow).await.unwrap()["exit"], "timed-out");
    let loud = json!({"command": "head -c 5000 /dev/zero"});
    let loud = room.tool("run", loud).await.unwrap();
    assert_eq!(loud["truncated"], true);
    let none = json!({"argv": ["no-such-program"]});
    assert_eq!(room.tool("run", none).await.unwrap_err(), "not-started");
    room.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_whose_policy_is_another_one_is_not_begun() {
    let mut room = Room::with(&[("a", "x")]);
    room.host.assignment.policies.access = proofroom_canonical::Digest::of("other");
    room.spawn();
    assert_eq!(
        room.leave().await.unwrap_err().code(),
        "access-policy-digest"
    );
    assert!(room.host.seen.lock().unwrap().events.is_empty());
}
