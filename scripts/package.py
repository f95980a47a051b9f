"""Makes the zip of an assembled app, checks the binary in it, and prints its figures. Called by package.sh."""

import hashlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import zipfile

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

# The oldest moment a zip entry can have: the same bytes give the same zip.
MOMENT = (1980, 1, 1, 0, 0, 0)


def main(package: pathlib.Path, newest_glibc: str) -> None:
    app = package / "app"
    handler = json.loads((app / "host.json").read_text())["customHandler"]["description"]["defaultExecutablePath"]
    files = sorted(path for path in app.rglob("*") if path.is_file())
    if app / handler not in files:
        sys.exit(f"host.json starts {handler}, which is not in {app}. Correct defaultExecutablePath.")
    archive = package / "keyvault-backup.zip"
    zip_like_core_tools(archive, app, files, handler)
    needed = glibc_needed(app / handler)
    if needed > version(newest_glibc):
        sys.exit(f"The binary needs GLIBC {'.'.join(map(str, needed))}, newer than {newest_glibc}. Build it with zigbuild.")
    print(f"package: {archive}")
    print(f"files: {', '.join(path.relative_to(app).as_posix() for path in files)}")
    print(f"binary: {(app / handler).stat().st_size / 1e6:.1f} MB, zip: {archive.stat().st_size / 1e6:.1f} MB")
    print(f"newest GLIBC symbol: {'.'.join(map(str, needed)) or 'none, it is static'} (at most {newest_glibc})")
    print(f"sha256 of the zip: {hashlib.sha256(archive.read_bytes()).hexdigest()}")
    starts = sorted(start_time(app, handler) for _ in range(7))
    print(f"start to first answer: {starts[0]:.0f} / {starts[3]:.0f} / {starts[-1]:.0f} ms (least, median, most of 7)")


def zip_like_core_tools(archive: pathlib.Path, app: pathlib.Path, files: list, handler: str) -> None:
    """Only the entry that host.json names exactly is executable (azure-functions-core-tools, ZipHelper.cs)."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for path in files:
            name = path.relative_to(app).as_posix()
            entry = zipfile.ZipInfo(name, MOMENT)
            entry.create_system = 3
            entry.external_attr = (0o100777 if name == handler else 0o100666) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, path.read_bytes(), compresslevel=9)


def glibc_needed(binary: pathlib.Path) -> tuple:
    """The newest version of the GNU C library that a symbol of the binary asks for."""
    with binary.open("rb") as file:
        sections = [section for section in ELFFile(file).iter_sections() if isinstance(section, GNUVerNeedSection)]
        names = [aux.name for section in sections for _, auxiliaries in section.iter_versions() for aux in auxiliaries]
    return max((version(name[6:]) for name in names if name.startswith("GLIBC_2")), default=())


def version(text: str) -> tuple:
    return tuple(int(part) for part in text.split("."))


def start_time(app: pathlib.Path, handler: str) -> float:
    """Milliseconds from the start of the process, as the host starts it, to its first answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = {"FUNCTIONS_CUSTOMHANDLER_PORT": str(port), "BACKUP_STORE_URL": pathlib.Path(folder).as_uri()}
        begin = time.perf_counter()
        process = subprocess.Popen([app / handler, "serve"], cwd=app, env=environment, stdout=subprocess.DEVNULL)
        try:
            while True:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    connection.request("GET", "/")
                    connection.getresponse().read()
                    return (time.perf_counter() - begin) * 1000
                except ConnectionRefusedError:
                    if process.poll() is not None or time.perf_counter() - begin > 30:
                        sys.exit(f"{handler} does not answer on port {port}; it ended with {process.poll()}.")
                    time.sleep(0.0005)
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    os.umask(0o022)
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
