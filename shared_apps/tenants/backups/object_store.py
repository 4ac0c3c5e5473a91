"""Backups in an object store that speaks Amazon's S3: theirs, MinIO, Ceph, Garage, and most providers'."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared_apps.tenants.backups.refusals import missing
from shared_apps.tenants.backups.workplace import workplace

CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 4},  # of each request: some seconds, then it is trouble
    # Checksums that not every store knows; every backup is read with its own digest.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    ignore_configured_endpoint_urls=True,  # what production refuses is not set behind its back
)
PART = 16 * 1024 * 1024  # bytes of a part; larger files than 10,000 of them get larger ones
TRANSFER = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)
ABANDONED = timedelta(days=1)  # after which nobody is at an upload any more


class StoreTrouble(OSError):
    """The object store is away, or refuses us. It says nothing of any backup."""


class ObjectStore:
    """A bucket, and what lies below a prefix of it. An object appears when its upload is complete, and not before."""

    def __init__(self, *, bucket: str, prefix: str, endpoint: str, region: str, key_id: str, secret: str) -> None:
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        with self._trouble():
            # A session of our own: the one that boto3 shares may not be used by several threads.
            self._client = Session().client(
                "s3",
                endpoint_url=endpoint or None,
                region_name=region,
                aws_access_key_id=key_id or None,
                aws_secret_access_key=secret or None,
                # Servers of one's own rarely have a host name for each bucket.
                config=CONFIG.merge(Config(s3={"addressing_style": "path" if endpoint else "auto"})),
            )

    @contextmanager
    def arriving(self, key: str) -> Iterator[Path]:
        with workplace() as place:
            sealed = place / "sealed"
            yield sealed
            with self._trouble():
                self._forget_abandoned()
                self._client.upload_file(str(sealed), self._bucket, self._prefix + key, Config=TRANSFER)

    @contextmanager
    def at_hand(self, key: str) -> Iterator[Path]:
        with workplace() as place:
            path = place / Path(key).name
            with self._trouble():
                try:
                    self._client.download_file(self._bucket, self._prefix + key, str(path), Config=TRANSFER)
                except ClientError as refused:
                    if refused.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                        raise
                    self._client.head_bucket(Bucket=self._bucket)  # or else it is the bucket that is not there
                    raise missing(self.where(key)) from None
            yield path

    def remove(self, key: str) -> None:
        with self._trouble():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def keys(self, prefix: str) -> list[str]:
        with self._trouble():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            names = [found["Key"].removeprefix(self._prefix) for page in pages for found in page.get("Contents", ())]
        return sorted(name for name in names if name.endswith(".age"))

    def where(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def _forget_abandoned(self) -> None:
        """The parts that killed uploads left: nobody sees them, and they cost. A role that may not list them leaves
        that to a rule of the bucket."""
        with suppress(ClientError):
            left: list[Any] = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._prefix).get(
                "Uploads", []
            )
            for upload in left:
                if upload["Initiated"] < datetime.now(UTC) - ABANDONED:
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, Boto3Error, ClientError) as error:
            raise StoreTrouble(f"The object store of the backups (bucket {self._bucket}): {error}") from error
