//! `dopq forward`: opens ports of a running job's container on this machine's loopback.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::str::FromStr;

use clap::Args;
use dopq_common::api::{ErrorCode, SessionEvent, SessionInput};
use dopq_common::id::JobName;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::context::Context;
use crate::client::{Client, Error, Socket};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::clean;
use crate::select::{Selection, Whose, resolve};

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// How much is read at a time.
const BYTES: usize = 32 * 1024;

/// Arguments of `dopq forward`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Job: 1423, last, or a task such as 1423_7
    #[arg(value_name = "JOB")]
    job: Selection,
    /// Port in the container, and the port here if it is another; 0 for any
    #[arg(value_name = "PORT[:LOCAL]", required = true)]
    ports: Vec<Ports>,
}

/// A port in the container and one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    inside: u16,
    here: u16,
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (inside, here) = text.split_once(':').unwrap_or((text, text));
        match (inside.parse(), here.parse()) {
            (Ok(inside), Ok(here)) if inside > 0 => Ok(Self { inside, here }),
            _ => Err(format!("{text:?} is not a port (6006) or two (6006:16006)")),
        }
    }
}

/// How one connection ended.
enum Ended {
    Done,
    /// It failed; others may not.
    Failed(String),
    /// The job's container is gone.
    Over(String),
}

/// Forwards until Ctrl-C or the end of the job's container.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, std::slice::from_ref(&arguments.job), Whose::Mine).await?;
    let [id] = *ids.as_slice() else {
        return Err(Failure::Usage("forward takes one job".to_owned()));
    };
    let mut listeners = Vec::new();
    for ports in &arguments.ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.here)).await;
        let listener = listener.map_err(|source| Failure::Listen {
            port: ports.here,
            source,
        })?;
        let here = listener.local_addr()?;
        context.output.note(&format!(
            "http://{here} is port {} of job {id}; Ctrl-C ends it",
            ports.inside
        ));
        listeners.push((listener, ports.inside));
    }
    let mut connections = JoinSet::new();
    let mut told = VecDeque::new();
    loop {
        let has_room = connections.len() < CONNECTIONS;
        tokio::select! {
            accepted = accept(&listeners), if has_room => {
                let (stream, port) = accepted?;
                connections.spawn(connect(client.clone(), id, port, stream));
            }
            Some(ended) = connections.join_next() => match ended {
                Ok(Ended::Done) => {}
                Ok(Ended::Over(reason)) => {
                    context.output.complain(&format!("the session ended: {}", clean(&reason)));
                    return Ok(exit::JOB_NOT_RUN);
                }
                Ok(Ended::Failed(reason)) => {
                    // A browser tries again and again.
                    if !told.contains(&reason) {
                        context.output.complain(&clean(&reason));
                        told.push_back(reason);
                        if told.len() > CONNECTIONS {
                            told.pop_front();
                        }
                    }
                }
                Err(error) => return Err(Failure::Session(error.to_string())),
            },
            _ = tokio::signal::ctrl_c() => return Ok(exit::DONE),
        }
    }
}

/// The next connection, and the port that it is for.
async fn accept(listeners: &[(TcpListener, u16)]) -> std::io::Result<(TcpStream, u16)> {
    let accepting = listeners.iter().map(|(listener, port)| {
        Box::pin(async move { listener.accept().await.map(|(stream, _)| (stream, *port)) })
    });
    let (accepted, _, _) = futures::future::select_all(accepting).await;
    accepted
}

async fn connect(client: Client, id: JobName, port: u16, stream: TcpStream) -> Ended {
    match client.forward(id, port).await {
        Ok(socket) => pass(socket, stream).await,
        Err(Error::Refused(body)) => match body.code {
            ErrorCode::Conflict | ErrorCode::NotFound | ErrorCode::Unauthorized => {
                Ended::Over(body.message)
            }
            _ => Ended::Failed(body.message),
        },
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// Passes on in both directions until the container's end closes the connection.
async fn pass(socket: Socket, stream: TcpStream) -> Ended {
    let (mut sink, mut messages) = socket.split();
    let (mut reader, mut writer) = stream.into_split();
    let sending = async {
        let mut bytes = vec![0; BYTES];
        // A broken connection of the client's has no more input either.
        while let Ok(count @ 1..) = reader.read(&mut bytes).await {
            let read = bytes.get(..count).unwrap_or_default();
            if sink.send(Message::binary(read.to_vec())).await.is_err() {
                return;
            }
        }
        let close = serde_json::to_string(&SessionInput::Close).unwrap_or_default();
        sink.send(Message::text(close)).await.ok();
    };
    let receiving = async {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                Message::Binary(bytes) => {
                    let bytes = bytes.get(1..).unwrap_or_default();
                    if writer.write_all(bytes).await.is_err() {
                        return Ended::Done;
                    }
                }
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(SessionEvent::End { reason, .. }) if reason.is_empty() => {
                        return Ended::Done;
                    }
                    Ok(SessionEvent::End { reason, .. }) => return Ended::Over(reason),
                    Ok(SessionEvent::Error { error }) => return Ended::Failed(error.message),
                    Ok(_) | Err(_) => {}
                },
                _ => {}
            }
        }
        Ended::Failed("the connection to the master broke".to_owned())
    };
    let sending = async {
        sending.await;
        std::future::pending::<Ended>().await
    };
    tokio::select! {
        ended = receiving => ended,
        ended = sending => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_two() {
        let ports = |inside, here| Ok(Ports { inside, here });
        assert_eq!("6006".parse(), ports(6006, 6006));
        assert_eq!("6006:16006".parse(), ports(6006, 16006));
        assert_eq!("6006:0".parse(), ports(6006, 0));
        for wrong in ["", "0", "0:6006", "6006:", ":6006", "70000", "a", "1:2:3"] {
            assert!(wrong.parse::<Ports>().is_err(), "{wrong}");
        }
    }
}
