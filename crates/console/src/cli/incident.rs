//! `incident`: fetches what the car, the router and this desk know of the last minutes of a car, and
//! writes it as lines of JSON and as a page.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use p2p_shared::incident::{Incident, Own, Subject, Told};
use p2p_shared::logging::recent_lines;
use p2p_shared::names::LinkName;
use p2p_shared::protocol::{ConsoleToRouter, MAX_PAST, PastSource, RouterToConsole};
use p2p_shared::timing::millis;

use super::client::{RouterClient, ask, next_message};
use super::output::{self, OutputLine};
use crate::app::wall_clock::WallClock;
use crate::connection::{ConsoleSocket, RouterTarget};
use crate::exit_code::Failure;

const REQUEST: u64 = 2;
/// Time for the answer, which a car reads from its disk.
const ANSWER: Duration = Duration::from_secs(15);

pub(super) async fn run(
    target: &RouterTarget,
    link: &str,
    last: Duration,
    log_dir: &Path,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut client = RouterClient::connect(target).await?;
    let car = client.known(link).cloned()?;
    let asked = match car.past {
        true => fetch(&mut client.socket, car.service_port, last).await,
        // An older router does not know the question.
        false => Ok(Default::default()),
    };
    let router = client.router.to_string();
    client.close().await;
    let (mut told_car, told_router) = asked?;
    told_car.missing =
        "it is away, or older than this console. Ask again when it is back".to_owned();
    let now = SystemTime::now();
    let since = now.checked_sub(last).unwrap_or(UNIX_EPOCH);
    let name = car.name.as_str();
    let desk = recent_lines(log_dir, "p2p-console", since, MAX_PAST, |fields| {
        let link = fields.get("link").and_then(serde_json::Value::as_str);
        link.is_none_or(|link| link == name)
    });
    let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_ms = millis(unix.saturating_sub(last));
    let own = Own {
        name: "desk",
        lines: &desk,
    };
    let incident = Incident::of(&told_car, &told_router, own, since_ms);
    let clock = WallClock::new(Instant::now(), unix, TimeZone::system());
    let now_ms = millis(unix);
    let subject = Subject {
        car: name,
        service_port: car.service_port,
        router: &router,
        last,
        until: clock.full(now_ms),
    };
    let page = incident.page(&subject, &|ms| clock.time_of_day(ms));
    if as_json {
        let lines = incident.json();
        let lines = lines.lines().map(str::to_owned);
        return output::print_lines(lines.map(OutputLine::ForPeople));
    }
    let files = save(&car.name, &clock.stamp(now_ms), &incident.json(), &page)?;
    output::print_lines(
        page.lines()
            .chain(["", &files])
            .map(|line| OutputLine::ForPeople(line.to_owned())),
    )
}

/// Writes both files into this folder. Returns a sentence that names them.
fn save(name: &LinkName, stamp: &str, json: &str, page: &str) -> anyhow::Result<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.as_str().chars().map(plain).collect();
    let first = format!("incident-{name}-{stamp}");
    let others = (2..100).map(|number| format!("{first}-{number}"));
    let is_new = |stem: &String| !Path::new(&format!("{stem}.jsonl")).exists();
    // There may be one of this second.
    let stem = std::iter::once(first.clone()).chain(others).find(is_new);
    let stem = stem.unwrap_or(first);
    let files = [
        (format!("{stem}.jsonl"), json),
        (format!("{stem}.txt"), page),
    ];
    for (file, text) in &files {
        // In it are the addresses of callers.
        let mut options = std::fs::File::options();
        let opened = options.write(true).create_new(true).mode(0o600).open(file);
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            Failure::new(
                1,
                format!("{file} can't be written: {error}: go to a folder that you may write to"),
            )
        })?;
    }
    let [(lines, _), (page, _)] = &files;
    Ok(format!("saved as {page} and {lines}"))
}

/// Asks for the past of the car, and what the router's log has of it.
async fn fetch(
    socket: &mut ConsoleSocket,
    service_port: u16,
    last: Duration,
) -> Result<(Told, Told), Failure> {
    let began = SystemTime::now();
    let question = ConsoleToRouter::AskPast {
        request: REQUEST,
        service_port,
        last_ms: millis(last),
        log: true,
    };
    ask(socket, &question)?;
    let (mut car, mut router) = (Told::default(), Told::default());
    let asking = async {
        loop {
            if let RouterToConsole::Past {
                request: REQUEST,
                source,
                lines,
                more,
            } = next_message(socket).await?
            {
                let told = match source {
                    PastSource::Car => &mut car,
                    PastSource::Router => &mut router,
                };
                told.answered.get_or_insert_with(|| between(began));
                told.lines.extend_from_slice(&lines);
                if !more {
                    return Ok(());
                }
            }
        }
    };
    // A router that is older, or a car that is slow: what has come is told.
    match tokio::time::timeout(ANSWER, asking).await {
        Ok(Err(failure)) => Err(failure),
        Ok(Ok(())) | Err(_) => Ok((car, router)),
    }
}

/// The middle between then and now, and how far that may be wrong.
fn between(began: SystemTime) -> (u64, Duration) {
    let half = began.elapsed().unwrap_or_default() / 2;
    let middle = (began + half).duration_since(UNIX_EPOCH);
    (millis(middle.unwrap_or_default()), half)
}
