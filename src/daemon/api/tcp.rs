//! `--listen`: monitoring over TCP, and nothing else of what the control socket answers.
//!
//! On a loopback address every local process may ask. Web pages may not: `Host` must be a loopback name, which defeats DNS rebinding.
//! Beyond loopback, TLS and a token are required.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::super::reconciler::Reconciler;
use super::connections::Connections;
use super::monitoring::routes;
use super::server::Server;
use super::tls::{Listen, ListenError, is_loopback};

/// A handshake takes two round trips and a signature. A slower client gives its place to others.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Serves monitoring over TCP. Returns the address as a URL too; for port 0 it names the port that the kernel chose.
///
/// # Errors
/// If the address cannot be bound.
pub(in crate::daemon) async fn serve(
    listen: &Arc<Listen>,
    reconciler: &Arc<Reconciler>,
) -> Result<(Server, String), ListenError> {
    let address = listen.address;
    let cannot = |error: std::io::Error| {
        let fix =
            "stop the process that uses the address, or give another: --listen ADDRESS:PORT (port 0 takes a free one)";
        ListenError::new(format!("cannot listen on {address}: {error}"), fix)
    };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    let scheme = if listen.has_tls() { "https" } else { "http" };
    let router = routes(Arc::clone(reconciler)).layer(middleware::from_fn_with_state(Arc::clone(listen), admit));
    let listen = Arc::clone(listen);
    let tasks = TaskTracker::new();
    // A table of its own: TCP clients cannot take the places of clients of the control socket.
    let connections = Connections::new(&tasks);
    let accepting = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => accept(&listen, &connections, stream, router.clone()).await,
                Err(error) => connections.accept_failed(&error).await,
            }
        }
    });
    Ok((Server::new(tasks, accepting), format!("{scheme}://{bound}")))
}

async fn accept(listen: &Listen, connections: &Connections, stream: TcpStream, router: Router) {
    match listen.tls() {
        None => connections.serve(std::future::ready(Ok(stream)), router).await,
        Some(config) => {
            let handshake = async move {
                let accepted = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await;
                accepted.unwrap_or_else(|late| Err(late.into()))
            };
            connections.serve(handshake, router).await;
        }
    }
}

/// Refuses requests that may come from a web page, or that lack the token.
async fn admit(State(listen): State<Arc<Listen>>, request: Request, next: Next) -> Response {
    // With TLS the browser itself compares the certificate with the name that it asked for.
    if !listen.has_tls() && !asks_loopback(request.headers()) {
        let text = "the Host header of this request is not a loopback name: use localhost, 127.0.0.1 or [::1]\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    if listen.token().is_some_and(|token| !has_token(request.headers(), token)) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"kiln\"")];
        let text = "the token of --token-file is required: Authorization: Bearer TOKEN\n";
        return (StatusCode::UNAUTHORIZED, challenge, text).into_response();
    }
    next.run(request).await
}

/// Whether `Host` is a loopback name or address.
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

/// Whether the request carries the token. Hashes are compared, in constant time, so that timing reveals nothing about the token.
fn has_token(headers: &HeaderMap, token: blake3::Hash) -> bool {
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
            has_token(&headers, token)
        };
        assert!(with("Bearer 0123456789abcdef") && with("bearer 0123456789abcdef "));
        for bad in ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Basic 0123456789abcdef", "0123456789abcdef"] {
            assert!(!with(bad), "{bad}");
        }
        assert!(!has_token(&HeaderMap::new(), token));
    }
}
