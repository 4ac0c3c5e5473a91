"""What the health checks of the containers run: exit code 0 when the process beside it works.

`http PORT PATH` asks a server of this container; `process NAME` whether relay, beat or sealer has reported lately
(`shared_apps.core.vitals`). It imports neither Django nor the platform's settings: it runs every few seconds.
"""

import http.client
import sys

import redis

from platform_config import env
from shared_apps.core.vitals import key


def main(kind: str, *rest: str) -> bool:
    if kind == "http":
        connection = http.client.HTTPConnection("127.0.0.1", int(rest[0]), timeout=4)
        connection.request("GET", rest[1])
        return connection.getresponse().status == 200
    client = redis.Redis.from_url(env.redis("REDIS_URL"), socket_timeout=4, socket_connect_timeout=4)
    return all(client.exists(key(name)) for name in rest)


if __name__ == "__main__":
    try:
        sys.exit(0 if main(*sys.argv[1:]) else 1)
    except (OSError, http.client.HTTPException, redis.RedisError, env.SettingsError) as error:
        sys.exit(f"unhealthy: {error}")
