//! What is in the directory, in the order of the blobs' names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::is_absence;
use crate::store::{Entry, check_name, is_listed};

/// Rows of a listing that are read in one go.
const BATCH: usize = 256;

/// A listing: reads one directory at a time, in the order of the names.
pub(super) struct Walk {
    root: PathBuf,
    prefix: String,
    after: Option<String>,
    /// What is yet to be visited, the next one last: a folder and a name in it. Names of folders end with `/`, and the
    /// empty name is the root. Apart, because all names of a folder are held at once.
    pending: Vec<(Arc<str>, String)>,
}

impl Walk {
    pub(super) fn new(root: &Path, prefix: &str, after: Option<&str>) -> Self {
        Self {
            root: root.to_owned(),
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            pending: vec![(Arc::default(), String::new())],
        }
    }

    /// The next rows; none at the end.
    pub(super) fn next_batch(&mut self) -> io::Result<Vec<Entry>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some((folder, child)) = self.pending.pop()
        {
            let name = [&*folder, &child].concat();
            if name.is_empty() || name.ends_with('/') {
                let below = children(&self.root, &name)?;
                let folder: Arc<str> = name.into();
                for child in below.into_iter().rev() {
                    if self.leads_to_rows(&[&*folder, &child].concat()) {
                        self.pending.push((folder.clone(), child));
                    }
                }
                continue;
            }
            match fs::symlink_metadata(self.root.join(&name)) {
                // The time of the last change, which copies keep, unlike that of the birth. Nothing changes a blob.
                Ok(found) => batch.push(Entry { name, size: found.len(), created: found.modified()?.into() }),
                Err(error) if is_absence(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }

    fn leads_to_rows(&self, name: &str) -> bool {
        if !name.ends_with('/') {
            return is_listed(name, &self.prefix, self.after.as_deref());
        }
        let passed = |after: &String| name < after.as_str() && !after.starts_with(name);
        (name.starts_with(&self.prefix) || self.prefix.starts_with(name)) && !self.after.as_ref().is_some_and(passed)
    }
}

/// The folders right below `prefix` that hold a blob, however deep.
pub(super) fn folders(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut folders = Vec::new();
    for child in children(root, prefix)? {
        if let Some(folder) = child.strip_suffix('/')
            && holds_blob(root, &format!("{prefix}{child}"))?
        {
            folders.push(folder.to_owned());
        }
    }
    Ok(folders)
}

/// What is in the folder, in the order of the blobs: files by their name, folders by their name with `/`. Leaves out
/// what is not ours. A folder that vanished is empty; the root must be there, or a wrong path would look like a store
/// without backups.
fn children(root: &Path, folder: &str) -> io::Result<Vec<String>> {
    if !folder.is_empty() && check_name(folder.trim_end_matches('/')).is_err() {
        return Ok(Vec::new());
    }
    let entries = match fs::read_dir(root.join(folder)) {
        Err(error) if is_absence(&error) && !folder.is_empty() => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        if check_name(&name).is_err() || !(kind.is_file() || kind.is_dir()) {
            continue;
        }
        if kind.is_dir() {
            name.push('/');
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

fn holds_blob(root: &Path, folder: &str) -> io::Result<bool> {
    for child in children(root, folder)? {
        if !child.ends_with('/') || holds_blob(root, &format!("{folder}{child}"))? {
            return Ok(true);
        }
    }
    Ok(false)
}
