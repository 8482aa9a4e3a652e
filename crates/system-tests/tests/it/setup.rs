//! From nothing to a car that answers, by the lines that a router prints: the real programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_shared::invitation::Invitation;
use p2p_shared::key::{Fingerprint, Key};

use crate::common::chromium::Chromium;
use crate::common::program::{ProgramResult, RunningProgram, command, inner, path, router, run};
use crate::common::{ReservedPort, get_with_key, until, until_so};

/// A user's home on some machine.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(".config/p2prouter").join(name)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.0.path().join(".local/state/p2prouter").join(name)
    }

    async fn router(&self, words: &str) -> ProgramResult {
        run(router(self.0.path()).args(words.split(' '))).await
    }

    /// Sets an inner up by this invitation.
    async fn set_up(&self, invitation: &str) -> ProgramResult {
        let words = ["setup", "--user", "--yes", invitation];
        run(inner(self.0.path()).args(words)).await
    }

    async fn console(&self, words: &[&str]) -> ProgramResult {
        run(command(&path("p2p-console"), self.0.path()).args(words)).await
    }

    /// Starts a router with keys, on any port.
    async fn start_router(&self) -> RunningProgram {
        let running =
            RunningProgram::start(router(self.0.path()).args(["0", "--bind", "127.0.0.1"]));
        running.main_port().await;
        // For the invitations.
        until("the address is noted", || self.state("address").exists()).await;
        running
    }

    /// The invitation for a key of this name and role.
    async fn invite(&self, name: &str, role: &str) -> String {
        let added = self
            .router(&format!("key add {name} --role {role} --invite"))
            .await;
        assert_eq!(added.code, Some(0), "{}", added.errors);
        added.out.split_whitespace().last().unwrap().to_owned()
    }

    /// Logs a desk in.
    async fn log_in(&self, invitation: &str) {
        let logged_in = self.console(&["login", invitation, "--name", "home"]).await;
        assert_eq!(logged_in.code, Some(0), "{}", logged_in.errors);
    }

    /// The key that a desk has got.
    fn key(&self) -> Key {
        fs::read_to_string(self.file("routers/home.key"))
            .unwrap()
            .parse()
            .unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Starts the inner of a machine that was set up, and waits for its link.
async fn linked(car: &Home) -> (RunningProgram, u16) {
    // Where the car in text keeps how it stands.
    let running = RunningProgram::start(inner(car.0.path()).env("TMPDIR", car.0.path()));
    let port = running.service_port().await;
    (running, port)
}

#[tokio::test]
async fn three_lines_make_a_car_that_answers_and_drives() {
    let (public, car, desk) = (Home::new(), Home::new(), Home::new());
    let port = ReservedPort::new();
    let words = format!(
        "setup --user --yes --show-invitations --public-host 127.0.0.1 --main-port {}",
        port.port
    );
    // A port that is kept for the test on this address may be in use on others.
    let mut setting_up = router(public.0.path());
    let setting_up = setting_up
        .args(words.split(' '))
        .env("P2P_BIND", "127.0.0.1");
    let set_up = run(setting_up).await;
    assert_eq!(set_up.code, Some(0), "{}", set_up.errors);
    let line = |beginning: &str| {
        let mut lines = set_up.out.lines().map(str::trim);
        let line = lines.find(|line| line.starts_with(beginning)).unwrap();
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    let config = public.file("router.toml");
    let starting = ["--config", config.to_str().unwrap(), "--bind", "127.0.0.1"];
    assert!(
        set_up
            .errors
            .contains(&format!("p2p-router --config {}", config.display()))
    );
    let running = RunningProgram::start(router(public.0.path()).args(starting));
    assert_eq!(running.main_port().await, port.port);

    let set_up = car.set_up(&line("p2p-inner setup ")).await;
    assert_eq!(set_up.code, Some(0), "{}", set_up.errors);
    assert!(
        set_up.errors.contains("\n  p2p-inner\n"),
        "{}",
        set_up.errors
    );
    assert_eq!(mode(&car.file("inner.key")), 0o600);
    let (_inner, service_port) = linked(&car).await;
    desk.log_in(&line("p2p-console login ")).await;
    let listed = desk.console(&["list"]).await;
    assert!(
        listed.out.contains("\ncar "),
        "{} {}",
        listed.out,
        listed.errors
    );
    let sent = desk
        .console(&["send", "car", "forward", "--for", "1s"])
        .await;
    assert!(
        sent.out.contains("the car goes forward"),
        "{} {}",
        sent.out,
        sent.errors
    );
    let answer = get_with_key(service_port, "/cgi?command=hello", &desk.key()).await;
    assert_eq!(answer.text(), "hello from car\n");
    let keys = public.router("key list").await.out;
    assert!(
        keys.contains("operator") && !keys.contains("invited"),
        "{keys}"
    );
}

#[tokio::test]
async fn what_is_said_is_kept_and_no_invitation_is_printed_where_the_output_may_be_kept() {
    let public = Home::new();
    let words = "--bind 127.0.0.1 setup --user --yes --domain cars.test --main-port 8899";
    let set_up = public.router(words).await;
    assert_eq!(set_up.code, Some(0), "{}", set_up.errors);
    assert_eq!(set_up.out, "");
    let said = "`p2p-router key add car --role link --invite";
    assert!(set_up.errors.contains(said), "{}", set_up.errors);
    let settings = || fs::read_to_string(public.file("router.toml")).unwrap();
    let first = settings();
    for line in [
        "bind = \"127.0.0.1\"",
        "domain = \"cars.test\"",
        "port = 8899",
    ] {
        assert!(first.contains(line), "{first}");
    }
    let again = public.router("setup --user --yes").await;
    assert_eq!(again.code, Some(0), "{}", again.errors);
    assert_eq!(settings(), first);
}

#[tokio::test]
async fn an_invitation_is_good_once_for_whom_it_is_for_and_for_a_day() {
    let (public, car) = (Home::new(), Home::new());
    let _router = public.start_router().await;
    let for_car = public.invite("car", "link").await;
    let wrong = Home::new().console(&["login", &for_car]).await;
    assert_eq!(wrong.code, Some(5));
    assert!(
        wrong.errors.contains("is for `p2p-inner setup`"),
        "{}",
        wrong.errors
    );
    let good = car.set_up(&for_car).await;
    assert_eq!(good.code, Some(0), "{}", good.errors);
    let other = Home::new();
    let used = other.set_up(&for_car).await;
    assert_eq!(used.code, Some(1));
    let said = "used before, and each is good once: make another (p2p-router key add";
    assert!(used.errors.contains(said), "{}", used.errors);
    assert!(
        used.errors.contains("a stranger has the key `car`"),
        "{}",
        used.errors
    );
    assert!(!other.file("inner.key").exists() && !other.file("inner.toml").exists());

    let late = public.invite("van", "link").await;
    let made = |ago: u64| {
        let now = SystemTime::now() - Duration::from_secs(ago);
        now.duration_since(UNIX_EPOCH).unwrap().as_secs()
    };
    let invites = public.state("invites.toml");
    let text = fs::read_to_string(&invites).unwrap();
    let (before, last) = text.rsplit_once("made = ").unwrap();
    let (_, rest) = last.split_once('\n').unwrap();
    let older = format!("{before}made = {}\n{rest}", made(24 * 3600 + 60));
    fs::write(&invites, older).unwrap();
    let late = other.set_up(&late).await;
    assert!(
        late.errors.contains("is older than 1day: make another"),
        "{}",
        late.errors
    );
    let keys = public.router("key list").await.out;
    assert!(keys.contains("car") && !keys.contains("van"), "{keys}");
}

#[tokio::test]
async fn what_is_not_the_router_that_invited_gets_nothing_and_is_told_apart() {
    let (public, car) = (Home::new(), Home::new());
    let router = public.start_router().await;
    let good: Invitation = public.invite("car", "link").await.parse().unwrap();
    let another = Some(Fingerprint::of_public_key(b"another"));
    let stranger = Invitation::new(good.code.clone(), good.router.clone(), another);
    let refused = car.set_up(&stranger.expose()).await.errors;
    assert!(
        refused.contains("is not the router that made this invitation"),
        "{refused}"
    );
    let made_up = Invitation {
        code: p2p_shared::key::InviteCode::generate().unwrap(),
        ..good.clone()
    };
    let refused = car.set_up(&made_up.expose()).await.errors;
    assert!(
        refused.contains("has not made this invitation"),
        "{refused}"
    );
    let nobody = ReservedPort::new();
    let elsewhere = format!("127.0.0.1:{}", nobody.port);
    let words = [
        "setup",
        "--user",
        "--yes",
        "--router",
        &elsewhere,
        &good.expose(),
    ];
    let refused = run(inner(car.0.path()).args(words)).await.errors;
    assert!(
        refused.contains("is the router running, and the port open"),
        "{refused}"
    );
    let refused = run(inner(car.0.path()).args(["setup", "--user"]))
        .await
        .errors;
    assert!(
        refused.contains("The invitation? Nobody is there to answer"),
        "{refused}"
    );
    // It is as good as before.
    let set_up = car.set_up(&good.expose()).await;
    assert_eq!(set_up.code, Some(0), "{}", set_up.errors);
    drop(router);
}

#[tokio::test]
async fn who_sets_up_again_keeps_the_key_and_changes_what_is_said() {
    let (public, car) = (Home::new(), Home::new());
    let router = public.start_router().await;
    let set_up = car.set_up(&public.invite("car", "link").await).await;
    assert_eq!(set_up.code, Some(0), "{}", set_up.errors);
    let key = fs::read(car.file("inner.key")).unwrap();
    fs::remove_file(car.0.path().join("command/stop")).unwrap();
    let words = [
        "setup",
        "--user",
        "--yes",
        "--name",
        "van",
        "--camera",
        "sh -o 'a b'",
    ];
    let again = run(inner(car.0.path()).args(words)).await;
    assert_eq!(again.code, Some(0), "{}", again.errors);
    assert!(again.errors.contains("lacks `stop`"), "{}", again.errors);
    assert_eq!(fs::read(car.file("inner.key")).unwrap(), key);
    let settings = fs::read_to_string(car.file("inner.toml")).unwrap();
    assert!(settings.contains("name = \"van\"\n"), "{settings}");
    assert!(settings.contains("camera = \"sh -o 'a b'\""), "{settings}");
    let words = ["setup", "--user", "--yes", "--camera", "/no/such/cam -o -"];
    let missing = run(inner(car.0.path()).args(words)).await;
    assert_eq!(missing.code, Some(1));
    let sentence = "there is no program /no/such/cam";
    assert!(missing.errors.contains(sentence), "{}", missing.errors);
    assert_eq!(
        fs::read_to_string(car.file("inner.toml")).unwrap(),
        settings
    );
    public.router("key revoke car").await;
    let refused = async || {
        let words = ["setup", "--user", "--yes"];
        let refused = run(inner(car.0.path()).args(words)).await;
        refused.code == Some(1) && refused.errors.contains("refuses the key")
    };
    until_so("the router refuses the key", refused).await;
    drop(router);
    let words = ["setup", "--user", "--yes", "--name", "bus"];
    let off = run(inner(car.0.path()).args(words)).await;
    assert_eq!(off.code, Some(0), "{}", off.errors);
    assert!(off.errors.contains("could not be tried"), "{}", off.errors);
}

#[tokio::test]
async fn a_phone_is_signed_in_once_by_a_code_that_a_preview_does_not_use_up() {
    let (public, car, desk) = (Home::new(), Home::new(), Home::new());
    let _router = public.start_router().await;
    car.set_up(&public.invite("car", "link").await).await;
    let (_inner, port) = linked(&car).await;
    desk.log_in(&public.invite("desk", "drive").await).await;
    let shown = desk.console(&["qr", "car"]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.errors);
    let address = shown.out.lines().last().unwrap().to_owned();
    assert!(
        address.starts_with(&format!("https://127.0.0.1:{port}/qr#")),
        "{address}"
    );
    // What previews and crawlers get.
    let preview = get_with_key(port, "/qr", &desk.key()).await;
    assert_eq!(preview.status.as_u16(), 200);
    let phone = Chromium::start(&[]).await;
    phone.open(&address).await;
    let content = "return document.documentElement.textContent";
    until_so("the page is there", async || {
        let text = phone.script(content).await;
        text.as_str().unwrap().contains("Signed in as desk")
    })
    .await;
    assert_eq!(phone.address().await, format!("https://127.0.0.1:{port}/"));
    let other = Chromium::start(&[]).await;
    other.open(&address).await;
    other.reads("was used before").await;
    assert_eq!(other.cookies().await.as_array().unwrap().len(), 0);
}
