//! What steps mount with `RUN --mount=type=secret`: the user's secrets, and the files that the administrator shares.

use std::collections::BTreeMap;
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

/// The service.
pub(super) struct StepSecrets {
    /// The user's.
    pub(super) user: SecretFiles,
    /// The administrator's, by where they are seen. Such a path is no name of a secret.
    pub(super) shared: BTreeMap<String, Vec<u8>>,
}

#[tonic::async_trait]
impl Secrets for StepSecrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        if let Some(data) = self.shared.get(&id).cloned() {
            return Ok(Response::new(GetSecretResponse { data }));
        }
        let missing = || Status::not_found(format!("secret {id}: the job does not list it"));
        let name = self.user.names.iter().find(|name| **name == id);
        let name = name.ok_or_else(missing)?;
        let folder = self.user.folder.as_ref().ok_or_else(missing)?;
        match tokio::fs::read(folder.join(name)).await {
            Ok(data) => Ok(Response::new(GetSecretResponse { data })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Status::not_found(
                format!("secret {id}: this worker does not have it"),
            )),
            Err(error) => Err(Status::internal(format!("secret {id}: {error}"))),
        }
    }
}
