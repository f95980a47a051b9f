//! Where the backups are kept, looked at from outside: with the right to see and to write everything, which the program
//! does not have.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};

use super::wire::Storage;
use crate::{
    azurite::Azurite,
    identity::{Directory, Identity},
};

/// The host of the storage account, as the program knows it.
pub(super) const ACCOUNT_HOST: &str = "contosobackups.blob.core.windows.net";
/// The two containers (or folders).
const BACKUPS: &str = "backups";
const STATE: &str = "backups-state";

/// What Azurite answers in the words of this version.
const STORAGE_VERSION: &str = "2025-11-05";

/// The resource of tokens for the storage.
const RESOURCE: &str = "https://storage.azure.com";

/// A store.
pub(super) enum Place {
    /// A folder.
    Local(PathBuf),
    /// Azurite over HTTPS, under the host name that it would have in Azure.
    Azurite { storage: Storage, directory: Directory, operator: Identity, _process: Box<Azurite> },
}

impl Place {
    /// A container in an Azurite of its own.
    pub(super) async fn azurite(azurite: Azurite, storage: Storage, directory: &Directory) -> io::Result<Self> {
        let operator = directory.identity("operator");
        let place = Self::Azurite { storage, directory: directory.clone(), operator, _process: Box::new(azurite) };
        for container in [BACKUPS, STATE] {
            place.ask(Method::PUT, &format!("/{container}?restype=container"), &[]).await?;
        }
        Ok(place)
    }

    /// `BACKUP_STORE_URL`.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Local(folder) => format!("file://{}", folder.join(BACKUPS).display()),
            Self::Azurite { .. } => format!("https://{ACCOUNT_HOST}/{BACKUPS}"),
        }
    }

    /// The part that a fault rule can hit, where it is not a folder.
    pub(super) fn storage(&self) -> Option<&Storage> {
        match self {
            Self::Local(_) => None,
            Self::Azurite { storage, .. } => Some(storage),
        }
    }

    /// The names in the backup container, with sizes in bytes.
    pub(super) async fn list(&self) -> io::Result<BTreeMap<String, u64>> {
        match self {
            Self::Local(folder) => {
                let mut found = BTreeMap::new();
                walk(&folder.join(BACKUPS), "", &mut found)?;
                Ok(found)
            }
            Self::Azurite { .. } => {
                let (mut found, mut marker) = (BTreeMap::new(), String::new());
                loop {
                    let path = format!("/{BACKUPS}?restype=container&comp=list&marker={marker}");
                    let body = self.ask(Method::GET, &path, &[]).await?;
                    let text = String::from_utf8_lossy(&body);
                    for blob in text.split("<Blob>").skip(1) {
                        let size =
                            between(blob, "<Content-Length>", "</Content-Length>").and_then(|it| it.parse().ok());
                        if let (Some(name), Some(size)) = (between(blob, "<Name>", "</Name>"), size) {
                            found.insert(name.to_owned(), size);
                        }
                    }
                    match between(&text, "<NextMarker>", "</NextMarker>") {
                        Some(next) if !next.is_empty() => marker = next.to_owned(),
                        _ => return Ok(found),
                    }
                }
            }
        }
    }

    /// A blob of the backup container.
    pub(super) async fn read(&self, name: &str) -> io::Result<Bytes> {
        match self {
            Self::Local(folder) => Ok(fs::read(folder.join(BACKUPS).join(name))?.into()),
            Self::Azurite { .. } => self.ask(Method::GET, &format!("/{BACKUPS}/{name}"), &[]).await,
        }
    }

    /// What time does: the leases of processes that were killed end. In Azure that takes half a minute each.
    pub(super) async fn end_leases(&self, vaults: &[&str]) -> io::Result<()> {
        if let Self::Azurite { .. } = self {
            for vault in vaults {
                let path = format!("/{STATE}/leases/{vault}?comp=lease");
                let lease = [("x-ms-lease-action", "break"), ("x-ms-lease-break-period", "0")];
                // No lease, or none yet.
                self.try_to(Method::PUT, &path, &lease).await?;
            }
        }
        Ok(())
    }

    /// Lets two days pass for the blobs of a folder, so that those of items are old enough to be removed. Azurite gives
    /// dates itself.
    pub(super) fn grow_old(&self) -> io::Result<()> {
        if let Self::Local(folder) = self {
            let mut found = BTreeMap::new();
            walk(&folder.join(BACKUPS), "", &mut found)?;
            for name in found.keys() {
                let file = fs::File::options().write(true).open(folder.join(BACKUPS).join(name))?;
                file.set_modified(SystemTime::now() - Duration::from_secs(2 * 24 * 3600))?;
            }
        }
        Ok(())
    }

    /// Copies everything into a folder, for whoever looks into a failure.
    pub(super) async fn save(&self, folder: &Path) -> io::Result<()> {
        if let Self::Azurite { .. } = self {
            for name in self.list().await?.keys() {
                let path = folder.join(BACKUPS).join(name);
                fs::create_dir_all(path.parent().unwrap_or(folder))?;
                fs::write(path, self.read(name).await?)?;
            }
        }
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> io::Result<Bytes> {
        match self.try_to(method, path, headers).await? {
            (status, body) if status.is_success() => Ok(body),
            (StatusCode::NOT_FOUND, _) => Err(io::Error::new(io::ErrorKind::NotFound, format!("{path} is not there"))),
            (status, body) => {
                Err(io::Error::other(format!("{path}: {status} {}", String::from_utf8_lossy(&body).trim())))
            }
        }
    }

    /// Past the wire and its faults.
    async fn try_to(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> io::Result<(StatusCode, Bytes)> {
        let Self::Azurite { storage, directory, operator, .. } = self else {
            return Err(io::Error::other("a folder answers no requests"));
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", directory.mint(operator, RESOURCE)))
            .header("x-ms-version", STORAGE_VERSION)
            .header("content-length", "0");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::new()).map_err(io::Error::other)?;
        let answer = storage.pass(request).await;
        if answer.extensions().get::<crate::mishap::Mishap>().is_some() {
            return Err(io::Error::other(format!("Azurite does not answer {path}")));
        }
        Ok((answer.status(), answer.into_body()))
    }
}

fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, u64>) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // `.+partial` and `.+leases` belong to the store.
        if name.starts_with(".+") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.insert(name, entry.metadata()?.len());
        }
    }
    Ok(())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}
