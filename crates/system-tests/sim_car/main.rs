//! A simulated car for whoever has none: a worker that `p2p-inner` drives, and the camera that shows
//! what the car sees, in one program, as a real car's program may be. Put what
//! `cargo build --release --bin sim-car` makes into the command directory as
//! `car.worker`, and a file `stop` beside it that calls `./car.worker stop`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

mod camera;
mod course;
mod garage;
mod ground;
mod hud;
mod paint;
mod radio;
mod render;
mod scene;
mod sky;
mod surfaces;
mod texture;
mod words;
mod worker;
mod world;

use camera::Size;
use garage::Garage;
use radio::{Receiver, SOCKET, Station};

/// How long a worker may take to stop the car: less than the inner gives the stop command.
const STOP: Duration = Duration::from_millis(800);

/// How long a picture waits for a worker that does not say where the car is.
const PATIENCE: Duration = Duration::from_millis(100);

/// A simulated car: without a subcommand it is a worker of p2p-inner, which starts it
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Where worker and camera meet; as it is, both have to work in the same folder
    #[arg(long, global = true, default_value = SOCKET, value_name = "SOCKET")]
    car: PathBuf,
}

#[derive(Subcommand)]
enum Role {
    /// Write what the car sees to standard output: JPEG after JPEG, until nobody reads it
    Camera {
        /// Pixels, from 64x48 to 1920x1080
        #[arg(long, default_value = "640x480", value_parser = size, value_name = "WIDTHxHEIGHT")]
        size: Size,
        /// Pictures a second
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
        rate: u32,
    },
    /// Stop the car, whatever has become of its worker
    Stop,
}

fn size(text: &str) -> Result<Size, String> {
    let numbers = text.split_once('x').and_then(|(width, height)| {
        let (width, height) = (width.parse().ok()?, height.parse().ok()?);
        Some(Size { width, height })
    });
    match numbers {
        Some(size) if (64..=1920).contains(&size.width) && (48..=1080).contains(&size.height) => {
            Ok(size)
        }
        _ => Err("a size is from 64x48 to 1920x1080".to_owned()),
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.role {
        None => drive(&arguments.car)?,
        Some(Role::Camera { .. }) if io::stdout().is_terminal() => {
            eprintln!(
                "the pictures go to standard output, and a terminal can't show them: try `… camera | ffplay -`"
            );
            return Ok(ExitCode::from(2));
        }
        Some(Role::Camera { size, rate }) => {
            camera::film(size, rate, &arguments.car, PATIENCE, io::stdout().lock())?;
        }
        Some(Role::Stop) => return Ok(stop(&arguments.car)),
    }
    Ok(ExitCode::SUCCESS)
}

fn drive(socket: &Path) -> io::Result<()> {
    let garage = Arc::new(Garage::new());
    let station = Station::open(socket, &garage);
    if let Err(error) = &station {
        // It drives all the same.
        let socket = socket.display();
        eprintln!("the camera will show no car, since {socket} can't be made: {error}");
    }
    worker::talk(io::stdin().lock(), io::stdout().lock(), &garage)
}

fn stop(socket: &Path) -> ExitCode {
    let said = match Receiver::tune(socket, STOP) {
        // The car is in the worker's memory: without the one there is not the other.
        Err(_) => "there is no worker, so that the car stands\n".to_owned(),
        Ok(receiver) => match receiver.stop() {
            Ok(pose) => words::tell(&pose),
            Err(error) if is_silence(&error) => {
                eprintln!("the car's worker does not answer: it hangs, or is stopped");
                return ExitCode::FAILURE;
            }
            Err(_) => "the worker has just ended, so that the car stands\n".to_owned(),
        },
    };
    // Whether anyone reads it or not, the car stands.
    let _ = io::stdout().write_all(said.as_bytes());
    ExitCode::SUCCESS
}

fn is_silence(error: &io::Error) -> bool {
    use io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}
