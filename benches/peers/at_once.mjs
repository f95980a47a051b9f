// The same with Microsoft's JavaScript SDK, so many items at once.
//
//     node at_once.mjs backup|restore VAULT_URL CONTAINER_URL
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
    if (!(item.managed ?? item.properties?.managed)) yield item.name; // a certificate carries its key and secret
  }
}

if (command === "backup") {
  const sources = [
    ["certificates", certificates.listPropertiesOfCertificates(), (name) => certificates.backupCertificate(name)],
    ["keys", keys.listPropertiesOfKeys(), (name) => keys.backupKey(name)],
    ["secrets", secrets.listPropertiesOfSecrets(), (name) => secrets.backupSecret(name)],
  ];
  for (const [kind, items, backUp] of sources) {
    await each(own(items), async (name) => {
      const bytes = await backUp(name);
      await container.getBlockBlobClient(`${kind}/${name}`).upload(bytes, bytes.length);
    });
  }
} else {
  const restores = [
    ["certificates", (bytes) => certificates.restoreCertificateBackup(bytes)],
    ["keys", (bytes) => keys.restoreKeyBackup(bytes)],
    ["secrets", (bytes) => secrets.restoreSecretBackup(bytes)],
  ];
  for (const [kind, restore] of restores) {
    await each(container.listBlobsFlat({ prefix: `${kind}/` }), async (blob) => {
      await restore(await container.getBlobClient(blob.name).downloadToBuffer());
    });
  }
}
