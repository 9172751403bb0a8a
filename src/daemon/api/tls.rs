//! `--listen`: the address, and the certificate, key and token that beyond loopback are required.

use std::fs::OpenOptions;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as TlsError, ServerConfig};

/// The least number of characters of a token. A shorter one could be guessed.
const TOKEN_LENGTH: usize = 16;
/// A chain of certificates has about 10 KB. A larger file is something else.
const FILE_LIMIT: u64 = 1 << 20;
/// Bits that the mode of a secret must not have: others' read, write and execute, and group write. The group may read: that is how
/// services are given secrets.
const TOO_OPEN: u32 = 0o027;

/// The address of `--listen`, with its TLS certificate and token.
#[derive(Debug)]
pub struct Listen {
    pub(super) address: SocketAddr,
    files: SecretFiles,
    secrets: RwLock<Secrets>,
}

/// The files that hold the secrets.
#[derive(Debug)]
struct SecretFiles {
    /// Certificate and key.
    tls: Option<(PathBuf, PathBuf)>,
    token: Option<PathBuf>,
}

struct Secrets {
    tls: Option<Arc<ServerConfig>>,
    /// A hash of the token.
    token: Option<blake3::Hash>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// Why `--listen` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ListenError {
    /// What failed, and why.
    pub message: String,
    /// How to correct it.
    pub fix: String,
}

impl ListenError {
    pub(super) fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into() }
    }
}

impl Listen {
    /// Reads certificate, key and token.
    ///
    /// # Errors
    /// If the address requires more than is given, or a file cannot be used.
    pub fn new(
        address: SocketAddr,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        token: Option<PathBuf>,
    ) -> Result<Self, ListenError> {
        let given =
            [("--tls-cert", certificate.is_some()), ("--tls-key", key.is_some()), ("--token-file", token.is_some())];
        let missing: Vec<&str> = given.iter().filter(|(_, is_given)| !is_given).map(|(name, _)| *name).collect();
        if !is_loopback(address.ip()) && !missing.is_empty() {
            let message = format!(
                "other hosts can reach {address}, so TLS and a token are required; missing: {}",
                missing.join(", ")
            );
            return Err(ListenError::new(message, "give these options too, or listen on 127.0.0.1"));
        }
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(ListenError::new(
                    "--tls-cert and --tls-key must be given together",
                    "give both --tls-cert and --tls-key",
                ));
            }
        };
        let files = SecretFiles { tls, token };
        Ok(Self { address, secrets: RwLock::new(files.read()?), files })
    }

    /// Reads certificate, key and token again, for the connections and requests to come.
    pub(in crate::daemon) fn reload(&self) {
        match self.files.read() {
            Ok(secrets) => *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets,
            // The process that replaces them may not have finished.
            Err(error) => tracing::error!("{error}; the previous certificate and token stay in use"),
        }
    }

    fn secrets(&self) -> RwLockReadGuard<'_, Secrets> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients have to speak TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.files.tls.is_some()
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.secrets().tls.clone()
    }

    /// A hash of the token that requests have to carry, if one is required.
    pub(super) fn token(&self) -> Option<blake3::Hash> {
        self.secrets().token
    }
}

impl SecretFiles {
    fn read(&self) -> Result<Secrets, ListenError> {
        Ok(Secrets {
            tls: self.tls.as_ref().map(|(certificate, key)| read_tls(certificate, key)).transpose()?,
            token: self.token.as_deref().map(read_token).transpose()?,
        })
    }
}

fn read_tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, ListenError> {
    // Errors of the PEM parser may quote the file, so they are not shown.
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<_, _>>().unwrap_or_default();
    if chain.is_empty() {
        let fix = "it must be PEM: -----BEGIN CERTIFICATE-----, the server's certificate first, then its intermediates";
        return Err(ListenError::new(
            format!("{} contains no certificate that can be read", certificate.display()),
            fix,
        ));
    }
    let private = PrivateKeyDer::from_pem_slice(&read_secret(key)?).map_err(|_| {
        let fix = "it must be PEM, without a passphrase: -----BEGIN PRIVATE KEY-----";
        ListenError::new(format!("{} contains no private key that can be read", key.display()), fix)
    })?;
    let unusable = |error: TlsError| {
        let message = format!("{} and {} cannot be used together: {error}", certificate.display(), key.display());
        ListenError::new(message, "give the key of that certificate: RSA, ECDSA or Ed25519")
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_token(path: &Path) -> Result<blake3::Hash, ListenError> {
    let bytes = read_secret(path)?;
    let token = bytes.trim_ascii();
    if token.len() < TOKEN_LENGTH || !token.iter().all(u8::is_ascii_graphic) {
        let message = format!(
            "{} contains no token: one line of at least {TOKEN_LENGTH} ASCII characters without spaces",
            path.display()
        );
        return Err(ListenError::new(message, "create one with `openssl rand -hex 32`"));
    }
    Ok(blake3::hash(token))
}

/// Reads a file that only its owner may write, and only its owner and group may read.
fn read_secret(path: &Path) -> Result<Vec<u8>, ListenError> {
    read_if(path, |mode| mode & TOO_OPEN == 0)
}

fn read(path: &Path) -> Result<Vec<u8>, ListenError> {
    read_if(path, |_| true)
}

fn read_if(path: &Path, is_fit: impl Fn(u32) -> bool) -> Result<Vec<u8>, ListenError> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        ListenError::new(format!("{shown} cannot be read: {error}"), "name a file that this user can read")
    };
    // Opening a pipe must not block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if !meta.is_file() || meta.len() > FILE_LIMIT {
        let message = format!("{shown} is not a regular file of at most {} MiB", FILE_LIMIT >> 20);
        return Err(ListenError::new(message, "name the file itself"));
    }
    if !is_fit(meta.mode()) {
        let message = format!("{shown} is a secret, but its mode {:04o} gives others access", meta.mode() & 0o7777);
        return Err(ListenError::new(message, format!("chmod 600 {shown} (or 640, for its group to read it)")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// Whether only this host can reach an address.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
