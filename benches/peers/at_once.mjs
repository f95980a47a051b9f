// The same with Microsoft's JavaScript SDK, so many items at once.
//
//     node at_once.mjs backup|restore VAULT_URL CONTAINER_URL
import { deepStrictEqual } from "node:assert";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { ManagedIdentityCredential } from "@azure/identity";
import { CertificateClient } from "@azure/keyvault-certificates";
import { KeyClient } from "@azure/keyvault-keys";
import { SecretClient } from "@azure/keyvault-secrets";
import { ContainerClient } from "@azure/storage-blob";

const AT_ONCE = 16; // as many as keyvault-backup

const [command, vaultUrl, containerUrl] = process.argv.slice(2);
const credential = new ManagedIdentityCredential();
const secrets = new SecretClient(vaultUrl, credential);
const keys = new KeyClient(vaultUrl, credential);
const certificates = new CertificateClient(vaultUrl, credential);
const container = new ContainerClient(containerUrl, credential);
const versions = {
  certificates: (name) => certificates.listPropertiesOfCertificateVersions(name),
  keys: (name) => keys.listPropertiesOfKeyVersions(name),
  secrets: (name) => secrets.listPropertiesOfSecretVersions(name),
};

/** Does the work for every item, so many at once, while the listing goes on. */
async function each(items, work) {
  const iterator = items[Symbol.asyncIterator]();
  // The first alone: restores that are all the first of their client lose their bodies while it finds out how to sign in.
  const first = await iterator.next();
  if (first.done) return;
  await work(first.value);
  const worker = async () => {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function* own(items) {
  for await (const item of items) {
    const properties = item.properties ?? item;
    if (!properties.managed) yield properties; // a certificate carries its key and secret
  }
}

/** What a backup has to record of an item, so that a restore can say whether it brought the same back. */
function record(kind, properties, copy) {
  const { name, version, enabled, tags, contentType } = properties;
  return {
    kind,
    name,
    version,
    enabled,
    created: seconds(properties.createdOn),
    updated: seconds(properties.updatedOn),
    notBefore: seconds(properties.notBefore),
    expires: seconds(properties.expiresOn),
    tags: tags && Object.keys(tags).length ? tags : null,
    contentType: contentType ?? null,
    size: copy.length,
    sha256: createHash("sha256").update(copy).digest("hex"),
  };
}

const seconds = (date) => (date ? date.getTime() / 1000 : null);

/** Of all versions the one that was made last: getting a secret would show its value. */
async function look(kind, name) {
  let current;
  for await (const item of versions[kind](name)) {
    const properties = item.properties ?? item;
    if (!current || properties.createdOn > current.createdOn) current = properties;
  }
  return current;
}

if (command === "backup") {
  const sources = [
    ["certificates", certificates.listPropertiesOfCertificates(), (name) => certificates.backupCertificate(name)],
    ["keys", keys.listPropertiesOfKeys(), (name) => keys.backupKey(name)],
    ["secrets", secrets.listPropertiesOfSecrets(), (name) => secrets.backupSecret(name)],
  ];
  const all = [];
  for (const [kind, items, backUp] of sources) {
    await each(own(items), async (listed) => {
      const copy = await backUp(listed.name);
      const item = record(kind, await look(kind, listed.name), copy);
      deepStrictEqual(item, { ...record(kind, listed, copy), version: item.version }); // a listing does not say which
      await container.getBlockBlobClient(`${kind}/${listed.name}`).upload(copy, copy.length);
      all.push(item);
    });
  }
  const manifest = JSON.stringify(all);
  await container.getBlockBlobClient("manifest.json").upload(manifest, Buffer.byteLength(manifest));
} else {
  const restores = {
    certificates: (copy) => certificates.restoreCertificateBackup(copy),
    keys: (copy) => keys.restoreKeyBackup(copy),
    secrets: (copy) => secrets.restoreSecretBackup(copy),
  };
  const items = JSON.parse(await container.getBlobClient("manifest.json").downloadToBuffer());
  const restore = async (item) => {
    const { kind, name } = item;
    const copy = await container.getBlobClient(`${kind}/${name}`).downloadToBuffer();
    await restores[kind](copy);
    deepStrictEqual(record(kind, await look(kind, name), copy), item);
  };
  for (const kind of Object.keys(restores)) {
    await each(Readable.from(items.filter((item) => item.kind === kind)), restore);
  }
}
