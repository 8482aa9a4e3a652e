//! A worker in Rust, as small as one can be: it answers `echo` with its arguments. Put what
//! `cargo build --release --bin echo-worker` makes into the command directory as
//! `echo.worker`.
//!
//! What has come is answered with one write: that is all it takes to serve 100,000 a second.

use std::io::{BufRead, BufReader, Write};

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    id: u64,
    args: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    id: u64,
    output: String,
}

fn main() -> anyhow::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, std::io::stdin());
    let mut output = std::io::stdout();
    output.write_all(b"{\"serves\":[\"echo\"]}\n")?;
    output.flush()?;
    let (mut line, mut answers) = (Vec::new(), Vec::new());
    while input.read_until(b'\n', &mut line)? > 0 {
        let Request { id, args } = serde_json::from_slice(&line)?;
        let answer = Answer {
            id,
            output: args.join(" ") + "\n",
        };
        serde_json::to_writer(&mut answers, &answer)?;
        answers.push(b'\n');
        line.clear();
        if !input.buffer().contains(&b'\n') {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
    Ok(())
}
