//! A simulated car for whoever has none: a worker that `p2p-inner` drives, and the camera that shows
//! what the car sees, in one program, as a real car's program may be. Put it into the command directory as
//! `car.worker`, and a file `stop` beside it that calls `./car.worker stop`.

#![expect(
    clippy::cast_possible_truncation,
    reason = "pixels and colours are what floats are rounded to"
)]

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod camera;
mod car;
mod course;
mod ground;
mod paint;
mod render;
mod scene;
mod worker;

use car::{CarFile, Motion};

/// A simulated car: without a subcommand it is a worker of p2p-inner, which starts it
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Where worker and camera meet; as it is, both have to work in the same folder
    #[arg(long, global = true, default_value = ".sim-car", value_name = "FILE")]
    car: PathBuf,
}

#[derive(Subcommand)]
enum Role {
    /// Write what the car sees to standard output: JPEG after JPEG, until nobody reads it
    Camera {
        /// Pixels, from 64x48 to 1920x1080
        #[arg(long, default_value = "640x480", value_parser = size, value_name = "WIDTHxHEIGHT")]
        size: (u16, u16),
        /// Pictures a second
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
        rate: u32,
    },
    /// Stop the car, whatever has become of its worker
    Stop,
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let numbers = text.split_once('x');
    numbers
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
        .filter(|(width, height)| (64..=1920).contains(width) && (48..=1080).contains(height))
        .ok_or_else(|| "a size is from 64x48 to 1920x1080".to_owned())
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let file = CarFile(arguments.car);
    match arguments.role {
        None => {
            file.start()?;
            worker::serve(io::stdin().lock(), io::stdout().lock(), &file)?;
        }
        Some(Role::Camera { .. }) if io::stdout().is_terminal() => {
            eprintln!(
                "the pictures go to standard output, and a terminal can't show them: try `… camera | ffplay -`"
            );
            return Ok(ExitCode::from(2));
        }
        Some(Role::Camera { size, rate }) => camera::film(size, rate, &file, io::stdout().lock())?,
        Some(Role::Stop) => {
            let said = match file.tell(Motion::Stop, 0.0) {
                Ok(car) => worker::sentence(&car),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    "there is no worker, so that the car stands\n".to_owned()
                }
                Err(error) => return Err(error.into()),
            };
            // Whether anyone reads it or not, the car stands.
            let _ = io::stdout().write_all(said.as_bytes());
        }
    }
    Ok(ExitCode::SUCCESS)
}
