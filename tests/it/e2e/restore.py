"""Restores items from the container of backups with nothing but the official clients and a plain HTTP download.

usage: restore.py CONTAINER-URL SOURCE-VAULT TARGET-VAULT KIND/NAME ...

The names of the blobs say all: vaults/VAULT/items/BACKUP/KIND/NAME.*.backup
"""

import sys
from xml.etree import ElementTree

import requests
from azure.identity import ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient

container, source, target, *items = sys.argv[1:]
credential = ManagedIdentityCredential()
target_url = f"https://{target}.vault.azure.net"
restore = {
    "secrets": SecretClient(target_url, credential).restore_secret_backup,
    "keys": KeyClient(target_url, credential).restore_key_backup,
    "certificates": CertificateClient(target_url, credential).restore_certificate_backup,
}


def read(url, **parameters):
    token = credential.get_token("https://storage.azure.com/.default").token
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2023-11-03"}
    response = requests.get(url, params=parameters, headers=headers, timeout=60)
    response.raise_for_status()
    return response.content


listing = ElementTree.fromstring(read(container, restype="container", comp="list", prefix=f"vaults/{source}/items/"))
blobs = [name.text for name in listing.iter("Name")]
for item in items:
    kind = item.split("/")[0]
    (blob,) = [blob for blob in blobs if f"/{item}." in blob]
    restore[kind](read(f"{container}/{blob}"))
