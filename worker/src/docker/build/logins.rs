//! Registry logins for pulls: those of the administrator's Docker configuration.
//!
//! The engine asks with a registry's name and then talks to the registry itself; without a login it goes on
//! anonymously.

use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use tonic::{Request, Response, Status};

use crate::docker::registries::Registries;

/// The service.
pub(super) struct Logins(pub(super) Registries);

/// The engine then fetches tokens itself.
fn by_the_engine<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the engine fetches tokens itself"))
}

#[tonic::async_trait]
impl Auth for Logins {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let login = self.0.login(&request.into_inner().host).unwrap_or_default();
        let (username, secret) = match login.identity_token.is_empty() {
            true => (login.username, login.password),
            false => (String::new(), login.identity_token),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        _request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        by_the_engine()
    }

    async fn get_token_authority(
        &self,
        _request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        by_the_engine()
    }

    async fn verify_token_authority(
        &self,
        _request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        by_the_engine()
    }
}
