"""What an administrator would write with Microsoft's Python SDK: every item of a vault, one after the other.

    sequential.py backup|restore VAULT_URL CONTAINER_URL
"""

import sys

import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient
from azure.storage.blob import ContainerClient
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection


class WithoutDelay(HTTPAdapter):
    """Behind a proxy urllib3 lets the kernel hold small packets back, and every body waits 40 ms for an acknowledgement.
    The simulated vaults are behind a proxy and those of Azure are not, so the wait would count for nothing."""

    def proxy_manager_for(self, *args, **kwargs):
        return super().proxy_manager_for(*args, socket_options=HTTPConnection.default_socket_options, **kwargs)


def main(command, vault_url, container_url):
    credential = ManagedIdentityCredential()
    session = requests.Session()
    session.mount("https://", WithoutDelay())
    transport = RequestsTransport(session=session, session_owner=False)
    secrets = SecretClient(vault_url, credential, transport=transport)
    keys = KeyClient(vault_url, credential, transport=transport)
    certificates = CertificateClient(vault_url, credential, transport=transport)
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
