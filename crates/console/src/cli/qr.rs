//! `qr`: shows a code that signs the browser of a phone in, once, at a car's page.

use std::io::Write as _;
use std::process::ExitCode;

use p2p_shared::invitation::post::{self, PAGE_CODE, PageCode};
use p2p_shared::net::dialer::{RouterAddress, bracketed};
use p2p_shared::setup::say;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use super::client::RouterClient;
use crate::connection::RouterTarget;
use crate::exit_code::{ERROR, Failure, OFFLINE};

/// Black on white, as phones read it best, and back.
const COLOURS: [&str; 2] = ["\x1b[38;5;16;48;5;231m", "\x1b[0m"];

pub(super) async fn run(
    target: &RouterTarget,
    link: Option<&str>,
    colour: bool,
) -> anyhow::Result<ExitCode> {
    let client = RouterClient::connect(target).await?;
    let found = match (link, &client.links[..]) {
        (Some(wanted), _) => client.find(wanted).cloned(),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Failure::new(
            OFFLINE,
            format!("{}: {}", client.router, client.nobody()),
        )),
        (None, links) => {
            let names: Vec<_> = links.iter().map(|it| it.name.as_str()).collect();
            let why = format!(
                "for which car? There are {}: p2p-console qr LINK",
                names.join(", ")
            );
            Err(Failure::usage(why))
        }
    };
    let router = client.router.clone();
    client.close().await;
    let link = found?;
    let port = link.service_port;
    let address = match &target.key {
        None => format!("http://{}:{port}/", bracketed(&router.host)),
        Some(key) => {
            let path = format!("{PAGE_CODE}?port={port}");
            let answer = post::post(&router, key, &path)
                .await
                .map_err(Failure::from)?;
            let page: PageCode = serde_json::from_slice(&answer.body)?;
            page_address(&router, port, &page)
        }
    };
    // Colours are no text of others, which alone is escaped.
    let drawn = lines(&address, colour)?.join("\n") + "\n";
    std::io::stdout().write_all(drawn.as_bytes())?;
    say(&match target.key {
        None => format!("the phone's camera opens the page of {}", link.name),
        Some(_) => format!(
            "the phone's camera opens the page of {} and is signed in as you are here: once, within 5 minutes",
            link.name
        ),
    });
    Ok(ExitCode::SUCCESS)
}

fn page_address(router: &RouterAddress, service_port: u16, page: &PageCode) -> String {
    let (host, port) = match &page.host {
        Some(host) => (host, router.port),
        None => (&router.host, service_port),
    };
    let host = bracketed(host);
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    format!("https://{host}{port}/qr#{}", page.code)
}

/// Draws the code of an address, with the address below it.
fn lines(address: &str, colour: bool) -> Result<Vec<String>, Failure> {
    let code = QrCode::with_error_correction_level(address, EcLevel::L);
    let code =
        code.map_err(|error| Failure::new(ERROR, format!("no code can be made: {error}")))?;
    let mut renderer = code.render::<Dense1x2>();
    // Where nobody may set colours, most terminals are dark.
    if !colour {
        renderer
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark);
    }
    let [on, off] = if colour { COLOURS } else { [""; 2] };
    let drawn = renderer.build();
    let lines = drawn.lines().map(|line| format!("{on}{line}{off}"));
    Ok(lines.chain([address.to_owned()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_at_the_service_port_or_at_a_name_and_its_code_in_the_fragment() {
        let router: RouterAddress = "[2001:db8::1]:443".parse().unwrap();
        let page = |host: Option<&str>| PageCode {
            code: "x".to_owned(),
            host: host.map(str::to_owned),
        };
        let address = |host| page_address(&router, 9000, &page(host));
        assert_eq!(address(None), "https://[2001:db8::1]:9000/qr#x");
        assert_eq!(
            address(Some("9000.cars.test")),
            "https://9000.cars.test/qr#x"
        );
    }

    #[test]
    fn a_code_fits_a_terminal_of_24_lines_and_is_the_same_in_both_looks() {
        let address = "https://router.example.org:9000/qr#abcdefghijklmnop";
        let [plain, coloured] = [false, true].map(|colour| lines(address, colour).unwrap());
        assert!(plain.len() < 24, "{}", plain.len());
        assert_eq!(plain.last().unwrap(), address);
        assert_eq!(plain.len(), coloured.len());
        let swap = |line: &str| -> String {
            let swapped = |c| match c {
                ' ' => '█',
                '█' => ' ',
                '▀' => '▄',
                '▄' => '▀',
                c => c,
            };
            line.chars().map(swapped).collect()
        };
        let bare = coloured[3].strip_prefix(COLOURS[0]).unwrap();
        assert_eq!(swap(&plain[3]), bare.strip_suffix(COLOURS[1]).unwrap());
    }
}
