"""The same with asyncio, so many items at once.

    at_once.py backup|restore VAULT_URL CONTAINER_URL
"""

import asyncio
import sys
from contextlib import AsyncExitStack

from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.certificates.aio import CertificateClient
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.secrets.aio import SecretClient
from azure.storage.blob.aio import ContainerClient

AT_ONCE = 16  # as many as keyvault-backup


async def each(names, work):
    """Does the work for every name, so many at once, while the listing goes on."""
    queue = asyncio.Queue(AT_ONCE)

    async def worker():
        while (name := await queue.get()) is not None:
            await work(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
        async for name in names:
            await queue.put(name)
        for _ in range(AT_ONCE):
            await queue.put(None)


async def main(command, vault_url, container_url):
    async with AsyncExitStack() as stack:
        credential = await stack.enter_async_context(ManagedIdentityCredential())
        secrets = await stack.enter_async_context(SecretClient(vault_url, credential))
        keys = await stack.enter_async_context(KeyClient(vault_url, credential))
        certificates = await stack.enter_async_context(CertificateClient(vault_url, credential))
        container = await stack.enter_async_context(ContainerClient.from_container_url(container_url, credential))

        if command == "backup":
            sources = [
                ("certificates", certificates.list_properties_of_certificates, certificates.backup_certificate),
                ("keys", keys.list_properties_of_keys, keys.backup_key),
                ("secrets", secrets.list_properties_of_secrets, secrets.backup_secret),
            ]

            async def back_up_all(kind, listing, backup):
                async def names():
                    async for item in listing():
                        if not getattr(item, "managed", False):  # its certificate carries it
                            yield item.name

                async def back_up(name):
                    await container.upload_blob(f"{kind}/{name}", await backup(name))

                await each(names(), back_up)

            for source in sources:
                await back_up_all(*source)
        else:
            restores = [
                ("certificates", certificates.restore_certificate_backup),
                ("keys", keys.restore_key_backup),
                ("secrets", secrets.restore_secret_backup),
            ]

            async def restore_all(kind, restore):
                async def restore_one(blob):
                    await restore(await (await container.download_blob(blob)).readall())

                await each(container.list_blob_names(name_starts_with=f"{kind}/"), restore_one)

            for kind, restore in restores:
                await restore_all(kind, restore)


asyncio.run(main(*sys.argv[1:]))
