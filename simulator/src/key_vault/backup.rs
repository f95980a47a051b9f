//! Backup blobs: sealed to one subscription and one geography.
//!
//! Outside they look like the real ones: a length byte, an ASCII tag, a compact JWE whose header names RSA-OAEP-256 and
//! A256CBC-HS512, of about the real size. Inside, the payload is encrypted with AES-256-GCM under a key that is derived
//! from subscription and geography; the parts of the JWE that are then not needed are filled with random bytes.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    model::{Item, Kind},
    options::VaultOptions,
    refusal::Refusal,
};

const SECRET_TAG: &str = "AzureKeyVaultSecretBackupV1.microsoft.com";
/// Certificates have this one too.
const KEY_TAG: &str = "AzureKeyVaultKeyBackupV1.microsoft.com";
/// Bytes of the RSA-encrypted key, the initialisation vector and the authentication tag of a real blob.
const WRAPPED_KEY: usize = 256;
const VECTOR: usize = 16;
const TAG: usize = 32;
/// What AES-256-GCM takes of the vector and of the tag.
const NONCE: usize = 12;
const GCM_TAG: usize = 16;

/// What a blob holds: the item, and a certificate's key and secret with it.
#[derive(Serialize, Deserialize)]
pub(super) struct Payload<I> {
    pub(super) kind: Kind,
    pub(super) items: Vec<(Kind, I)>,
}

/// Bytes of plain text per version, so that blobs are as long as the recorded ones (3.7 KB for a secret, 7.2 KB for an
/// RSA key of 2048 bits, 33 KB for a certificate, each with one version).
fn padding(kind: Kind) -> usize {
    match kind {
        Kind::Secret => 2_350,
        Kind::Key => 4_950,
        Kind::Certificate => 24_300,
    }
}

/// The blob for an item, base64url without padding, as the answer of a backup carries it.
pub(super) fn seal(options: &VaultOptions, payload: &Payload<&Item>) -> String {
    let mut plain = serde_json::to_vec(payload).expect("items are plain data");
    let versions = payload.items.first().map_or(1, |(_, item)| item.versions.len());
    // White space after JSON is no part of it.
    let whole = plain.len().max(versions * padding(payload.kind));
    plain.resize(whole, b' ');

    let mut filler = [0; WRAPPED_KEY + VECTOR + TAG - GCM_TAG];
    rand::rng().fill_bytes(&mut filler);
    let (wrapped_key, rest) = filler.split_at(WRAPPED_KEY);
    let (vector, tag_filler) = rest.split_at(VECTOR);

    let header_tag = if payload.kind == Kind::Secret { SECRET_TAG } else { KEY_TAG };
    let seal = Seal::of(options);
    let mut jwe = URL_SAFE_NO_PAD.encode(seal.header());
    for part in [wrapped_key, vector] {
        jwe.push('.');
        URL_SAFE_NO_PAD.encode_string(part, &mut jwe);
    }
    let nonce = Nonce::try_assume_unique_for_key(&vector[..NONCE]).expect("twelve bytes make a nonce");
    let bound = Aad::from([header_tag.as_bytes(), jwe.as_bytes(), tag_filler].concat());
    let gcm_tag =
        seal.key.seal_in_place_separate_tag(nonce, bound, &mut plain).expect("a payload is shorter than 64 GB");
    jwe.push('.');
    URL_SAFE_NO_PAD.encode_string(&plain, &mut jwe);
    jwe.push('.');
    URL_SAFE_NO_PAD.encode_string([tag_filler, gcm_tag.as_ref()].concat(), &mut jwe);

    let length = u8::try_from(header_tag.len()).expect("both tags are short");
    URL_SAFE_NO_PAD.encode([&[length], header_tag.as_bytes(), jwe.as_bytes()].concat())
}

/// What a blob holds, if it was sealed for `kind` in the subscription and geography of this vault.
///
/// The two texts for malformed blobs are recorded; which of them wrong-kind blobs get is assumed.
pub(super) fn open(options: &VaultOptions, kind: Kind, blob: &str) -> Result<Payload<Item>, Refusal> {
    let corrupt = || Refusal::malformed_backup("Backup blob is corrupt.");
    let wrong_version = || Refusal::malformed_backup("Backup blob contains invalid or corrupt version.");
    let foreign = || Refusal::bad_parameter("Cannot decrypt backup blob");

    let blob = URL_SAFE_NO_PAD.decode(blob.trim_end_matches('=')).map_err(|_| corrupt())?;
    let (&length, rest) = blob.split_first().ok_or_else(corrupt)?;
    let (header_tag, jwe) = rest.split_at_checked(length.into()).ok_or_else(corrupt)?;
    if header_tag != if kind == Kind::Secret { SECRET_TAG } else { KEY_TAG }.as_bytes() {
        return Err(wrong_version());
    }
    let jwe = str::from_utf8(jwe).map_err(|_| corrupt())?;
    let [header, wrapped_key, vector, text, tag] =
        <[&str; 5]>::try_from(jwe.split('.').collect::<Vec<_>>()).map_err(|_| corrupt())?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| corrupt());
    let seal = Seal::of(options);
    if decode(header)? != seal.header().as_bytes() {
        return Err(foreign());
    }
    let (nonce, tag) = (decode(vector)?, decode(tag)?);
    if nonce.len() != VECTOR || tag.len() != TAG {
        return Err(corrupt());
    }
    let (tag_filler, gcm_tag) = tag.split_at(TAG - GCM_TAG);
    let bound_length = header.len() + wrapped_key.len() + vector.len() + 2;
    let bound = Aad::from([header_tag, &jwe.as_bytes()[..bound_length], tag_filler].concat());
    let nonce = Nonce::try_assume_unique_for_key(&nonce[..NONCE]).map_err(|_| corrupt())?;
    let mut text = decode(text)?;
    text.extend_from_slice(gcm_tag);
    let plain = seal.key.open_in_place(nonce, bound, &mut text).map_err(|_| foreign())?;
    let mut payload: Payload<Item> = serde_json::from_slice(plain).map_err(|_| corrupt())?;
    if payload.kind != kind {
        return Err(wrong_version());
    }
    payload.items.iter_mut().for_each(|(_, item)| item.index());
    Ok(payload)
}

struct Seal {
    key: LessSafeKey,
    key_id: uuid::Uuid,
}

impl Seal {
    fn of(options: &VaultOptions) -> Self {
        let realm = Sha256::new()
            .chain_update(options.subscription)
            .chain_update(options.geography.to_ascii_lowercase())
            .finalize();
        let key = Sha256::new().chain_update("backup key").chain_update(realm).finalize();
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("SHA-256 is as long as the key");
        let id = uuid::Builder::from_slice(&realm[..16]).expect("sixteen bytes make a GUID");
        Self { key: LessSafeKey::new(key), key_id: id.with_version(uuid::Version::Random).into_uuid() }
    }

    /// The protected header, which tells by whom the blob can be opened.
    fn header(&self) -> String {
        format!(r#"{{"kid":"{}","alg":"RSA-OAEP-256","enc":"A256CBC-HS512"}}"#, self.key_id)
    }
}
