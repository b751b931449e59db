//! RabbitMQ's management API: makes and removes the accounts of workers.
//!
//! Only for a master whose settings name the API. Without it the administrator runs the commands that `dopq node add`
//! prints.

use std::time::Duration;

use dopq_common::broker::amqp::Rights;
use dopq_common::settings::ServiceUrl;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

/// For one call.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why an account could not be made or removed. Fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API was not reached.
    #[error("reach RabbitMQ's management API")]
    Unreachable(#[source] reqwest::Error),
    /// It did not do what it was asked.
    #[error("{doing}: RabbitMQ's management API answers {status}{}", hint(*.status))]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// Its answer.
        status: StatusCode,
    },
}

/// What to do about an answer.
const fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "; the account in management.url needs its password and the tag administrator",
        404 => "; the virtual host is not there, or it is another program",
        _ => "",
    }
}

/// Speaks to the API.
#[derive(Debug, Clone)]
pub struct Management {
    client: Client,
    url: ServiceUrl,
}

impl Management {
    /// The API at `url`, which has user and password; `ca_pem` is trusted besides the usual authorities.
    ///
    /// # Errors
    /// If the certificates cannot be read.
    pub fn new(url: ServiceUrl, ca_pem: Option<&str>) -> Result<Self, reqwest::Error> {
        let mut client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN);
        for certificate in
            reqwest::Certificate::from_pem_bundle(ca_pem.unwrap_or_default().as_bytes())?
        {
            client = client.add_root_certificate(certificate);
        }
        Ok(Self {
            client: client.build()?,
            url,
        })
    }

    /// Makes a worker's account with `password`, or gives it that password, and no rights but `rights`.
    ///
    /// # Errors
    /// The account may have been made without all of its rights; repeating is harmless.
    pub async fn make_account(&self, rights: &Rights, password: &str) -> Result<(), Error> {
        let Rights {
            user,
            vhost,
            configure,
            write,
            read,
            exchange,
            topic_write,
            topic_read,
            scheme: _,
            host: _,
            port: _,
        } = rights;
        let account = json!({ "password": password, "tags": "" });
        let allowed = json!({ "configure": configure, "write": write, "read": read });
        let topics = json!({ "exchange": exchange, "write": topic_write, "read": topic_read });
        for (doing, path, body) in [
            ("make the account", vec!["users", user], account),
            (
                "set the account's rights",
                vec!["permissions", vhost, user],
                allowed,
            ),
            (
                "set the account's topics",
                vec!["topic-permissions", vhost, user],
                topics,
            ),
        ] {
            let status = self.call(Method::PUT, &path, Some(&body)).await?;
            if !status.is_success() {
                return Err(Error::Refused { doing, status });
            }
        }
        Ok(())
    }

    /// Removes an account; one that is not there is no error.
    ///
    /// # Errors
    /// When it is still there.
    pub async fn remove_account(&self, user: &str) -> Result<(), Error> {
        let status = self.call(Method::DELETE, &["users", user], None).await?;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        let doing = "remove the account";
        Err(Error::Refused { doing, status })
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<StatusCode, Error> {
        let given = self.url.reveal();
        let mut request = self.client.request(method, address(given, path));
        request = request.basic_auth(given.username(), given.password());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| Error::Unreachable(error.without_url()))?;
        Ok(answer.status())
    }
}

/// The address of a thing, without user and password.
fn address(given: &Url, path: &[&str]) -> Url {
    let mut url = given.clone();
    // An HTTP URL has a host, so that these cannot fail.
    url.set_username("").unwrap_or_default();
    url.set_password(None).unwrap_or_default();
    url.set_query(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("api").extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_host_is_one_segment_and_no_password_is_in_the_address() {
        let given = Url::parse("http://root:s3cret@rabbit:15672").expect("a URL");
        assert_eq!(
            address(&given, &["permissions", "/", "dopq-worker.gpu-1"]).as_str(),
            "http://rabbit:15672/api/permissions/%2F/dopq-worker.gpu-1"
        );
        let below = Url::parse("https://proxy/rabbit/").expect("a URL");
        assert_eq!(
            address(&below, &["users", "a"]).as_str(),
            "https://proxy/rabbit/api/users/a"
        );
    }

    #[tokio::test]
    async fn an_api_that_is_away_is_told_without_the_password() {
        let url: ServiceUrl =
            dopq_common::settings::Scalar::read("http://root:s3cret@127.0.0.1:9").expect("a URL");
        let management = Management::new(url, None).expect("made");
        let error = management.remove_account("x").await.expect_err("away");
        let told = dopq_common::chain::chain(&error);
        assert!(
            told.starts_with("reach RabbitMQ's management API"),
            "{told}"
        );
        assert!(!told.contains("s3cret"), "{told}");
        assert!(!format!("{management:?}").contains("s3cret"));
    }
}
