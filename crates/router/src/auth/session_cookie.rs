//! Makes and checks session cookies, which a browser sends in place of a key once somebody has
//! signed in. A cookie has the key's id, its expiry, a random number, and a code over these and the
//! key's hash (HMAC, RFC 2104) that nobody can make without this router's secret. The cookie has no
//! part of the key's own secret, and is void when the key is revoked or made anew under the same id,
//! and when the cookie is signed out.
//!
//! A cookie is bound to no address: a phone that changes from Wi-Fi to the mobile network in the
//! middle of a drive stays signed in.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use data_encoding::HEXLOWER;
use hyper::HeaderMap;
use hyper::header::{self, HeaderValue};
use p2p_shared::key::{KeyHash, KeyId};
use p2p_shared::os::random_u64;
use ring::hmac;

use crate::auth::key_store::KeyRecord;
use crate::auth::signed_out::{SignedOut, Stamp, seconds};
use crate::ops::state_file::StateFile;

/// Lifetime of a cookie. Long enough that a weekend's car doesn't ask each time, and short enough
/// that a forgotten tablet is not signed in for ever. To end it from elsewhere, revoke the key.
pub(crate) const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Tolerance for a clock that was ahead. A cookie that expires later than `LIFE` plus this from now
/// was made while the clock was far ahead, and is refused; a clock that is put right by minutes
/// signs nobody out.
const CLOCK_WRONG: Duration = Duration::from_secs(24 * 3600);

/// File of the secret in the state directory. Removing it signs everyone out.
const FILE_NAME: &str = "passes.secret";
/// Most bytes that are read of that file.
const MAX_FILE: u64 = 1024;
/// Bytes of the secret: as many as the code has (RFC 2104, 3).
const SECRET_BYTES: usize = 32;
/// Prefix of the text that the code is made of, so that the code is valid nowhere else.
const DOMAIN: &str = "p2prouter pass, version 1";

/// Beginning of the cookie's name over TLS. A browser accepts a cookie with this prefix only from this very
/// host and over TLS (RFC 6265bis, 4.1.3.2): no neighbour under the same domain can plant one.
const SECURE_COOKIE: &str = "__Host-p2p";
/// Beginning of the cookie's name without TLS, where browsers have no such protection.
const PLAIN_COOKIE: &str = "p2p";
/// Text of which the code at the end of the cookie's name is made.
const NAME_DOMAIN: &str = "p2prouter cookie's name, version 1";
/// Characters of that code.
const NAME_CODE: usize = 8;

#[derive(Debug)]
pub(crate) struct SessionCookies {
    file: StateFile,
    /// Secret; `None` until somebody signs in for the first time.
    secret: OnceLock<Secret>,
    signed_out: Arc<SignedOut>,
}

/// The session of a browser: a cookie that was valid when it was shown.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    key: KeyId,
    stamp: Stamp,
    signed_out: Arc<SignedOut>,
}

impl Session {
    pub(crate) fn is_over(&self) -> bool {
        self.signed_out.has(&self.key, self.stamp)
    }

    /// Waits until the cookie is signed out, in whatever request.
    pub(crate) async fn over(&self) {
        self.signed_out.wait_for(&self.key, self.stamp).await;
    }

    /// Signs the cookie out, for all that have it, and keeps that over restarts. Blocks on the disk.
    pub(crate) fn sign_out(&self, now: SystemTime) -> anyhow::Result<()> {
        self.signed_out.add(self.key, self.stamp, seconds(now))
    }
}

/// Secret of one router.
#[derive(Debug)]
struct Secret {
    key: hmac::Key,
    /// End of the cookie's name: browsers keep the cookies of all routers at one host name together
    /// (RFC 6265, 8.5), and each router has to find its own there.
    name: String,
}

impl Secret {
    fn new(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut name = HEXLOWER.encode(hmac::sign(&key, NAME_DOMAIN.as_bytes()).as_ref());
        name.truncate(NAME_CODE);
        Self { key, name }
    }
}

impl SessionCookies {
    /// Reads the secret of the router with this state directory, and the cookies that are signed out.
    /// Blocks on the disk.
    pub(crate) fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let file = StateFile::new(state_dir, FILE_NAME);
        let secret = match file.read(MAX_FILE)? {
            Some(text) => OnceLock::from(secret(&file, &text)?),
            None => OnceLock::new(),
        };
        let signed_out = SignedOut::open(state_dir, false)?;
        Ok(Self {
            file,
            secret,
            signed_out,
        })
    }

    /// Reads as [`open`](Self::open) does, with a secret that all routers of a mesh have: a cookie of one is
    /// good at every other.
    pub(crate) fn of_mesh(state_dir: &Path, secret: &[u8; SECRET_BYTES]) -> anyhow::Result<Self> {
        Ok(Self {
            file: StateFile::new(state_dir, FILE_NAME),
            secret: OnceLock::from(Secret::new(secret)),
            signed_out: SignedOut::open(state_dir, true)?,
        })
    }

    /// The cookies that are signed out.
    pub(crate) fn signed_out(&self) -> &Arc<SignedOut> {
        &self.signed_out
    }

    /// Follows for ever what other routers with this state directory sign out.
    pub(crate) async fn follow_signed_out(&self) {
        self.signed_out.clone().follow().await;
    }

    /// Makes a cookie for this key. The first call blocks on the disk.
    pub(crate) fn issue(
        &self,
        id: KeyId,
        hash: &KeyHash,
        now: SystemTime,
    ) -> anyhow::Result<String> {
        let secret = match self.secret.get() {
            Some(secret) => secret,
            None => {
                let (text, _) = self.file.read_or_make(MAX_FILE, random_secret)?;
                let made = secret(&self.file, &text)?;
                self.secret.get_or_init(|| made)
            }
        };
        let stamp = Stamp {
            end: seconds(now + LIFE),
            number: Some(random_u64().map_err(no_randomness)?),
        };
        let code = hmac::sign(&secret.key, message(&id, stamp, hash).as_bytes());
        Ok(format!("{id}.{stamp}.{}", HEXLOWER.encode(code.as_ref())))
    }

    /// Returns the record of the key of a cookie that is valid now, and the session, if there is one.
    pub(crate) fn check(
        &self,
        cookie: &str,
        now: SystemTime,
        record_of: impl Fn(&KeyId) -> Option<KeyRecord>,
    ) -> Option<(KeyRecord, Session)> {
        let (id, rest) = cookie.split_once('.')?;
        let (stamp, code) = rest.split_once('.')?;
        let (key, stamp): (KeyId, Stamp) = (id.parse().ok()?, stamp.parse().ok()?);
        let code = HEXLOWER.decode(code.as_bytes()).ok()?;
        let record = record_of(&key)?;
        let message = message(&key, stamp, &record.hash);
        // This takes the same time whatever the code is.
        hmac::verify(&self.secret.get()?.key, message.as_bytes(), &code).ok()?;
        let is_in_time = seconds(now) < stamp.end && stamp.end <= seconds(now + LIFE + CLOCK_WRONG);
        let session = Session {
            key,
            stamp,
            signed_out: self.signed_out.clone(),
        };
        (is_in_time && !session.is_over()).then_some((record, session))
    }

    /// Returns this router's cookie in a request's headers. Who signed in before names had a code has
    /// a cookie without it, and stays signed in.
    pub(crate) fn shown<'a>(&self, headers: &'a HeaderMap, is_tls: bool) -> Option<&'a str> {
        let cookies = || {
            let values = headers.get_all(header::COOKIE).iter();
            let texts = values.filter_map(|value| value.to_str().ok());
            let cookies = texts.flat_map(|cookies| cookies.split(';'));
            cookies.filter_map(|cookie| cookie.trim().split_once('='))
        };
        let named = |name: &str| cookies().find_map(|(key, value)| (key == name).then_some(value));
        named(&self.name(is_tls)).or_else(|| named(plain_name(is_tls)))
    }

    /// Makes the header that lets a browser store a cookie. Cookies belong to a host, not to a port
    /// (RFC 6265, 8.5): signing in to one car of a router is signing in to all cars that the key is
    /// good for, and other servers on the router's host get the cookie too. `http/csrf` protects
    /// against their pages.
    pub(crate) fn keep(&self, cookie: &str, is_tls: bool) -> Option<HeaderValue> {
        self.set_cookie(cookie, LIFE, is_tls)
    }

    /// Makes the header that lets a browser forget the cookie.
    pub(crate) fn forget(&self, is_tls: bool) -> Option<HeaderValue> {
        self.set_cookie("", Duration::ZERO, is_tls)
    }

    fn name(&self, is_tls: bool) -> String {
        let name = plain_name(is_tls);
        match self.secret.get() {
            Some(secret) => format!("{name}-{}", secret.name),
            // There is no cookie yet.
            None => name.to_owned(),
        }
    }

    /// `HttpOnly`: no script reads it. `SameSite=Strict`: no other site's page has it sent along.
    fn set_cookie(&self, value: &str, life: Duration, is_tls: bool) -> Option<HeaderValue> {
        let (name, seconds) = (self.name(is_tls), life.as_secs());
        let secure = if is_tls { "; Secure" } else { "" };
        let cookie =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(cookie).ok()
    }
}

/// Decodes the secret that the file has.
fn secret(file: &StateFile, text: &str) -> anyhow::Result<Secret> {
    let secret = HEXLOWER.decode(text.trim().as_bytes()).ok();
    let secret = secret.filter(|secret| secret.len() == SECRET_BYTES);
    let secret = secret.with_context(|| {
        format!(
            "{} is cut off or no secret of ours: remove it, and everyone signs in anew",
            file.path().display()
        )
    })?;
    Ok(Secret::new(&secret))
}

fn random_secret() -> anyhow::Result<String> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(no_randomness)?;
    Ok(HEXLOWER.encode(&secret))
}

fn no_randomness(error: getrandom::Error) -> anyhow::Error {
    anyhow!("none can be made, as the kernel gives no random numbers ({error})")
}

/// Returns the cookie's name without the router's code.
fn plain_name(is_tls: bool) -> &'static str {
    if is_tls { SECURE_COOKIE } else { PLAIN_COOKIE }
}

fn message(id: &KeyId, stamp: Stamp, hash: &KeyHash) -> String {
    format!("{DOMAIN}\0{id}\0{stamp}\0{hash}")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use p2p_shared::key::{Key, Role};
    use proptest::prelude::*;

    use super::*;

    fn cookies() -> (tempfile::TempDir, SessionCookies) {
        let folder = tempfile::tempdir().unwrap();
        let cookies = SessionCookies::open(folder.path()).unwrap();
        (folder, cookies)
    }

    fn record(key: &Key) -> KeyRecord {
        KeyRecord {
            id: key.id(),
            name: "desk".parse().unwrap(),
            role: Role::Drive,
            ports: None,
            hash: key.hash(),
            created: UNIX_EPOCH,
        }
    }

    fn check(
        cookies: &SessionCookies,
        cookie: &str,
        now: SystemTime,
        record_of: impl Fn(&KeyId) -> Option<KeyRecord>,
    ) -> Option<KeyRecord> {
        let (record, _) = cookies.check(cookie, now, record_of)?;
        Some(record)
    }

    /// Makes cookies with a secret in memory only.
    fn in_memory() -> SessionCookies {
        in_memory_of(7)
    }

    fn in_memory_of(byte: u8) -> SessionCookies {
        SessionCookies {
            file: StateFile::new("/nowhere", FILE_NAME),
            secret: OnceLock::from(Secret::new(&[byte; SECRET_BYTES])),
            signed_out: SignedOut::open(Path::new("/nowhere"), false).unwrap(),
        }
    }

    #[test]
    fn a_cookie_is_good_for_its_key_until_its_end_and_after_a_restart() {
        let (folder, cookies) = cookies();
        let key = Key::generate().unwrap();
        let now = SystemTime::now();
        let cookie = cookies.issue(key.id(), &key.hash(), now).unwrap();
        let known = |_: &KeyId| Some(record(&key));
        let again = SessionCookies::open(folder.path()).unwrap();
        for cookies in [&cookies, &again] {
            assert_eq!(check(cookies, &cookie, now, known), Some(record(&key)));
            let last = now + LIFE - Duration::from_secs(1);
            assert_eq!(check(cookies, &cookie, last, known), Some(record(&key)));
            assert_eq!(check(cookies, &cookie, now + LIFE, known), None);
            assert_eq!(check(cookies, &cookie, now, |_| None), None, "revoked");
            let other = record(&Key::generate().unwrap());
            assert_eq!(
                check(cookies, &cookie, now, |_| Some(other.clone())),
                None,
                "made anew"
            );
        }
        let (_folder, elsewhere) = self::cookies();
        elsewhere.issue(key.id(), &key.hash(), now).unwrap();
        assert_eq!(
            check(&elsewhere, &cookie, now, known),
            None,
            "another router"
        );
    }

    #[test]
    fn a_cookie_made_under_a_clock_far_ahead_is_none_once_the_clock_is_right() {
        let (_folder, cookies) = cookies();
        let key = Key::generate().unwrap();
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let year = Duration::from_secs(365 * 24 * 3600);
        let known = |_: &KeyId| Some(record(&key));
        for (clock, is_good) in [(now + hour, true), (now - hour, true), (now + year, false)] {
            let cookie = cookies.issue(key.id(), &key.hash(), clock).unwrap();
            assert_eq!(check(&cookies, &cookie, now, known).is_some(), is_good);
        }
    }

    #[test]
    fn a_cookie_holds_nothing_of_the_key() {
        let (_folder, cookies) = cookies();
        let key = Key::generate().unwrap();
        let cookie = cookies
            .issue(key.id(), &key.hash(), SystemTime::now())
            .unwrap();
        let (secret, hash) = (key.bearer().split_off(14), key.hash().to_string());
        for piece in secret
            .as_bytes()
            .windows(10)
            .chain(hash.as_bytes().windows(10))
        {
            assert!(!cookie.contains(std::str::from_utf8(piece).unwrap()));
        }
    }

    #[test]
    fn a_secret_that_was_cut_off_says_what_to_do() {
        let (folder, cookies) = cookies();
        let key = Key::generate().unwrap();
        cookies
            .issue(key.id(), &key.hash(), SystemTime::now())
            .unwrap();
        let file = folder.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &text[..20]).unwrap();
        let error = SessionCookies::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
    }

    #[test]
    fn a_cookie_is_secure_over_tls_and_found_among_others() {
        let router = in_memory();
        let code = &router.secret.get().unwrap().name;
        assert_eq!(code.len(), NAME_CODE);
        let secure = router.keep("x.1.y", true).unwrap();
        assert_eq!(
            secure.to_str().unwrap(),
            format!(
                "__Host-p2p-{code}=x.1.y; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure"
            )
        );
        let plain = router.keep("x.1.y", false).unwrap();
        assert_eq!(
            plain.to_str().unwrap(),
            format!("p2p-{code}=x.1.y; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict")
        );
        let cookies = format!("a=b; p2p-{code}=plain; __Host-p2p-{code}=secure; p2p=c");
        let cookies = HeaderValue::try_from(cookies).unwrap();
        let headers = HeaderMap::from_iter([(header::COOKIE, cookies)]);
        assert_eq!(router.shown(&headers, true), Some("secure"));
        assert_eq!(router.shown(&headers, false), Some("plain"));
    }

    #[test]
    fn two_routers_at_one_host_name_find_their_own_cookies() {
        let routers = [in_memory_of(1), in_memory_of(2)];
        // As a browser does with what each has it store.
        let stored: Vec<_> = routers
            .iter()
            .zip(["one", "two"])
            .map(|(router, cookie)| {
                let header = router.keep(cookie, true).unwrap();
                let header = header.to_str().unwrap();
                header.split(';').next().unwrap().to_owned()
            })
            .collect();
        let cookies = HeaderValue::try_from(stored.join("; ")).unwrap();
        let headers = HeaderMap::from_iter([(header::COOKIE, cookies)]);
        for (router, cookie) in routers.iter().zip(["one", "two"]) {
            assert_eq!(router.shown(&headers, true), Some(cookie));
        }
    }

    #[test]
    fn a_cookie_that_is_signed_out_is_none_from_then_on_and_after_a_restart_and_others_are_good() {
        let (folder, cookies) = cookies();
        let key = Key::generate().unwrap();
        let now = SystemTime::now();
        let known = |_: &KeyId| Some(record(&key));
        // Made in the same second.
        let [mine, other] = [(); 2].map(|()| cookies.issue(key.id(), &key.hash(), now).unwrap());
        let (_, session) = cookies.check(&mine, now, known).unwrap();
        assert!(!session.is_over());
        session.sign_out(now).unwrap();
        assert!(session.is_over());
        for cookies in [&cookies, &SessionCookies::open(folder.path()).unwrap()] {
            assert_eq!(check(cookies, &mine, now, known), None);
            assert_eq!(check(cookies, &other, now, known), Some(record(&key)));
        }
    }

    #[test]
    fn a_cookie_of_one_router_of_a_mesh_is_good_at_all_of_them_and_at_no_others() {
        let at = |secret: u8| {
            let folder = tempfile::tempdir().unwrap();
            SessionCookies::of_mesh(folder.path(), &[secret; SECRET_BYTES]).unwrap()
        };
        let [one, two, stranger] = [at(7), at(7), at(8)];
        let key = Key::generate().unwrap();
        let now = SystemTime::now();
        let cookie = one.issue(key.id(), &key.hash(), now).unwrap();
        let known = |_: &KeyId| Some(record(&key));
        assert_eq!(check(&two, &cookie, now, known), Some(record(&key)));
        assert_eq!(check(&stranger, &cookie, now, known), None);
        assert_eq!(one.name(true), two.name(true));
    }

    #[test]
    fn a_cookie_of_before_is_good_by_its_old_name_and_form_and_can_be_signed_out() {
        let (_folder, cookies) = cookies();
        let key = Key::generate().unwrap();
        let now = SystemTime::now();
        let known = |_: &KeyId| Some(record(&key));
        cookies.issue(key.id(), &key.hash(), now).unwrap();
        let (id, end) = (key.id(), seconds(now + LIFE));
        let text = format!("{DOMAIN}\0{id}\0{end}\0{}", key.hash());
        let code = hmac::sign(&cookies.secret.get().unwrap().key, text.as_bytes());
        let cookie = format!("{id}.{end}.{}", HEXLOWER.encode(code.as_ref()));
        for (name, is_tls) in [("__Host-p2p", true), ("p2p", false)] {
            let stored = HeaderValue::try_from(format!("a=b; {name}={cookie}")).unwrap();
            let headers = HeaderMap::from_iter([(header::COOKIE, stored)]);
            assert_eq!(cookies.shown(&headers, is_tls), Some(cookie.as_str()));
            assert_eq!(cookies.shown(&headers, !is_tls), None);
        }
        let (_, session) = cookies.check(&cookie, now, known).unwrap();
        session.sign_out(now).unwrap();
        assert_eq!(check(&cookies, &cookie, now, known), None);
    }

    proptest! {
        #[test]
        fn a_cookie_with_a_changed_character_is_none(at in 0_usize..101, new in any::<char>()) {
            let cookies = in_memory();
            let key = Key::generate().unwrap();
            let now = SystemTime::now();
            let cookie = cookies.issue(key.id(), &key.hash(), now).unwrap();
            prop_assume!(cookie.as_bytes()[at] as char != new);
            let changed: String =
                cookie.char_indices().map(|(i, old)| if i == at { new } else { old }).collect();
            prop_assert_eq!(check(&cookies, &changed, now, |_| Some(record(&key))), None);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            let cookies = in_memory();
            prop_assert_eq!(check(&cookies, &text, SystemTime::now(), |_| None), None);
        }
    }
}
