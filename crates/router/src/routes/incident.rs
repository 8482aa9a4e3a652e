//! Answers `POST /incident` with the report of what became of a car: what the car, this router's log and the asking
//! page know, in one file.

use std::time::{Duration, Instant, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use p2p_shared::incident::{Incident, Own, Subject, Told};
use p2p_shared::timing::{self, millis};
use serde::Deserialize;

use crate::auth::access::Caller;
use crate::http::response::{AnswerBody, Executed, Problem};
use crate::link::work::NoAnswer;
use crate::net::limits;
use crate::page::incident_report;
use crate::routes::cgi::read_body;
use crate::routes::request::RequestContext;

/// Path of the report.
pub(crate) const PATH: &str = "/incident";

/// The first line of a request, in JSON. Lines of what the page has noted follow, as a log has them.
#[derive(Debug, Deserialize)]
struct Asked {
    /// Length of the time of which the report tells.
    last_ms: u64,
    /// Time of day at the page as it asked, in milliseconds since 1970.
    now_ms: u64,
    /// Round trip between page and router.
    rtt_ms: u32,
    /// By how many minutes the page's time of day is ahead of UTC.
    zone_min: i32,
    /// Address of the router, as the page has it.
    router: String,
}

impl RequestContext<'_> {
    /// Answers `POST /incident`.
    pub(crate) async fn incident(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let room = self.room(caller, limits::NOTES)?;
        let most = (limits::NOTES, "that a page may have noted");
        let body = read_body(request, most, self.context.config.patience.body).await?;
        let mut lines = body.splitn(2, |byte| *byte == b'\n');
        let asked = serde_json::from_slice(lines.next().unwrap_or_default());
        let asked: Asked = asked.map_err(|error| {
            let sentence = format!(
                "the first line of the body does not ask for a report ({error}): open the car's page again, which may be of another version than this router"
            );
            Problem::new(StatusCode::BAD_REQUEST, sentence)
        })?;
        let notes = body.slice_ref(lines.next().unwrap_or_default());
        let last = Duration::from_millis(asked.last_ms.min(limits::LONGEST_PAST_MS));
        let clock = PageClock {
            at: self.begun,
            asked,
        };
        let (name, service_port) = (self.car.name(), self.car.port);
        let mut car = Told::default();
        let begun = timing::now();
        match self.past(last).await {
            Ok(lines) => {
                let half = timing::now().saturating_duration_since(begun) / 2;
                car.lines = lines;
                car.answered = Some(clock.answered(begun + half, half));
            }
            Err(why) => car.missing = why,
        }
        let log = self.context.own_log.clone();
        let car_name = name.to_string();
        let made = log.with_lines(name, last, move |lines, read| {
            let router = Told {
                lines,
                answered: Some(clock.answered(read, Duration::ZERO)),
                missing: "it keeps none (--log-dir)".to_owned(),
            };
            let own = Own {
                name: "page",
                lines: &notes,
            };
            let now_ms = clock.ms(timing::now());
            let incident = Incident::of(&car, &router, own, now_ms.saturating_sub(millis(last)));
            let subject = Subject {
                car: &car_name,
                service_port,
                router: &clock.asked.router,
                last,
                until: clock.date(now_ms),
            };
            let page = incident.page(&subject, &|ms| clock.time_of_day(ms));
            incident_report::html(&car_name, &page, &incident.json())
        });
        let html = made.await.ok_or_else(|| {
            let sentence =
                "others ask this router what became of their cars: try again in a moment";
            Problem::unavailable(sentence)
        })?;
        drop(room);
        let html = self.counted(caller, html.into())?;
        Ok(self.page(StatusCode::OK, Executed::No, html))
    }

    /// Asks the car for its past. Returns its lines, or why it told none.
    async fn past(&self, last: Duration) -> Result<Vec<u8>, String> {
        let answer = match (self.car.link_with_past(), self.car.link()) {
            (Some(link), _) => link.ask_past(last).await,
            (None, Some(_)) => {
                return Err("its p2p-inner is older than this router, and keeps none".to_owned());
            }
            (None, None) => Err(NoAnswer::Away),
        };
        match answer {
            Ok(lines) if lines.is_empty() => Err("it answered with nothing".to_owned()),
            Ok(lines) => Ok(lines.into()),
            Err(why) => Err(format!("it {why}")),
        }
    }
}

/// The time of day of the page that asks.
struct PageClock {
    /// The moment at which its request came.
    at: Instant,
    asked: Asked,
}

impl PageClock {
    /// Its time of day at this moment, in milliseconds since 1970.
    fn ms(&self, moment: Instant) -> u64 {
        let later = millis(moment.saturating_duration_since(self.at));
        let on_the_way = u64::from(self.asked.rtt_ms / 2);
        (self.asked.now_ms.saturating_add(on_the_way)).saturating_add(later)
    }

    /// Its time of day at this moment, and how far that may be wrong if the moment may be so by `uncertain`.
    fn answered(&self, moment: Instant, uncertain: Duration) -> (u64, Duration) {
        let on_the_way = Duration::from_millis(u64::from(self.asked.rtt_ms / 2));
        (self.ms(moment), uncertain + on_the_way)
    }

    /// Date and time there, in the form of RFC 3339.
    fn text(&self, ms: u64) -> String {
        let ms = ms.saturating_add_signed(i64::from(self.asked.zone_min) * 60_000);
        // What a page says is its time may be none that can be written.
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms.min(LAST_MS)));
        humantime::format_rfc3339_millis(time.unwrap_or(UNIX_EPOCH)).to_string()
    }

    fn time_of_day(&self, ms: u64) -> String {
        self.text(ms).get(11..23).unwrap_or_default().to_owned()
    }

    fn date(&self, ms: u64) -> String {
        let text = self.text(ms);
        let (date, time) = (text.get(..10), text.get(11..19));
        let zone = self.asked.zone_min;
        format!(
            "{} {} UTC{}{:02}:{:02}",
            date.unwrap_or_default(),
            time.unwrap_or_default(),
            if zone < 0 { '-' } else { '+' },
            zone.unsigned_abs() / 60,
            zone.unsigned_abs() % 60
        )
    }
}

/// The end of the year 9999, in milliseconds since 1970: later times have another form.
const LAST_MS: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(now_ms: u64, zone_min: i32) -> PageClock {
        let asked = format!(
            r#"{{"last_ms":60000,"now_ms":{now_ms},"rtt_ms":20,"zone_min":{zone_min},"router":"a"}}"#
        );
        PageClock {
            at: timing::now(),
            asked: serde_json::from_str(&asked).unwrap(),
        }
    }

    #[test]
    fn times_are_those_of_the_page_and_its_zone() {
        // 2026-12-01, 03:04:05.678 UTC.
        let ms = 1_796_094_245_678;
        let india = clock(ms, 330);
        let later = india.at + Duration::from_secs(1);
        assert_eq!(india.ms(later), ms + 1010);
        assert_eq!(india.time_of_day(ms), "08:34:05.678");
        assert_eq!(india.date(ms), "2026-12-01 08:34:05 UTC+05:30");
        assert_eq!(clock(ms, -210).date(ms), "2026-11-30 23:34:05 UTC-03:30");
    }

    #[test]
    fn a_time_that_is_none_is_written_without_a_panic() {
        for now_ms in [0, u64::MAX] {
            for zone_min in [i32::MIN, i32::MAX] {
                let clock = clock(now_ms, zone_min);
                assert_eq!(clock.time_of_day(clock.ms(clock.at)).len(), 12);
                assert!(clock.date(now_ms).contains(" UTC"));
            }
        }
    }
}
