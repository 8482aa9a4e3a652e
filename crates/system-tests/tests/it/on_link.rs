//! `--on-link`: what is told, in which order, and that nobody waits for it.

use std::fs;

use crate::common::program::{self, RunningProgram};
use crate::common::{
    World, get_with_key, inner_config, is_alive, link_down, router_config, until, until_so,
};
use p2p_inner::{Config, Inner};
use p2p_router::auth::key_store::KeyStore;
use p2p_shared::key::{Key, Role};

/// A router with keys that runs the script `told`.
fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyStore::open(folder.path().join("state")).unwrap();
    let told = folder.path().join("command").join("told");
    let config = p2p_router::Config {
        keys: Some(keys),
        on_link: Some(vec![told.display().to_string(), "an argument".to_owned()]),
        ..router_config()
    };
    World::with(config, folder)
}

/// An inner of this name, with this key, whose link is up.
async fn car(world: &World, name: &str, key: &Key) -> (Inner, u16) {
    let config = Config {
        key: Some(key.clone()),
        name: name.parse().unwrap(),
        ..inner_config(world)
    };
    world.inner_with(config).await
}

fn lines(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.note("news")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn receives_send_event(world: &World, line: &str) {
    until(line, || lines(world).iter().any(|told| told == line)).await;
}

#[tokio::test]
async fn a_link_is_told_when_it_first_comes_and_when_it_is_gone_for_good_and_not_between() {
    let world = world();
    let news = world.note("news");
    let line = "$1: $P2P_EVENT $P2P_LINK $P2P_SERVICE_PORT $P2P_WHY";
    world.script(
        "told",
        &format!(
            "[ -n \"$P2P_SINCE\" ] && echo \"{line}\" >> {}",
            news.display()
        ),
    );
    let key = world.key("one", Role::Link).await;
    let (inner, port) = car(&world, "one", &key).await;
    let up = format!("an argument: up one {port} ");
    receives_send_event(&world, &up).await;
    // It is lost and comes back to its port: nobody needs to know.
    drop(inner);
    let desk = world.key("desk", Role::Drive).await;
    until_so("it is away", async || {
        get_with_key(port, "/commands", &desk).await.status == 503
    })
    .await;
    let config = Config {
        service_port: port,
        name: "one".parse().unwrap(),
        key: Some(key),
        ..inner_config(&world)
    };
    let (inner, again) = world.inner_with(config).await;
    assert_eq!(again, port);
    world.revoke("one");
    link_down(&inner).await;
    let down = format!(
        "an argument: down one {port} the key was revoked: ask the router's owner for another"
    );
    receives_send_event(&world, &down).await;
    let told = lines(&world);
    let of_one: Vec<_> = told.iter().filter(|line| line.contains(" one ")).collect();
    assert_eq!(of_one, [&up, &down]);
}

#[tokio::test]
async fn a_program_that_hangs_holds_up_its_own_car_only_and_ends_with_the_router() {
    let world = world();
    let (news, gate) = (world.note("news"), world.note("gate"));
    let process = world.note("process");
    world.script(
        "told",
        &format!(
            "echo $$ > {process}; echo \"$P2P_EVENT $P2P_LINK\" >> {news}; \
             while [ -e {news} ] && [ ! -e {gate} ]; do sleep 0.01; done",
            process = process.display(),
            news = news.display(),
            gate = gate.display()
        ),
    );
    let key = world.key("one", Role::Link).await;
    let (one, _) = car(&world, "one", &key).await;
    receives_send_event(&world, "up one").await;
    world.revoke("one");
    link_down(&one).await;
    let key = world.key("two", Role::Link).await;
    let (_two, _) = car(&world, "two", &key).await;
    receives_send_event(&world, "up two").await;
    assert_eq!(lines(&world), ["up one", "up two"]);
    world.open_gate();
    receives_send_event(&world, "down one").await;

    fs::remove_file(&gate).unwrap();
    fs::remove_file(&process).unwrap();
    let key = world.key("three", Role::Link).await;
    let (_three, _) = car(&world, "three", &key).await;
    receives_send_event(&world, "up three").await;
    until("the program lives", || is_alive(&process)).await;
    let World { router, folder, .. } = world;
    router.shut_down().await;
    until("the program ends with the router", || !is_alive(&process)).await;
    drop(folder);
}

#[tokio::test]
async fn a_program_that_fails_is_in_the_log_and_no_key_is_in_its_environment() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("command")).unwrap();
    let arguments = ["0", "--open", "--bind", "127.0.0.1", "--on-link"];
    let mut router = program::router(folder.path());
    router
        .args(arguments)
        .arg("sh -c 'env | grep -e P2P_ -e SECRET | sort; exit 3' it\\'s")
        .env("P2P_KEY", "a-secret")
        .env("SECRET", "another-secret");
    let router = RunningProgram::start(&mut router);
    let port = router.main_port().await;
    let mut inner = program::inner_of(folder.path(), port, 0);
    let _inner = RunningProgram::start(&mut inner);
    router.says("--on-link: the program failed").await;
    let errors = router.errors();
    assert!(errors.contains("P2P_EVENT=up"), "{errors}");
    assert!(errors.contains("P2P_LINK=car"), "{errors}");
    assert!(!errors.contains("secret"), "{errors}");
}

#[tokio::test]
async fn what_can_not_be_run_is_said_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["0", "--open", "--bind", "127.0.0.1", "--on-link"];
    let mut unclosed = program::router(folder.path());
    let ended = program::run(unclosed.args(arguments).arg("echo 'never closed")).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("a quote is open"), "{}", ended.errors);

    fs::create_dir(folder.path().join("command")).unwrap();
    let mut router = program::router(folder.path());
    let router = RunningProgram::start(router.args(arguments).arg("no-such-program"));
    let port = router.main_port().await;
    let mut inner = program::inner_of(folder.path(), port, 0);
    let inner = RunningProgram::start(&mut inner);
    router.says("the program can't be run").await;
    inner.service_port().await;
}
