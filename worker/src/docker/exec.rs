//! Commands in running containers.
//!
//! The connection to a command is read raw, because bollard's decoder takes a terminal's bytes for frames and cuts at
//! line ends. What its frames mean is [`Frames`].

use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions};
use bytes::{Buf as _, Bytes, BytesMut};
use dopq_common::wire::ExecRequest;
use hyper::Request;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;

use super::client::Client;
use super::error::Error;
use super::raw;

const CALL: &str = "exec";

/// Bytes before a message.
const HEADER_BYTES: usize = 8;

/// The connection to a command: its input goes in, its output comes out.
pub(crate) type Attached = TokioIo<Upgraded>;

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecState {
    /// Whether it runs.
    pub running: bool,
    /// Its exit code, once it ended.
    pub exit_code: Option<i32>,
    /// Its process on the machine.
    pub pid: Option<i32>,
}

impl Client {
    /// Prepares a command in a container, and returns its id.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Conflict`] if the container does not run; and any other.
    pub async fn create_exec(&self, id: &str, request: &ExecRequest) -> Result<String, Error> {
        let docker = self.docker(CALL).await?;
        let options = CreateExecOptions {
            attach_stdin: Some(request.stdin && !request.detach),
            attach_stdout: Some(!request.detach),
            attach_stderr: Some(!request.detach),
            tty: Some(request.tty),
            env: Some(request.env.clone()),
            cmd: Some(request.command.clone()),
            privileged: Some(request.privileged),
            user: request.user.clone(),
            working_dir: request.workdir.clone(),
            // Every byte is the command's.
            detach_keys: None,
        };
        Ok(self.call(CALL, docker.create_exec(id, options)).await?.id)
    }

    /// Starts it and leaves it alone.
    ///
    /// # Errors
    /// [`Error::Command`] if it cannot be run; and any other.
    pub async fn start_detached(&self, exec: &str) -> Result<(), Error> {
        let docker = self.docker(CALL).await?;
        let detached = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        let started = docker.start_exec(exec, Some(detached));
        self.call(CALL, started).await.map(drop)
    }

    /// Starts it with its input and output.
    ///
    /// # Errors
    /// As [`Self::start_detached`].
    pub(crate) async fn start_attached(&self, exec: &str, tty: bool) -> Result<Attached, Error> {
        let version = self.docker(CALL).await?.client_version();
        let path = format!(
            "/v{}.{}/exec/{exec}/start",
            version.major_version, version.minor_version
        );
        let request = Request::post(path)
            .header("connection", "Upgrade")
            .header("upgrade", "tcp")
            .header("content-type", "application/json");
        let body = json!({ "Detach": false, "Tty": tty }).to_string();
        let started = raw::upgrade(CALL, self.host(), request, body.into());
        let deadline = self.call_deadline();
        match tokio::time::timeout(deadline, started).await {
            Ok(started) => started.map(TokioIo::new),
            Err(_) => Err(Error::Deadline {
                call: CALL,
                after: deadline,
            }),
        }
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// Any.
    pub async fn resize_exec(&self, exec: &str, rows: u16, columns: u16) -> Result<(), Error> {
        let docker = self.docker(CALL).await?;
        let size = ResizeExecOptions {
            height: rows,
            width: columns,
        };
        self.call(CALL, docker.resize_exec(exec, size)).await
    }

    /// What became of it.
    ///
    /// # Errors
    /// [`Error::NotFound`] some minutes after its end; and any other.
    pub async fn inspect_exec(&self, exec: &str) -> Result<ExecState, Error> {
        let docker = self.docker(CALL).await?;
        let seen = self.call(CALL, docker.inspect_exec(exec)).await?;
        let whole = |number: i64| i32::try_from(number).ok();
        Ok(ExecState {
            running: seen.running.unwrap_or_default(),
            exit_code: seen.exit_code.and_then(whole),
            pid: seen.pid.and_then(whole).filter(|pid| *pid > 0),
        })
    }

    /// Ends a command whose session is over. The engine has no call for it, so its process is signalled where this
    /// program may do that.
    ///
    /// # Errors
    /// Any.
    pub async fn end_exec(&self, container: &str, exec: &str) -> Result<(), Error> {
        let Some(pid) = self.inspect_exec(exec).await?.pid else {
            return Ok(());
        };
        let Some(process) = Pid::from_raw(pid) else {
            return Ok(());
        };
        let Ok(handle) = pidfd_open(process, PidfdFlags::empty()) else {
            return Ok(());
        };
        // The handle is of a process that runs now; that it is the command's is asked after it was taken.
        let is_it = u32::try_from(pid).is_ok_and(|pid| belongs(pid, container))
            && self.inspect_exec(exec).await?.running;
        for signal in [Signal::HUP, Signal::KILL] {
            if is_it && let Err(error) = pidfd_send_signal(&handle, signal) {
                tracing::debug!(%error, ?signal, "failed to signal a command");
            }
        }
        Ok(())
    }
}

/// Whether a process is in that container, as far as this machine knows.
pub(crate) fn belongs(pid: u32, container: &str) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    groups.is_ok_and(|groups| groups.contains(container))
}

/// Reads the output of a command without a terminal: a byte for the stream, three zeros, four bytes of length
/// (big-endian), then so many bytes.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    arrived: BytesMut,
    /// Of the message that is being read: whether it is of standard error, and how many bytes are left.
    within: (bool, usize),
}

/// Bytes that are not a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stream {0} is none of output and error")]
pub(crate) struct Fault(u8);

impl Frames {
    /// Adds received bytes.
    pub(crate) fn push(&mut self, arrived: &[u8]) {
        self.arrived.extend_from_slice(arrived);
    }

    /// The next bytes, at most `max`, and whether they are of standard error.
    pub(crate) fn next(&mut self, max: usize) -> Result<Option<(bool, Bytes)>, Fault> {
        let (_, mut left) = self.within;
        while left == 0 {
            let Some(header) = self.arrived.first_chunk::<HEADER_BYTES>() else {
                return Ok(None);
            };
            let [stream, _, _, _, a, b, c, d] = *header;
            if stream > 2 {
                return Err(Fault(stream));
            }
            left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            self.arrived.advance(HEADER_BYTES);
            self.within = (stream == 2, left);
        }
        let length = left.min(max).min(self.arrived.len());
        if length == 0 {
            return Ok(None);
        }
        self.within.1 = left - length;
        Ok(Some((
            self.within.0,
            self.arrived.split_to(length).freeze(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], bytes].concat()
    }

    #[test]
    fn output_is_read_byte_for_byte_however_it_arrives() {
        let stream = [
            frame(1, b"one\r\n"),
            frame(2, b""),
            frame(2, b"\0\xfftwo"),
            frame(1, &[7; 300]),
        ]
        .concat();
        for step in [1, 3, 8, 9, 100, stream.len()] {
            let (mut frames, mut out, mut err) = (Frames::default(), Vec::new(), Vec::new());
            for arrived in stream.chunks(step) {
                frames.push(arrived);
                while let Some((is_error, bytes)) = frames.next(100).expect("sound") {
                    assert!(bytes.len() <= 100);
                    if is_error { &mut err } else { &mut out }.extend_from_slice(&bytes);
                }
            }
            assert_eq!(out, [&b"one\r\n"[..], &[7; 300]].concat(), "{step}");
            assert_eq!(err, b"\0\xfftwo", "{step}");
        }
        let mut frames = Frames::default();
        frames.push(b"HTTP/1.1");
        assert_eq!(frames.next(100), Err(Fault(b'H')));
    }
}
