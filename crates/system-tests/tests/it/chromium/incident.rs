//! The drive page's button that saves what became of a car: the file explains it to somebody who was not there, with
//! pictures, without a router and without a script.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::chromium::Chromium;
use crate::common::program::{RunningProgram, console, inner_of, path, run};
use crate::common::{soon, until, until_so};

/// Router, car with a camera, a browser that shows its page, and the folder of what it saves.
struct Fixture {
    folder: tempfile::TempDir,
    router: RunningProgram,
    router_port: u16,
    inner: RunningProgram,
    browser: Chromium,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Another process writes them: see `World::file`.
        let scripts = "mkdir command saved && cd command && for name in forward back left right stop; do \
             printf '#!/bin/sh\\n%s\\n' \"echo $name >> ../ran\" > $name; done; chmod +x *";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", scripts]).current_dir(folder.path());
        assert!(shell.stdin(Stdio::null()).status().unwrap().success());
        let (router, router_port) = RunningProgram::open_router(folder.path(), 0).await;
        let camera = format!(
            "{} camera --size 320x240 --rate 15",
            path("sim-car").display()
        );
        let mut inner = inner_of(folder.path(), router_port, 0);
        let inner = RunningProgram::start(inner.args(["--camera", &camera]));
        let port = inner.service_port().await;
        let browser = Chromium::start(&[]).await;
        let to = folder.path().join("saved");
        let saves = json!({ "behavior": "allow", "downloadPath": to });
        browser
            .devtools("Browser.setDownloadBehavior", &saves)
            .await;
        browser.open(&format!("http://127.0.0.1:{port}/")).await;
        browser.reads("press a direction").await;
        Self {
            folder,
            router,
            router_port,
            inner,
            browser,
        }
    }

    /// Waits until this has run last.
    async fn ran_last(&self, what: &str) {
        let ran = || fs::read_to_string(self.folder.path().join("ran")).unwrap_or_default();
        until(what, || ran().lines().last() == Some(what)).await;
    }

    /// Waits until the page shows a picture that is not old.
    async fn shows_pictures(&self) {
        until_so("pictures come", async || {
            let shown = "return document.getElementById('stage').dataset.picture === 'live'";
            self.browser.script(shown).await == true
        })
        .await;
    }

    async fn state(&self) -> Value {
        let state = "return document.body.dataset.state";
        self.browser.script(state).await
    }

    /// The car freezes until the page has lost it, and goes on until the page has it again.
    async fn freezes_while_it_is_driven(&self) {
        self.browser.key_down("ArrowUp", false).await;
        self.ran_last("forward").await;
        self.inner.signal(Signal::STOP);
        self.ran_last("stop").await;
        self.browser.reads("NO ANSWER").await;
        self.browser.reads("OFFLINE").await;
        self.browser.key_up("ArrowUp").await;
        self.inner.signal(Signal::CONT);
        until_so("the page has the car again", async || {
            let state = self.state().await;
            state == "FAILSAFE" || state == "VIEW"
        })
        .await;
    }

    async fn takes_control(&self) {
        until_so("the page has control", async || {
            let is_armed = self.state().await == "ARMED";
            if !is_armed {
                self.browser.click("#arm").await;
            }
            is_armed
        })
        .await;
    }

    /// Presses the button, and returns the name and the content of the file that it saves.
    async fn saves(&self) -> (PathBuf, String) {
        let _ = fs::remove_dir_all(self.folder.path().join("earlier"));
        let saved = self.folder.path().join("saved");
        fs::rename(&saved, self.folder.path().join("earlier")).unwrap();
        fs::create_dir(&saved).unwrap();
        self.browser.click("#incident").await;
        // The browser makes an empty one first, in whose place it puts the whole one.
        let whole = || {
            let mut files = fs::read_dir(&saved).unwrap().map(|file| file.unwrap());
            let file = files.find(|file| file.path().extension().is_some_and(|it| it == "html"))?;
            let text = fs::read_to_string(file.path()).ok()?;
            Some((file.path(), text)).filter(|(_, text)| !text.is_empty())
        };
        until("a file is saved", || whole().is_some()).await;
        whole().unwrap()
    }
}

/// The lines of JSON in the file.
fn lines(file: &str) -> Vec<Value> {
    let lines = file
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.filter(Value::is_object).collect()
}

/// Returns true for `04:05:06.789`.
fn is_time(text: &str) -> bool {
    let mask: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    mask == "00:00:00.000"
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_saves_says_why_the_car_stopped_and_when_with_pictures_and_outlives_a_restart() {
    let mut fixture = Fixture::new().await;
    fixture.shows_pictures().await;
    let browser = &fixture.browser;
    let guardian = "The guardian stopped the car, because the inner is silent.";
    let saved = soon("the guardian stops the car", async {
        loop {
            fixture.freezes_while_it_is_driven().await;
            let (path, file) = fixture.saves().await;
            if file.contains(guardian) {
                return (path, file);
            }
            // On a busy machine the press may have ended just before.
            fixture.takes_control().await;
        }
    });
    let (path, file) = saved.await;
    let name = path.file_name().unwrap().to_str().unwrap();
    browser.reads(&format!("Saved as {name}")).await;
    assert!(name.starts_with("incident-car-"), "{name}");
    for said in [
        "takes control (it was free).",
        "drove forward.",
        "At this page: NO ANSWER: the link is silent.",
        "Clocks: all times are this page's; the car's is ",
        "; the router's is ",
        "  page    the key for forward is pressed\n",
        "  router  ",
        "  car     the stop command ran",
    ] {
        assert!(file.contains(said), "no {said:?} in {file}");
    }
    let stopped = file.lines().find(|line| line.contains(guardian));
    let stopped = stopped.unwrap().trim_start();
    assert!(is_time(&stopped[..12]), "{stopped}");
    for from in ["car", "router", "page"] {
        assert!(
            lines(&file).iter().any(|line| line["from"] == from),
            "{from}"
        );
    }
    let caption = file.split("<figcaption>").nth(1).unwrap();
    let (time, age) = caption
        .split_once("</")
        .unwrap()
        .0
        .split_once(", ")
        .unwrap();
    assert!(is_time(time) && age.ends_with("s old"), "{caption:.40}");

    let mut replay = console(fixture.folder.path(), fixture.router_port);
    replay
        .args(["replay", "--json"])
        .arg(&path)
        .stdin(Stdio::null());
    let told = run(&mut replay.into()).await;
    assert_eq!(told.code, Some(0), "{}", told.errors);
    let said = "its guardian ran the stop command";
    assert!(told.out.contains(said), "{}", told.out);

    // A router that is away makes no report, and the next press finds it back.
    let port = fixture.router_port;
    fixture.router.kill().await;
    browser.reads("OFFLINE").await;
    browser.click("#incident").await;
    browser.reads("No report: the router does not answer").await;
    let (router, _) = RunningProgram::open_router(fixture.folder.path(), port).await;
    fixture.router = router;
    fixture.shows_pictures().await;
    let browser = &fixture.browser;
    browser.reads("VIEW").await;
    browser.resize(360, 640, true).await;
    browser.click("#menu").await;
    let (path, file) = fixture.saves().await;
    browser.reads("Saved as incident-car-").await;
    let menu = "return document.body.dataset.menu";
    assert_eq!(browser.script(menu).await, "", "it is over what is said");
    assert!(file.contains("The router started (anew)."), "{file}");

    // Without router and car.
    browser.open(&format!("file://{}", path.display())).await;
    browser.reads("Incident report: car").await;
    let looks = r#"
        const all = [...document.images];
        return Promise.all(all.map(it => it.decode())).then(() => ({
          sizes: [...new Set(all.map(it => `${it.naturalWidth}×${it.naturalHeight}`))],
          scripts: document.scripts.length,
          scrolls: document.documentElement.scrollWidth > innerWidth,
        }))"#;
    let seen = json!({ "sizes": ["320×240"], "scripts": 0, "scrolls": false });
    assert_eq!(browser.script(looks).await, seen);
    browser.picture("incident").await;
}
