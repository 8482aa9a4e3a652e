//! The result of a run, asked for afterwards by its id.

use serde_json::Value;

use super::fixture::by_way_of;
use crate::common::program;
use crate::common::proxy::Proxy;
use crate::common::{
    HttpAnswer, World, answered, asking, away, get, is_alive, link_up, until, until_so,
};

async fn report(port: u16, run: &str) -> Value {
    let answer = get(port, &format!("/run/{run}")).await;
    assert_eq!(answer.verdict(), (200, "no"), "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    serde_json::from_slice(&answer.body).unwrap()
}

fn id(answer: &HttpAnswer) -> String {
    answer.header("p2p-run").to_owned()
}

#[tokio::test]
async fn what_became_of_a_run_whose_link_was_lost_is_told_when_the_car_is_back() {
    let world = World::open();
    world.gated("wait", "echo after; echo oops >&2; exit 3");
    let proxy = Proxy::to(world.main_port()).await;
    let (inner, port) = world.inner_with(by_way_of(&world, proxy.port())).await;
    let run = asking(port, "/cgi?command=wait");
    world.has_begun().await;
    proxy.refuse(true);
    proxy.cut();
    let answer = answered(run).await;
    assert_eq!(answer.verdict(), (502, "unknown"));
    let run = id(&answer);
    assert!(
        answer.text().contains(&format!("/run/{run}")),
        "{}",
        answer.text()
    );
    away(port).await;
    let asked_too_soon = get(port, &format!("/run/{run}")).await;
    assert_eq!(asked_too_soon.verdict(), (503, "no"));
    assert_eq!(asked_too_soon.header("retry-after"), "2");
    proxy.refuse(false);
    link_up(&inner).await;
    let running = report(port, &run).await;
    assert_eq!(
        (&running["state"], &running["executed"], &running["command"]),
        (&"running".into(), &"yes".into(), &"wait".into())
    );
    world.open_gate();
    until_so("it is over", async || {
        report(port, &run).await["state"] == "ended"
    })
    .await;
    let told = report(port, &run).await;
    assert_eq!(
        (&told["exit"], &told["output"], &told["stderr"]),
        (&"3".into(), &"after\n".into(), &"oops\n".into())
    );
}

#[tokio::test]
async fn a_run_that_was_answered_is_told_of_again_and_one_that_was_not_is_not_known() {
    let world = World::open();
    world.script("hello", "echo hello");
    let (_inner, port) = world.inner().await;
    let told = report(port, &id(&get(port, "/cgi?command=hello").await)).await;
    assert_eq!(
        (&told["state"], &told["exit"], &told["output"]),
        (&"ended".into(), &"0".into(), &"hello\n".into())
    );
    // It was never begun at the car.
    let missing = get(port, "/cgi?command=missing").await;
    assert_eq!(missing.verdict(), (404, "no"));
    let told = report(port, &id(&missing)).await;
    assert_eq!(
        (&told["state"], &told["executed"]),
        (&"refused".into(), &"no".into())
    );
    let unknown = get(port, "/run/7").await;
    assert_eq!(unknown.verdict(), (404, "no"));
    assert!(unknown.text().contains("doesn't know run 0000000000000007"));
    for strange in ["/run/", "/run/x", "/run/1/2", "/run/00000000000000001"] {
        assert_eq!(get(port, strange).await.verdict(), (400, "no"), "{strange}");
    }
}

#[tokio::test]
async fn a_caller_that_went_away_can_ask_what_became_of_its_run() {
    let world = World::open();
    let process = world.note("process");
    world.script(
        "stay",
        &format!(
            "echo said; echo $P2P_RUN > {}; echo $$ > {}; exec sleep 1000",
            world.note("run").display(),
            process.display()
        ),
    );
    let (_inner, port) = world.inner().await;
    let caller = asking(port, "/cgi?command=stay");
    until("it runs", || is_alive(&process)).await;
    let run = std::fs::read_to_string(world.note("run")).unwrap();
    let run = run.trim();
    assert_eq!(report(port, run).await["state"], "running");
    caller.abort();
    until_so("it is over", async || {
        report(port, run).await["state"] == "ended"
    })
    .await;
    let told = report(port, run).await;
    assert_eq!(
        (&told["exit"], &told["output"]),
        (&"cancelled".into(), &"said\n".into())
    );
}

#[tokio::test]
async fn a_console_that_sends_hears_what_became_of_its_command_when_the_car_is_back() {
    let world = World::open();
    let gate = world.note("gate");
    let begun = world.note("begun");
    world.script(
        "wait",
        &format!(
            "echo before; touch {}; until [ -e {} ]; do sleep 0.01; done; echo after; echo oops >&2; exit 3",
            begun.display(),
            gate.display()
        ),
    );
    let proxy = Proxy::to(world.main_port()).await;
    let (_inner, _) = world.inner_with(by_way_of(&world, proxy.port())).await;
    let folder = tempfile::tempdir().unwrap();
    let mut console =
        tokio::process::Command::from(program::console(folder.path(), world.main_port()));
    let mut console = program::RunningProgram::start(console.args(["send", "car", "wait"]));
    until("it runs", || begun.exists()).await;
    until("its output comes", || console.out() == "before\n").await;
    proxy.refuse(true);
    proxy.cut();
    console.says("waiting to hear what became of run").await;
    std::fs::write(&gate, "").unwrap();
    proxy.refuse(false);
    assert_eq!(console.end().await.code(), Some(3));
    console.says("oops").await;
    assert_eq!(console.out(), "before\nafter\n");
}
