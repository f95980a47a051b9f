// The official JavaScript clients against the simulator, under production host names.
//
// What they assert here is what they can assert against Azure: status, codes, properties, pollers that end.
// Started by `cargo test -p simulator --test sdk`, which sets the environment; by hand, see simulator/README.md.
// CommonJS, because only `require` finds packages by NODE_PATH.
"use strict";

const assert = require("node:assert/strict");
const { randomBytes } = require("node:crypto");
const { setTimeout: pause } = require("node:timers/promises");
const { before, describe, test } = require("node:test");

const { ManagedIdentityCredential } = require("@azure/identity");
const { CertificateClient, DefaultCertificatePolicy } = require("@azure/keyvault-certificates");
const { KeyClient } = require("@azure/keyvault-keys");
const { SecretClient } = require("@azure/keyvault-secrets");

const PRODUCTION = "https://contoso-production.vault.azure.net";
const RECOVERY = "https://contoso-recovery.vault.azure.net"; // same subscription and geography
const OVERSEAS = "https://contoso-overseas.vault.azure.net"; // another geography

const MORE_THAN_TWO_PAGES = 60;
const quickly = { intervalInMs: 100 }; // the clients' own setting; they ask every 2 seconds otherwise
const PATIENCE = 20_000; // milliseconds
const credential = new ManagedIdentityCredential();

const kinds = {
  Secret: {
    Client: SecretClient,
    create: (client, name, options) => client.setSecret(name, randomBytes(8).toString("hex"), options),
  },
  Key: {
    Client: KeyClient,
    create: (client, name, options) => client.createEcKey(name, options),
  },
  Certificate: {
    Client: CertificateClient,
    create: async (client, name, options) => {
      const poller = await client.beginCreateCertificate(name, DefaultCertificatePolicy, { ...options, ...quickly });
      return poller.pollUntilDone();
    },
  },
};

for (const [kind, { Client, create }] of Object.entries(kinds)) {
  const lower = kind.toLowerCase();
  const clients = new Map();

  /** Calls `get{Kind}` as `getSecret`, `getKey` or `getCertificate`. */
  const call = (vault, method, ...rest) => {
    if (!clients.has(vault)) clients.set(vault, new Client(vault, credential));
    const client = clients.get(vault);
    return client[method.replace("{Kind}", kind)](...rest);
  };
  const make = (name, options) => create(new Client(PRODUCTION, credential), name, options);
  const fresh = (purpose) => `js-${lower}-${purpose}-${randomBytes(4).toString("hex")}`;

  const versions = async (vault, name) => {
    const found = await collect(call(vault, "listPropertiesOf{Kind}Versions", name));
    return found.map(({ version, createdOn, enabled }) => `${version} ${createdOn.toISOString()} ${enabled}`).sort();
  };
  const remove = async (vault, name) => {
    const poller = await call(vault, "beginDelete{Kind}", name, quickly);
    return poller.pollUntilDone();
  };
  const notFound = (name) => refusal(404, `${kind}NotFound`, `A ${lower} with (name/id) ${name} was not found`);

  describe(`${lower}s`, { concurrency: true }, () => {
    test("what was created can be read", async () => {
      const name = fresh("read");
      const made = await make(name, { tags: { owner: "contoso" } });
      const read = await call(PRODUCTION, "get{Kind}", name);
      assert.equal(read.name, name);
      assert.equal(read.properties.version, made.properties.version);
      assert.match(read.properties.version, /^[0-9a-f]{32}$/);
      assert.deepEqual(read.properties.tags, { owner: "contoso" });
      assert.equal(read.properties.enabled, true);
      assert.equal(read.properties.vaultUrl, PRODUCTION);
      assert.ok(Math.abs(read.properties.createdOn - Date.now()) < 120_000);
    });

    test("new versions are listed and the newest is current", async () => {
      const name = fresh("versions");
      const made = [];
      for (let round = 0; round < 3; round++) made.push((await make(name)).properties.version);
      const listed = (await versions(PRODUCTION, name)).map((line) => line.split(" ")[0]);
      assert.deepEqual(listed, [...made].sort());
      assert.equal((await call(PRODUCTION, "get{Kind}", name)).properties.version, made.at(-1));
    });

    test("updated properties stay", async () => {
      const name = fresh("update");
      const made = await make(name);
      const change = { enabled: false, tags: { stage: "retired" } };
      await call(PRODUCTION, "update{Kind}Properties", name, made.properties.version, change);
      const listed = await collect(call(PRODUCTION, "listPropertiesOf{Kind}s"));
      const found = listed.find((properties) => properties.name === name);
      assert.equal(found.enabled, false);
      assert.deepEqual(found.tags, { stage: "retired" });
    });

    test("a name that never existed is not found", async () => {
      const name = fresh("never");
      for (const method of ["get{Kind}", "getDeleted{Kind}", "backup{Kind}", "beginDelete{Kind}"]) {
        await assert.rejects(() => call(PRODUCTION, method, name), notFound(name), method);
      }
      assert.deepEqual(await versions(PRODUCTION, name), []);
    });

    test("delete hides the item and recover brings all versions back", async () => {
      const name = fresh("recover");
      await make(name);
      await make(name);
      const before = await versions(PRODUCTION, name);
      const deleted = await remove(PRODUCTION, name);
      assert.equal(new URL(deleted.recoveryId ?? deleted.properties.recoveryId).pathname, `/deleted${lower}s/${name}`);
      await assert.rejects(() => call(PRODUCTION, "get{Kind}", name), notFound(name));
      assert.equal((await call(PRODUCTION, "getDeleted{Kind}", name)).name, name);
      const gone = await collect(call(PRODUCTION, "listDeleted{Kind}s"));
      assert.ok(gone.some((item) => item.name === name));
      await assert.rejects(
        () => make(name),
        refusal(409, "Conflict", "deleted but recoverable state", "ObjectIsDeletedButRecoverable"),
      );
      const poller = await call(PRODUCTION, "beginRecoverDeleted{Kind}", name, quickly);
      await poller.pollUntilDone();
      assert.deepEqual(await versions(PRODUCTION, name), before);
    });

    test("a backup restores into another vault with all versions, once", async () => {
      const name = fresh("move");
      await make(name);
      await make(name, { tags: { second: "version" } });
      const blob = await call(PRODUCTION, "backup{Kind}", name);
      assert.ok(blob instanceof Uint8Array);
      const restored = await call(RECOVERY, "restore{Kind}Backup", blob);
      const properties = restored.properties ?? restored;
      assert.equal(properties.vaultUrl, RECOVERY);
      assert.deepEqual(properties.tags, { second: "version" });
      assert.deepEqual(await versions(RECOVERY, name), await versions(PRODUCTION, name));
      await assert.rejects(
        () => call(RECOVERY, "restore{Kind}Backup", blob),
        refusal(409, "Conflict", `There was a conflict restoring the ${lower}`, null),
      );
    });

    test("a backup restores after a purge once the name is free", async () => {
      const name = fresh("purge");
      await make(name);
      const before = await versions(PRODUCTION, name);
      const blob = await call(PRODUCTION, "backup{Kind}", name);
      await remove(PRODUCTION, name);
      await call(PRODUCTION, "purgeDeleted{Kind}", name);
      const deadline = Date.now() + PATIENCE;
      for (;;) {
        try {
          await call(PRODUCTION, "restore{Kind}Backup", blob);
          break;
        } catch (error) {
          if (error.statusCode !== 409 || Date.now() > deadline) throw error;
          await pause(50); // the name stays taken for a while after the purge's answer, as in Azure
        }
      }
      assert.deepEqual(await versions(PRODUCTION, name), before);
    });

    test("a backup opens in its own geography only", async () => {
      const name = fresh("geography");
      await make(name);
      const blob = await call(PRODUCTION, "backup{Kind}", name);
      await assert.rejects(
        () => call(OVERSEAS, "restore{Kind}Backup", blob),
        refusal(400, "BadParameter", "Cannot decrypt backup blob"),
      );
    });

    test("bytes that are no backup are malformed", async () => {
      await assert.rejects(
        () => call(RECOVERY, "restore{Kind}Backup", new TextEncoder().encode("never a backup")),
        refusal(400, "Malformed backup blob", "Backup blob"),
      );
    });
  });
}

describe("secrets alone", { concurrency: true }, () => {
  const client = new SecretClient(PRODUCTION, credential);

  // A new client mixes up the bodies of concurrent first calls while it waits for the challenge.
  before(() => client.listPropertiesOfSecrets().next());

  test("listings go past the first page, by item and by page", async () => {
    const prefix = `js-page-${randomBytes(4).toString("hex")}`;
    const made = Array.from({ length: MORE_THAN_TWO_PAGES }, (_, number) => `${prefix}-${number}`);
    await Promise.all(made.map((name) => client.setSecret(name, "value")));
    const names = (await collect(client.listPropertiesOfSecrets())).map((it) => it.name);
    assert.deepEqual(names.filter((name) => name.startsWith(prefix)).sort(), [...made].sort());
    const pages = await collect(client.listPropertiesOfSecrets().byPage({ maxPageSize: 10 }));
    assert.ok(pages.length >= MORE_THAN_TWO_PAGES / 10);
    assert.ok(pages.every((page) => page.length <= 10));
  });

  test("a disabled secret cannot be read", async () => {
    const name = `js-disabled-${randomBytes(4).toString("hex")}`;
    await client.setSecret(name, "value", { enabled: false });
    await assert.rejects(
      () => client.getSecret(name),
      refusal(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled"),
    );
  });

  test("value and dates come back from another vault", async () => {
    const name = `js-value-${randomBytes(4).toString("hex")}`;
    const notBefore = new Date("2026-01-01T00:00:00Z");
    const expiresOn = new Date("2036-01-01T00:00:00Z");
    // No content type here: version 4.11.0 of the client does not send it. The Python clients cover it.
    await client.setSecret(name, "grüße & <tags>", { notBefore, expiresOn });
    const other = new SecretClient(RECOVERY, credential);
    await other.restoreSecretBackup(await client.backupSecret(name));
    const { value, properties } = await other.getSecret(name);
    assert.equal(value, "grüße & <tags>");
    assert.deepEqual([properties.notBefore, properties.expiresOn], [notBefore, expiresOn]);
  });
});

describe("certificates alone", { concurrency: true }, () => {
  test("a certificate's key and secret are managed and cannot be backed up alone", async () => {
    const name = `js-managed-${randomBytes(4).toString("hex")}`;
    const certificates = new CertificateClient(PRODUCTION, credential);
    const made = await kinds.Certificate.create(certificates, name, {});
    const [keys, secrets] = [new KeyClient(PRODUCTION, credential), new SecretClient(PRODUCTION, credential)];
    assert.equal((await keys.getKey(name)).id, made.keyId);
    assert.equal((await keys.getKey(name)).properties.managed, true);
    assert.equal((await secrets.getSecret(name)).properties.certificateKeyId, made.keyId);
    for (const call of [() => keys.backupKey(name), () => secrets.backupSecret(name)]) {
      await assert.rejects(call, refusal(403, "Forbidden", "associated with a certificate"));
    }
  });
});

/** A matcher for `assert.rejects`. `inner` null means: there must be none. */
function refusal(status, code, message, inner) {
  return (error) => {
    assert.equal(error.statusCode, status, `${error}`);
    const body = error.details.error;
    assert.equal(body.code, code);
    assert.ok(body.message.includes(message), `"${body.message}" does not include "${message}"`);
    if (inner !== undefined) assert.equal(body.innerError?.code ?? null, inner);
    return true;
  };
}

async function collect(iterable) {
  const all = [];
  for await (const item of iterable) all.push(item);
  return all;
}
