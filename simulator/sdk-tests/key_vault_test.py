"""The official Python clients against the simulator, under production host names.

What they assert here is what they can assert against Azure: exception classes, codes, properties, pollers that end.
Started by `cargo test -p simulator --test sdk`, which sets the environment; by hand, see simulator/README.md.
"""

import asyncio
import datetime
import functools
import secrets
import time
import unittest

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential as AsyncManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient, CertificateContentType, CertificatePolicy
from azure.keyvault.keys import JsonWebKey, KeyClient
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AsyncSecretClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PRODUCTION = "https://contoso-production.vault.azure.net"
RECOVERY = "https://contoso-recovery.vault.azure.net"  # same subscription and geography
OVERSEAS = "https://contoso-overseas.vault.azure.net"  # another geography
GUARDED = "https://contoso-guarded.vault.azure.net"  # purge protection

MORE_THAN_TWO_PAGES = 60
QUICKLY = {"_polling_interval": 0.1}  # the clients' own setting; they ask every 2 to 5 seconds otherwise
PATIENCE = 20  # seconds

CREDENTIAL = ManagedIdentityCredential()


@functools.cache
def client(client_class, vault):
    """One client for each kind and vault: every new one opens its own connection and asks for the challenge again."""
    return client_class(vault_url=vault, credential=CREDENTIAL)


class Story:
    """What holds for all three kinds. The clients name their methods alike, so one story serves them all."""

    kind = ""
    client_class = None

    def client(self, vault):
        return client(self.client_class, vault)

    def call(self, vault, method, *arguments, **keywords):
        return getattr(self.client(vault), method.format(kind=self.kind))(*arguments, **keywords)

    def create(self, name, **keywords):
        raise NotImplementedError

    def delete(self, vault, name):
        poller = self.call(vault, "begin_delete_{kind}", name, **QUICKLY)
        poller.wait(PATIENCE)
        self.assertTrue(poller.done())
        return poller.result()

    def versions(self, vault, name):
        found = self.call(vault, "list_properties_of_{kind}_versions", name)
        return sorted((properties.version, properties.created_on, properties.enabled) for properties in found)

    def refused(self, exception, status, code, call, *arguments):
        with self.assertRaises(exception) as raised:
            call(*arguments)
        self.assertEqual(raised.exception.status_code, status)
        self.assertEqual(raised.exception.error.code, code)
        return raised.exception

    def fresh(self, purpose):
        return f"{self.kind}-{purpose}-{secrets.token_hex(4)}"

    def test_what_was_created_can_be_read(self):
        name = self.fresh("read")
        made = self.create(name, tags={"owner": "contoso"})
        read = self.call(PRODUCTION, "get_{kind}", name)
        self.assertEqual(read.name, name)
        self.assertEqual(read.id, made.id)
        self.assertEqual(read.properties.version, made.properties.version)
        self.assertEqual(len(read.properties.version), 32)
        self.assertEqual(read.properties.tags, {"owner": "contoso"})
        self.assertTrue(read.properties.enabled)
        self.assertEqual(read.properties.vault_url, PRODUCTION)
        self.assertIn(read.properties.recovery_level, {"Recoverable+Purgeable", "CustomizedRecoverable+Purgeable"})
        self.assertLess(abs(read.properties.created_on - utc_now()), datetime.timedelta(minutes=2))

    def test_listings_go_past_the_first_page(self):
        prefix = self.fresh("page")
        made = {f"{prefix}-{number:03}" for number in range(MORE_THAN_TWO_PAGES)}
        for name in made:
            self.create(name)
        pages = [list(page) for page in self.call(PRODUCTION, "list_properties_of_{kind}s").by_page()]
        self.assertGreaterEqual(len(pages), 3)
        self.assertTrue(all(len(page) <= 25 for page in pages))
        names = [properties.name for page in pages for properties in page]
        self.assertEqual(len(names), len(set(names)), "nothing is listed twice")
        self.assertEqual({name for name in names if name.startswith(prefix)}, made)

    def test_new_versions_are_listed_and_the_newest_is_current(self):
        name = self.fresh("versions")
        made = [self.create(name).properties.version for _ in range(3)]
        listed = [version for version, _, _ in self.versions(PRODUCTION, name)]
        self.assertEqual(sorted(made), listed)
        self.assertEqual(self.call(PRODUCTION, "get_{kind}", name).properties.version, made[-1])

    def test_updated_properties_stay(self):
        name = self.fresh("update")
        self.create(name)
        updated = self.call(PRODUCTION, "update_{kind}_properties", name, enabled=False, tags={"stage": "retired"})
        properties = getattr(updated, "properties", updated)  # secrets answer with properties alone
        self.assertFalse(properties.enabled)
        self.assertEqual(properties.tags, {"stage": "retired"})
        listed = next(it for it in self.call(PRODUCTION, "list_properties_of_{kind}s") if it.name == name)
        self.assertFalse(listed.enabled)
        self.assertEqual(listed.tags, {"stage": "retired"})

    def test_a_name_that_never_existed_is_not_found(self):
        name = self.fresh("never")
        code = f"{self.kind.capitalize()}NotFound"
        for method in ("get_{kind}", "get_deleted_{kind}", "backup_{kind}", "begin_delete_{kind}"):
            missing = self.refused(ResourceNotFoundError, 404, code, self.call, PRODUCTION, method, name)
            self.assertIn(f"A {self.kind} with (name/id) {name} was not found in this key vault.", str(missing))
        self.assertEqual(self.versions(PRODUCTION, name), [])

    def test_delete_hides_the_item_and_recover_brings_all_versions_back(self):
        name = self.fresh("recover")
        self.create(name)
        self.create(name)
        before = self.versions(PRODUCTION, name)
        deleted = self.delete(PRODUCTION, name)
        self.assertEqual(deleted.recovery_id, f"{PRODUCTION}/deleted{self.kind}s/{name}")
        deleted_on = getattr(deleted, "deleted_date", None) or deleted.deleted_on  # the certificate client differs
        self.assertEqual((deleted.scheduled_purge_date - deleted_on).days, 90)

        not_found = f"{self.kind.capitalize()}NotFound"
        self.refused(ResourceNotFoundError, 404, not_found, self.call, PRODUCTION, "get_{kind}", name)
        self.assertEqual(self.call(PRODUCTION, "get_deleted_{kind}", name).name, name)
        self.assertIn(name, [it.name for it in self.call(PRODUCTION, "list_deleted_{kind}s")])
        self.assertNotIn(name, [it.name for it in self.call(PRODUCTION, "list_properties_of_{kind}s")])

        taken = self.refused(ResourceExistsError, 409, "Conflict", self.create, name)
        self.assertEqual(taken.error.innererror["code"], "ObjectIsDeletedButRecoverable")

        poller = self.call(PRODUCTION, "begin_recover_deleted_{kind}", name, **QUICKLY)
        poller.wait(PATIENCE)
        self.assertEqual(self.call(PRODUCTION, "get_{kind}", name).name, name)
        self.assertEqual(self.versions(PRODUCTION, name), before)

    def test_a_backup_restores_into_another_vault_with_all_versions(self):
        name = self.fresh("move")
        self.create(name, tags={"first": "version"})
        self.create(name, tags={"second": "version"})
        before = self.versions(PRODUCTION, name)
        blob = self.call(PRODUCTION, "backup_{kind}", name)
        restored = self.call(RECOVERY, "restore_{kind}_backup", blob)
        properties = getattr(restored, "properties", restored)  # secrets answer with properties alone
        self.assertEqual(properties.vault_url, RECOVERY)
        self.assertEqual(properties.version, self.call(PRODUCTION, "get_{kind}", name).properties.version)
        self.assertEqual(properties.tags, {"second": "version"})
        self.assertEqual(self.versions(RECOVERY, name), before)

        again = self.refused(ResourceExistsError, 409, "Conflict", self.call, RECOVERY, "restore_{kind}_backup", blob)
        self.assertIn(f"There was a conflict restoring the {self.kind}", str(again))
        self.assertIsNone(again.error.innererror or None)

    def test_a_backup_restores_after_a_purge_once_the_name_is_free(self):
        name = self.fresh("purge")
        self.create(name)
        before = self.versions(PRODUCTION, name)
        blob = self.call(PRODUCTION, "backup_{kind}", name)
        self.delete(PRODUCTION, name)
        blocked = self.refused(
            ResourceExistsError, 409, "Conflict", self.call, PRODUCTION, "restore_{kind}_backup", blob
        )
        self.assertIn("There was a conflict restoring", str(blocked))
        self.call(PRODUCTION, "purge_deleted_{kind}", name)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.call(PRODUCTION, "restore_{kind}_backup", blob)
                break
            except ResourceExistsError:  # the name stays taken for a while after the purge's answer, as in Azure
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
        self.assertEqual(self.versions(PRODUCTION, name), before)

    def test_a_backup_opens_in_its_own_geography_only(self):
        name = self.fresh("geography")
        self.create(name)
        blob = self.call(PRODUCTION, "backup_{kind}", name)
        refused = self.refused(
            HttpResponseError, 400, "BadParameter", self.call, OVERSEAS, "restore_{kind}_backup", blob
        )
        self.assertIn("Cannot decrypt backup blob", str(refused))

    def test_bytes_that_are_no_backup_are_malformed(self):
        with self.assertRaises(HttpResponseError) as raised:
            self.call(RECOVERY, "restore_{kind}_backup", b"these bytes were never a backup")
        self.assertEqual(raised.exception.status_code, 400)
        self.assertEqual(raised.exception.error.code, "Malformed backup blob")

    def test_purge_protection_refuses_a_purge(self):
        name = self.fresh("guarded")
        self.create(name, vault=GUARDED)
        level = self.call(GUARDED, "get_{kind}", name).properties.recovery_level
        self.assertNotIn("Purgeable", level)
        self.delete(GUARDED, name)
        with self.assertRaises(HttpResponseError) as raised:
            self.call(GUARDED, "purge_deleted_{kind}", name)
        self.assertIn(raised.exception.status_code, (400, 403, 409))  # no recording says which
        self.assertEqual(self.call(GUARDED, "get_deleted_{kind}", name).name, name)


class Secrets(Story, unittest.TestCase):
    kind = "secret"
    client_class = SecretClient

    def create(self, name, vault=PRODUCTION, **keywords):
        return self.client(vault).set_secret(name, secrets.token_hex(8), **keywords)

    def test_value_content_type_and_dates_come_back(self):
        name = self.fresh("value")
        start, end = whole_seconds(utc_now()), whole_seconds(utc_now() + datetime.timedelta(days=30))
        client = self.client(PRODUCTION)
        value = "grüße + 'quotes' & <tags>"
        client.set_secret(name, value, content_type="text/plain", not_before=start, expires_on=end)
        for secret in (client.get_secret(name), self.restored(name)):
            self.assertEqual(secret.value, value)
            self.assertEqual(secret.properties.content_type, "text/plain")
            self.assertEqual((secret.properties.not_before, secret.properties.expires_on), (start, end))

    def restored(self, name):
        self.client(RECOVERY).restore_secret_backup(self.client(PRODUCTION).backup_secret(name))
        return self.client(RECOVERY).get_secret(name)

    def test_a_disabled_secret_cannot_be_read_but_is_backed_up(self):
        name = self.fresh("disabled")
        self.create(name, enabled=False)
        client = self.client(PRODUCTION)
        refused = self.refused(HttpResponseError, 403, "Forbidden", client.get_secret, name)
        self.assertEqual(refused.error.innererror["code"], "SecretDisabled")
        self.assertIn("Operation get is not allowed on a disabled secret.", str(refused))
        restored = self.client(RECOVERY).restore_secret_backup(client.backup_secret(name))
        self.assertFalse(restored.enabled)

    def test_the_asynchronous_client_lists_and_backs_up(self):
        prefix = self.fresh("async")
        made = {f"{prefix}-{number}" for number in range(30)}
        for name in made:
            self.create(name)

        async def back_up():
            async with AsyncManagedIdentityCredential() as credential:
                async with AsyncSecretClient(vault_url=PRODUCTION, credential=credential) as client:
                    names = [it.name async for it in client.list_properties_of_secrets() if it.name in made]
                    blobs = await asyncio.gather(*(client.backup_secret(name) for name in names))
                    return dict(zip(names, blobs))

        blobs = asyncio.run(back_up())
        self.assertEqual(set(blobs), made)
        self.assertEqual(len(set(blobs.values())), len(made))


class Keys(Story, unittest.TestCase):
    kind = "key"
    client_class = KeyClient

    def create(self, name, vault=PRODUCTION, **keywords):
        return self.client(vault).create_ec_key(name, **keywords)

    def test_rsa_and_curve_keys_have_their_parts(self):
        client = self.client(PRODUCTION)
        for size in (2048, 4096):
            key = client.create_rsa_key(self.fresh("rsa"), size=size)
            self.assertEqual((key.key_type, len(key.key.n) * 8), ("RSA", size))
        for curve, length in (("P-256", 32), ("P-384", 48)):
            key = client.create_ec_key(self.fresh("curve"), curve=curve)
            self.assertEqual((key.key_type, key.key.crv, len(key.key.x)), ("EC", curve, length))
            self.assertEqual(key.key_operations, ["sign", "verify"])

    def test_an_imported_key_survives_backup_and_restore(self):
        name = self.fresh("import")
        numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
        part = lambda number: number.to_bytes(32, "big")
        public = numbers.public_numbers
        material = JsonWebKey(
            kty="EC",
            crv="P-256",
            x=part(public.x),
            y=part(public.y),
            d=part(numbers.private_value),
            key_ops=["sign", "verify"],
        )
        client = self.client(PRODUCTION)
        made = client.import_key(name, material)
        self.assertEqual(made.key.x, part(public.x))
        self.assertIsNone(made.key.d, "a private part never comes back")
        restored = self.client(RECOVERY).restore_key_backup(client.backup_key(name))
        self.assertEqual((restored.key.x, restored.key.y), (part(public.x), part(public.y)))


class Certificates(Story, unittest.TestCase):
    kind = "certificate"
    client_class = CertificateClient

    def create(self, name, vault=PRODUCTION, **keywords):
        policy = CertificatePolicy.get_default()
        poller = self.client(vault).begin_create_certificate(name, policy, **QUICKLY, **keywords)
        poller.wait(PATIENCE)
        return poller.result()

    def test_listings_go_past_the_first_page(self):
        # Waiting for sixty certificates one after the other takes too long; importing does not wait.
        made, create = self.self_signed(), self.create
        self.create = lambda name: self.import_pem(name, made)
        try:
            super().test_listings_go_past_the_first_page()
        finally:
            self.create = create

    def test_a_certificate_brings_its_key_and_secret_which_cannot_be_backed_up_alone(self):
        name = self.fresh("managed")
        made = self.create(name)
        keys = client(KeyClient, PRODUCTION)
        values = client(SecretClient, PRODUCTION)
        self.assertEqual(made.key_id, keys.get_key(name).id)
        self.assertEqual(made.secret_id, values.get_secret(name).id)
        self.assertTrue(next(it for it in keys.list_properties_of_keys() if it.name == name).managed)
        self.assertTrue(next(it for it in values.list_properties_of_secrets() if it.name == name).managed)
        for call in (keys.backup_key, values.backup_secret):
            refused = self.refused(HttpResponseError, 403, "Forbidden", call, name)
            self.assertIn("associated with a certificate", str(refused))

        self.client(RECOVERY).restore_certificate_backup(self.client(PRODUCTION).backup_certificate(name))
        moved = client(KeyClient, RECOVERY).get_key(name)
        self.assertEqual(moved.properties.version, made.properties.version)
        self.assertTrue(moved.properties.managed)

    def test_the_policy_and_the_issued_certificate_can_be_read(self):
        name = self.fresh("policy")
        made = self.create(name)
        self.assertEqual(made.policy.issuer_name, "Self")
        self.assertEqual(made.policy.subject, "CN=DefaultPolicy")
        issued = x509.load_der_x509_certificate(bytes(made.cer))
        self.assertEqual(issued.fingerprint(hashes.SHA1()), bytes(made.properties.x509_thumbprint))
        operation = self.client(PRODUCTION).get_certificate_operation(name)
        self.assertEqual((operation.status, operation.issuer_name), ("completed", "Self"))
        self.assertEqual(self.client(PRODUCTION).get_certificate_policy(name).issuer_name, "Self")

    def test_an_imported_certificate_keeps_its_bytes(self):
        name = self.fresh("import")
        pem = self.self_signed()
        made = self.import_pem(name, pem)
        issued = x509.load_pem_x509_certificate(pem)
        self.assertEqual(bytes(made.cer), issued.public_bytes(serialization.Encoding.DER))
        value = client(SecretClient, PRODUCTION).get_secret(name)
        self.assertEqual(value.properties.content_type, CertificateContentType.pem)
        self.assertTrue(value.properties.managed)

    def import_pem(self, name, pem):
        policy = CertificatePolicy(issuer_name="Unknown", content_type=CertificateContentType.pem)
        return self.client(PRODUCTION).import_certificate(name, pem, policy=policy)

    @staticmethod
    def self_signed():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "imported.contoso.example")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(utc_now())
            .not_valid_after(utc_now() + datetime.timedelta(days=30))
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private + certificate.public_bytes(serialization.Encoding.PEM)


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)


def whole_seconds(moment):
    return moment.replace(microsecond=0)


if __name__ == "__main__":
    unittest.main()
