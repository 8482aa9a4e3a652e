//! The drive page of the simulated car, with its camera: somebody sees where it goes.

use std::fs;
use std::process::Command;

use p2p_inner::Inner;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::chromium::Chromium;
use crate::common::program::path;
use crate::common::{World, get, inner_config, until, until_so};

/// Counts the pictures that are drawn, and how many in a row were shown as younger than 200 ms.
const WATCH: &str = r#"
Object.assign(window, { pictures: 0, row: 0, longest: 0 });
const { drawImage } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.drawImage = function (...all) {
  drawImage.apply(this, all);
  const [, age] = /^picture ([\d.]+) ms$/.exec(document.getElementById("age").textContent) ?? [];
  window.pictures += 1;
  window.row = age < 200 ? window.row + 1 : 0;
  window.longest = Math.max(window.longest, window.row);
};
"#;

/// What a small camera is: slow enough for programs that were not made fast.
const CAMERA: &str = "exec ./car.worker camera --size 320x240 --rate 15";

struct SimCar {
    world: World,
    port: u16,
    _inner: Inner,
}

impl SimCar {
    /// Whose camera is this script in its command folder, if it has one.
    async fn new(camera: Option<&str>) -> Self {
        let world = World::open();
        // A copy by another process, as `World::file` has it.
        let copied = Command::new("cp")
            .arg(path("sim-car"))
            .arg(world.commands().join("car.worker"))
            .status();
        assert!(copied.unwrap().success());
        world.script("stop", "exec ./car.worker stop");
        let mut config = inner_config(&world);
        config.camera = camera.map(|script| {
            let script = format!("echo $$ >> ../cameras; {script}");
            vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
        });
        let (inner, port) = world.inner_with(config).await;
        let car = Self {
            world,
            port,
            _inner: inner,
        };
        until_so("its worker serves", async || {
            get(car.port, "/commands").await.text().contains("where")
        })
        .await;
        car
    }

    /// A browser whose page is ready to drive.
    async fn page(&self) -> Chromium {
        let browser = Chromium::start(&[]).await;
        browser
            .open(&format!("http://127.0.0.1:{}/", self.port))
            .await;
        browser.script(WATCH).await;
        browser.reads("press a direction").await;
        browser
    }

    /// What it says of itself.
    async fn says(&self) -> String {
        let said = get(self.port, "/cgi?command=where").await;
        assert_eq!(said.verdict(), (200, "yes"), "{}", said.text());
        said.text()
    }

    /// A key that is held moves it, and its release stops it.
    async fn is_driven_by(&self, browser: &Chromium) {
        let place = |said: String| said.split(" at ").nth(1).unwrap().to_owned();
        let start = place(self.says().await);
        browser.key_down("ArrowUp", false).await;
        until_so("it moves", async || place(self.says().await) != start).await;
        browser.key_up("ArrowUp").await;
        until_so("it stands", async || {
            self.says().await.contains("the car stands")
        })
        .await;
        let end = place(self.says().await);
        assert_ne!(end, start);
        assert_eq!(place(self.says().await), end);
    }

    /// The processes that its camera was.
    fn cameras(&self) -> Vec<i32> {
        let pids = fs::read_to_string(self.world.note("cameras")).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

async fn number(browser: &Chromium, script: &str) -> u64 {
    let found = browser.script(&format!("return {script}")).await;
    found.as_u64().unwrap()
}

/// Waits until it has drawn so many more.
async fn draws(browser: &Chromium, more: u64) {
    let before = number(browser, "window.pictures").await;
    until_so("pictures are drawn", async || {
        number(browser, "window.pictures").await >= before + more
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_changes_it_is_young_and_who_drives_by_it_moves_the_car() {
    let car = SimCar::new(Some(CAMERA)).await;
    let browser = car.page().await;
    until_so("ten young pictures in a row", async || {
        number(&browser, "window.longest").await >= 10
    })
    .await;
    let size =
        "const { width, height } = document.getElementById('canvas'); return [width, height]";
    assert_eq!(browser.script(size).await, serde_json::json!([320, 240]));
    let picture = "return document.getElementById('canvas').toDataURL()";
    let before = browser.script(picture).await;
    draws(&browser, 1).await;
    assert_ne!(browser.script(picture).await, before);
    car.is_driven_by(&browser).await;
    browser.picture("sim-car").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_camera_it_says_so_and_drives() {
    let car = SimCar::new(None).await;
    let browser = car.page().await;
    browser.reads("No camera").await;
    let hidden = "return ['age', 'picture'].map(id => document.getElementById(id).hidden)";
    assert_eq!(
        browser.script(hidden).await,
        serde_json::json!([true, true])
    );
    car.is_driven_by(&browser).await;
    browser.click("button[value=where]").await;
    browser.reads("where: exit 0").await;
    assert_eq!(number(&browser, "window.pictures").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_dies_is_told_of_and_its_pictures_come_back() {
    let script = format!("[ ! -e ../broken ] || {{ echo no lens >&2; exit 3; }}; {CAMERA}");
    let car = SimCar::new(Some(&script)).await;
    let browser = car.page().await;
    draws(&browser, 3).await;
    fs::write(car.world.note("broken"), "").unwrap();
    let pid = *car.cameras().last().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    browser.reads("The camera failed").await;
    until("it is started again", || car.cameras().len() > 1).await;
    car.is_driven_by(&browser).await;
    fs::remove_file(car.world.note("broken")).unwrap();
    draws(&browser, 3).await;
    assert!(!browser.text().await.contains("The camera failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_see_it_through_one_camera_and_one_who_leaves_takes_nothing_along() {
    let car = SimCar::new(Some(CAMERA)).await;
    let (first, second) = (car.page().await, car.page().await);
    draws(&first, 5).await;
    draws(&second, 5).await;
    drop(first);
    draws(&second, 5).await;
    assert_eq!(car.cameras().len(), 1);
}
