//! The certificate authority of one simulator: made at start, never stored, forgotten at the end.

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::TlsAcceptor;

use super::Protocols;

/// The host suffix of the public cloud's vaults.
pub(super) const VAULT_SUFFIX: &str = ".vault.azure.net";

/// How long certificates hold: longer than any soak, short enough that one left behind in a trust store dies soon.
const VALIDITY: Duration = Duration::days(30);

/// Signs the certificates of the doors and of Azurite. Its private key exists only in this process.
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
    provider: Arc<CryptoProvider>,
    leaves: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

/// A certificate chain and its private key, as PEM files.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate, then the authority's.
    pub chain: PathBuf,
    /// The private key, PKCS #8.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority and writes its certificate, and a bundle of it with the system's roots, to `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let mut params = params_for(&[])?;
        params.distinguished_name.push(DnType::CommonName, "keyvault-backup simulator");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, new_key()?)
            .map_err(|error| failed("make the simulator's certificate authority", error))?;
        let authority = Self {
            folder: folder.to_owned(),
            issuer,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            leaves: Mutex::default(),
        };
        write(&authority.ca_file(), &authority.issuer.pem())?;
        write(&authority.trust_bundle(), &(authority.issuer.pem() + &system_roots()))?;
        Ok(authority)
    }

    /// The authority's certificate, as PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The authority's certificate and the system's roots, as PEM, for settings that replace a client's roots.
    pub fn trust_bundle(&self) -> PathBuf {
        self.folder.join("trust.pem")
    }

    /// Certifies a server of another program, for example Azurite, under these host names and addresses.
    ///
    /// # Errors
    /// When a name is not a host name or address, or the files cannot be written.
    pub fn certify(&self, server: &str, names: &[&str]) -> io::Result<CertificateFiles> {
        let key = new_key()?;
        let chain = self.sign(names, &key)?.pem() + &self.issuer.pem();
        let files = CertificateFiles {
            chain: self.folder.join(format!("{server}.pem")),
            key: self.folder.join(format!("{server}.key")),
        };
        write(&files.chain, &chain)?;
        write(&files.key, &key.serialize_pem())?;
        Ok(files)
    }

    /// Accepts TLS for any host name the client asks for, with a certificate made at the first request.
    pub(super) fn acceptor(self: &Arc<Self>, protocols: Protocols) -> io::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed("set up TLS for the simulator", error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = match protocols {
            Protocols::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
        };
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn leaf(&self, host: &str) -> io::Result<Arc<CertifiedKey>> {
        let name = wildcard(host);
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(&name) {
            return Ok(Arc::clone(leaf));
        }
        let key = new_key()?;
        let certificate = self.sign(&[&name], &key)?;
        let chain = vec![certificate.der().clone(), self.issuer.der().clone()];
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let leaf = CertifiedKey::from_der(chain, private, &self.provider)
            .map_err(|error| failed("load a certificate of the simulator", error))?;
        Ok(Arc::clone(leaves.entry(name).or_insert(Arc::new(leaf))))
    }

    fn sign(&self, names: &[&str], key: &KeyPair) -> io::Result<rcgen::Certificate> {
        let mut params = params_for(names)?;
        params.use_authority_key_identifier_extension = true; // Python 3.13 and later refuse a chain without it
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.signed_by(key, &self.issuer).map_err(|error| failed("sign a certificate of the simulator", error))
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.leaf(hello.server_name()?).inspect_err(|error| tracing::warn!(%error, "no certificate")).ok()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Key Vault's own certificate names `*.vault.azure.net`, so one is enough for all vaults.
fn wildcard(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(VAULT_SUFFIX) {
        Some(vault) if !vault.contains('.') => format!("*{VAULT_SUFFIX}"),
        _ => host,
    }
}

fn params_for(names: &[&str]) -> io::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(|error| failed("name a certificate", error))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1); // a client's clock may run a little behind
    params.not_after = now + VALIDITY;
    Ok(params)
}

fn new_key() -> io::Result<KeyPair> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| failed("make a private key", error))
}

/// The roots of this machine as PEM; none where it has none, as in a bare container.
fn system_roots() -> String {
    let roots = rustls_native_certs::load_native_certs().certs;
    let blocks: Vec<pem::Pem> = roots.iter().map(|root| pem::Pem::new("CERTIFICATE", root.to_vec())).collect();
    pem::encode_many(&blocks)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| failed(&format!("write {}", path.display()), error))
}

fn failed(what: &str, error: impl fmt::Display) -> io::Error {
    io::Error::other(format!("Could not {what}: {error}."))
}
