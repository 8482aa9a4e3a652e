//! A real Chromium, spoken to as WebDriver (W3C) has it: JSON over HTTP to `chromedriver`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{ask, local, request, soon};

/// Without these it asks the network for things, or keeps the root of a container waiting.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--window-size=1280,800",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
];

/// A browser with a profile of its own. Both end when it is dropped.
pub struct Chromium {
    port: u16,
    session: String,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// To which these names are this machine.
    pub async fn start(names: &[&str]) -> Self {
        let starting = async {
            loop {
                if let Some(started) = driver().await {
                    break started;
                }
            }
        };
        let (driver, port) = soon("chromedriver starts", starting).await;
        let profile = tempfile::tempdir().unwrap();
        let rules: Vec<String> = names.iter().map(|n| format!("MAP {n} 127.0.0.1")).collect();
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        arguments.push(format!("--host-resolver-rules={}", rules.join(",")));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "args": arguments },
        }}});
        let said = tell(port, "POST", "/session", &wanted).await;
        Self {
            port,
            session: format!("/session/{}", said["sessionId"].as_str().unwrap()),
            _driver: driver,
            _profile: profile,
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        tell(self.port, "POST", &format!("{}{path}", self.session), body).await
    }

    /// Types this address, and waits until what is there has been loaded.
    pub async fn open(&self, address: &str) {
        self.post("/url", &json!({ "url": address })).await;
    }

    /// Goes back to the page before, as the button does.
    pub async fn back(&self) {
        self.post("/back", &json!({})).await;
    }

    /// What this script, a function's body, returns or promises.
    pub async fn script(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.post("/execute/sync", &body).await
    }

    /// The address that is shown.
    pub async fn address(&self) -> String {
        let address = self.script("return location.href").await;
        address.as_str().unwrap().to_owned()
    }

    /// All that is to be read on the page.
    pub async fn text(&self) -> String {
        let text = self.script("return document.body.innerText").await;
        text.as_str().unwrap().to_owned()
    }

    /// Waits until the page says this.
    pub async fn reads(&self, what: &str) {
        let end = tokio::time::Instant::now() + super::PATIENCE;
        loop {
            let text = self.text().await;
            if text.contains(what) {
                return;
            }
            let is_late = tokio::time::Instant::now() > end;
            assert!(!is_late, "the page never said {what:?}, but: {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn element(&self, css: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": css });
        let found = self.post("/element", &wanted).await;
        let found = found.as_object().unwrap().values().next().unwrap();
        format!("/element/{}", found.as_str().unwrap())
    }

    /// Types this into the field.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.post(&format!("{element}/value"), &json!({ "text": text }))
            .await;
    }

    pub async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.post(&format!("{element}/click"), &json!({})).await;
    }

    /// The cookies that the page's host has here.
    pub async fn cookies(&self) -> Value {
        let path = format!("{}/cookie", self.session);
        tell(self.port, "GET", &path, &json!({})).await
    }

    /// A key goes down, for the first time or again, and stays there.
    pub async fn key_down(&self, code: &str, is_repeat: bool) {
        let key = json!({ "type": "rawKeyDown", "code": code, "key": key_of(code), "autoRepeat": is_repeat });
        self.devtools("Input.dispatchKeyEvent", &key).await;
    }

    pub async fn key_up(&self, code: &str) {
        let key = json!({ "type": "keyUp", "code": code, "key": key_of(code) });
        self.devtools("Input.dispatchKeyEvent", &key).await;
    }

    /// A finger: `touchStart`, `touchMove`, `touchEnd` or `touchCancel`, there.
    pub async fn touch(&self, kind: &str, x: f64, y: f64) {
        let points = match kind {
            "touchEnd" | "touchCancel" => json!([]),
            _ => json!([{ "x": x, "y": y }]),
        };
        let touch = json!({ "type": kind, "touchPoints": points });
        self.devtools("Input.dispatchTouchEvent", &touch).await;
    }

    /// The middle of an element.
    pub async fn middle(&self, css: &str) -> (f64, f64) {
        let script = format!(
            "const box = document.querySelector(`{css}`).getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
        );
        let found = self.script(&script).await;
        (found[0].as_f64().unwrap(), found[1].as_f64().unwrap())
    }

    /// Opens another tab in front of this one, which is hidden by it; the one before.
    pub async fn new_tab(&self) -> Value {
        let here = tell(
            self.port,
            "GET",
            &format!("{}/window", self.session),
            &json!({}),
        )
        .await;
        let new = self.post("/window/new", &json!({ "type": "tab" })).await;
        self.tab(&new["handle"]).await;
        here
    }

    /// Goes to this tab.
    pub async fn tab(&self, handle: &Value) {
        self.post("/window", &json!({ "handle": handle })).await;
    }

    /// Closes this tab.
    pub async fn close(&self) {
        tell(
            self.port,
            "DELETE",
            &format!("{}/window", self.session),
            &json!({}),
        )
        .await;
    }

    pub async fn reload(&self) {
        self.post("/refresh", &json!({})).await;
    }

    /// Makes the page this large, as on a phone or on a desktop.
    pub async fn resize(&self, width: u32, height: u32, mobile: bool) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", &size)
            .await;
    }

    /// Puts pictures of the page, as phones and desks have it, into the folder `P2P_PICTURES`, for
    /// people to look at.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("P2P_PICTURES") else {
            return;
        };
        for (size, width, height) in [("phone", 360, 640), ("desk", 1280, 800)] {
            for look in ["light", "dark"] {
                self.resize(width, height, size == "phone").await;
                let wanted =
                    json!({ "features": [{ "name": "prefers-color-scheme", "value": look }] });
                self.devtools("Emulation.setEmulatedMedia", &wanted).await;
                let shot = self.devtools("Page.captureScreenshot", &json!({})).await;
                let png = shot["data"].as_str().unwrap().as_bytes();
                let png = data_encoding::BASE64.decode(png).unwrap();
                let file = Path::new(&folder).join(format!("{name}-{size}-{look}.png"));
                std::fs::write(file, png).unwrap();
            }
        }
    }

    pub async fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("/goog/cdp/execute", &body).await
    }
}

/// What the key at this place says.
fn key_of(code: &str) -> String {
    match code.strip_prefix("Key") {
        Some(letter) => letter.to_lowercase(),
        None if code == "Space" => " ".to_owned(),
        None => code.to_owned(),
    }
}

/// A driver that listens, and its port; `None` where the one that it chose was another's
/// (`bind() failed`), upon which it ends.
async fn driver() -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("chromedriver is missing. On Debian: sudo apt install chromium chromium-driver");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("successfully on port ") {
            return Some((driver, port.trim_end_matches('.').parse().unwrap()));
        }
    }
    None
}

impl Drop for Chromium {
    /// Has the browser closed, which outlives a driver that is killed.
    fn drop(&mut self) {
        let words = format!(
            "DELETE {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            self.session
        );
        if let Ok(mut stream) = TcpStream::connect(local(self.port)) {
            let _ = stream.set_read_timeout(Some(super::PATIENCE));
            let _ = stream.write_all(words.as_bytes());
            let _ = stream.read(&mut [0; 64]);
        }
    }
}

async fn tell(port: u16, method: &str, path: &str, body: &Value) -> Value {
    let body = if method == "POST" {
        body.to_string()
    } else {
        String::new()
    };
    let mut request = request(method, path);
    // Of others it takes nothing: a page may have sent it.
    let headers = request.headers_mut().unwrap();
    headers.insert("host", "localhost".parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let answer = ask(port, request.body(Full::new(body.into())).unwrap()).await;
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(answer.status.is_success(), "{method} {path}: {said}");
    said["value"].clone()
}
