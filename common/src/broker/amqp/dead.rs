//! Looks at the dead letters and leaves them where they are.

use lapin::options::BasicGetOptions;
use lapin::types::{AMQPValue, FieldTable};

use super::broker::Shared;
use crate::broker::{DeadLetter, Error};

/// How many are shown.
const DEAD_SHOWN: usize = 100;

impl Shared {
    pub(super) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        self.open()?;
        let look = async {
            let session = self.consuming.session().await;
            let channel = session.connection.create_channel().await?;
            let mut letters = Vec::new();
            // None is acknowledged, so that all of them are back when the channel closes.
            while letters.len() < DEAD_SHOWN {
                let options = BasicGetOptions::default();
                let Some(message) = channel.basic_get(self.names.dead(), options).await? else {
                    break;
                };
                let message = message.delivery;
                let (queue, reason) = death(message.properties.headers().as_ref());
                letters.push(DeadLetter {
                    queue,
                    reason,
                    body: message.data.into(),
                });
            }
            channel.close(200, "seen".into()).await?;
            Ok::<_, lapin::Error>(letters)
        };
        match tokio::time::timeout(self.options.publish_within, look).await {
            Ok(letters) => letters.map_err(|source| Error::Refused {
                doing: "read the dead letters".to_owned(),
                source,
            }),
            Err(_) => Err(self.consuming.error()),
        }
    }
}

/// Where and why a message died first, as the broker noted it.
fn death(headers: Option<&FieldTable>) -> (String, String) {
    let field = |name: &str| {
        let value = headers.and_then(|headers| headers.inner().get(name));
        match value {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            Some(AMQPValue::ShortString(text)) => text.to_string(),
            _ => String::new(),
        }
    };
    (field("x-first-death-queue"), field("x-first-death-reason"))
}
