//! The session of one build: a connection on which the engine calls DoPQ, for files, secrets and registry logins.

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bytes::Bytes;
use hyper::Request;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use tokio_stream::Empty;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::service::Routes;

use super::logins::Logins;
use super::secrets::StepSecrets;
use super::transfer::Transfers;
use crate::docker::error::Error;
use crate::docker::raw;

const CALL: &str = "build session";

/// The calls that the engine may make. It asks for nothing that is not listed.
const METHODS: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
];

/// What a session serves.
pub(super) struct Services {
    pub(super) transfers: Transfers,
    pub(super) secrets: StepSecrets,
    pub(super) logins: Logins,
}

/// An open session. Dropping it closes the connection.
pub(super) struct Session {
    _serving: AbortOnDropHandle<()>,
}

impl Session {
    /// Opens a session called `id` at the engine. The engine keeps one copy of the context for each `shared_key`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or what the engine said.
    pub(super) async fn open(
        host: &str,
        path: &str,
        id: &str,
        shared_key: &str,
        services: Services,
    ) -> Result<Self, Error> {
        let mut request = Request::post(path)
            .header("connection", "Upgrade")
            .header("upgrade", "h2c")
            .header("x-docker-expose-session-uuid", id)
            .header("x-docker-expose-session-name", "dopq")
            .header("x-docker-expose-session-sharedkey", shared_key);
        for method in METHODS {
            request = request.header("x-docker-expose-session-grpc-method", method);
        }
        let connection = raw::upgrade(CALL, host, request, Bytes::new()).await?;
        let routes = Routes::new(HealthServer::new(Serving))
            .add_service(FileSyncServer::new(services.transfers))
            .add_service(AuthServer::new(services.logins))
            .add_service(SecretsServer::new(services.secrets))
            .prepare();
        let serving = http2::Builder::new(TokioExecutor::new())
            .serve_connection(connection, TowerToHyperService::new(routes));
        let serving = tokio::spawn(async {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a build's session ended");
            }
        });
        Ok(Self {
            _serving: AbortOnDropHandle::new(serving),
        })
    }
}

/// Says that the session is well; the engine asks each second and otherwise closes it.
struct Serving;

#[tonic::async_trait]
impl Health for Serving {
    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        Ok(tonic::Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(
        &self,
        _request: tonic::Request<HealthListRequest>,
    ) -> Result<tonic::Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only Check is served"))
    }

    async fn watch(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only Check is served"))
    }
}
