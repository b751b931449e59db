//! Masters that are gone, that refuse, and that have a private CA.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::get;
use dopq_common::wire::ClusterKey;
use tokio::io::AsyncWriteExt as _;

use super::*;

async fn serve(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}").parse().expect("a URL")
}

fn plane(urls: Vec<Url>) -> (DataPlane, Access) {
    let worker: WorkerId = "w1".parse().expect("a name");
    let key = ClusterKey::from_secret("s").worker(&worker);
    let data = DataPlane::new(worker, key, Vec::new(), None).expect("a client");
    let attempt = format!("7.1-{}", "07".repeat(16)).parse().expect("an id");
    (data, Access::of(attempt, urls))
}

#[tokio::test]
async fn a_private_ca_is_trusted_where_the_settings_name_it() {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let refused = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(refused).await.expect("answered");
                stream.shutdown().await.expect("ended");
            }
        }
    });
    let url: Url = format!("https://localhost:{port}").parse().expect("a URL");
    let ask = async |ca_pem: Option<&str>| {
        let worker: WorkerId = "w1".parse().expect("a name");
        let key = ClusterKey::from_secret("s").worker(&worker);
        let data = DataPlane::new(worker, key, vec![url.clone()], ca_pem).expect("a client");
        let me = Me {
            cluster: "default",
            instance: "1",
        };
        data.standing("nonce", &me).await.expect_err("no standing")
    };
    let stranger = ask(None).await;
    assert!(
        matches!(stranger, Error::Unreachable { .. }),
        "{stranger:?}"
    );
    let known = ask(Some(&made.cert.pem())).await;
    assert!(known.is_unknown_key(), "{known:?}");
}

#[tokio::test]
async fn a_master_that_is_gone_is_not_asked_each_time() {
    let asked = Arc::new(AtomicUsize::new(0));
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let gone = gone.expect("a port");
    let address = gone.local_addr().expect("an address");
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((connection, _)) = gone.accept().await {
            drop(connection);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let other = serve(Router::new().fallback(|| async { "stored" })).await;
    let gone = format!("http://{address}").parse().expect("a URL");
    let (data, access) = plane(vec![gone, other]);
    for offset in 0..5 {
        let stored = data.put_log(&access, offset, Bytes::from_static(b"x"));
        stored.await.expect("stored");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_proof_follows_to_the_leader_and_not_to_a_bucket() {
    let shown = |headers: HeaderMap| async move {
        match headers.contains_key("authorization") {
            true => Ok("shown"),
            false => Err(StatusCode::UNAUTHORIZED),
        }
    };
    let hidden = |headers: HeaderMap| async move {
        match headers.contains_key("authorization") {
            true => Err(StatusCode::BAD_REQUEST),
            false => Ok("hidden"),
        }
    };
    let of = |what: &str| format!("/data/v1/attempts/{{attempt}}/{what}");
    let elsewhere = Router::new()
        .route(&of("checkpoint"), get(shown).put(shown))
        .route("/signed", get(hidden));
    let elsewhere = serve(elsewhere).await;
    let attempt = format!("7.1-{}", "07".repeat(16));
    let leader = format!("{elsewhere}data/v1/attempts/{attempt}/checkpoint");
    let to_leader = move || async move { Redirect::temporary(&leader) };
    let signed = format!("{elsewhere}signed");
    let standby = Router::new()
        .route(&of("checkpoint"), get(to_leader.clone()).put(to_leader))
        .route(
            &of(BUNDLE),
            get(|| async move { Redirect::temporary(&signed) }),
        );
    let standby = serve(standby).await;
    let (data, access) = plane(vec![standby]);
    let stored = data
        .put_checkpoint(&access, Bytes::from_static(b"{}"))
        .await;
    assert_eq!(stored.expect("stored"), "shown");
    let bundle = data.bundle(&access).await.expect("given");
    assert_eq!(bundle.text().await.expect("read"), "hidden");
}
