"""Defines the services as one table, which supervisord runs here and compose.yaml repeats for containers.

Braces stand for what differs between the two (:mod:`infra.stack.place`): where a service listens, under which name
others reach it, the passwords, the certificate. Passwords are only in environments and private files, since anybody on
the machine can read a command line. Every port asks for a password, a token or the certificate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

USER = "protoquant"
DATABASES = ("mlflow", "mlflow_auth", "prefect")
BUCKETS = ("dvc", "mlflow", "data")


@dataclass(frozen=True)
class Http:
    """Healthy when this page of the service's own port answers 200.

    Attributes:
        path: Path of the page; if the service has a secret, a page that requires it.
        login: Variables of the service's environment that make up the login, such as user and password.
    """

    path: str
    login: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """Healthy when this command, in the service's environment, ends with 0."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Service:
    """One server.

    Attributes:
        name: Its name, here and in compose.yaml.
        command: The program and its arguments.
        ports: Every port that it uses, by name; the one named like the service is for users.
        environment: Variables of the process.
        files: Content of files in its data folder that hold passwords, by name.
        health: How to check that it works.
        needs: Services that must be healthy before it starts.
        gives: Variables with which its clients find it.
        stop_signal: Signal that asks it to end.
        stop_group: Whether its children get that signal too.
        url: Address that a person opens.
    """

    name: str
    command: tuple[str, ...]
    ports: Mapping[str, int]
    health: Http | Command
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    gives: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_group: bool = True
    url: str = ""


# SeaweedFS runs without a certificate if one is missing, so its tokens are signed as well.
_WEED_DOORS = {
    **{f"WEED_JWT_{purpose}_KEY": "{secret[S3_JWT_KEY]}" for purpose in ("SIGNING", "FILER_SIGNING")},
    **{f"WEED_JWT_{purpose}_READ_KEY": "{secret[S3_JWT_KEY]}" for purpose in ("SIGNING", "FILER_SIGNING")},
    "WEED_GRPC_CA": "{certificate[ca]}",
    "WEED_HTTPS_CLIENT_ENABLED": "true",
    **{
        f"WEED_{protocol}_{part}_{what.upper()}": f"{{certificate[{what}]}}"
        for protocol, parts, files in (
            ("GRPC", ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT"), ("cert", "key")),
            ("HTTPS", ("MASTER", "VOLUME", "FILER", "ADMIN", "CLIENT"), ("ca", "cert", "key")),
        )
        for part in parts
        for what in files
    },
}
_RAY_DOORS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "{secret[RAY_AUTH_TOKEN]}",
    # With the token alone, a stranger's message ends the head (seen with Ray 2.60)
    "RAY_USE_TLS": "1",
    "RAY_TLS_CA_CERT": "{certificate[ca]}",
    "RAY_TLS_SERVER_CERT": "{certificate[cert]}",
    "RAY_TLS_SERVER_KEY": "{certificate[key]}",
}

POSTGRES = Service(
    name="postgres",
    command=("postgres", "-p", "{port[postgres]}", "-c", "listen_addresses={listen}"),
    ports={"postgres": 15432},
    health=Command(("pg_isready", "-q", "-h", "127.0.0.1", "-p", "{port[postgres]}", "-U", USER, "-d", "postgres")),
    stop_signal="INT",  # "fast": TERM would wait for the clients to leave
    stop_group=False,
    url="postgresql://" + USER + "@127.0.0.1:{port[postgres]}/mlflow",
)

S3 = Service(
    name="s3",
    command=(
        "weed",
        "mini",
        "-dir={data[s3]}",
        "-ip={host[s3]}",
        "-ip.bind={listen}",
        "-s3.port={port[s3]}",
        "-master.port={port[s3_master]}",
        "-volume.port={port[s3_volume]}",
        "-filer.port={port[s3_filer]}",
        "-admin.port={port[s3_admin]}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        "-s3.autoCreateBucket=false",  # a misspelt bucket is an error
        "-s3.allowedOrigins=http://127.0.0.1:{port[s3]}",  # allows no foreign page; without it, all are allowed
        "-disableHttp",
    ),
    ports={
        "s3": 18433,
        "s3_master": 18434,
        "s3_volume": 18435,
        "s3_filer": 18436,
        "s3_admin": 18437,
        # weed adds ten thousand for gRPC
        "s3_grpc": 28433,
        "s3_master_grpc": 28434,
        "s3_volume_grpc": 28435,
        "s3_filer_grpc": 28436,
        "s3_admin_grpc": 28437,
    },
    environment={
        "AWS_ACCESS_KEY_ID": "{secret[AWS_ACCESS_KEY_ID]}",
        "AWS_SECRET_ACCESS_KEY": "{secret[AWS_SECRET_ACCESS_KEY]}",
        "S3_BUCKET": ",".join(BUCKETS),
        **_WEED_DOORS,
    },
    health=Http("/healthz"),
    gives={
        "AWS_ENDPOINT_URL": "http://{host[s3]}:{port[s3]}",
        "AWS_ACCESS_KEY_ID": "{secret[AWS_ACCESS_KEY_ID]}",
        "AWS_SECRET_ACCESS_KEY": "{secret[AWS_SECRET_ACCESS_KEY]}",
        "AWS_DEFAULT_REGION": "us-east-1",
    },
    url="http://127.0.0.1:{port[s3]}",
)

MLFLOW = Service(
    name="mlflow",
    command=(
        "mlflow",
        "server",
        "--host",
        "{listen}",
        "--port",
        "{port[mlflow]}",
        "--workers",
        "1",
        "--serve-artifacts",
        "--artifacts-destination",
        "s3://mlflow/artifacts",
        "--allowed-hosts",
        "localhost,localhost:*,127.0.0.1,127.0.0.1:*,mlflow,mlflow:*",
        "--app-name",
        # protoquant/tracking/connection/server.py: MLflow's basic authentication, closed to foreign pages
        "protoquant",
    ),
    ports={"mlflow": 15000},
    environment={
        **S3.gives,
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://"
        + USER
        + ":{secret[POSTGRES_PASSWORD]}@{host[postgres]}:{port[postgres]}/mlflow",
        "AWS_MAX_ATTEMPTS": "2",  # clients wait for it, so it must soon report a store that is away
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes and 1 GB that nothing here uses
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_AUTH_CONFIG_PATH": "{data[mlflow]}/auth.ini",
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": "{secret[MLFLOW_TRACKING_PASSWORD]}",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "{secret[MLFLOW_FLASK_SERVER_SECRET_KEY]}",
        "DO_NOT_TRACK": "1",
    },
    # A password's slow hash costs 0.2 s, and a model has hundreds of files, so it is cached for five minutes. A change
    # of the password through MLflow itself takes effect at once, since there is one worker.
    files={
        "auth.ini": "[mlflow]\ndefault_permission = NO_PERMISSIONS\nauth_cache_ttl_seconds = 300\n"
        "database_uri = postgresql+psycopg2://"
        + USER
        + ":{secret[POSTGRES_PASSWORD]}@{host[postgres]}:{port[postgres]}/mlflow_auth\n"
    },
    health=Http(
        "/api/2.0/mlflow/experiments/get?experiment_id=0",
        login=("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD"),
    ),
    needs=("postgres", "s3"),
    gives={
        "MLFLOW_TRACKING_URI": "http://{host[mlflow]}:{port[mlflow]}",
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": "{secret[MLFLOW_TRACKING_PASSWORD]}",
    },
    url="http://127.0.0.1:{port[mlflow]}",
)

PREFECT = Service(
    name="prefect",
    command=("prefect", "server", "start", "--host", "{listen}", "--port", "{port[prefect]}"),
    ports={"prefect": 14200},
    environment={
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://"
        + USER
        + ":{secret[POSTGRES_PASSWORD]}@{host[postgres]}:{port[postgres]}/prefect",
        # The page in the browser asks this address; --port alone leaves it at 4200
        "PREFECT_SERVER_API_PORT": "{port[prefect]}",
        "PREFECT_SERVER_UI_API_URL": "http://127.0.0.1:{port[prefect]}/api",
        "PREFECT_SERVER_API_AUTH_STRING": "{secret[PREFECT_API_AUTH_STRING]}",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1:{port[prefect]},http://localhost:{port[prefect]}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The page holds the password, and the new UI calls a statistics service
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_HOME": "{data[prefect]}",
        "DO_NOT_TRACK": "1",
    },
    health=Http("/api/block_types/slug/secret", login=("PREFECT_SERVER_API_AUTH_STRING",)),
    needs=("postgres",),
    gives={
        "PREFECT_API_URL": "http://{host[prefect]}:{port[prefect]}/api",
        "PREFECT_API_AUTH_STRING": "{secret[PREFECT_API_AUTH_STRING]}",
    },
    url="http://127.0.0.1:{port[prefect]}",
)

RAY = Service(
    name="ray",
    command=(
        "ray",
        "start",
        "--head",
        "--block",
        "--node-ip-address",
        "{host[ray]}",
        "--port",
        "{port[ray]}",
        "--temp-dir",
        "{session}",
        # Otherwise workers take ports from 10002 to 19999, where the other services are
        "--min-worker-port",
        "0",
        "--max-worker-port",
        "0",
        "--include-dashboard",
        "false",
        "--disable-usage-stats",
        "--no-monitor",  # it is for an autoscaler, useless on one machine, and its metrics are open to all
    ),
    ports={"ray": 26379},
    environment={**_RAY_DOORS, "RAY_USAGE_STATS_ENABLED": "0"},
    stop_group=False,  # Ray drains and stops its own children
    health=Command(("ray", "health-check", "--address", "{host[ray]}:{port[ray]}")),
    gives={"RAY_ADDRESS": "{host[ray]}:{port[ray]}", **_RAY_DOORS},
)

RUNNER = Service(
    name="runner",
    command=("python", "-m", "flows.serve"),
    ports={},
    environment={
        **S3.gives,
        **MLFLOW.gives,
        **PREFECT.gives,
        **RAY.gives,
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
    },
    health=Command(("python", "-m", "flows.health")),
    needs=("s3", "mlflow", "prefect"),
)

SERVICES: dict[str, Service] = {service.name: service for service in (POSTGRES, S3, MLFLOW, PREFECT, RAY, RUNNER)}
PORTS: Mapping[str, int] = {name: port for service in SERVICES.values() for name, port in service.ports.items()}
