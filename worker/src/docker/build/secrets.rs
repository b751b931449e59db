//! The user's secrets for `RUN --mount=type=secret`.

use std::io;
use std::path::PathBuf;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::Secrets;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

/// The user's folder with one file per secret, and the names that the job lists. Files are read when a step asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretFiles {
    /// The folder; `None` if this worker has no secrets.
    pub folder: Option<PathBuf>,
    /// The job's names, which have been checked.
    pub names: Vec<String>,
}

#[tonic::async_trait]
impl Secrets for SecretFiles {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let missing = || Status::not_found(format!("secret {id}: the job does not list it"));
        let name = self.names.iter().find(|name| **name == id);
        let name = name.ok_or_else(missing)?;
        let folder = self.folder.as_ref().ok_or_else(missing)?;
        match tokio::fs::read(folder.join(name)).await {
            Ok(data) => Ok(Response::new(GetSecretResponse { data })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Status::not_found(
                format!("secret {id}: this worker does not have it"),
            )),
            Err(error) => Err(Status::internal(format!("secret {id}: {error}"))),
        }
    }
}
