//! The connection to the engine. Connects and negotiates the API version at the first call; every call has a deadline.
//!
//! The calls are in `lifecycle`, `images`, `logs` and others, as further `impl` blocks of [`Client`].

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::models::{SystemInfo, SystemVersion};
use bollard::{BollardRequest, ClientVersion, Docker};
use hyper::Uri;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use super::error::Error;
use super::registries::Registries;
use super::shared_files::SharedFile;
use super::types::{Builder, EngineInfo};
use crate::disk::Disk;

/// Time-out of an ordinary call. Creating and removing wait for the disk, so it is generous. After it, the engine
/// counts as hung.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Time-out of connecting.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// The first API with BuildKit, of Docker 18.09.
const FIRST_BUILDKIT_API: (usize, usize) = (1, 39);

/// The first engine whose built-in frontend knows here-documents; the one before it is 20.10.
const FIRST_DOCUMENTS_VERSION: u32 = 22;

/// bollard's own deadline, in seconds: long, because every call has its own here.
const LIBRARY_DEADLINE: Duration = Duration::from_secs(10 * 24 * 3600);

/// Where a system's containerd keeps images.
const CONTAINERD_FOLDER: &str = "/var/lib/containerd";

/// A Docker engine.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    host: String,
    /// The administrator's Docker configuration.
    config: Option<PathBuf>,
    /// What every container and build step sees of this machine.
    files: Vec<SharedFile>,
    call_deadline: Duration,
    /// Where it keeps images and containers, since the last probe.
    folders: Mutex<Vec<PathBuf>>,
    /// Containers that this client created and was not asked to start yet.
    pub(super) unstarted: Mutex<BTreeSet<String>>,
    /// The connection with its API version; empty while the engine cannot be reached.
    docker: OnceCell<Docker>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.shared.host)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// An engine at `host`, such as `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`. Does not connect yet.
    #[must_use]
    pub fn new(host: &str) -> Self {
        Self::made(host, CALL_DEADLINE, None, Vec::new())
    }

    /// The same with the logins and proxies of a Docker configuration, `config.json`, and with files that containers and
    /// build steps see.
    #[must_use]
    pub fn with_config(host: &str, config: Option<PathBuf>, files: Vec<SharedFile>) -> Self {
        Self::made(host, CALL_DEADLINE, config, files)
    }

    /// The same with another deadline for ordinary calls.
    #[must_use]
    pub fn with_deadline(host: &str, call_deadline: Duration) -> Self {
        Self::made(host, call_deadline, None, Vec::new())
    }

    fn made(
        host: &str,
        call_deadline: Duration,
        config: Option<PathBuf>,
        files: Vec<SharedFile>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                host: host.to_owned(),
                config,
                files,
                call_deadline,
                folders: Mutex::default(),
                unstarted: Mutex::default(),
                docker: OnceCell::new(),
            }),
        }
    }

    /// The engine's properties. Negotiates the API version again, because the engine may have been replaced.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Deadline`], or the engine's error.
    pub async fn probe(&self) -> Result<EngineInfo, Error> {
        let docker = self.docker("probe").await?;
        let deadline = self.probe_deadline();
        within("probe", deadline, docker.clone().negotiate_version()).await?;
        let info = within("probe", deadline, docker.info()).await?;
        *self.shared.folders.lock() = self.folders(&info);
        let server = within("probe", deadline, docker.version()).await?;
        let version = docker.client_version();
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            api: format!("{}.{}", version.major_version, version.minor_version),
            runtimes,
            builder: builder(&server, &version),
            cdi: info.cdi_spec_dirs.is_some_and(|dirs| !dirs.is_empty()),
            shares_networks: is_docker(&server)
                && !has_user_namespaces(info.security_options.as_deref().unwrap_or_default()),
            cpus: info
                .ncpu
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or_default(),
            memory_bytes: info
                .mem_total
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or_default(),
        })
    }

    /// The disks where it keeps images and containers; none of an engine on another machine, or before the first probe.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let folders = self.shared.folders.lock();
        folders.iter().filter_map(|at| Disk::of(at).ok()).collect()
    }

    fn folders(&self, info: &SystemInfo) -> Vec<PathBuf> {
        if !self.shared.host.starts_with("unix:") && !self.shared.host.starts_with('/') {
            return Vec::new();
        }
        let mut folders: Vec<_> = info.docker_root_dir.iter().map(PathBuf::from).collect();
        // With the containerd image store, the images are containerd's.
        let status = info.driver_status.iter().flatten().flatten();
        if status
            .into_iter()
            .any(|text| text.contains("containerd.snapshotter"))
        {
            folders.push(PathBuf::from(CONTAINERD_FOLDER));
        }
        folders
    }

    /// What the engine builds with.
    ///
    /// # Errors
    /// Any.
    pub(super) async fn builder(&self) -> Result<Builder, Error> {
        const CALL: &str = "ask for the version";
        let docker = self.docker(CALL).await?;
        let server = self.call(CALL, docker.version()).await?;
        Ok(builder(&server, &docker.client_version()))
    }

    /// The connection, made at the first use.
    pub(super) async fn docker(&self, call: &'static str) -> Result<&Docker, Error> {
        let connect = || async {
            let docker = connection(&self.shared.host)
                .map_err(|error| translate(call, error))?
                .with_timeout(LIBRARY_DEADLINE);
            within(call, self.probe_deadline(), docker.negotiate_version()).await
        };
        self.shared.docker.get_or_try_init(connect).await
    }

    fn probe_deadline(&self) -> Duration {
        PROBE_DEADLINE.min(self.shared.call_deadline)
    }

    /// The engine's address.
    pub(super) fn host(&self) -> &str {
        &self.shared.host
    }

    /// The administrator's logins and proxies.
    pub(super) async fn registries(&self) -> Registries {
        Registries::read(self.shared.config.as_deref()).await
    }

    /// What every container and build step sees of this machine.
    pub(super) fn shared_files(&self) -> &[SharedFile] {
        &self.shared.files
    }

    /// The deadline of ordinary calls.
    pub(super) fn call_deadline(&self) -> Duration {
        self.shared.call_deadline
    }

    /// Runs one ordinary call.
    pub(super) async fn call<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, Error> {
        within(call, self.shared.call_deadline, answer).await
    }
}

/// The engine at `host`. Calls over a socket use open connections again, which bollard's own client does not: a job
/// makes nine of them.
fn connection(host: &str) -> Result<Docker, ApiError> {
    let Some(path) = host.strip_prefix("unix://") else {
        return Docker::connect_with_host(host);
    };
    if !Path::new(path).exists() {
        return Err(ApiError::SocketNotFoundError(path.to_owned()));
    }
    let path: Arc<Path> = Path::new(path).into();
    let connect = tower::service_fn(move |_: Uri| {
        let path = Arc::clone(&path);
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    });
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connect);
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(ApiError::from) }
    };
    // The name selects nothing; the path does.
    let name = Some("http://engine");
    let seconds = LIBRARY_DEADLINE.as_secs();
    Docker::connect_with_custom_transport(transport, name, seconds, bollard::API_DEFAULT_VERSION)
}

/// The builder of an engine. Docker announces BuildKit in the header `Builder-Version` only where it is the default, so a
/// header that is missing says nothing.
fn builder(server: &SystemVersion, api: &ClientVersion) -> Builder {
    if !is_docker(server) || (api.major_version, api.minor_version) < FIRST_BUILDKIT_API {
        return Builder::Absent;
    }
    let version = server.version.as_deref().unwrap_or_default();
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major < FIRST_DOCUMENTS_VERSION => Builder::Old,
        Some(_) | None => Builder::Current,
    }
}

fn is_docker(server: &SystemVersion) -> bool {
    let mut parts = server.components.iter().flatten();
    parts.any(|part| part.name == "Engine")
}

/// Whether containers have user namespaces, which one that joins another's network would share with it.
fn has_user_namespaces(security: &[String]) -> bool {
    let names = ["name=userns", "name=rootless"];
    security
        .iter()
        .any(|option| names.iter().any(|name| option.starts_with(name)))
}

/// Waits for an answer with a time-out.
pub(super) async fn within<T>(
    call: &'static str,
    deadline: Duration,
    answer: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(answer) => answer.map_err(|error| translate(call, error)),
        Err(_) => Err(Error::Deadline {
            call,
            after: deadline,
        }),
    }
}

/// Converts bollard's error.
pub(super) fn translate(call: &'static str, error: ApiError) -> Error {
    match error {
        ApiError::DockerResponseServerError {
            status_code,
            message,
        } => classify(call, status_code, message),
        ApiError::DockerStreamError { error } => classify(call, 500, error),
        ApiError::RequestTimeoutError => Error::Deadline {
            call,
            after: LIBRARY_DEADLINE,
        },
        ApiError::IOError { .. }
        | ApiError::HyperResponseError { .. }
        | ApiError::HyperLegacyError { .. }
        | ApiError::SocketNotFoundError(_) => Error::Unreachable {
            call,
            source: Box::new(error),
        },
        // The library's other errors are internal (an unreadable body, an invalid address). Treat all alike.
        other => Error::Other {
            call,
            message: other.to_string(),
        },
    }
}

/// Interprets the engine's status and message.
///
/// What a user can write into a message (a command, a user's name, a folder) makes it the user's fault at most: their
/// own words are looked for first, and the machine's faults only outside quotation marks.
pub(super) fn classify(call: &'static str, status: u16, message: String) -> Error {
    let lower = message.to_ascii_lowercase();
    if let Some(exit_code) = command_fault(&lower) {
        return Error::Command { exit_code, message };
    }
    if is_refusal(call, status, &lower) {
        return Error::Refused { message };
    }
    let own = unquoted(&lower);
    if own.contains("no space left on device") || own.contains("disk quota exceeded") {
        return Error::DiskFull { message };
    }
    match status {
        404 if lower.contains("no such image") || lower.contains("manifest unknown") => {
            Error::ImageMissing { message }
        }
        404 => Error::NotFound { message },
        409 => Error::Conflict { message },
        // Engines up to 20.10 answer this for a container that is not paused.
        500 if lower.contains("is not paused") || lower.contains("is not running") => {
            Error::Conflict { message }
        }
        _ => Error::Other { call, message },
    }
}

/// Whether the engine or its runtime refuses a parameter of the container.
fn is_refusal(call: &str, status: u16, lower: &str) -> bool {
    match call {
        // Creating checks the parameters. All but the mounts and the runtime come from the job.
        "create" => {
            let ours = [
                "invalid mount config",
                "unknown or invalid runtime",
                "unknown runtime",
            ];
            status == 400 && !ours.iter().any(|words| lower.starts_with(words))
        }
        // Starting answers 500 for these too.
        "start" => {
            let unknown = ["unable to find user ", "unable to find group "];
            let by_runtime = ["error setting rlimit", "chdir to cwd"];
            unknown.iter().any(|words| lower.starts_with(words))
                || lower.contains("oci runtime")
                    && by_runtime.iter().any(|words| lower.contains(words))
        }
        _other => false,
    }
}

/// The text without what stands between quotation marks.
pub(super) fn unquoted(text: &str) -> String {
    text.split('"').step_by(2).collect()
}

/// The shell's exit code for the OCI runtime's error about a command.
fn command_fault(lower: &str) -> Option<i32> {
    if !lower.contains("oci runtime") && !lower.contains("starting container process") {
        return None;
    }
    let not_there = ["executable file not found", "no such file or directory"];
    let not_executable = ["permission denied", "exec format error", "is a directory"];
    if !lower.contains("exec:") && !lower.contains("exec ") {
        None
    } else if not_there.iter().any(|words| lower.contains(words)) {
        Some(127)
    } else if not_executable.iter().any(|words| lower.contains(words)) {
        Some(126)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_words_are_told_apart() {
        const NO_SPACE: &str = "write /var/lib/docker/x: no space left on device";
        const ABSENT: &str = "OCI runtime create failed: container_linux.go:380: starting container \
            process caused: exec: \"/x\": stat /x: no such file or directory: unknown";
        const NOT_EXECUTABLE: &str = "failed to create task: OCI runtime create failed: runc create \
            failed: unable to start container process: exec: \"/x\": permission denied: unknown";
        const MOUNT: &str =
            "OCI runtime create failed: error mounting \"/x\" to rootfs: no such file";
        const UNKNOWN_USER: &str =
            "unable to find user no space left on device: no matching entries in passwd file";
        const ULIMIT: &str = "failed to create shim: OCI runtime create failed: container init \
            caused: error setting rlimit type 7: operation not permitted: unknown";
        const FAKED: &str = "failed to create shim: OCI runtime create failed: starting container \
            process caused: exec: \"no space left on device\": executable file not found in $PATH";
        const QUOTED: &str = "invalid mount \"/no space left on device\"";
        let cases = [
            (500, NO_SPACE, "DiskFull"),
            (500, UNKNOWN_USER, "Refused"),
            (500, "Unable to find group nobody-here", "Refused"),
            (500, ULIMIT, "Refused"),
            (400, FAKED, "Command { exit_code: 127"),
            (500, QUOTED, "Other"),
            (404, "No such image: a:b", "ImageMissing"),
            (404, "No such container: x", "NotFound"),
            (409, "Conflict. The container name is in use", "Conflict"),
            (500, "Container x is not paused", "Conflict"),
            (400, ABSENT, "Command { exit_code: 127"),
            (400, NOT_EXECUTABLE, "Command { exit_code: 126"),
            (400, MOUNT, "Other"),
            (500, "something", "Other"),
        ];
        for (status, message, kind) in cases {
            let error = classify("start", status, message.to_owned());
            assert!(
                format!("{error:?}").starts_with(kind),
                "{message}: {error:?}"
            );
        }
    }

    #[test]
    fn a_parameter_of_the_job_that_is_refused_is_the_users_fault() {
        let message = "Requested CPUs are not available - requested 99, available: 0-1".to_owned();
        let error = classify("create", 400, message);
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let message = "invalid mount config for type \"bind\": bind source path does not exist";
        let error = classify("create", 400, message.to_owned());
        assert!(matches!(error, Error::Other { .. }), "{error:?}");
    }
}
