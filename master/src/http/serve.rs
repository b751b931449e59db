//! Accepts connections and limits slow, idle and too many clients.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower::ServiceExt;

use super::addresses::Connections;
use super::tls::Tls;

/// The most connections. Each follower of a log has one. Further ones wait in the listener's backlog; those of an address
/// that has its share are closed.
const CONNECTIONS_MAX: usize = 4096;
/// Time-out for a request's head, from the start of the connection or the last answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Time-out of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which a shutdown closes the remaining connections.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener`, with TLS if given, until `shutdown`, with at most `per_address` connections of one
/// address. Then gives answers in progress some time to end.
///
/// # Errors
/// Only if the listener does not know its address.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    per_address: usize,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, tls = tls.is_some(), "listening");
    let watching = tls.clone().map(|tls| {
        let watching = tokio::spawn(async move { tls.watch().await });
        AbortOnDropHandle::new(watching)
    });
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let addresses = Connections::new(per_address);
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = addresses.admit(peer.ip()) else {
            tracing::debug!(%peer, per_address, "closed a connection of an address that has too many");
            continue;
        };
        let (router, shutdown, cut) = (router.clone(), shutdown.clone(), cut.clone());
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        connections.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = accept(stream, peer, acceptor, router, shutdown) => {}
            }
            drop((slot, place));
        });
    }
    drop(watching);
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait())
        .await
        .is_err()
    {
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

async fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let Some(acceptor) = acceptor else {
        return connection(stream, peer, router, shutdown).await;
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Box::pin(connection(stream, peer, router, shutdown)).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    let service = router.map_request(move |mut request: Request<_>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    // HTTP/1 only: telling the versions apart would mean waiting for a first line without a limit.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(service);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(peer = %peer, %error, "connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio_rustls::TlsConnector;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    async fn bound() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address");
        (listener, address)
    }

    #[tokio::test]
    async fn a_shutdown_lets_answers_end_and_takes_no_more() {
        let (listener, address) = bound().await;
        let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (asked, go) = (Arc::clone(&asked), Arc::clone(&go));
            async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
                asked.notify_one();
                go.notified().await;
                peer.to_string()
            }
        };
        let router = Router::new().route("/", axum::routing::get(handler));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, None, router, 9, shutdown.clone()));
        let mut client = TcpStream::connect(address).await.expect("connected");
        let local = client.local_addr().expect("address");
        client.write_all(REQUEST).await.expect("sent");
        asked.notified().await;
        shutdown.cancel();
        go.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with(&local.to_string()), "{answer}");
        serving.await.expect("ended").expect("served");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn silent_connections_of_one_address_leave_room_for_others() {
        let (listener, address) = bound().await;
        let router = Router::new().route("/", axum::routing::get(async || "answered"));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, None, router, 3, shutdown.clone()));
        let from = async |ip: [u8; 4]| {
            let socket = tokio::net::TcpSocket::new_v4().expect("socket");
            socket.bind(SocketAddr::from((ip, 0))).expect("bound");
            socket.connect(address).await.expect("connected")
        };
        let ask = async |mut client: TcpStream| {
            let mut answer = String::new();
            let asked = client.write_all(REQUEST).await;
            match asked.and(client.read_to_string(&mut answer).await) {
                Ok(_) => answer.ends_with("answered"),
                Err(_) => false,
            }
        };
        let mut silent = Vec::new();
        for _ in 0..3 {
            silent.push(from([127, 0, 0, 1]).await);
        }
        assert!(!ask(from([127, 0, 0, 1]).await).await, "its share is used");
        assert!(ask(from([127, 0, 0, 2]).await).await, "another address");
        assert_eq!(silent.len(), 3);
        drop(silent);
        let again = async {
            while !ask(from([127, 0, 0, 1]).await).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), again)
            .await
            .expect("there is room again");
        shutdown.cancel();
        serving.await.expect("ended").expect("served");
    }

    #[tokio::test]
    async fn tls_is_spoken_with_the_certificate_of_the_files() {
        let dir = tempfile::tempdir().expect("folder");
        let names = vec!["master.test".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("certificate");
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        std::fs::write(&cert, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        assert!(Tls::load(&cert, &cert).is_err());
        assert!(Tls::load(&key, &key).is_err());
        let tls = Arc::new(Tls::load(&cert, &key).expect("loaded"));

        let (listener, address) = bound().await;
        let router = Router::new().route("/", axum::routing::get(async || "over TLS"));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Some(tls), router, 9, shutdown.clone()));
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        for (name, answered) in [("master.test", true), ("other.test", false)] {
            let client = TcpStream::connect(address).await.expect("connected");
            let name = ServerName::try_from(name).expect("name");
            let client = connector.connect(name, client).await;
            assert_eq!(client.is_ok(), answered);
            if let Ok(mut client) = client {
                client.write_all(REQUEST).await.expect("sent");
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.expect("answered");
                assert!(answer.ends_with("over TLS"), "{answer}");
            }
        }
        shutdown.cancel();
        serving.await.expect("ended").expect("served");
    }
}
