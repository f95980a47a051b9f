//! Azure Storage queues through the official client.

use super::Message;
use crate::functions_host::{Error, Result};
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{ClientOptions, RequestContent, StatusCode, Transport, Url, XmlFormat},
};
use azure_storage_queue::{
    QueueClient, QueueServiceClient, QueueServiceClientOptions,
    models::{
        QueueClientGetPropertiesResultHeaders as _, QueueClientPeekMessagesOptions, QueueClientReceiveMessagesOptions,
        QueueClientUpdateMessageOptions, QueueMessage,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;

/// The newest version that Azurite 3.35 knows; the client's own default is newer and refused.
const VERSION: &str = "2025-11-05";

/// Where the storage queues are and how to reach them.
#[derive(Clone)]
pub struct StorageQueues {
    /// The queue service, for example `https://127.0.0.1:10001/devstoreaccount1`. Bearer tokens need `https`.
    pub endpoint: Url,
    /// Gives tokens for `https://storage.azure.com`.
    pub credential: Arc<dyn TokenCredential>,
    /// A transport that trusts the certificate of the endpoint; `None` trusts what the system does.
    pub transport: Option<Transport>,
}

pub(super) struct Storage(QueueServiceClient);

type Failure = azure_core::Error;

impl Storage {
    pub(super) fn new(queues: StorageQueues) -> Result<Self> {
        let options = QueueServiceClientOptions {
            client_options: ClientOptions { transport: queues.transport, ..Default::default() },
            version: VERSION.to_owned(),
        };
        let context = format!("cannot use the storage queues at {}", queues.endpoint);
        QueueServiceClient::new(queues.endpoint, Some(queues.credential), Some(options))
            .map(Self)
            .map_err(|e| Error::caused(context, &e))
    }

    pub(super) async fn send(&self, queue: &str, body: &str) -> Result<()> {
        let doing = "cannot write to";
        let client = self.client(queue)?;
        match client.send_message(message_content(queue, body)?, None).await {
            Err(e) if e.http_status() == Some(StatusCode::NotFound) => {
                client.create(None).await.map_err(|e| failed("cannot create", queue, &e))?;
                let again = client.send_message(message_content(queue, body)?, None).await;
                again.map_err(|e| failed(doing, queue, &e))?;
            }
            result => {
                result.map_err(|e| failed(doing, queue, &e))?;
            }
        }
        Ok(())
    }

    pub(super) async fn receive(&self, queue: &str, count: usize, lease: Duration) -> Result<Vec<Message>> {
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: i32::try_from(count).ok(),
            visibility_timeout: Some(seconds(lease).max(1)),
            ..Default::default()
        };
        let response = match self.client(queue)?.receive_messages(Some(options)).await {
            Err(e) if e.http_status() == Some(StatusCode::NotFound) => return Ok(Vec::new()),
            result => result.map_err(|e| failed("cannot read from", queue, &e))?,
        };
        let messages = response.into_model().map_err(|e| failed("cannot understand messages of", queue, &e))?;
        let now = OffsetDateTime::now_utc();
        let delivered = messages.items.unwrap_or_default().into_iter().map(|message| Message {
            id: message.message_id.unwrap_or_default(),
            pop_receipt: message.pop_receipt.unwrap_or_default(),
            dequeue_count: message.dequeue_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            inserted_on: message.insertion_time.unwrap_or(now),
            expires_on: message.expiration_time.unwrap_or(now),
            next_visible_on: message.time_next_visible.unwrap_or(now),
            body: message.message_text.unwrap_or_default(),
        });
        Ok(delivered.collect())
    }

    pub(super) async fn hide(&self, queue: &str, message: &mut Message, hidden: Duration) -> Result<()> {
        let options = QueueClientUpdateMessageOptions {
            queue_message: Some(message_content(queue, &message.body)?),
            ..Default::default()
        };
        let updated =
            self.client(queue)?.update_message(&message.id, &message.pop_receipt, seconds(hidden), Some(options)).await;
        let response = updated.map_err(|e| failed("cannot change the visibility of a message in", queue, &e))?;
        if let Some(receipt) = response.headers().get_optional_string(&"x-ms-popreceipt".into()) {
            message.pop_receipt = receipt;
        }
        message.next_visible_on = OffsetDateTime::now_utc() + hidden;
        Ok(())
    }

    pub(super) async fn delete(&self, queue: &str, message: &Message) -> Result<()> {
        let deleted = self.client(queue)?.delete_message(&message.id, &message.pop_receipt, None).await;
        deleted.map(drop).map_err(|e| failed("cannot delete a message from", queue, &e))
    }

    pub(super) async fn peek(&self, queue: &str) -> Result<Vec<String>> {
        let options = QueueClientPeekMessagesOptions { number_of_messages: Some(32), ..Default::default() };
        let response = match self.client(queue)?.peek_messages(Some(options)).await {
            Err(e) if e.http_status() == Some(StatusCode::NotFound) => return Ok(Vec::new()),
            result => result.map_err(|e| failed("cannot look into", queue, &e))?,
        };
        let messages = response.into_model().map_err(|e| failed("cannot understand messages of", queue, &e))?;
        Ok(messages.items.unwrap_or_default().into_iter().filter_map(|message| message.message_text).collect())
    }

    pub(super) async fn count(&self, queue: &str) -> Result<usize> {
        let counted = match self.client(queue)?.get_properties(None).await {
            Err(e) if e.http_status() == Some(StatusCode::NotFound) => return Ok(0),
            result => result.and_then(|response| response.approximate_messages_count()),
        };
        let count = counted.map_err(|e| failed("cannot count the messages of", queue, &e))?;
        Ok(count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0))
    }

    fn client(&self, queue: &str) -> Result<QueueClient> {
        self.0.queue_client(queue).map_err(|e| failed("cannot address", queue, &e))
    }
}

fn message_content(queue: &str, body: &str) -> Result<RequestContent<QueueMessage, XmlFormat>> {
    let message = QueueMessage { message_text: Some(body.to_owned()) };
    message.try_into().map_err(|e: Failure| failed("cannot encode a message for", queue, &e))
}

fn failed(doing: &str, queue: &str, error: &Failure) -> Error {
    Error::caused(format!("{doing} the queue {queue}"), error)
}

/// Whole seconds, which is all that the service knows; a fraction counts as a second.
fn seconds(duration: Duration) -> i32 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

impl StorageQueues {
    /// Queues of an Azurite that was started with `--oauth basic`; `authority` is the PEM of the certificate authority
    /// that signed its certificate, if the system does not know it.
    ///
    /// # Errors
    /// When `authority` is no PEM certificate.
    pub fn azurite(endpoint: Url, authority: Option<&[u8]>) -> Result<Self> {
        // Azurite closes idle connections after 5 s; a pool that keeps them longer runs into resets.
        let mut client = reqwest::Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(4));
        if let Some(authority) = authority {
            let certificates = reqwest::Certificate::from_pem_bundle(authority)
                .map_err(|e| Error::caused("cannot understand the certificate authority of the queues", &e))?;
            client = client.tls_certs_merge(certificates);
        }
        let client = client.build().map_err(|e| Error::caused("cannot set up TLS for the queues", &e))?;
        let client: Arc<dyn azure_core::http::HttpClient> = Arc::new(client);
        Ok(Self { endpoint, credential: Arc::new(AzuriteCredential), transport: Some(Transport::new(client)) })
    }
}

/// Tokens that Azurite accepts: it checks their claims and no signature.
#[derive(Debug)]
struct AzuriteCredential;

#[async_trait::async_trait]
impl TokenCredential for AzuriteCredential {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let now = OffsetDateTime::now_utc();
        let expires = now + Duration::from_secs(3600);
        let claims = json!({
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
            "iat": now.unix_timestamp() - 60,
            "nbf": now.unix_timestamp() - 60,
            "exp": expires.unix_timestamp(),
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.unsigned", part(json!({"alg": "RS256", "typ": "JWT"})), part(claims));
        Ok(AccessToken::new(token, expires))
    }
}
