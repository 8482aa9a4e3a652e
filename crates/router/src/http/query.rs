//! Decodes the query of `/cgi`, once and strictly, into a type.

use std::borrow::Cow;
use std::fmt::Display;

use bytes::Bytes;
use hyper::{StatusCode, Uri};
use p2p_shared::bounded::{Arguments, BoundError};
use p2p_shared::key::Key;
use p2p_shared::names::{Argument, CommandName};
use percent_encoding::{percent_decode, percent_decode_str};

use crate::http::response::Problem;

#[derive(Debug, PartialEq, Eq)]
pub struct CgiQuery {
    pub command: CommandName,
    pub arguments: Arguments,
    /// True to get the output as it comes.
    pub stream: bool,
    /// Duration of a motion, in milliseconds.
    pub for_ms: Option<u64>,
}

impl CgiQuery {
    /// Parses the part of the address after `?`. The error is the sentence for the caller.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut command = None;
        let mut arguments = Vec::new();
        let mut stream = None;
        let mut for_ms = None;
        for (key, value) in pairs(query) {
            let value = decode(value.unwrap_or_default())?;
            match &*decode(key)? {
                b"command" => {
                    let no_name =
                        |why: &dyn Display| format!("this can't be a command's name: {why}");
                    let name = String::from_utf8(value.into());
                    let name = name.map_err(|_| no_name(&"it is not UTF-8"))?;
                    let name = CommandName::try_from(name).map_err(|error| no_name(&error))?;
                    once("command", &mut command, name)?;
                }
                b"arg" => {
                    let argument = Argument::try_from(Bytes::from(Vec::from(value)));
                    arguments.push(argument.map_err(|_| {
                        "an argument has a NUL byte (%00), which no program can be given: leave it out"
                    })?);
                }
                b"stream" => match &*value {
                    b"1" => once("stream", &mut stream, true)?,
                    b"0" => once("stream", &mut stream, false)?,
                    _ => return Err("stream= is neither 0 nor 1".to_owned()),
                },
                b"for" => once("for", &mut for_ms, milliseconds(&value)?)?,
                // An unknown parameter may be meant to limit what runs.
                _ => {
                    return Err("there is a parameter other than command, arg, for and stream: nothing was run".to_owned());
                }
            }
        }
        Ok(Self {
            command: command.ok_or(
                "no command is asked for: add ?command=NAME; GET /commands lists what there is",
            )?,
            arguments: arguments
                .try_into()
                .map_err(|error: BoundError| error.to_string())?,
            stream: stream.unwrap_or(false),
            for_ms,
        })
    }
}

/// Parameter names that people use for a key in an address.
const KEY_NAMES: [&str; 6] = [
    "key",
    "token",
    "access_token",
    "api_key",
    "apikey",
    "p2p_key",
];

/// Refuses any address with a key in it: browsers, proxies and logs keep addresses and show them to
/// others (RFC 6750, 5.3).
pub(crate) fn refuse_keys(address: &Uri) -> Result<(), Problem> {
    let is_key_name = |name: &[u8]| {
        let name = Cow::from(percent_decode(name));
        (KEY_NAMES.iter()).any(|key| name.eq_ignore_ascii_case(key.as_bytes()))
    };
    let query = address.query().unwrap_or_default();
    let is_named = pairs(query).any(|(name, value)| value.is_some() && is_key_name(name));
    let whole = address.path_and_query().map_or("", |whole| whole.as_str());
    if !is_named && !holds_key(whole) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::BAD_REQUEST,
        "a key does not belong in an address, which browsers and proxies keep: revoke that key (p2p-router key revoke NAME), and send the next in the header `Authorization: Bearer KEY`, or sign in at /",
    ))
}

/// Returns true if a word in this text is a key, even one that is escaped twice: the query is
/// decoded only once.
fn holds_key(address: &str) -> bool {
    if !address.contains('%') && !address.contains(Key::BEGINNING) {
        return false;
    }
    let once = percent_decode_str(address).decode_utf8_lossy();
    let twice = percent_decode_str(&once).decode_utf8_lossy();
    twice
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .any(|word| word.parse::<Key>().is_ok())
}

/// Parses one or more digits and nothing else.
fn milliseconds(value: &[u8]) -> Result<u64, String> {
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        None | Some(0) => {
            Err("for= is not a number of milliseconds, from 1 to the car's motion limit".to_owned())
        }
        Some(time) => Ok(time),
    }
}

fn once<T>(key: &str, slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key}= is given twice: give it once")),
    }
}

/// Splits a query into names and values, as they were sent. Works on bytes: a `str` searches for one
/// character at four times the cost in texts as short as these.
fn pairs(query: &str) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let pairs = query.as_bytes().split(|byte| *byte == b'&');
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        (parts.next().unwrap_or_default(), parts.next())
    })
}

/// Decodes a name or a value as forms encode it: a `+` is a space, and then percent escapes (RFC
/// 3986, 2.1). A stray `%` is an error.
fn decode(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let is_hex = |digit: Option<&u8>| digit.is_some_and(u8::is_ascii_hexdigit);
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(bytes.into());
    }
    let stray = bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'%' && !(is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)))
    });
    if stray {
        Err(
            "a '%' is not followed by two hexadecimal digits: write a percent sign as %25"
                .to_owned(),
        )
    } else {
        let plus_is_space = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
        let spaced: Vec<_> = bytes.iter().map(plus_is_space).collect();
        Ok(percent_decode(&spaced).collect::<Vec<_>>().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(query: &str) -> String {
        CgiQuery::parse(query).unwrap_err()
    }

    #[test]
    fn arguments_are_decoded_once_and_kept_in_order() {
        let query = CgiQuery::parse("arg=a%20b&command=dir%2Fgo&arg=%2525%2b%ff&arg=").unwrap();
        assert_eq!(query.command.as_str(), "dir/go");
        let arguments: Vec<_> = query.arguments.iter().map(Argument::as_bytes).collect();
        assert_eq!(arguments, [&b"a b"[..], b"%25+\xff", b""]);
        assert!(!query.stream);
        assert!(CgiQuery::parse("command=a&stream=1").unwrap().stream);
    }

    #[test]
    fn a_plus_is_a_space_as_forms_encode_it() {
        let query = CgiQuery::parse("command=hello&arg=a+b&arg=%2B1&arg=+&for=%31").unwrap();
        let arguments: Vec<_> = query.arguments.iter().map(Argument::as_bytes).collect();
        assert_eq!(arguments, [&b"a b"[..], b"+1", b" "]);
    }

    #[test]
    fn what_cannot_be_run_says_why() {
        let says = |query: &str, said: &str| {
            let error = error(query);
            assert!(error.starts_with(said), "{query}: {error}");
        };
        says("", "no command is asked for: ");
        says("arg=x", "no command is asked for: ");
        says("command=a&command=a", "command= is given twice: ");
        says("command=a&stream=1&stream=0", "stream= is given twice: ");
        says(
            "command=%ff",
            "this can't be a command's name: it is not UTF-8",
        );
        says("command=a%zz", "a '%' is not followed by");
        says("command=a&arg=%", "a '%' is not followed by");
        says("command=a&arg=%00", "an argument has a NUL byte");
        says("command=a&stream=yes", "stream= is neither");
        says(
            "command=forward&until=300",
            "there is a parameter other than",
        );
        says("command=a&for=1&for=2", "for= is given twice: ");
        for time in ["", "0", "-1", "+1", "1.5", "300ms", "18446744073709551616"] {
            says(
                &format!("command=forward&for={time}"),
                "for= is not a number",
            );
        }
        let many = format!("command=a{}", "&arg=x".repeat(257));
        says(&many, "more than 256 arguments: ");
        for way_out in [
            "../../etc/passwd",
            "%2e%2e%2f",
            "..%5c",
            "/etc/passwd",
            "a%0ab",
            "a%00",
            ".",
            "..",
        ] {
            says(
                &format!("command={way_out}"),
                "this can't be a command's name: ",
            );
        }
    }

    #[test]
    fn an_address_with_a_key_in_it_is_refused() {
        let key = Key::generate().unwrap().expose();
        let escaped = key.replace('_', "%5F");
        let twice = key.replace('_', "%255F");
        let refused = |address: &str| refuse_keys(&address.parse().unwrap()).is_err();
        for address in [
            "/cgi?command=a&key=x".to_owned(),
            "/?token=".to_owned(),
            "/cgi?command=a&%6bey=x".to_owned(),
            "/cgi?KEY=x".to_owned(),
            format!("/cgi?command=a&arg={key}"),
            format!("/cgi?command=a&arg={escaped}"),
            format!("/cgi?command=a&arg={twice}"),
            format!("/cgi?command=a&arg=Bearer%20{key}"),
            format!("/cgi?{key}"),
            format!("/{key}/cgi"),
        ] {
            assert!(refused(&address), "{address}");
        }
        for address in [
            "/",
            "/cgi?command=key",
            "/cgi?command=a&arg=key=x",
            "/cgi?command=p2p1_a",
        ] {
            assert!(!refused(address), "{address}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(query in "[ -~]{0,200}") {
            let _ = CgiQuery::parse(&query);
        }

        #[test]
        fn what_a_form_encodes_arrives_as_it_was(text in "[^\u{0}]{0,50}") {
            let query = form_urlencoded::Serializer::new("command=x".to_owned())
                .append_pair("arg", &text)
                .finish();
            let query = CgiQuery::parse(&query).unwrap();
            prop_assert_eq!(query.arguments[0].as_bytes(), text.as_bytes());
        }

        #[test]
        fn any_argument_arrives_as_it_was(bytes in prop::collection::vec(1_u8.., 0..50)) {
            let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            let query = CgiQuery::parse(&format!("command=x&arg={escaped}")).unwrap();
            prop_assert_eq!(query.arguments[0].as_bytes(), &bytes);
        }
    }
}
