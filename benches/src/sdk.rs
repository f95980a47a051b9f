//! The official Rust SDK alone: the requests of a backup or a restore as its documentation shows them, and nothing made of
//! the answers. What it costs, no program can go below that is built on it.

use std::{num::NonZero, sync::Arc};

use azure_core::{
    credentials::TokenCredential,
    http::{ClientOptions, RequestContent, Transport, Url},
};
use azure_identity::ManagedIdentityCredential;
use azure_security_keyvault_certificates::{
    CertificateClient, CertificateClientOptions, ResourceExt as _, models::RestoreCertificateParameters,
};
use azure_security_keyvault_keys::{
    KeyClient, KeyClientOptions, ResourceExt as _,
    models::{KeyProperties, RestoreKeyParameters},
};
use azure_security_keyvault_secrets::{
    ResourceExt as _, SecretClient, SecretClientOptions,
    models::{RestoreSecretParameters, SecretProperties},
};
use azure_storage_blob::{
    BlobContainerClient, BlobContainerClientOptions,
    models::{BlobClientDownloadOptions, BlobClientUploadOptions},
};
use futures::{Stream, TryStreamExt as _, stream};

use crate::{
    Result,
    load::{self, Args, Job},
};

/// Without it the SDK looks at the number of processors for each blob.
const ONE: NonZero<usize> = NonZero::<usize>::MIN;

/// Every list of versions, a page at a time, for what it costs alone.
macro_rules! versions {
    ($client:expr, $list:ident, $name:expr) => {{
        let mut versions = $client.$list($name, None)?;
        while let Some(version) = versions.try_next().await? {
            version.resource_id()?;
        }
        Ok(())
    }};
}

/// The names that a listing shows, without those that a certificate owns.
macro_rules! names {
    ($kind:literal, $client:expr, $list:ident, $managed:expr) => {
        $client.$list(None)?.try_filter_map(async |row| {
            let is_managed: Option<bool> = $managed(&row);
            Ok(if is_managed == Some(true) { None } else { Some(($kind, row.resource_id()?.name)) })
        })
    };
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let clients = Clients::new(&args)?;
    match args.job {
        Job::Backup => {
            let certificates = names!("certificates", clients.certificates, list_certificate_properties, |_| None);
            let keys = names!("keys", clients.keys, list_key_properties, |row: &KeyProperties| row.managed);
            let secrets =
                names!("secrets", clients.secrets, list_secret_properties, |row: &SecretProperties| row.managed);
            let items = stream::select(certificates, stream::select(keys, secrets));
            each(items, args.at_once, |(kind, name)| clients.back_up(kind, name)).await
        }
        Job::Restore => {
            let blobs = clients.container.list_blobs(None)?;
            let items = blobs.try_filter_map(async |blob| Ok(blob.name.as_deref().and_then(load::item)));
            each(items, args.at_once, |(kind, name)| clients.restore(kind, name)).await
        }
    }
}

async fn each<T, W: Future<Output = Result<()>>>(
    items: impl Stream<Item = azure_core::Result<T>>,
    at_once: usize,
    work: impl Fn(T) -> W,
) -> Result<()> {
    items.map_err(Into::into).try_for_each_concurrent(at_once, work).await
}

struct Clients {
    secrets: SecretClient,
    keys: KeyClient,
    certificates: CertificateClient,
    container: BlobContainerClient,
}

impl Clients {
    /// All share one pool of connections, with room for those that are at work.
    fn new(args: &Args) -> Result<Self> {
        let credential: Arc<dyn TokenCredential> = ManagedIdentityCredential::new(None)?;
        let pool =
            reqwest::Client::builder().pool_max_idle_per_host(2 * args.at_once).no_gzip().no_deflate().build()?;
        let client_options = ClientOptions { transport: Some(Transport::new(Arc::new(pool))), ..Default::default() };
        let vault = args.vault.to_string();
        Ok(Self {
            secrets: SecretClient::new(
                &vault,
                credential.clone(),
                Some(SecretClientOptions { client_options: client_options.clone(), ..Default::default() }),
            )?,
            keys: KeyClient::new(
                &vault,
                credential.clone(),
                Some(KeyClientOptions { client_options: client_options.clone(), ..Default::default() }),
            )?,
            certificates: CertificateClient::new(
                &vault,
                credential.clone(),
                Some(CertificateClientOptions { client_options: client_options.clone(), ..Default::default() }),
            )?,
            container: BlobContainerClient::new(
                Url::parse(&args.container.to_string())?,
                Some(credential),
                Some(BlobContainerClientOptions { client_options, ..Default::default() }),
            )?,
        })
    }

    async fn back_up(&self, kind: &'static str, name: String) -> Result<()> {
        let copy = match kind {
            "certificates" => self.certificates.backup_certificate(&name, None).await?.into_model()?.value,
            "keys" => self.keys.backup_key(&name, None).await?.into_model()?.value,
            _ => self.secrets.backup_secret(&name, None).await?.into_model()?.value,
        };
        self.look(kind, &name).await?;
        let options = BlobClientUploadOptions {
            partition_size: Some(NonZero::<u64>::MAX),
            parallel: Some(ONE),
            ..Default::default()
        };
        let blob = self.container.blob_client(&load::blob(kind, &name));
        blob.upload(RequestContent::from(copy.unwrap_or_default()), Some(options.if_not_exists())).await?;
        Ok(())
    }

    async fn restore(&self, kind: &'static str, blob: String) -> Result<()> {
        let options = BlobClientDownloadOptions { parallel: Some(ONE), ..Default::default() };
        let found = self.container.blob_client(&format!("{kind}/{blob}")).download(Some(options)).await?;
        let copy = Some(found.body.collect().await?.to_vec());
        match kind {
            "certificates" => {
                let body = RestoreCertificateParameters { certificate_backup: copy };
                self.certificates.restore_certificate(body.try_into()?, None).await?.into_model()?;
            }
            "keys" => {
                let body = RestoreKeyParameters { key_backup: copy };
                self.keys.restore_key(body.try_into()?, None).await?.into_model()?;
            }
            _ => {
                let body = RestoreSecretParameters { secret_backup: copy };
                self.secrets.restore_secret(body.try_into()?, None).await?.into_model()?;
            }
        }
        self.look(kind, load::name(&blob)).await
    }

    async fn look(&self, kind: &str, name: &str) -> Result<()> {
        match kind {
            "certificates" => versions!(self.certificates, list_certificate_properties_versions, name),
            "keys" => versions!(self.keys, list_key_properties_versions, name),
            _ => versions!(self.secrets, list_secret_properties_versions, name),
        }
    }
}
