"""Another user of the machine connects to every port of the local workers, and gets nothing."""

import json
import os
import stat
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import dask
import psutil
import pytest
from distributed import LocalCluster, Security

from trt_int8.calibration.dask.cluster import cluster
from trt_int8.errors import CalibrationError, MissingDependencyError

#: Connects as another user to each port: in Dask's protocol, with and without TLS, and as a browser.
ATTACK = """
import asyncio, json, os, socket, ssl, sys, urllib.request
from distributed import Security
from distributed.core import rpc
from distributed.protocol.pickle import dumps

mark, user, *ports = sys.argv[1:]
os.setgroups([])
os.setgid(int(user))
os.setuid(int(user))

def evil(mark):
    import os
    with open(mark, "a") as file:
        file.write(f"{os.getuid()} ")

async def asked(port, scheme, security, question):
    told = {} if question == "identity" else {"function": dumps(evil), "args": dumps((mark,))}
    try:
        async with rpc(f"{scheme}://127.0.0.1:{port}", connection_args=security, timeout=5) as server:
            await asyncio.wait_for(getattr(server, question)(**told), 5)
        return port, question
    except Exception:
        return None

def page(port, path):
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).read()
    except Exception:
        return None
    return None if text == b'{"paths": ["/sitemap.json"]}' else (port, path)

def bytes_without_certificate(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as secret:
            return (port, "bytes") if secret.recv(1) else None
    except OSError:
        return None

async def all_of_them():
    plain = Security(require_encryption=False).get_connection_args("client")
    own = Security.temporary().get_connection_args("client")
    tries = []
    for port in map(int, ports):
        for question in ("identity", "run", "run_function"):
            tries += [asked(port, "tcp", plain, question), asked(port, "tls", own, question)]
        for path in ("/", "/info/main/workers.html", "/json/counts.json", "/health", "/metrics", "/sitemap.json"):
            tries.append(asyncio.to_thread(page, port, path))
        tries.append(asyncio.to_thread(bytes_without_certificate, port))
    return [found for found in await asyncio.gather(*tries) if found]

print(json.dumps(asyncio.run(all_of_them())))
"""
NOBODY = 65534

requires_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="acting as another user needs root"
)


def ports():
    """The ports on which this process and those that it started listen."""
    me = psutil.Process()
    return [
        connection.laddr.port
        for process in [me, *me.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def attacked(folder, found):
    """Return (port, answer) of all that another user got, and the users as whom its code ran."""
    (folder / "mark").touch()
    done = subprocess.run(
        [sys.executable, "-c", ATTACK, str(folder / "mark"), str(NOBODY), *map(str, found)],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return json.loads(done.stdout), set((folder / "mark").read_text().split())


@requires_root
@pytest.mark.slow
def test_another_user_gets_nothing(tmp_path, capfd):
    before = set(ports())
    with cluster(workers=2):
        found = [port for port in ports() if port not in before]
        assert len(found) >= 5  # the scheduler, two workers, and their two nannies
        got, ran = attacked(tmp_path, found)
    assert (got, ran) == ([], set())
    assert capfd.readouterr() == ("", "")


@requires_root
@pytest.mark.slow
def test_the_attack_works_where_nothing_defends(tmp_path):
    before = set(ports())
    with LocalCluster(n_workers=1, threads_per_worker=1, protocol="tcp://", dashboard_address="127.0.0.1:0"):
        got, ran = attacked(tmp_path, [port for port in ports() if port not in before])
    assert {"identity", "run", "run_function", "/health", "/json/counts.json"} <= {what for _, what in got}
    assert ran == {"0"}


def test_nobody_else_can_reach_the_folder_of_the_workers(tmp_path, monkeypatch):
    """Dask takes, and imports from, a folder of a known name that others can make first."""
    (tmp_path / "dask-scratch-space").mkdir(mode=0o777)
    (tmp_path / "dask-scratch-space").chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    paths = list(sys.path)
    with cluster(workers=1) as client:
        (folder,) = [path for path in tmp_path.iterdir() if path.name != "dask-scratch-space"]
        assert (stat.S_IMODE(folder.stat().st_mode), folder.stat().st_uid) == (0o700, os.geteuid())
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
        seen = [
            worker["local_directory"],
            *client.run(lambda: __import__("sys").path).popitem()[1],
            *sys.path,
        ]
        new = {path for path in seen if path not in paths}
        assert new
        assert all(Path(path).is_relative_to(folder) for path in new if str(tmp_path) in path)
        assert worker["local_directory"] in new
    assert list(tmp_path.iterdir()) == [tmp_path / "dask-scratch-space"]
    assert list((tmp_path / "dask-scratch-space").iterdir()) == []
    assert sys.path == paths


def test_the_folder_is_where_dask_is_told_to_put_it(tmp_path):
    with (
        dask.config.set({"temporary-directory": str(tmp_path / "none")}),
        pytest.raises(CalibrationError, match=r"need a folder for temporary files \(.*none.*TMPDIR"),
        cluster(workers=1),
    ):
        pass


def test_without_cryptography_nothing_is_started(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    message = "encryption between Dask workers needs cryptography"
    with pytest.raises(MissingDependencyError, match=message), cluster(workers=1):
        pass


@pytest.fixture
def tls(tmp_path):
    """A scheduler with TLS, and the settings that let a client talk to it."""
    secret = Security.temporary()
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text(secret.tls_client_cert)
    key.write_text(secret.tls_client_key)
    with LocalCluster(
        n_workers=1, processes=False, protocol="tls://", security=secret, dashboard_address="127.0.0.1:0"
    ) as local:
        yield (
            local.scheduler.address,
            {
                "distributed.comm.tls.ca-file": str(certificate),
                "distributed.comm.tls.client.cert": str(certificate),
                "distributed.comm.tls.client.key": str(key),
            },
        )


def test_certificates_come_from_the_configuration_of_dask(tls):
    address, settings = tls
    with dask.config.set(settings), cluster(scheduler=address) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    with pytest.raises(CalibrationError) as caught, cluster(scheduler=address):
        pass
    assert str(caught.value).startswith(f"no Dask scheduler answers at {address} (TLS expects")
    assert "check your TLS configuration" in str(caught.value)


def test_certificates_come_from_a_loader_that_the_configuration_names(tls, monkeypatch):
    address, settings = tls

    def load(about):
        assert about == {"address": address}
        with dask.config.set(settings):
            return Security(require_encryption=True)

    monkeypatch.setitem(sys.modules, "vault", types.SimpleNamespace(load=load))
    with (
        dask.config.set({"distributed.client.security-loader": "vault.load"}),
        cluster(scheduler=address) as client,
    ):
        assert client.submit(sum, [1, 2]).result() == 3


def test_where_the_configuration_demands_tls_nothing_goes_without(tls):
    address, settings = tls
    address = address.replace("tls", "tcp")
    settings = {**settings, "distributed.comm.require-encryption": True}
    with dask.config.set(settings), pytest.raises(CalibrationError) as caught, cluster(scheduler=address):
        pass
    assert "encryption required by Dask configuration" in str(caught.value)
