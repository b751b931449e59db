//! Connects a session to a port inside the container of a job, and nowhere else.
//!
//! The connection is made from within the container's network namespace, by a thread of its own that enters it and ends.
//! So it reaches what listens on the container's loopback, needs no network of the container, and cannot reach this
//! machine or another job.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::linux::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::session::WINDOW;
use dopq_common::wire::{EndCause, SessionEnd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};

use super::work::{Input, OUTPUT_AHEAD, Work, pass_on};
use crate::docker::belongs;
use crate::driver::Context;

/// For one address.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// An address of no network (RFC 5737). Asking the way to it tells the container's own address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// Connects to `port`.
pub(super) async fn start(
    context: &Arc<Context>,
    container: &Arc<str>,
    port: u16,
) -> Result<Work, SessionEnd> {
    let refused = |why: &str| SessionEnd::new(EndCause::Refused, why);
    if !context.options.settings.exec.allow {
        return Err(refused(
            "this worker lets nobody enter containers (setting exec.allow)",
        ));
    }
    let failed = |what: String| SessionEnd::new(EndCause::Failed, what);
    let seen = context.engine.inspect(container).await;
    let seen = seen.map_err(|error| failed(format!("failed to {}", chain(&error))))?;
    let Some(pid) = seen.and_then(|seen| seen.pid) else {
        let why = "its container does not run";
        return Err(SessionEnd::new(EndCause::ContainerEnded, why));
    };
    let network = network_of(pid, container)
        .map_err(|error| failed(format!("failed to find the container's network: {error}")))?;
    let Some(network) = network else {
        return Err(refused(
            "the job uses the machine's own network, into which nothing is forwarded",
        ));
    };
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("forward".to_owned());
    let spawned = thread.spawn(move || {
        // Whoever waits for it may be gone.
        drop(tell.send(connect(&network, port)));
    });
    spawned.map_err(|error| failed(format!("failed to start a thread: {error}")))?;
    let connected = told
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the thread ended")));
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut => {
            let why = format!("nothing listens on port {port} in the container");
            SessionEnd::new(EndCause::NotFound, why)
        }
        io::ErrorKind::PermissionDenied => failed(
            "this worker may not enter the container's network; it must run as root".to_owned(),
        ),
        _ => failed(format!("failed to connect to port {port}: {error}")),
    })?;
    let stream = tokio::net::TcpStream::from_std(stream);
    let stream =
        stream.map_err(|error| failed(format!("failed to use the connection: {error}")))?;
    Ok(work(context, stream))
}

fn work(context: &Arc<Context>, stream: tokio::net::TcpStream) -> Work {
    let (reader, writer) = stream.into_split();
    let window = usize::try_from(WINDOW).unwrap_or(1);
    let (input, inputs) = mpsc::channel(window);
    let (took, taken) = mpsc::channel(window);
    let (out, output) = mpsc::channel(OUTPUT_AHEAD);
    context.spawn(write(writer, inputs, took));
    context.spawn(pass_on(reader, out));
    Work {
        input,
        taken,
        output,
        end: Box::pin(std::future::ready(SessionEnd::new(EndCause::Done, ""))),
        // The connection ends with its two halves.
        stop: Box::pin(std::future::ready(())),
    }
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut inputs: mpsc::Receiver<Input>,
    took: mpsc::Sender<()>,
) {
    while let Some(input) = inputs.recv().await {
        let written = match input {
            Input::Data(bytes) => writer.write_all(&bytes).await,
            Input::Close => writer.shutdown().await,
            Input::Resize(..) => Ok(()),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "a forwarded connection takes no more");
        }
        if took.send(()).await.is_err() {
            return;
        }
    }
}

/// The network namespace of the container's process; `None` if it is this machine's.
fn network_of(pid: u32, container: &str) -> io::Result<Option<File>> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    let own = File::open("/proc/self/ns/net")?;
    // Asked after it was opened, so that it is not another process's that got the number since.
    if !belongs(pid, container) {
        return Err(io::Error::other("its process is not on this machine"));
    }
    let (theirs, ours) = (network.metadata()?, own.metadata()?);
    let is_ours = theirs.st_ino() == ours.st_ino() && theirs.st_dev() == ours.st_dev();
    Ok((!is_ours).then_some(network))
}

/// Enters the network and connects. For a thread that ends after it.
fn connect(network: &File, port: u16) -> io::Result<TcpStream> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    let mut refused = None;
    let loopbacks = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    for address in loopbacks.into_iter().chain(own_address()) {
        let address = SocketAddr::new(address, port);
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            // The first tells most: there may be no IPv6.
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()))
}

/// The container's address on its network, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(NOWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
