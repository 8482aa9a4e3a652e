//! The service port behind a real nginx and a real haproxy, as people set them up: what a browser sees
//! and can do there, with and without the headers that a proxy ought to pass on.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use p2p_inner::Inner;

use crate::common::chromium::Chromium;
use crate::common::{World, get, inner_config, local, raw, until};

/// A car that notes its stops, without keys.
struct Fixture {
    world: World,
    port: u16,
    _inner: Inner,
}

impl Fixture {
    async fn new() -> Self {
        let world = World::open();
        world.script("stop", "echo stop >> ../stops");
        world.script("hello", "echo it says hello");
        for motion in ["forward", "back", "left", "right"] {
            world.script(motion, ":");
        }
        let (inner, port) = world.inner_with(inner_config(&world)).await;
        Self {
            world,
            port,
            _inner: inner,
        }
    }

    fn stops(&self) -> usize {
        let stops = std::fs::read_to_string(self.world.note("stops"));
        stops.unwrap_or_default().lines().count()
    }

    /// Clicks STOP, and waits until the car has stopped once more.
    async fn stops_by(&self, browser: &Chromium) {
        let before = self.stops();
        browser.click("#stop").await;
        until("the car stops", || self.stops() > before).await;
    }
}

/// A proxy in front of a service port. It ends when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Proxy {
    /// Starts `program` with what `config` makes of a folder and a port that are the proxy's own.
    async fn start(program: &str, config: impl Fn(&str, u16) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let file = folder.path().join("config");
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            std::fs::write(&file, config(path, port)).unwrap();
            let mut command = Command::new(program);
            match program {
                "nginx" => command.args(["-e", "stderr", "-p", path, "-c"]),
                _ => command.arg("-f"),
            };
            let process = command.arg(&file).stdin(Stdio::null()).spawn();
            let mut process = process.unwrap_or_else(|error| {
                panic!("{program} (apt-get install nginx-light haproxy): {error}")
            });
            let mut is_over = false;
            until("the proxy listens", || {
                is_over = process.try_wait().unwrap().is_some();
                is_over || TcpStream::connect(local(port)).is_ok()
            })
            .await;
            // Somebody else may have taken the port meanwhile.
            if !is_over {
                return Self {
                    port,
                    process,
                    _folder: folder,
                };
            }
        }
        panic!("{program} does not start")
    }

    /// An nginx with these directives beside `proxy_pass`, at `/` and under the prefix `/car/`.
    async fn nginx(service_port: u16, directives: &str) -> Self {
        Self::start("nginx", |folder, port| {
            format!(
                "daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
                events {{}}
                http {{
                    access_log off;
                    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
                    fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
                    {directives}
                    server {{
                        listen 127.0.0.1:{port};
                        location / {{ proxy_pass http://127.0.0.1:{service_port}; }}
                        location /car/ {{ proxy_pass http://127.0.0.1:{service_port}/; }}
                    }}
                }}"
            )
        })
        .await
    }

    async fn haproxy(server: &str) -> Self {
        Self::haproxy_in("http", server).await
    }

    /// A haproxy that understands HTTP, or one that passes bytes on: `tcp`.
    pub(crate) async fn haproxy_in(mode: &str, server: &str) -> Self {
        Self::start("haproxy", |_, port| {
            format!(
                "defaults
                    mode {mode}
                    timeout connect 60s
                    timeout client 60s
                    timeout server 60s
                    timeout tunnel 1h
                frontend public
                    bind 127.0.0.1:{port}
                    default_backend car
                backend car
                    server car {server}\n"
            )
        })
        .await
    }
}

/// What nginx needs so that the page's WebSockets go through.
const UPGRADE: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
    proxy_set_header Connection upgrade; proxy_read_timeout 1h;";

/// Waits until the page drives over its WebSocket, lists the commands and runs one.
async fn is_whole(browser: &Chromium) {
    browser.reads("press a direction").await;
    browser.click("#commands button[value=hello]").await;
    browser.reads("it says hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_an_nginx_that_passes_upgrades_the_page_is_whole_under_any_prefix() {
    let fixture = Fixture::new().await;
    let directives = format!("{UPGRADE} proxy_set_header Host $http_host;");
    let proxy = Proxy::nginx(fixture.port, &directives).await;
    let browser = Chromium::start(&["car.test"]).await;
    for address in ["127.0.0.1", "car.test"] {
        for prefix in ["/", "/car/"] {
            let address = format!("http://{address}:{}{prefix}", proxy.port);
            browser.open(&address).await;
            is_whole(&browser).await;
            fixture.stops_by(&browser).await;
            assert_eq!(browser.address().await, address);
        }
    }
    // Without its host the page's WebSocket looks like another site's, and the page says so.
    let proxy = Proxy::nginx(fixture.port, UPGRADE).await;
    for address in ["127.0.0.1", "car.test"] {
        let address = format!("http://{address}:{}/car/", proxy.port);
        browser.open(&address).await;
        browser.reads("proxy_set_header Host $http_host;").await;
        fixture.stops_by(&browser).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_an_nginx_that_passes_nothing_on_the_page_says_what_is_missing_and_stops_the_car() {
    let fixture = Fixture::new().await;
    let browser = Chromium::start(&["car.test"]).await;
    let proxy = Proxy::nginx(fixture.port, "proxy_set_header Host $http_host;").await;
    browser
        .open(&format!("http://127.0.0.1:{}/", proxy.port))
        .await;
    browser.reads("Driving needs a WebSocket").await;
    let color = "return getComputedStyle(document.querySelector('#stop')).backgroundColor";
    assert_ne!(
        browser.script(color).await,
        "rgba(0, 0, 0, 0)",
        "there is no style"
    );
    fixture.stops_by(&browser).await;
    let proxy = Proxy::nginx(fixture.port, "").await;
    browser
        .open(&format!("http://car.test:{}/", proxy.port))
        .await;
    browser.reads("proxy_set_header Host $http_host;").await;
    fixture.stops_by(&browser).await;
    let refused = "return fetch('cgi?command=hello').then(answer => answer.status)";
    assert_eq!(browser.script(refused).await, 403);
    // Where the browser trusts the connection, it says whose page asks, whatever the proxy hides.
    browser
        .open(&format!("http://127.0.0.1:{}/", proxy.port))
        .await;
    assert_eq!(browser.script(refused).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_the_page_is_whole_and_its_proxy_header_is_refused_in_words() {
    let fixture = Fixture::new().await;
    let server = format!("127.0.0.1:{}", fixture.port);
    let proxy = Proxy::haproxy(&server).await;
    let browser = Chromium::start(&["car.test"]).await;
    browser
        .open(&format!("http://car.test:{}/", proxy.port))
        .await;
    is_whole(&browser).await;
    fixture.stops_by(&browser).await;

    let proxy = Proxy::haproxy(&format!("{server} send-proxy")).await;
    let answer = get(proxy.port, "/cgi?command=hello").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let said = raw(
        local(fixture.port),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n",
    )
    .await;
    assert!(said.contains("PROXY protocol"), "{said}");
}
