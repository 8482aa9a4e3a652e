//! Log lines about driving: changes of control, presses, and the car's reports.

use std::time::Duration;

use p2p_shared::names::LinkName;
use p2p_shared::protocol::{ActiveMotion, MotionEvent, PressId};
use p2p_shared::timing::millis_f64;
use tracing::field::display;

use super::DriverSession;
use crate::car::control::{Event, Taken};
use crate::run::NewRun;

pub(super) fn control(link: &LinkName, event: &Event) {
    match event {
        Event::Taken { driver, how } => {
            let (how, from) = match how {
                Taken::Free => ("it was free", String::new()),
                Taken::Granted { by } => ("granted", by.name.to_string()),
                Taken::Seized { from } => ("seized", from.name.to_string()),
            };
            let session = driver.session.0;
            tracing::info!(%link, driver = %driver.name, session, how, from, "control taken");
        }
        Event::Requested { driver } => {
            tracing::info!(%link, by = %driver.name, session = driver.session.0, "control requested");
        }
        Event::Declined { driver, why } => {
            let (by, why) = (&driver.name, format!("{why:?}").to_lowercase());
            tracing::info!(%link, %by, session = driver.session.0, why, "control not granted");
        }
        Event::Released { driver, why } => {
            let (driver, session) = (&driver.name, driver.session.0);
            let why = format!("{why:?}").to_lowercase();
            tracing::info!(%link, %driver, session, why, "control released");
        }
    }
}

pub(super) fn pressed(
    link: &LinkName,
    who: &DriverSession,
    press: PressId,
    new: &NewRun,
    rtt: Option<Duration>,
) {
    tracing::info!(
        %link,
        %press,
        run = %new.run,
        command = %new.command,
        driver = %who.driver.name,
        from = %who.from,
        car_rtt_ms = rtt.map(millis_f64),
        console_rtt_ms = who.rtt.map(millis_f64),
        "press"
    );
}

/// Logs what a car that moved so reports. Its key is named, so that the lines count as the key's: a car may have any
/// number of names.
pub(super) fn motion(
    link: &LinkName,
    key: &str,
    moving: Option<&ActiveMotion>,
    event: &MotionEvent,
) {
    match event {
        MotionEvent::Started(moving) => {
            let (run, command, press) = (moving.run, &moving.command, moving.press.map(display));
            tracing::info!(%link, key, %run, %command, press, "motion started");
        }
        MotionEvent::Refused { press, why } => {
            tracing::info!(%link, key, %press, %why, "motion refused");
        }
        MotionEvent::Over {
            press, cause, by, ..
        } => {
            let run = moving.filter(|moving| moving.press == *press);
            let run = run.map(|moving| display(moving.run));
            let (press, by) = (press.map(display), by.as_ref().map(display));
            tracing::info!(%link, key, run, press, %cause, by, "motion over");
        }
        MotionEvent::Ended { run, end, exec_us } => {
            let exec_ms = *exec_us as f64 / 1e3;
            tracing::info!(%link, key, %run, exit = %end, exec_ms, "motion process ended");
        }
        MotionEvent::Stopped {
            cause,
            end,
            exec_us,
            failure,
        } => {
            let said = failure.as_ref().map(|failure| display(&failure.said));
            let run = moving.map(|moving| display(moving.run));
            let press = moving.and_then(|moving| moving.press).map(display);
            let tries = failure.as_ref().map(|failure| failure.tries);
            let exec_ms = *exec_us as f64 / 1e3;
            tracing::info!(%link, key, run, press, %cause, exit = %end, exec_ms, tries, said, "stop ended");
        }
        MotionEvent::Stands => tracing::info!(%link, key, "car stands"),
        MotionEvent::StopFailed => {
            tracing::error!(%link, key, "STOP FAILED: nothing moves until a stop has succeeded");
        }
    }
}
