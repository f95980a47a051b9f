"""What an administrator would write with Microsoft's Python SDK: every item of a vault, one after the other.

    sequential.py backup|restore VAULT_URL CONTAINER_URL
"""

import sys

from azure.identity import ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient
from azure.storage.blob import ContainerClient


def main(command, vault_url, container_url):
    credential = ManagedIdentityCredential()
    secrets = SecretClient(vault_url, credential)
    keys = KeyClient(vault_url, credential)
    certificates = CertificateClient(vault_url, credential)
    container = ContainerClient.from_container_url(container_url, credential)

    if command == "backup":
        sources = [
            ("certificates", certificates.list_properties_of_certificates, certificates.backup_certificate),
            ("keys", keys.list_properties_of_keys, keys.backup_key),
            ("secrets", secrets.list_properties_of_secrets, secrets.backup_secret),
        ]
        for kind, listing, backup in sources:
            for item in listing():
                if not getattr(item, "managed", False):  # its certificate carries it
                    container.upload_blob(f"{kind}/{item.name}", backup(item.name))
    else:
        restores = [
            ("certificates", certificates.restore_certificate_backup),
            ("keys", keys.restore_key_backup),
            ("secrets", secrets.restore_secret_backup),
        ]
        for kind, restore in restores:
            for blob in container.list_blob_names(name_starts_with=f"{kind}/"):
                restore(container.download_blob(blob).readall())


main(*sys.argv[1:])
