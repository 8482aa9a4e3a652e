//! `p2p-inner setup`: redeems an invitation for a key, asks what else is needed, writes settings and key, and
//! starts the service where systemd runs one. Run again, it changes what has changed.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use p2p_shared::net::dialer::MAIN_PORT;
use p2p_shared::settings::CommandLine;
use p2p_shared::setup::{
    Place, Questions, Service, ServiceState, ServiceUser, SettingsFile, make_folder, say,
};

use crate::agent::{LINKED, REFUSED};
use crate::config;
use crate::config::setup_options::{SampleKind, SetupOptions};

pub use problems::check_commands;

mod key;
mod problems;
mod samples;

/// The service of an inner.
const SERVICE: Service = Service {
    name: "p2p-inner",
    unit: include_str!("../../../scripts/systemd/p2p-inner.service"),
};
/// Groups of what commands touch: pins, buses, cameras, serial ports, speakers.
const GROUPS: [&str; 7] = ["gpio", "i2c", "spi", "video", "render", "dialout", "audio"];
/// Name of settings and key.
const PROGRAM: &str = "inner";
/// Time until the link is up.
const LINK_UP: Duration = Duration::from_secs(60);
/// Answer for no camera.
const NO_CAMERA: &str = "none";

/// Sets this machine up.
///
/// # Errors
/// A sentence for the terminal. What was redeemed is kept.
#[tokio::main(flavor = "current_thread")]
pub async fn run(options: SetupOptions) -> anyhow::Result<()> {
    let place = Place::find(options.user)?;
    place.make()?;
    let (path, form) = place.settings(PROGRAM);
    let mut setup = Setup {
        settings: SettingsFile::read(&path, form)?,
        user: match place.is_service {
            true => Some(SERVICE.user(&GROUPS)?),
            false => None,
        },
        place,
        questions: Questions { yes: options.yes },
        options,
    };
    setup.take_key().await?;
    let commands = setup.ask()?;
    let directory = setup.make_directory(&commands)?;
    setup
        .settings
        .set("commands", Some(&path_text(&directory)?));
    let has_changed = setup.settings.write()?;
    setup.say_problems(&directory);
    match setup.user {
        Some(user) => setup.start(user),
        None => {
            setup.say_how_to_start(has_changed);
            Ok(())
        }
    }
}

struct Setup {
    place: Place,
    settings: SettingsFile,
    /// The service's user, if it is one.
    user: Option<ServiceUser>,
    questions: Questions,
    options: SetupOptions,
}

impl Setup {
    /// Asks for all settings but the key. Returns the directory of commands.
    fn ask(&mut self) -> anyhow::Result<PathBuf> {
        let Self {
            settings,
            questions,
            options,
            ..
        } = self;
        let kept = |option| settings.get(option);
        let name = known("name", kept("name"))?.map_or_else(config::host_name, Ok)?;
        let name = questions.ask("The name of this machine", options.name.take(), Some(name))?;
        let directory = kept("commands").unwrap_or_else(|| match self.place.is_service {
            true => "/etc/p2prouter/commands".to_owned(),
            false => "command".to_owned(),
        });
        let given = options
            .commands
            .take()
            .map(|path| path_text(&path))
            .transpose()?;
        let directory = questions.ask("The directory of its commands", given, Some(directory))?;
        let directory = at_home(directory, std::env::var("HOME").ok().as_deref());
        let port = known("service-port", kept("service-port"))?;
        let is_new = port.is_none();
        let port = port.unwrap_or(0);
        let what = "The service port (0: any that the key is for)";
        let port = questions.ask(what, options.service_port, Some(port))?;
        let given = options.camera.take();
        // Who was asked once and wants none is not given one.
        let find = || (is_new && given.is_none()).then(samples::camera).flatten();
        let camera = kept("camera").or_else(|| find().map(str::to_owned));
        let camera = camera.unwrap_or_else(|| NO_CAMERA.to_owned());
        let what = "The camera's program, or none";
        let check = |camera: &String| check_camera(camera, Path::new(&directory));
        let camera = questions.ask_for(what, given, Some(camera), check)?;
        settings.set("name", Some(&name.to_string()));
        settings.set("service-port", Some(&port.to_string()));
        settings.set("camera", Some(&*camera).filter(|it| *it != NO_CAMERA));
        Ok(directory.into())
    }

    /// Makes the directory if need be, with sample commands in it if somebody wants them. Returns its path.
    fn make_directory(&self, path: &Path) -> anyhow::Result<PathBuf> {
        let path = std::path::absolute(path)?;
        let has_files = |path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if has_files(&path) {
            return Ok(path);
        }
        let made = make_folder(&path, 0o755)?;
        let what = "It is empty. Sample commands: text (a car that only prints), gpiozero, pinctrl or none";
        let kind = (self.questions).ask(what, self.options.samples, Some(SampleKind::Text))?;
        samples::write(kind, &made)?;
        Ok(path)
    }

    fn start(&self, user: ServiceUser) -> anyhow::Result<()> {
        let has_changed =
            user.has_changed || SERVICE.is_older_than(&[self.settings.path(), &self.key_file()])?;
        if SERVICE.is_active()? {
            say(match has_changed {
                true => "p2p-inner is started anew, which stops the car",
                false => "nothing has changed, so p2p-inner goes on as it was",
            });
        }
        SERVICE.start(has_changed)?;
        say("p2p-inner runs, now and at each boot; waiting for its link");
        let page = SERVICE.wait_for(LINK_UP, link_of)??;
        say(&format!(
            "link up: {page}\n\
             Open that page in a browser, or run `p2p-console` at your desk: the arrow keys drive.\n\
             The commands are in {}; the log is `journalctl -fu p2p-inner`.",
            self.settings.get("commands").unwrap_or_default()
        ));
        Ok(())
    }

    /// Returns the routers' main port.
    fn port(&self) -> String {
        let port = self.settings.get("router-port");
        port.unwrap_or_else(|| MAIN_PORT.to_string())
    }

    fn say_how_to_start(&self, has_changed: bool) {
        let path = self.settings.path().display();
        let get = |option| self.settings.get(option).unwrap_or_default();
        let (host, port, service_port) = (get("router-host"), self.port(), get("service-port"));
        if has_changed {
            say(&format!("the settings are in {path}"));
        }
        say(&format!(
            "Start it, with these settings:\n\n  p2p-inner\n\n\
             or, to have it started again whenever it dies, by a script of the source and of the .tar.gz:\n\n  \
             scripts/p2p-inner-server.sh {host} {port} {service_port} --config {path}\n\n\
             It prints `link up` and the address of the page to open, where the arrow keys drive.{}",
            match p2p_shared::setup::is_systemds() {
                true =>
                    "\nTo start it at boot, run `sudo p2p-inner setup` with another invitation.",
                false => "",
            }
        ));
    }
}

/// Returns the page of a service that has its link, or why it is not going to have one; `None`: that is not known yet.
fn link_of(state: &ServiceState) -> Option<anyhow::Result<String>> {
    let refused = || {
        let why = state.status.strip_prefix(REFUSED)?;
        Some(Err(anyhow::anyhow!(
            "p2p-inner runs, but has no link: {why}"
        )))
    };
    match state.status.strip_prefix(LINKED) {
        Some(page) => Some(Ok(page.to_owned())),
        None => refused(),
    }
}

fn known<T: FromStr<Err: Display>>(
    option: &str,
    kept: Option<String>,
) -> anyhow::Result<Option<T>> {
    let parsed = kept.map(|text| text.parse()).transpose();
    parsed.map_err(|why| anyhow::anyhow!("{option} in the settings: {why}"))
}

/// Checks that there is such a program, which runs in the directory of commands.
fn check_camera(camera: &str, directory: &Path) -> anyhow::Result<()> {
    let words = camera.parse::<CommandLine>()?.into_words();
    let program = words.first().map_or("", |word| word);
    ensure!(
        program == NO_CAMERA
            || samples::is_there(program)
            || program.contains('/') && directory.join(program).is_file(),
        "there is no program {program}: give its whole path, or install it first"
    );
    Ok(())
}

/// Puts the home in place of a `~/` at the beginning, as a shell does.
fn at_home(path: String, home: Option<&str>) -> String {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => path,
    }
}

fn path_text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.with_context(|| format!("{} is no text", path.display()))
}

#[cfg(test)]
mod tests;
