//! One Key Vault, over the official clients: list, back up, restore, recover, delete, purge, the same for all three
//! kinds.
//!
//! This is the only door to the Key Vault SDK. It never reads a value: listing and backing up need no right to.
//!
//! Every call is paced ([`pacing`]), tried again within [`DEADLINE`] when that can help, and answers refusals with a
//! sentence ([`refusal`]). What a listing shows is read from the raw JSON, because the three kinds share one form there
//! while the SDK has three sets of types for it.

#![allow(clippy::disallowed_types, reason = "this module is Key Vault's door")]

pub mod deleted;
mod home;
pub mod pacing;
mod refusal;
mod wire;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use azure_core::{
    credentials::TokenCredential,
    http::{
        ClientOptions, RetryOptions, Transport,
        pager::{PagerContinuation, PagerOptions},
    },
};
use azure_security_keyvault_certificates::{CertificateClient, CertificateClientOptions, models as certificate};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions, models as key};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions, models as secret};
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _, stream};
use tokio::time::Instant;

use self::{
    home::{Home, Trail},
    pacing::Pacing,
    refusal::{Action, Again, Doing, Subject},
};
use crate::{
    error::{Error, ErrorKind, Result},
    measure,
    model::{Attributes, Cloud, ItemId, Kind, Sealed, VaultName},
};

/// How long one call may take in all, with every further attempt and every wait for the pace.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// How long one attempt may take beside waiting for its turn. Items with many versions are slow to back up (Microsoft
/// Learn, "Key Vault backup").
const ATTEMPT: Duration = Duration::from_secs(120);

/// After so many calls of one sort in a row that used up their time, no more of that sort are sent. Else a vault that is
/// down, or lets one operation fail, would hold up a run for minutes with each item that is left: for days when it is
/// large.
const MOST_UNANSWERED: u32 = 32;

/// How long a failure that further attempts seldom mend is tried again.
const BRIEFLY: Duration = Duration::from_secs(10);

/// One vault, ready to be called.
pub struct Vault {
    name: VaultName,
    uri: String,
    secrets: SecretClient,
    keys: KeyClient,
    certificates: CertificateClient,
    pacing: Arc<Pacing>,
    /// By [`Action`], how many calls in a row have used up their time without an answer that helps.
    unanswered: [AtomicU32; Action::COUNT],
}

/// An item as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The item.
    pub item: ItemId,
    /// The state of its current version.
    pub attributes: Attributes,
    /// Whether it belongs to a certificate, whose backup holds it.
    pub managed: bool,
}

/// The current version of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The id of the current version: 32 hexadecimal digits.
    pub version: Box<str>,
    /// Versions of the same second that may be the current one as well. Only secrets can have any: to tell such
    /// versions apart one would have to read the value.
    pub ties: Vec<Box<str>>,
    /// The state of the current version.
    pub attributes: Attributes,
    /// How many versions there are.
    pub versions: u32,
}

impl Current {
    /// Whether `version` is the current one, or cannot be told from it.
    pub fn may_be(&self, version: &str) -> bool {
        *self.version == *version || self.ties.iter().any(|tie| **tie == *version)
    }
}

impl Vault {
    /// Prepares the clients of a vault. Sends nothing.
    pub fn new(
        name: VaultName,
        cloud: Cloud,
        credential: Arc<dyn TokenCredential>,
        transport: &Transport,
        pacing: Arc<Pacing>,
    ) -> Result<Self> {
        let uri = name.uri(cloud);
        let client_options = ClientOptions {
            transport: Some(Home::of(&name, cloud, transport)),
            // The SDK neither bounds Retry-After nor reads its own errors correctly, so this module tries again itself.
            retry: RetryOptions::none(),
            per_try_policies: vec![pacing.clone()],
            ..Default::default()
        };
        let failed = |cause: azure_core::Error| {
            Error::new(ErrorKind::Internal, format!("Could not prepare the clients of vault {name}.")).because(cause)
        };
        let secrets = SecretClientOptions { client_options: client_options.clone(), ..Default::default() };
        let keys = KeyClientOptions { client_options: client_options.clone(), ..Default::default() };
        let certificates = CertificateClientOptions { client_options, ..Default::default() };
        Ok(Self {
            secrets: SecretClient::new(&uri, credential.clone(), Some(secrets)).map_err(failed)?,
            keys: KeyClient::new(&uri, credential.clone(), Some(keys)).map_err(failed)?,
            certificates: CertificateClient::new(&uri, credential, Some(certificates)).map_err(failed)?,
            name,
            uri,
            pacing,
            unanswered: Default::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &VaultName {
        &self.name
    }

    /// Its URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Its pacing, for what it has seen.
    pub fn pacing(&self) -> &Pacing {
        &self.pacing
    }

    /// All active items of a kind, disabled, expired and managed ones included. Reads one page at a time; ends with an
    /// error when a page cannot be had, so that a listing is either whole or says that it is not.
    pub fn list(&self, kind: Kind) -> impl Stream<Item = Result<Listed>> + Send + '_ {
        self.items(List::Active, kind, Subject::Kind(kind))
    }

    /// All soft-deleted items of a kind.
    pub fn list_deleted(&self, kind: Kind) -> impl Stream<Item = Result<Listed>> + Send + '_ {
        self.items(List::Deleted, kind, Subject::DeletedKind(kind))
    }

    fn items<'a>(
        &'a self,
        list: List<'a>,
        kind: Kind,
        subject: Subject<'a>,
    ) -> impl Stream<Item = Result<Listed>> + Send + 'a {
        self.pages(list, kind, subject, Action::List)
            .and_then(move |page| async move {
                let items = wire::listed(kind, &page).map_err(|cause| self.unreadable(kind, &cause))?;
                Ok(stream::iter(items.into_iter().map(Ok)))
            })
            .try_flatten()
    }

    /// Which version is current, and how many there are; `None` when there is no such active item. `listed` tells
    /// versions of the same second apart where it can.
    pub async fn current(&self, item: &ItemId, listed: Option<&Attributes>) -> Result<Option<Current>> {
        let pages = self.pages(List::Versions(item), item.kind, Subject::Item(item), Action::ListVersions);
        let mut newest: Vec<(Box<str>, Attributes)> = Vec::new();
        let mut versions = 0;
        futures::pin_mut!(pages);
        while let Some(page) = pages.try_next().await? {
            for (version, attributes) in
                wire::versions(item.kind, &page).map_err(|cause| self.unreadable(item.kind, &cause))?
            {
                versions += 1;
                match newest.first().map(|(_, first)| attributes.created.cmp(&first.created)) {
                    Some(std::cmp::Ordering::Less) => continue,
                    Some(std::cmp::Ordering::Greater) => newest.clear(),
                    _ => (),
                }
                newest.push((version, attributes));
            }
        }
        if newest.len() > 1 && newest.iter().any(|(_, attributes)| Some(attributes) == listed) {
            newest.retain(|(_, attributes)| Some(attributes) == listed);
        }
        if newest.len() > 1 && item.kind != Kind::Secrets {
            let current = self.look(item).await?.and_then(|bundle| bundle.version);
            // A version that was made just now is not among those listed; the caller looks again.
            if newest.iter().any(|(version, _)| Some(version) == current.as_ref()) {
                newest.retain(|(version, _)| Some(version) == current.as_ref());
            }
        }
        newest.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        let mut newest = newest.into_iter();
        Ok(newest.next().map(|(version, attributes)| Current {
            version,
            attributes,
            versions,
            ties: newest.map(|(version, _)| version).collect(),
        }))
    }

    /// Backs one item up, all versions, as Key Vault hands it out.
    pub async fn back_up(&self, item: &ItemId) -> Result<Sealed> {
        let doing = self.doing(Action::BackUp, Subject::Item(item));
        let name = item.name.as_str();
        let value = self
            .call(doing, || async {
                Ok(match item.kind {
                    Kind::Secrets => self.secrets.backup_secret(name, None).await?.into_model()?.value,
                    Kind::Keys => self.keys.backup_key(name, None).await?.into_model()?.value,
                    Kind::Certificates => self.certificates.backup_certificate(name, None).await?.into_model()?.value,
                })
            })
            .await?;
        match value {
            Some(value) if !value.is_empty() => Ok(Sealed::new(value)),
            _ => Err(Error::new(ErrorKind::Unavailable, format!("{doing}: Key Vault answered without a backup."))),
        }
    }

    /// Restores one item from its backup, all versions, under its old name, and returns the version that Key Vault says
    /// is now the current one.
    ///
    /// `Conflict` means that the name is taken, which may also be the work of an earlier attempt whose answer was lost:
    /// compare before calling it a failure.
    pub async fn restore(&self, item: &ItemId, backup: &Sealed) -> Result<Option<Box<str>>> {
        let doing = self.doing(Action::Restore, Subject::Item(item));
        let bytes = || Some(backup.bytes().to_vec());
        let body: Bytes = self
            .call(doing, || async {
                Ok(match item.kind {
                    Kind::Secrets => {
                        let body = secret::RestoreSecretParameters { secret_backup: bytes() };
                        self.secrets.restore_secret(body.try_into()?, None).await?.into_body().into()
                    }
                    Kind::Keys => {
                        let body = key::RestoreKeyParameters { key_backup: bytes() };
                        self.keys.restore_key(body.try_into()?, None).await?.into_body().into()
                    }
                    Kind::Certificates => {
                        let body = certificate::RestoreCertificateParameters { certificate_backup: bytes() };
                        self.certificates.restore_certificate(body.try_into()?, None).await?.into_body().into()
                    }
                })
            })
            .await?;
        // What cannot be read here is found out by looking at the item.
        Ok(wire::bundle(&body).ok().and_then(|bundle| bundle.version))
    }

    /// What a GET says of a key's or a certificate's current version; it shows no secret. Nothing for a secret, whose
    /// GET would read its value.
    async fn look(&self, item: &ItemId) -> Result<Option<wire::Bundle>> {
        let name = item.name.as_str();
        let doing = self.doing(Action::Get, Subject::Item(item));
        let body: Bytes = match item.kind {
            Kind::Secrets => return Ok(None),
            Kind::Keys => {
                self.call(doing, || async { Ok(self.keys.get_key(name, None).await?.into_body().into()) }).await?
            }
            Kind::Certificates => {
                let get = || async { Ok(self.certificates.get_certificate(name, None).await?.into_body().into()) };
                self.call(doing, get).await?
            }
        };
        wire::bundle(&body).map(Some).map_err(|cause| self.unreadable(item.kind, &cause))
    }

    fn doing<'a>(&'a self, action: Action, subject: Subject<'a>) -> Doing<'a> {
        Doing { vault: &self.name, action, subject }
    }

    fn unreadable(&self, kind: Kind, cause: &serde_json::Error) -> Error {
        // The cause names a position, never content.
        let place = format!("line {}, column {}", cause.line(), cause.column());
        Error::new(
            ErrorKind::Unavailable,
            format!("Could not read what vault {} answered about its {kind}, at {place}. Try again.", self.name),
        )
    }

    /// Pages of raw JSON. A page that fails is asked for again by itself, so that nothing is missed or read twice.
    fn pages<'a>(
        &'a self,
        list: List<'a>,
        kind: Kind,
        subject: Subject<'a>,
        action: Action,
    ) -> impl Stream<Item = Result<Bytes>> + Send + 'a {
        stream::try_unfold((Next::First, Trail::of(&self.uri)), move |(next, mut trail)| async move {
            let from = match next {
                Next::First => None,
                Next::At(link) => Some(link),
                Next::Done => return Ok(None),
            };
            let doing = self.doing(action, subject);
            let (page, link) = self.call(doing, || self.page(list, kind, from.clone())).await?;
            if let Some(PagerContinuation::Link(link)) = &link {
                trail.follow(link).map_err(|why| Error::new(ErrorKind::Refused, format!("{doing}: {why}")))?;
            }
            Ok(Some((page, (link.map_or(Next::Done, Next::At), trail))))
        })
    }

    async fn page(
        &self,
        list: List<'_>,
        kind: Kind,
        from: Option<PagerContinuation>,
    ) -> azure_core::Result<(Bytes, Option<PagerContinuation>)> {
        macro_rules! page {
            ($options:ident, $client:ident.$method:ident($($name:expr)?)) => {{
                let method_options = PagerOptions { continuation: from, ..Default::default() };
                let options = $options { method_options, ..Default::default() };
                let mut pages = self.$client.$method($($name,)? Some(options))?.into_pages();
                let page = pages.try_next().await?.map(|page| Bytes::from(page.into_body())).unwrap_or_default();
                Ok((page, pages.continuation().cloned()))
            }};
        }
        use certificate::{
            CertificateClientListCertificatePropertiesOptions as Certificates,
            CertificateClientListCertificatePropertiesVersionsOptions as CertificateVersions,
            CertificateClientListDeletedCertificatePropertiesOptions as DeletedCertificates,
        };
        use key::{
            KeyClientListDeletedKeyPropertiesOptions as DeletedKeys, KeyClientListKeyPropertiesOptions as Keys,
            KeyClientListKeyPropertiesVersionsOptions as KeyVersions,
        };
        use secret::{
            SecretClientListDeletedSecretPropertiesOptions as DeletedSecrets,
            SecretClientListSecretPropertiesOptions as Secrets,
            SecretClientListSecretPropertiesVersionsOptions as SecretVersions,
        };
        match (list, kind) {
            (List::Active, Kind::Secrets) => page!(Secrets, secrets.list_secret_properties()),
            (List::Active, Kind::Keys) => page!(Keys, keys.list_key_properties()),
            (List::Active, Kind::Certificates) => page!(Certificates, certificates.list_certificate_properties()),
            (List::Deleted, Kind::Secrets) => page!(DeletedSecrets, secrets.list_deleted_secret_properties()),
            (List::Deleted, Kind::Keys) => page!(DeletedKeys, keys.list_deleted_key_properties()),
            (List::Deleted, Kind::Certificates) => {
                page!(DeletedCertificates, certificates.list_deleted_certificate_properties())
            }
            (List::Versions(item), Kind::Secrets) => {
                page!(SecretVersions, secrets.list_secret_properties_versions(item.name.as_str()))
            }
            (List::Versions(item), Kind::Keys) => {
                page!(KeyVersions, keys.list_key_properties_versions(item.name.as_str()))
            }
            (List::Versions(item), Kind::Certificates) => {
                page!(CertificateVersions, certificates.list_certificate_properties_versions(item.name.as_str()))
            }
        }
    }

    /// One call with all its attempts: transient refusals are tried again until [`DEADLINE`], with full jitter.
    async fn call<T, F>(&self, doing: Doing<'_>, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = azure_core::Result<T>>,
    {
        let unanswered = &self.unanswered[doing.action as usize];
        if unanswered.load(Ordering::Relaxed) >= MOST_UNANSWERED {
            let message = format!(
                "{doing}: it was not tried, because vault {} has let that fail {MOST_UNANSWERED} times in a row, each \
                 time until the time of a call was over. Try again later.",
                self.name
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let start = Instant::now();
        let mut pause = Duration::from_millis(200);
        loop {
            let refusal = match pacing::within(ATTEMPT, attempt()).await {
                Some(Ok(value)) => {
                    unanswered.store(0, Ordering::Relaxed);
                    return Ok(value);
                }
                Some(Err(error)) => refusal::read(doing, error),
                None => refusal::timed_out(doing, ATTEMPT),
            };
            let limit = match refusal.again {
                Again::Never => {
                    unanswered.store(0, Ordering::Relaxed);
                    return Err(refusal.error);
                }
                Again::Briefly => BRIEFLY,
                Again::Yes => DEADLINE,
            };
            let wait = pause.mul_f64(fastrand::f64());
            if start.elapsed() + wait >= limit {
                unanswered.fetch_add(1, Ordering::Relaxed);
                return Err(refusal.error);
            }
            measure!("retry", service = "vault", vault = self.name.as_str(), count = 1_u64);
            tracing::debug!(vault = %self.name, error = %refusal.error, "trying again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }
}

/// What is being listed.
#[derive(Clone, Copy)]
enum List<'a> {
    Active,
    Deleted,
    Versions(&'a ItemId),
}

enum Next {
    First,
    At(PagerContinuation),
    Done,
}
