"""Our side of the bench: an institution with the same 1,200 students, served by the Procfile's own web command."""

from tests.bench.servers import ROOT, Peer, run_python

SLUG = "greenwood"
PRINCIPAL = "principal@greenwood.test"
PASSWORD = "bench-of-lyceum"


def environment(database_url: str, redis_url: str) -> dict[str, str]:
    """What our processes read; the limiter counts, and never refuses."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "RATE_LIMIT_USER": "100000000/hour",
        "RATE_LIMIT_ANON": "100000000/hour",
    }


def ours(database_url: str, redis_url: str) -> Peer:
    """Migrates the platform, makes the institution and its rows, and says how to serve and ask it."""
    variables = environment(database_url, redis_url)
    run_python("manage.py", "migrate_platform", environment=variables)
    run_python("manage.py", "tenant", "create", SLUG, "--name", "Greenwood", environment=variables)
    run_python("-m", "tests.bench.fill", environment=variables)
    return Peer(
        name="ours",
        command=f"exec {_web_command()}",
        host=f"{SLUG}.localhost",
        token_path="/api/v1/auth/token/",
        credentials={"email": PRINCIPAL, "password": PASSWORD},
        list_path="/api/v1/school/students/?page_size=50",
        environment=variables,
    )


def _web_command() -> str:
    """The command of `web` in the Procfile: the bench measures what is deployed."""
    for line in (ROOT / "Procfile").read_text().splitlines():
        process, _, command = line.partition(":")
        if process == "web":
            return command.strip()
    raise LookupError("The Procfile has no `web` process.")
