"""The same with asyncio, so many items at once.

    at_once.py backup|restore VAULT_URL CONTAINER_URL
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.certificates.aio import CertificateClient
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.secrets.aio import SecretClient
from azure.storage.blob.aio import ContainerClient
from record import check, current, record

AT_ONCE = 16  # as many as keyvault-backup


async def each(items, work):
    """Does the work for every item, so many at once, while the listing goes on."""
    queue = asyncio.Queue(AT_ONCE)

    async def worker():
        while (item := await queue.get()) is not None:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
        async for item in items:
            await queue.put(item)
        for _ in range(AT_ONCE):
            await queue.put(None)


async def main(command, vault_url, container_url):
    async with AsyncExitStack() as stack:
        credential = await stack.enter_async_context(ManagedIdentityCredential())
        secrets = await stack.enter_async_context(SecretClient(vault_url, credential))
        keys = await stack.enter_async_context(KeyClient(vault_url, credential))
        certificates = await stack.enter_async_context(CertificateClient(vault_url, credential))
        container = await stack.enter_async_context(ContainerClient.from_container_url(container_url, credential))
        versions = {
            "certificates": certificates.list_properties_of_certificate_versions,
            "keys": keys.list_properties_of_key_versions,
            "secrets": secrets.list_properties_of_secret_versions,
        }

        async def look(kind, name):
            return current([version async for version in versions[kind](name)])

        if command == "backup":
            sources = [
                ("certificates", certificates.list_properties_of_certificates, certificates.backup_certificate),
                ("keys", keys.list_properties_of_keys, keys.backup_key),
                ("secrets", secrets.list_properties_of_secrets, secrets.backup_secret),
            ]
            items = []

            async def back_up_all(kind, listing, backup):
                async def own():
                    async for listed in listing():
                        if not getattr(listed, "managed", False):  # its certificate carries it
                            yield listed

                async def back_up(listed):
                    copy = await backup(listed.name)
                    item = record(kind, await look(kind, listed.name), copy)
                    listed = record(kind, listed, copy) | {"version": item["version"]}  # a listing does not say which
                    check("The state after the copy", listed, item)
                    await container.upload_blob(f"{kind}/{item['name']}", copy)
                    items.append(item)

                await each(own(), back_up)

            for source in sources:
                await back_up_all(*source)
            await container.upload_blob("manifest.json", json.dumps(items))
        else:
            restores = {
                "certificates": certificates.restore_certificate_backup,
                "keys": keys.restore_key_backup,
                "secrets": secrets.restore_secret_backup,
            }

            async def recorded():
                for item in json.loads(await (await container.download_blob("manifest.json")).readall()):
                    yield item

            async def restore(item):
                kind, name = item["kind"], item["name"]
                copy = await (await container.download_blob(f"{kind}/{name}")).readall()
                await restores[kind](copy)
                check("What was restored", item, record(kind, await look(kind, name), copy))

            await each(recorded(), restore)


asyncio.run(main(*sys.argv[1:]))
