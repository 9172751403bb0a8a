//! Monitoring over TCP: `/metrics`, `/healthz` and `/readyz`, and nothing else of what the control socket answers.
//!
//! On a loopback address everybody on this host may ask. A page in their browser may not, whose name was made to lead here (DNS
//! rebinding): `Host` has to be a loopback name. Beyond loopback it is TLS, for those who know the token; there is no weaker way.

use std::fs::OpenOptions;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as TlsError, ServerConfig};
use tokio_util::task::TaskTracker;

use super::super::reconciler::Reconciler;
use super::server::{Clients, Server, monitoring};

/// A handshake is two round trips and a signature; who takes longer keeps the room of others.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Fewer characters could be guessed.
const TOKEN_LENGTH: usize = 16;
/// A chain of certificates has some 10 KB. What is larger is another file.
const FILE_LIMIT: u64 = 1 << 20;
/// Of a file's mode: that others read, write or search it, or that its group writes. Its group may read, which is how secrets are
/// given to services.
const TOO_OPEN: u32 = 0o027;

/// Where to listen, and what shows who is who.
#[derive(Debug)]
pub struct Listen {
    address: SocketAddr,
    files: Files,
    secrets: RwLock<Secrets>,
}

/// The files that secrets are read from.
#[derive(Debug)]
struct Files {
    /// Certificate and key.
    tls: Option<(PathBuf, PathBuf)>,
    token: Option<PathBuf>,
}

struct Secrets {
    tls: Option<Arc<ServerConfig>>,
    /// Only its hash is kept.
    token: Option<blake3::Hash>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// Why nothing can be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Unfit {
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl Unfit {
    fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into() }
    }
}

impl Listen {
    /// Reads certificate, key and token.
    ///
    /// # Errors
    /// Where what is given is not enough for the address, or a file cannot be used.
    pub fn new(
        address: SocketAddr,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        token: Option<PathBuf>,
    ) -> Result<Self, Unfit> {
        let given =
            [("--tls-cert", certificate.is_some()), ("--tls-key", key.is_some()), ("--token-file", token.is_some())];
        let missing: Vec<&str> = given.iter().filter(|(_, is_given)| !is_given).map(|(name, _)| *name).collect();
        if !is_loopback(address.ip()) && !missing.is_empty() {
            let message = format!(
                "{address} can be reached by others, so it takes TLS and a token; missing: {}",
                missing.join(", ")
            );
            return Err(Unfit::new(message, "give these as well, or listen on 127.0.0.1"));
        }
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Unfit::new("a certificate is of no use without its key", "give --tls-cert and --tls-key")),
        };
        let files = Files { tls, token };
        Ok(Self { address, secrets: RwLock::new(files.read()?), files })
    }

    /// Reads certificate, key and token again, for the connections and requests to come.
    pub(in crate::daemon) fn reload(&self) {
        match self.files.read() {
            Ok(secrets) => *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets,
            // Whoever writes them anew may not have finished.
            Err(error) => tracing::error!("{error}; what was read before still holds"),
        }
    }

    fn secrets(&self) -> RwLockReadGuard<'_, Secrets> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers what monitoring asks for. Gives the address as a URL too: of port 0 the port that was free.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub(in crate::daemon) async fn serve(
        self: &Arc<Self>,
        reconciler: &Arc<Reconciler>,
    ) -> Result<(Server, String), Unfit> {
        let address = self.address;
        let cannot = |error: std::io::Error| {
            let fix = "end what has the address, or give another: --listen ADDRESS:PORT (port 0 takes a free one)";
            Unfit::new(format!("{address} cannot be listened on: {error}"), fix)
        };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let scheme = if self.files.tls.is_some() { "https" } else { "http" };
        let listen = Arc::clone(self);
        let router =
            monitoring(Arc::clone(reconciler)).layer(middleware::from_fn_with_state(Arc::clone(self), admitted));
        let connections = TaskTracker::new();
        // Of its own: whoever comes by TCP cannot take the room of those at the control socket.
        let clients = Clients::new(&connections);
        let accepting = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => listen.take(&clients, stream, router.clone()).await,
                    Err(error) => clients.refused(&error).await,
                }
            }
        });
        Ok((Server::new(connections, accepting), format!("{scheme}://{bound}")))
    }

    async fn take(&self, clients: &Clients, stream: TcpStream, router: Router) {
        let tls = self.secrets().tls.clone();
        match tls {
            None => clients.serve(std::future::ready(Ok(stream)), router).await,
            Some(config) => {
                let handshake = async move {
                    let accepted = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await;
                    accepted.unwrap_or_else(|late| Err(late.into()))
                };
                clients.serve(handshake, router).await;
            }
        }
    }
}

impl Files {
    fn read(&self) -> Result<Secrets, Unfit> {
        Ok(Secrets {
            tls: self.tls.as_ref().map(|(certificate, key)| read_tls(certificate, key)).transpose()?,
            token: self.token.as_deref().map(read_token).transpose()?,
        })
    }
}

fn read_tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Unfit> {
    // What the reader of PEM says may repeat a line of the file: it is not shown.
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<_, _>>().unwrap_or_default();
    if chain.is_empty() {
        let fix = "it has to be PEM: -----BEGIN CERTIFICATE-----, the server's own first, then what vouches for it";
        return Err(Unfit::new(format!("{} holds no certificate that can be read", certificate.display()), fix));
    }
    let private = PrivateKeyDer::from_pem_slice(&read_secret(key)?).map_err(|_| {
        let fix = "it has to be PEM, without a passphrase: -----BEGIN PRIVATE KEY-----";
        Unfit::new(format!("{} holds no private key that can be read", key.display()), fix)
    })?;
    let unfit = |error: TlsError| {
        let message = format!("{} and {} are of no use together: {error}", certificate.display(), key.display());
        Unfit::new(message, "give the key that the certificate was made for, RSA, ECDSA or Ed25519")
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_token(path: &Path) -> Result<blake3::Hash, Unfit> {
    let bytes = read_secret(path)?;
    let token = bytes.trim_ascii();
    if token.len() < TOKEN_LENGTH || !token.iter().all(u8::is_ascii_graphic) {
        let message = format!(
            "{} holds no token: one line of at least {TOKEN_LENGTH} characters, ASCII with no blanks",
            path.display()
        );
        return Err(Unfit::new(message, "`openssl rand -hex 32` makes one"));
    }
    Ok(blake3::hash(token))
}

/// Reads a file that nobody but its owner may write, and nobody but its owner and group read.
fn read_secret(path: &Path) -> Result<Vec<u8>, Unfit> {
    read_if(path, |mode| mode & TOO_OPEN == 0)
}

fn read(path: &Path) -> Result<Vec<u8>, Unfit> {
    read_if(path, |_| true)
}

fn read_if(path: &Path, is_fit: impl Fn(u32) -> bool) -> Result<Vec<u8>, Unfit> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        Unfit::new(format!("{shown} cannot be read: {error}"), "name a file that this user may read")
    };
    // A pipe must not be waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if !meta.is_file() || meta.len() > FILE_LIMIT {
        let message = format!("{shown} is no regular file of at most {} MiB", FILE_LIMIT >> 20);
        return Err(Unfit::new(message, "name the file itself"));
    }
    if !is_fit(meta.mode()) {
        let message = format!("{shown} is a secret, and its mode {:04o} lets others at it", meta.mode() & 0o7777);
        return Err(Unfit::new(message, format!("chmod 600 {shown} (its group may read it: 640)")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// Whether only this host can reach it.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Lets through who may ask.
async fn admitted(State(listen): State<Arc<Listen>>, request: Request, next: Next) -> Response {
    let (has_tls, token) = {
        let secrets = listen.secrets();
        (secrets.tls.is_some(), secrets.token)
    };
    // With TLS the certificate has told a browser already whether it is where it wanted to go.
    if !has_tls && !asks_loopback(request.headers()) {
        let text = "the Host of this request is not this host: ask for localhost, 127.0.0.1 or [::1]\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    if token.is_some_and(|token| !knows(request.headers(), token)) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"kiln\"")];
        let text = "this takes the token of --token-file: Authorization: Bearer TOKEN\n";
        return (StatusCode::UNAUTHORIZED, challenge, text).into_response();
    }
    next.run(request).await
}

/// Whether `Host` is a name or an address that leads to this host only.
fn asks_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(is_loopback_host)
}

/// `localhost`, `127.0.0.1` or `[::1]`, with a port or without.
fn is_loopback_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return is_loopback(address.ip());
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| is_loopback(address.into())),
        None => {
            name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address| is_loopback(IpAddr::V4(address)))
        }
    }
}

/// Whether the token comes with the request. Hashes are compared in constant time, and say nothing of how much of a token is right.
fn knows(headers: &HeaderMap, token: blake3::Hash) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
    given.is_some_and(|(scheme, given)| {
        scheme.eq_ignore_ascii_case(b"Bearer ") && blake3::hash(given.trim_ascii()) == token
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_loopback_are_told_from_all_others() {
        for good in ["localhost", "LocalHost:9641", "127.0.0.1", "127.0.0.1:80", "127.9.8.7:1", "[::1]", "[::1]:9641"] {
            assert!(is_loopback_host(good), "{good}");
        }
        for bad in [
            "",
            ":80",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org:80",
            "10.0.0.1",
            "[fe80::1]:80",
            "0.0.0.0",
            "[::]",
            "localhost:80:80",
            "localhost@example.org",
            "127.0.0.1:80@example.org",
            "[::1].example.org",
        ] {
            assert!(!is_loopback_host(bad), "{bad}");
        }
    }

    #[test]
    fn only_the_token_is_the_token() {
        let token = blake3::hash(b"0123456789abcdef");
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            knows(&headers, token)
        };
        assert!(with("Bearer 0123456789abcdef") && with("bearer 0123456789abcdef "));
        for bad in ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Basic 0123456789abcdef", "0123456789abcdef"] {
            assert!(!with(bad), "{bad}");
        }
        assert!(!knows(&HeaderMap::new(), token));
    }
}
