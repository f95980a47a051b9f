"""What an administrator would write with Microsoft's Python SDK: every item of a vault, one after the other.

    sequential.py backup|restore VAULT_URL CONTAINER_URL
"""

import json
import sys

import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient
from azure.storage.blob import ContainerClient
from record import check, current, record
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
    versions = {
        "certificates": certificates.list_properties_of_certificate_versions,
        "keys": keys.list_properties_of_key_versions,
        "secrets": secrets.list_properties_of_secret_versions,
    }

    if command == "backup":
        sources = [
            ("certificates", certificates.list_properties_of_certificates, certificates.backup_certificate),
            ("keys", keys.list_properties_of_keys, keys.backup_key),
            ("secrets", secrets.list_properties_of_secrets, secrets.backup_secret),
        ]
        items = []
        for kind, listing, backup in sources:
            for listed in listing():
                if getattr(listed, "managed", False):  # its certificate carries it
                    continue
                copy = backup(listed.name)
                item = record(kind, current(versions[kind](listed.name)), copy)
                listed = record(kind, listed, copy) | {"version": item["version"]}  # a listing does not say which
                check("The state after the copy", listed, item)
                container.upload_blob(f"{kind}/{listed['name']}", copy)
                items.append(item)
        container.upload_blob("manifest.json", json.dumps(items))
    else:
        restores = {
            "certificates": certificates.restore_certificate_backup,
            "keys": keys.restore_key_backup,
            "secrets": secrets.restore_secret_backup,
        }
        for item in json.loads(container.download_blob("manifest.json").readall()):
            kind, name = item["kind"], item["name"]
            copy = container.download_blob(f"{kind}/{name}").readall()
            restores[kind](copy)
            check("What was restored", item, record(kind, current(versions[kind](name)), copy))


main(*sys.argv[1:])
