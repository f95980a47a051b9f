//! The file a client sources.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// Exists while the simulator answers, and says how to reach it; removed when dropped.
pub(super) struct EnvironmentFile(PathBuf);

impl EnvironmentFile {
    /// Writes the file in one step, so that who waits for it never reads half of it.
    pub(super) fn write(
        path: &Path,
        environment: &[(&str, String)],
        client_ids: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let mut text = String::from("# Written by `simulator azure`; good until it ends.\n");
        for (name, value) in environment {
            line(&mut text, name, value);
        }
        for (identity, client_id) in client_ids {
            let name = identity.to_uppercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
            line(&mut text, &format!("CLIENT_ID_{name}"), client_id);
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let explain =
            |error: io::Error| io::Error::new(error.kind(), format!("Could not write {}: {error}.", path.display()));
        let file = tempfile::NamedTempFile::new_in(folder).map_err(explain)?;
        fs::write(file.path(), text).map_err(explain)?;
        file.persist(path).map_err(|error| explain(error.error))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for EnvironmentFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // somebody may have tidied up already
    }
}

/// Single quotes keep every character as it is; a quote itself is closed, escaped and opened again.
fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "export {name}='{}'", value.replace('\'', r"'\''"));
}
