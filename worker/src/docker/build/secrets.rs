//! What steps mount with `RUN --mount=type=secret`: the user's secrets, and the files that the administrator shares.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::Secrets;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use parking_lot::Mutex;
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
    /// Why this machine failed to read one, if it did.
    pub(super) failure: Arc<Mutex<Option<String>>>,
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
            Err(error) => {
                let why = format!("secret {id}: {error}");
                self.failure.lock().get_or_insert_with(|| why.clone());
                Err(Status::internal(why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_this_machine_fails_to_read_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("broken")).expect("made");
        std::fs::write(folder.path().join("wandb"), "0123").expect("written");
        let names = ["wandb", "absent", "broken"];
        let secrets = StepSecrets {
            user: SecretFiles {
                folder: Some(folder.path().to_owned()),
                names: names.map(str::to_owned).to_vec(),
            },
            shared: BTreeMap::new(),
            failure: Arc::default(),
        };
        let ask = |id: &str| {
            let id = id.to_owned();
            let request = GetSecretRequest {
                id,
                ..GetSecretRequest::default()
            };
            secrets.get_secret(Request::new(request))
        };
        let given = ask("wandb").await.expect("given").into_inner();
        assert_eq!(given.data, b"0123");
        ask("absent").await.expect_err("absent");
        ask("other").await.expect_err("not listed");
        assert_eq!(*secrets.failure.lock(), None, "the user can mend that");
        ask("broken").await.expect_err("broken");
        let failure = secrets.failure.lock().take().expect("kept");
        assert!(failure.starts_with("secret broken: "), "{failure}");
    }
}
