//! Browsers, as far as their requests go: how they get a pass for a key, what it is good for, and
//! what is refused to those who have one. In a real browser: `chromium.rs`.

use bytes::Bytes;
use http_body_util::Full;
use p2p_inner::Inner;
use p2p_router::auth::key_store::KeyStore;
use p2p_shared::key::{Key, Role};

use crate::common::page::FakePage;
use crate::common::raw::RawCaller;
use crate::common::{
    HttpAnswer, World, ask, get, inner_config, local, raw_from, request, router_config, until,
};

/// A car with a command that leaves a mark, and the key of an operator.
struct Fixture {
    world: World,
    port: u16,
    operator: Key,
    car: Key,
    _inner: Inner,
}

impl Fixture {
    async fn new() -> Self {
        let world = World::keyed();
        world.script("mark", "echo ran; echo \"$1\" >> ../ran");
        let mut config = inner_config(&world);
        let car = world.key("car", Role::Link).await;
        config.key = Some(car.clone());
        let (inner, port) = world.inner_with(config).await;
        let operator = world.key("desk", Role::Drive).await;
        Self {
            world,
            port,
            operator,
            car,
            _inner: inner,
        }
    }

    /// Sends this with these headers, as a browser's page of our own would.
    async fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = request(method, target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_owned()));
        ask(self.port, request.body(body).unwrap()).await
    }

    async fn sign_in(&self, key: &str) -> HttpAnswer {
        let form = format!("user=p2prouter&key={}", key.replace('_', "%5F"));
        self.send("POST /sign-in", &PAGE, &form).await
    }

    /// The cookie of somebody who has signed in.
    async fn cookie(&self) -> String {
        let answer = self.sign_in(&self.operator.expose()).await;
        assert_eq!(answer.verdict(), (303, "no"), "{}", answer.text());
        let cookie = answer.header("set-cookie");
        cookie.split(';').next().unwrap().to_owned()
    }

    async fn run(&self, cookie: &str) -> HttpAnswer {
        let headers = [("cookie", cookie), ("sec-fetch-site", "none")];
        self.send("GET /cgi?command=mark", &headers, "").await
    }

    fn runs(&self) -> usize {
        let ran = std::fs::read_to_string(self.world.note("ran"));
        ran.unwrap_or_default().lines().count()
    }
}

const LOOKS: (&str, &str) = ("sec-fetch-mode", "navigate");
const PAGE: [(&str, &str); 3] = [
    LOOKS,
    ("sec-fetch-site", "same-origin"),
    ("origin", "http://car.test"),
];

#[tokio::test]
async fn a_cookie_is_good_for_the_ports_of_its_key_only() {
    let mut fixture = Fixture::new().await;
    let mut config = inner_config(&fixture.world);
    config.key = Some(fixture.world.key("van", Role::Link).await);
    let (_van, own) = fixture.world.inner_with(config).await;
    let ports = Some(own.to_string().parse().unwrap());
    let bob = fixture.world.key_for("bob", Role::Drive, ports).await;
    let answer = fixture.sign_in(&bob.expose()).await;
    assert_eq!(answer.verdict(), (403, "no"), "{}", answer.text());
    assert_eq!(answer.header("set-cookie"), "");
    let other = std::mem::replace(&mut fixture.port, own);
    fixture.operator = bob;
    let cookie = fixture.cookie().await;
    fixture.port = other;
    assert_eq!(fixture.run(&cookie).await.verdict(), (403, "no"));
    assert_eq!(fixture.runs(), 0);
    fixture.port = own;
    assert_eq!(fixture.run(&cookie).await.verdict(), (200, "yes"));
}

#[tokio::test]
async fn who_looks_without_a_key_is_asked_for_one_and_programs_are_told() {
    let fixture = Fixture::new().await;
    for target in ["/", "/cgi?command=mark", "/commands"] {
        let mut page = fixture.send(&format!("GET {target}"), &[LOOKS], "").await;
        if target.starts_with("/cgi") {
            assert_eq!(page.verdict(), (303, "no"));
            assert_eq!(page.header("location"), "./");
            page = fixture.send("GET /", &[LOOKS], "").await;
        }
        assert_eq!(page.verdict(), (401, "no"), "{target}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("www-authenticate"), "Bearer");
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(page.text().contains("autocomplete=\"current-password\""));
        let told = get(fixture.port, target).await;
        assert_eq!(told.verdict(), (401, "no"));
        assert_eq!(told.header("content-type"), "text/plain; charset=utf-8");
    }
    assert_eq!(fixture.runs(), 0);
}

#[tokio::test]
async fn signing_in_gives_a_pass_that_runs_commands_until_its_key_is_revoked() {
    let fixture = Fixture::new().await;
    let answer = fixture
        .sign_in(&format!(" {}\n", fixture.operator.expose()))
        .await;
    assert_eq!(answer.verdict(), (303, "no"));
    assert_eq!(answer.header("location"), "./");
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.ends_with("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let secret = fixture.operator.bearer().split_off(14);
    assert!(!cookie.contains(&secret));
    assert_eq!(fixture.runs(), 0, "signing in runs nothing");

    let cookie = fixture.cookie().await;
    let home = fixture
        .send("GET /", &[("cookie", &cookie), LOOKS], "")
        .await;
    assert_eq!(home.verdict(), (200, "no"));
    assert!(
        home.text()
            .contains("Signed in as <strong>desk</strong> (drive)")
    );
    assert_eq!(fixture.run(&cookie).await.verdict(), (200, "yes"));
    assert_eq!(fixture.runs(), 1);

    fixture.world.revoke("desk");
    let id = fixture.operator.id();
    let keys = fixture.world.keys.clone().unwrap();
    until("the key is void", || !keys.is_live(&id)).await;
    let answer = fixture.run(&cookie).await;
    assert_eq!(answer.verdict(), (401, "no"));
    assert!(answer.text().contains("you are signed out"));
    assert_eq!(fixture.runs(), 1);
}

#[tokio::test]
async fn the_same_cookie_is_good_from_another_address() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie().await;
    let words = format!(
        "GET /cgi?command=mark HTTP/1.1\r\nHost: car.test\r\nCookie: {cookie}\r\nSec-Fetch-Site: none\r\nConnection: close\r\n\r\n"
    );
    let answer = raw_from([127, 0, 0, 2], local(fixture.port), words.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(fixture.runs(), 1);
}

#[tokio::test]
async fn a_pass_is_ended_with_its_key_in_the_middle_of_a_run() {
    let fixture = Fixture::new().await;
    fixture.world.gated("wait", ":");
    let cookie = fixture.cookie().await;
    let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "none")];
    let running = fixture.send("GET /cgi?command=wait", &headers, "");
    let revoking = async {
        fixture.world.has_begun().await;
        fixture.world.revoke("desk");
    };
    let (answer, ()) = tokio::join!(running, revoking);
    // The car tells of a start some milliseconds later than we see it.
    let (status, executed) = answer.verdict();
    assert_eq!(status, 401);
    assert!(matches!(executed, "yes" | "unknown"), "{executed}");
}

#[tokio::test]
async fn wrong_keys_and_forms_get_the_page_again_and_no_pass() {
    let fixture = Fixture::new().await;
    let wrong = Key::generate().unwrap().expose();
    let car = fixture.world.key("van", Role::Link).await.expose();
    let cut = &fixture.operator.expose()[..40];
    for (key, status) in [
        (wrong.as_str(), 401),
        ("", 401),
        (cut, 401),
        ("x y", 401),
        (&car, 403),
    ] {
        let answer = fixture.sign_in(key).await;
        assert_eq!(answer.verdict(), (status, "no"), "{key}");
        assert_eq!(answer.header("set-cookie"), "");
        assert!(answer.text().contains("<form"), "{}", answer.text());
    }
    for (form, status) in [("", 400), ("name=x", 400), (&*"key=".repeat(2000), 413)] {
        let answer = fixture.send("POST /sign-in", &PAGE, form).await;
        assert_eq!(answer.verdict(), (status, "no"), "{form}");
    }
    for (line, status) in [
        ("GET /sign-in", 303),
        ("GET /sign-out", 405),
        ("PUT /sign-in", 405),
        ("HEAD /sign-in", 204),
        ("POST /", 405),
    ] {
        assert_eq!(
            fixture.send(line, &[], "").await.verdict(),
            (status, "no"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn another_sites_page_signs_nobody_in_or_out_and_runs_nothing_by_a_pass() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie().await;
    let form = format!("key={}", fixture.operator.expose());
    for foreign in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.test"),
        ("origin", "http://car.test:81"),
        ("origin", "null"),
        ("referer", "http://car.test:81/"),
        ("sec-purpose", "prefetch;prerender"),
    ] {
        let headers = [("cookie", cookie.as_str()), foreign, LOOKS];
        for line in ["POST /sign-in", "POST /sign-out", "POST /cgi?command=mark"] {
            let answer = fixture.send(line, &headers, &form).await;
            assert_eq!(answer.verdict(), (403, "no"), "{line} {foreign:?}");
            assert_eq!(answer.header("set-cookie"), "");
        }
        let answer = fixture.send("GET /cgi?command=mark", &headers, "").await;
        assert_eq!(answer.verdict(), (403, "no"), "{foreign:?}");
    }
    // Without TLS a browser may say nothing of who asks: then its user is asked.
    let silent = [
        ("cookie", cookie.as_str()),
        ("accept", "text/html,*/*;q=0.8"),
    ];
    let answer = fixture
        .send("GET /cgi?command=mark&arg=%22", &silent, "")
        .await;
    assert_eq!(answer.verdict(), (403, "no"));
    assert!(
        answer
            .text()
            .contains("href=\"cgi?command=mark&amp;arg=%22\""),
        "{}",
        answer.text()
    );
    let image = [("cookie", cookie.as_str()), ("accept", "image/avif,*/*")];
    let answer = fixture.send("GET /cgi?command=mark", &image, "").await;
    assert_eq!(answer.verdict(), (403, "no"));
    assert_eq!(fixture.runs(), 0);
    let clicked = [
        ("cookie", cookie.as_str()),
        ("referer", "http://car.test/cgi?command=mark"),
    ];
    let answer = fixture.send("GET /cgi?command=mark", &clicked, "").await;
    assert_eq!(answer.verdict(), (200, "yes"));
}

#[tokio::test]
async fn signing_out_forgets_the_pass_and_a_forged_one_is_none() {
    let fixture = Fixture::new().await;
    let answer = fixture.send("POST /sign-out", &PAGE, "").await;
    assert_eq!(answer.verdict(), (303, "no"));
    assert!(
        answer
            .header("set-cookie")
            .starts_with("p2p=; Path=/; Max-Age=0;")
    );
    let cookie = fixture.cookie().await;
    let (whole, code) = cookie.rsplit_once('.').unwrap();
    let (name, stamp) = whole.rsplit_once('.').unwrap();
    let (end, number) = stamp.split_once('-').unwrap();
    let later = end.parse::<u64>().unwrap() + 1;
    for forged in [
        format!("{}=", cookie.split_once('=').unwrap().0),
        format!("{name}.{later}-{number}.{code}"),
        format!("{name}.{end}.{code}"),
        format!("{name}.{end}-{}.{code}", number.to_uppercase() + "0"),
        format!("{whole}.{}", "0".repeat(64)),
        format!("{whole}."),
        // Over plain HTTP that name proves nothing.
        format!("__Host-{cookie}"),
    ] {
        assert_eq!(
            fixture.run(&forged).await.verdict(),
            (401, "no"),
            "{forged}"
        );
    }
    // A pass is for browsers on service ports: the main port takes keys alone.
    let main = RawCaller::saying(
        fixture.world.main_port(),
        format!("GET /metrics HTTP/1.1\r\nHost: car.test\r\nCookie: {cookie}\r\n\r\n"),
    );
    assert_eq!(main.await.answer().await.status, 401);
    assert_eq!(fixture.runs(), 0);
}

#[tokio::test]
async fn signing_out_ends_the_cookie_for_all_who_have_a_copy_and_over_a_restart() {
    let fixture = Fixture::new().await;
    let port = fixture.port;
    fixture.world.gated("wait", ":");
    let (cookie, other) = (fixture.cookie().await, fixture.cookie().await);
    let page = async |port, cookie: &str| {
        let origin = format!("http://127.0.0.1:{port}");
        FakePage::with(port, &[("cookie", cookie), ("origin", &origin)]).await
    };
    let mut copy = page(port, &cookie).await.unwrap();
    let mut stays = page(port, &other).await.unwrap();
    let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "none")];
    let running = fixture.send("GET /cgi?command=wait", &headers, "");
    let signing_out = async {
        fixture.world.has_begun().await;
        let headers = [PAGE[0], PAGE[1], PAGE[2], ("cookie", &cookie)];
        let answer = fixture.send("POST /sign-out", &headers, "").await;
        assert_eq!(answer.verdict(), (303, "no"));
        let gone = answer.header("set-cookie");
        assert!(gone.contains("=; Path=/; Max-Age=0;"), "{gone}");
    };
    let (answer, ()) = tokio::join!(running, signing_out);
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(
        answer.text().contains("was signed out"),
        "{}",
        answer.text()
    );
    let last = copy.is_closed().await.unwrap();
    let said = last["refused"]["message"].as_str().unwrap();
    assert_eq!(said, "this browser was signed out");

    // Nothing is left that it is good for, and others with the same key stay signed in.
    let is_void = async |port| {
        for target in [
            "/",
            "/cgi?command=mark",
            "/cgi?command=stop",
            "/commands",
            "/run/1",
            "/video",
            "/frame.jpg",
            "/frames",
            "/drive",
        ] {
            let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "none")];
            let request = headers
                .iter()
                .fold(request("GET", target), |request, header| {
                    request.header(header.0, header.1)
                });
            let answer = ask(port, request.body(Full::default()).unwrap()).await;
            assert_eq!(answer.verdict(), (401, "no"), "{target}");
            assert!(answer.text().contains("you are signed out"), "{target}");
        }
        assert_eq!(page(port, &cookie).await.err(), Some(401));
        let mut headers = vec![("cookie", other.as_str()), ("sec-fetch-site", "none")];
        headers.push(LOOKS);
        let request = headers.iter().fold(request("GET", "/"), |request, header| {
            request.header(header.0, header.1)
        });
        let home = ask(port, request.body(Full::default()).unwrap()).await;
        assert_eq!(home.status, 200, "{}", home.text());
    };
    is_void(port).await;
    stays.received().await;
    assert_eq!(fixture.runs(), 0);

    let keys = KeyStore::open(fixture.world.folder.path().join("state")).unwrap();
    let config = p2p_router::Config {
        keys: Some(keys),
        ..router_config()
    };
    let again = World::with(config, tempfile::tempdir().unwrap());
    let mut config = inner_config(&again);
    config.key = Some(fixture.car.clone());
    let (_inner, port) = again.inner_with(config).await;
    is_void(port).await;
    // Who signs out once more, with a cookie that is void, is told no error.
    let headers = [PAGE[0], PAGE[1], PAGE[2], ("cookie", &cookie)];
    let answer = fixture.send("POST /sign-out", &headers, "").await;
    assert_eq!(answer.verdict(), (303, "no"));
}

#[tokio::test]
async fn keys_in_addresses_and_basic_authentication_are_refused() {
    let fixture = Fixture::new().await;
    let key = fixture.operator.expose();
    for target in [
        format!("/cgi?command=mark&key={key}"),
        format!("/cgi?command=mark&arg={key}"),
        "/cgi?command=mark&token=abc".to_owned(),
        format!("/?{key}"),
    ] {
        let answer = get(fixture.port, &target).await;
        assert_eq!(answer.verdict(), (400, "no"), "{target}");
        assert!(
            answer.text().contains("revoke that key"),
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains(&key));
    }
    let basic = data_encoding::BASE64.encode(format!("desk:{key}").as_bytes());
    let basic = format!("Basic {basic}");
    let answer = fixture
        .send("GET /cgi?command=mark", &[("authorization", &basic)], "")
        .await;
    assert_eq!(answer.verdict(), (401, "no"));
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert_eq!(fixture.runs(), 0);
}

#[tokio::test]
async fn without_keys_a_name_that_nobody_told_the_router_is_refused() {
    let world = World::open();
    world.script("mark", "echo ran >> ../ran");
    let (_inner, port) = world.inner().await;
    let status = async |port, target: &str, host: &str| {
        let words = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        RawCaller::saying(port, words).await.answer().await
    };
    for target in ["/", "/cgi?command=mark", "/commands", "/nowhere"] {
        let answer = status(port, target, "evil.test:9000").await;
        assert_eq!(answer.verdict(), (403, "no"), "{target}");
        assert!(
            answer.text().contains("--host-names evil.test"),
            "{}",
            answer.text()
        );
    }
    let main = world.main_port();
    for target in ["/metrics", "/healthz"] {
        assert_eq!(status(main, target, "evil.test").await.status, 403);
        for host in ["car.test", "127.0.0.1:1", "[::1]", "localhost"] {
            assert_eq!(status(main, target, host).await.status, 200, "{host}");
        }
    }
    assert!(!world.note("ran").exists());
    for host in ["127.0.0.1", "[::1]:9000", "localhost:9000", "CAR.test."] {
        let answer = status(port, "/cgi?command=mark", host).await;
        assert_eq!(answer.verdict(), (200, "yes"), "{host}");
    }
    // A browser that does not say who asks, as it does to no address but its own machine's.
    for host in ["192.0.2.7:9000", "[2001:db8::7]", "car.test"] {
        let silent = format!(
            "{host}\r\nUser-Agent: Mozilla/5.0\r\nAccept-Language: en\r\nAccept: text/html"
        );
        let answer = status(port, "/cgi?command=mark", &silent).await;
        assert_eq!(answer.verdict(), (403, "no"), "{host}");
        assert!(answer.text().contains("Run this?"), "{}", answer.text());
    }
    for path in ["/link", "/admin"] {
        for origin in ["http://evil.test", "http://127.0.0.1", "null"] {
            let words = format!(
                "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: p2p.v1\r\n\r\n"
            );
            let answer = RawCaller::saying(main, words).await.answer().await;
            assert_eq!(answer.status, 403, "{path} {origin}");
        }
    }
}
