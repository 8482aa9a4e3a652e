//! What becomes of an invitation when something is in its way: it is used up by nobody who gets nothing.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header;
use p2p_shared::invitation::post::{PAGE_CODE, PageCode, Redeemer};
use p2p_shared::key::{InviteCode, Key, Role};

use crate::common::program::{ProgramResult, RunningProgram, command, path, router, run};
use crate::common::{HttpAnswer, ReservedPort, World, ask, inner_config, request, until};

async fn post_as(port: u16, target: &str, key: &Key) -> HttpAnswer {
    let bearer = key.bearer();
    post_with(
        port,
        target,
        &[("authorization", &format!("Bearer {bearer}"))],
        "",
    )
    .await
}

async fn post_with(port: u16, target: &str, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
    let mut request = request("POST", target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body.to_owned()));
    ask(port, request.body(body).unwrap()).await
}

#[tokio::test]
async fn a_browsers_code_is_for_one_page_and_takes_nobodys_session_away() {
    let world = World::keyed();
    let key = Some(world.key("car", Role::Link).await);
    let config = inner_config(&world);
    let (_inner, port) = world.inner_with(p2p_inner::Config { key, ..config }).await;
    let [desk, guest] = [
        world.key("desk", Role::Drive).await,
        world.key("guest", Role::View).await,
    ];
    let code = async |key: &Key, port: u16| {
        let target = format!("{PAGE_CODE}?port={port}");
        let answer = post_as(world.main_port(), &target, key).await;
        serde_json::from_slice::<PageCode>(&answer.body)
            .unwrap()
            .code
    };
    let sign_in = async |code: &str, cookie: &str| {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let body = format!("code={code}");
        match cookie {
            "" => post_with(port, "/qr", &[form], &body).await,
            cookie => post_with(port, "/qr", &[form, ("cookie", cookie)], &body).await,
        }
    };
    let elsewhere = sign_in(&code(&desk, 1).await, "").await;
    assert_eq!(elsewhere.status, 401);
    let said = elsewhere.text();
    assert!(
        said.contains("for the car with the service port 1,"),
        "{said}"
    );

    let signed_in = sign_in(&code(&desk, port).await, "").await;
    assert_eq!(signed_in.status, 303, "{}", signed_in.text());
    let cookie = signed_in.header(header::SET_COOKIE.as_str());
    let cookie = cookie.split(';').next().unwrap();
    let lure = code(&guest, port).await;
    let refused = sign_in(&lure, cookie).await;
    assert_eq!(refused.status, 409);
    let said = refused.text();
    assert!(said.contains("signed in as desk: sign out"), "{said}");
    assert_eq!(sign_in(&lure, "").await.status, 303, "as good as before");
    let again = sign_in(&code(&desk, port).await, cookie).await;
    assert_eq!(again.status, 303);
}

#[tokio::test]
async fn each_guess_counts_as_a_wrong_key() {
    let world = World::keyed();
    for status in [401, 429] {
        let guess = format!("Bearer {}", InviteCode::generate().unwrap().expose());
        let guess = [("authorization", &*guess)];
        let refused = post_with(world.main_port(), Redeemer::Inner.path(), &guess, "").await;
        assert_eq!(refused.status, status);
        assert!(refused.text().contains("has not made this invitation"));
    }
}

#[tokio::test]
async fn who_can_keep_no_key_has_used_nothing_up() {
    let [public, desk] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let words = ["0", "--bind", "127.0.0.1"];
    let running = RunningProgram::start(router(public.path()).args(words));
    running.main_port().await;
    let note = public.path().join(".local/state/p2prouter/address");
    until("the address is noted", || note.exists()).await;
    let key = async |words: &str| {
        let words = words.split(' ');
        run(router(public.path()).arg("key").args(words)).await.out
    };
    let line = key("add desk --role drive --invite").await;
    let word = line.split_whitespace().last().unwrap();
    let refused = |result: ProgramResult, why: &str| {
        assert_ne!(result.code, Some(0));
        assert!(result.errors.contains(why), "{}", result.errors);
    };
    let login = || {
        let mut login = command(&path("p2p-console"), desk.path());
        login.args(["login", word]);
        login
    };
    let homeless = run(login().env_remove("HOME").env_remove("XDG_CONFIG_HOME")).await;
    refused(homeless, "HOME is not set");
    let settings = desk.path().join(".config/p2prouter");
    std::fs::create_dir_all(&settings).unwrap();
    std::fs::write(settings.join("routers"), "no folder").unwrap();
    refused(run(&mut login()).await, ".config/p2prouter/routers");
    std::fs::remove_file(settings.join("routers")).unwrap();
    key("add desk --role drive").await;
    let taken = "as good as before, but there is a key named `desk` already";
    refused(run(&mut login()).await, taken);
    assert!(key("list").await.contains("invited, until"));
    assert_eq!(
        std::fs::read_dir(settings.join("routers")).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn who_says_an_address_needs_no_list_of_routers() {
    let desk = tempfile::tempdir().unwrap();
    let settings = desk.path().join(".config/p2prouter");
    std::fs::create_dir_all(&settings).unwrap();
    std::fs::write(settings.join("routers.toml"), "newer").unwrap();
    let console =
        async |words: &[&str]| run(command(&path("p2p-console"), desk.path()).args(words)).await;
    let nobody = ReservedPort::new();
    let address = format!("127.0.0.1:{}", nobody.port);
    let lost = console(&["list", "--router", &address]).await;
    assert_eq!(lost.code, Some(3), "{}", lost.errors);
    assert!(
        lost.errors.contains("routers.toml can't be used"),
        "{}",
        lost.errors
    );
    assert_eq!(console(&["list"]).await.code, Some(1));
}
