//! Owns the router's certificate: one of its own, made once and kept in the state directory, or one
//! from an authority, whose files are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use p2p_shared::key::Fingerprint;
use p2p_shared::net::tls::provider;
use parking_lot::RwLock;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::ops::state_file::StateFile;

/// File of the router's own certificate and private key in the state directory.
const FILE_NAME: &str = "tls.pem";
/// File of the next certificate, which takes that file's place once all keys know it.
const NEXT: &str = "tls-next.pem";
/// Most bytes that are read of these files, which have about a thousand.
const MAX_FILE: u64 = 64 * 1024;
/// File of the [note](leave_note) in the state directory.
const NOTE: &str = "authority";
/// Most bytes that are read of that file: the longest path that Linux knows.
const MAX_NOTE: u64 = 4096;
/// Interval at which an authority's files are checked: a renewed certificate is used within a
/// minute.
const LOOK: Duration = Duration::from_secs(60);
/// Interval at which the log says when the certificate expires.
const SAID: Duration = Duration::from_secs(24 * 3600);
/// Time before the expiry from which the log warns: tools that renew automatically do it a month
/// before.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Certificate for TLS connections. Clones share it.
#[derive(Debug, Clone)]
pub struct Certificate {
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
    origin: Origin,
}

/// Origin of a certificate.
#[derive(Debug, Clone)]
enum Origin {
    /// The router's own, in this state directory, with the fingerprint of its public key. True if it was just made.
    Own(PathBuf, Fingerprint, bool),
    /// Files of an authority's certificate.
    Files(CertificateFiles),
}

/// Files of a certificate from an authority.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// Certificate and the chain to the authority, in PEM.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// Reads the router's own certificate, or makes it if there is none yet. Blocks on the disk.
    pub fn own(state_dir: &Path) -> anyhow::Result<Self> {
        Self::own_for(state_dir, &["localhost".to_owned()])
    }

    /// The same; one that is made now is for these names.
    pub fn own_for(state_dir: &Path, names: &[String]) -> anyhow::Result<Self> {
        let file = StateFile::new(state_dir, FILE_NAME);
        Self::in_file(
            &file,
            names,
            "a new certificate is made, and every key has to be given its fingerprint: p2p-router certificate show",
        )
    }

    /// Reads the certificate in this file, or makes it; `without` says what happens without the file.
    fn in_file(file: &StateFile, names: &[String], without: &str) -> anyhow::Result<Self> {
        let (pem, is_new) = file.read_or_make(MAX_FILE, || make(names))?;
        let (shown, fingerprint) = certified(file, &pem, without)?;
        let origin = Origin::Own(file.dir().to_owned(), fingerprint, is_new);
        Ok(Self::showing(shown, origin)?)
    }

    /// Reads the certificate of an authority. Blocks on the disk.
    pub fn of_authority(files: CertificateFiles) -> anyhow::Result<Self> {
        Ok(Self::showing(files.read()?, Origin::Files(files))?)
    }

    fn showing(certified: CertifiedKey, origin: Origin) -> Result<Self, rustls::Error> {
        let shown = Arc::new(Shown(RwLock::new(InUse::of(certified))));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            shown,
            config: Arc::new(config),
            origin,
        })
    }

    /// Returns the fingerprint by which keys know this router; `None`: they know its authority.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self.origin {
            Origin::Own(_, fingerprint, _) => Some(fingerprint),
            Origin::Files(_) => None,
        }
    }

    /// Returns the fingerprints of the public keys that another router of the same owner may show: of the one
    /// that is in use here now, and of the router's own ones in its files, which are exchanged while it runs. Blocks
    /// on the disk.
    pub(crate) fn public_keys(&self) -> Result<Vec<Fingerprint>, rustls::Error> {
        let in_files = match &self.origin {
            Origin::Own(dir, ..) => [FILE_NAME, NEXT].map(|name| read(dir, name).ok().flatten()),
            Origin::Files(_) => [None, None],
        };
        let present = fingerprint(&self.shown.present())?;
        let all = std::iter::once(present).chain(in_files.into_iter().flatten());
        Ok(all.collect())
    }

    /// Returns true if somebody else has signed the certificate that is in use.
    pub(crate) fn is_by_authority(&self) -> bool {
        matches!(self.origin, Origin::Files(_)) && self.shown.0.read().is_by_another
    }

    /// Returns the warning for an owner whose keys are older than a new certificate.
    pub fn warning(&self) -> Option<&'static str> {
        matches!(self.origin, Origin::Own(.., true)).then_some(
            "the router's own certificate was missing, and a new one was made: the existing keys have the fingerprint of another certificate, or none. Give each key the new one: `p2p-router certificate show` prints the line for that",
        )
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.config.clone().into()
    }

    /// Follows an authority's files for ever: uses new files, and warns before the expiry.
    pub(crate) async fn follow(self) {
        if let Origin::Files(files) = &self.origin {
            self.follow_files(files, |end| log_expiry(end, files)).await;
        }
    }

    /// Follows the files for ever. `say` gets the time of expiry when the files change, and once a
    /// day.
    async fn follow_files(&self, files: &CertificateFiles, say: impl Fn(SystemTime)) {
        let mut state = files.state();
        loop {
            self.shown.end().map(&say);
            let said = Instant::now();
            while said.elapsed() < SAID {
                tokio::time::sleep(LOOK).await;
                let now = files.state();
                if now != state {
                    state = now;
                    if self.show(files) {
                        break;
                    }
                }
            }
        }
    }

    /// Uses what is in the files now; returns false if that failed.
    fn show(&self, files: &CertificateFiles) -> bool {
        // Blocks for a moment: the files are small, and change every two months.
        match files.read() {
            Ok(certified) => {
                *self.shown.0.write() = InUse::of(certified);
                tracing::info!(file = %files.certificate.display(), "a new certificate is in use");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the new certificate can't be used: the old one stays in use");
                false
            }
        }
    }
}

fn log_expiry(end: SystemTime, files: &CertificateFiles) {
    let day = humantime::format_rfc3339_seconds(end);
    let file = files.certificate.display();
    match end.duration_since(SystemTime::now()) {
        Err(_) => tracing::warn!(
            %day, %file,
            "the certificate has expired, and nobody trusts it: renew it (its files are read again within a minute)"
        ),
        Ok(left) if left < SOON => tracing::warn!(
            %day, %file,
            "the certificate expires soon: renew it (its files are read again within a minute)"
        ),
        Ok(_) => tracing::info!(%day, %file, "the certificate is valid until this day"),
    }
}

impl CertificateFiles {
    fn read(&self) -> anyhow::Result<CertifiedKey> {
        let unusable =
            |path: &Path, why: String| anyhow!("{} can't be used: {why}", path.display());
        let read = |path| std::fs::read(path).map_err(|error| unusable(path, error.to_string()));
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let chain = chain(&certificate).map_err(|error| {
            let why = format!("it holds no certificate in PEM ({error})");
            unusable(&self.certificate, why)
        })?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| {
            let why = format!("it holds no private key in PEM ({error})");
            unusable(&self.key, why)
        })?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            anyhow!(
                "the certificate in {} and the private key in {} can't be used together: {error}",
                self.certificate.display(),
                self.key.display()
            )
        })
    }

    /// State that changes with the files.
    fn state(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

/// Consequence for an owner who removes the file of the next certificate.
const WITHOUT_NEXT: &str = "`p2p-router certificate next` makes another: run its line then also where the line for this one was run";

/// Returns the fingerprint of the router's next certificate, if that is made. Blocks on the disk.
pub fn next(state_dir: &Path) -> anyhow::Result<Option<Fingerprint>> {
    read(state_dir, NEXT)
}

/// Returns the fingerprint of the certificate in this file, if there is one.
fn read(state_dir: &Path, name: &str) -> anyhow::Result<Option<Fingerprint>> {
    let file = StateFile::new(state_dir, name);
    let pem = file.read(MAX_FILE)?;
    let found = pem.map(|pem| certified(&file, &pem, WITHOUT_NEXT));
    Ok(found.transpose()?.map(|(_, fingerprint)| fingerprint))
}

/// Makes the router's next certificate, for these names, unless it is made already, and returns its file and the one
/// whose place it takes. Blocks on the disk.
pub fn make_next(state_dir: &Path, names: &[String]) -> anyhow::Result<[PathBuf; 2]> {
    let file = StateFile::new(state_dir, NEXT);
    let (pem, _) = file.read_or_make(MAX_FILE, || make(names))?;
    certified(&file, &pem, WITHOUT_NEXT)?;
    Ok([file.path().to_owned(), state_dir.join(FILE_NAME)])
}

/// Notes in the state directory where an authority's certificate is, or that there is none:
/// `p2p-router key add` doesn't know --tls-cert, and would make keys for a certificate that is not
/// in use. Blocks on the disk.
pub fn leave_note(state_dir: &Path, certificate: Option<&Path>) -> anyhow::Result<()> {
    let file = StateFile::new(state_dir, NOTE);
    let Some(certificate) = certificate else {
        return Ok(file.remove()?);
    };
    let certificate = std::path::absolute(certificate).unwrap_or_else(|_| certificate.to_owned());
    if read_note(state_dir).is_ok_and(|old| old.as_ref() == Some(&certificate)) {
        return Ok(());
    }
    let _lock = file.lock()?;
    Ok(file.replace(&certificate.to_string_lossy())?)
}

/// Returns the file of the authority's certificate that the router used at its last start.
pub fn read_note(state_dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    let text = StateFile::new(state_dir, NOTE).read(MAX_NOTE)?;
    Ok(text.map(PathBuf::from))
}

/// Makes a certificate and its private key. Peers check only its public key, whose fingerprint is
/// in the keys.
fn make(names: &[String]) -> anyhow::Result<String> {
    let made = || {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "p2p-router");
        Ok::<_, rcgen::Error>(params.self_signed(&key)?.pem() + &key.serialize_pem())
    };
    made().context("a certificate can't be made")
}

/// Returns the certificate with its private key that this file holds; `without` says what happens without the file.
fn certified(
    file: &StateFile,
    pem: &str,
    without: &str,
) -> anyhow::Result<(CertifiedKey, Fingerprint)> {
    let unusable = |why: String| {
        anyhow!(
            "{} can't be used: {why} (without the file, {without})",
            file.path().display()
        )
    };
    let chain = chain(pem.as_bytes())
        .map_err(|error| unusable(format!("it holds no certificate ({error})")))?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| unusable(format!("it holds no private key ({error})")))?;
    CertifiedKey::from_der(chain, key, &provider())
        .and_then(|certified| {
            let fingerprint = fingerprint(&certified)?;
            Ok((certified, fingerprint))
        })
        .map_err(|error| unusable(error.to_string()))
}

/// Returns the certificates in a PEM file, of which there is one at least.
fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(pem::Error::NoItemsFound);
    }
    Ok(chain)
}

fn fingerprint(certified: &CertifiedKey) -> Result<Fingerprint, rustls::Error> {
    let certificate = ParsedCertificate::try_from(certified.end_entity_cert()?)?;
    let public_key = certificate.subject_public_key_info();
    Ok(Fingerprint::of_public_key(&public_key))
}

/// Certificate in use, and what it says, which is read once.
#[derive(Debug)]
struct InUse {
    certified: Arc<CertifiedKey>,
    end: Option<SystemTime>,
    /// True if somebody else has signed it.
    is_by_another: bool,
}

impl InUse {
    fn of(certified: CertifiedKey) -> Self {
        let der = certified.end_entity_cert().ok();
        let parsed = der.and_then(|der| x509_parser::parse_x509_certificate(der).ok());
        let (end, is_by_another) = parsed.map_or((None, false), |(_, parsed)| {
            let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok();
            let end = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            (end, parsed.issuer() != parsed.subject())
        });
        Self {
            certified: Arc::new(certified),
            end,
            is_by_another,
        }
    }
}

#[derive(Debug)]
struct Shown(RwLock<InUse>);

impl Shown {
    fn present(&self) -> Arc<CertifiedKey> {
        self.0.read().certified.clone()
    }

    fn end(&self) -> Option<SystemTime> {
        self.0.read().end
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.present())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_note_says_what_the_last_start_did() {
        let folder = tempfile::tempdir().unwrap();
        let read = || read_note(folder.path()).unwrap();
        leave_note(folder.path(), None).unwrap();
        assert_eq!(read(), None);
        for name in ["/etc/one.pem", "/etc/one.pem", "/etc/another.pem"] {
            leave_note(folder.path(), Some(Path::new(name))).unwrap();
            assert_eq!(read(), Some(PathBuf::from(name)));
        }
        leave_note(folder.path(), None).unwrap();
        assert_eq!(read(), None);
    }

    #[test]
    fn while_the_files_are_exchanged_a_running_router_knows_both_and_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let own = Certificate::own(folder.path()).unwrap();
        let known = || own.public_keys().unwrap();
        let [next_file, own_file] = make_next(folder.path(), &[]).unwrap();
        let (first, second) = (own.fingerprint().unwrap(), next(folder.path()).unwrap());
        let second = second.unwrap();
        assert!(known().contains(&first) && known().contains(&second));
        let aside = folder.path().join("aside");
        std::fs::rename(&own_file, &aside).unwrap();
        assert!(known().contains(&first) && known().contains(&second));
        std::fs::rename(&next_file, &own_file).unwrap();
        assert!(known().contains(&first) && known().contains(&second));
        std::fs::rename(&aside, &next_file).unwrap();
        assert!(known().contains(&first) && known().contains(&second));
        std::fs::remove_file(&next_file).unwrap();
        assert!(known().contains(&first) && known().contains(&second));
        assert!(!next_file.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_shown_and_its_end_said_every_day() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [mine, renewed] = folders.each_ref().map(|folder| {
            let made = Certificate::own(folder.path()).unwrap();
            (folder.path().join(FILE_NAME), made.shown.present())
        });
        let files = CertificateFiles {
            certificate: mine.0.clone(),
            key: mine.0.clone(),
        };
        let certificate = Certificate::of_authority(files.clone()).unwrap();
        let said = Cell::new(0);
        let shown = || certificate.shown.present().cert[0].clone();
        let look = async {
            let day = SAID + LOOK / 2;
            tokio::time::sleep(day).await;
            assert_eq!(said.get(), 2);
            tokio::time::sleep(2 * SAID).await;
            assert_eq!(said.get(), 4);
            // Half of a certificate is not used.
            let pem = std::fs::read(&renewed.0).unwrap();
            std::fs::write(&mine.0, &pem[..pem.len() / 2]).unwrap();
            tokio::time::sleep(LOOK).await;
            assert_eq!((said.get(), shown()), (4, mine.1.cert[0].clone()));
            std::fs::write(&mine.0, &pem).unwrap();
            tokio::time::sleep(LOOK).await;
            assert_eq!((said.get(), shown()), (5, renewed.1.cert[0].clone()));
        };
        tokio::select! {
            () = certificate.follow_files(&files, |_| said.set(said.get() + 1)) => {}
            () = look => {}
        }
    }
}
