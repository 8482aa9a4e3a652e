//! How old a picture is when the drive page has drawn it: the simulated car through the real programs,
//! in a real Chromium on this machine.

use std::time::{Duration, SystemTime};

use super::common::chromium::Chromium;
use super::common::program::{RunningProgram, inner_of, path};
use super::common::until_so;
use super::viewer::percentile;

/// Notes of each picture, in ms: its stamp of the car's clock, when it was drawn and when the frame
/// after that was shown by the machine's clock, and how old the page takes it for.
const NOTES: &str = r#"
return import("/page/video.js").then(({ Video }) => {
  const { age } = Video.prototype;
  const clock = () => performance.timeOrigin + performance.now();
  window.notes = [];
  // The page asks its video for this all the time.
  Video.prototype.age = function (now, rtt) {
    if (!("rtt" in this)) {
      let count = this.drawn;
      Object.defineProperty(this, "drawn", {
        get: () => count,
        set: value => {
          count = value;
          const note = [this.stamp, clock(), null, this.clock.age(this.stamp, performance.now(), this.rtt)];
          requestAnimationFrame(() => setTimeout(() => {
            note[2] = clock();
            window.notes.push(note);
          }));
        },
      });
    }
    this.rtt = rtt;
    return age.call(this, now, rtt);
  };
});
"#;

/// Measures for so long, and prints it.
pub async fn measure(rate: u32, time: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let commands = folder.path().join("command");
    std::fs::create_dir(&commands).unwrap();
    let car = commands.join("car.worker");
    std::fs::copy(path("sim-car"), &car).unwrap();
    let (_router, router_port) = RunningProgram::open_router(folder.path(), 0).await;
    let camera = format!("'{}' camera --size 640x480 --rate {rate}", car.display());
    let mut inner = inner_of(folder.path(), router_port, 0);
    let inner = RunningProgram::start(inner.args(["--camera", &camera]));
    let port = inner.service_port().await;
    let browser = Chromium::start(&[]).await;
    browser.resize(1280, 800, false).await;
    browser.open(&format!("http://127.0.0.1:{port}/")).await;
    browser.script(NOTES).await;
    let count = async || {
        let count = browser.script("return window.notes.length").await;
        count.as_u64().unwrap()
    };
    // The camera is there, and the page knows the car's clock.
    until_so("pictures are drawn", async || count().await > 60).await;
    browser.script("window.notes = []").await;
    tokio::time::sleep(time).await;
    let notes = browser.script("return window.notes").await;
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let ahead = (wall.as_secs_f64() - p2p_inner::clock::now().as_secs_f64()) * 1e3;
    let notes: Vec<[f64; 4]> = serde_json::from_value(notes).unwrap();
    println!(
        "the page in Chromium, the simulated car at 640×480 and {rate} a second for {} s: {:.1} a second are drawn",
        time.as_secs(),
        notes.len() as f64 / time.as_secs_f64()
    );
    let print = |name: &str, age: &dyn Fn(&[f64; 4]) -> f64| {
        let ages: Vec<f64> = notes.iter().map(age).collect();
        let [a, b, c] = [0.5, 0.95, 0.99].map(|part| percentile(&ages, part));
        println!("{name:24}{a:>10.1}{b:>10.1}{c:>10.1}");
    };
    println!(
        "{:24}{:>10}{:>10}{:>10}   ms from its first byte",
        "", "p50", "p95", "p99"
    );
    print("drawn, as the page says", &|note| note[3]);
    print("drawn, by one clock", &|note| note[1] - note[0] - ahead);
    print("on the page's screen", &|note| note[2] - note[0] - ahead);
}
